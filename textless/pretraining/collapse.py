"""Has training found the way out in which everything is the same?

An objective can be satisfied, or given up, by codes, targets or features that do not depend on the sound. The loss
does not show it; these numbers, which the objectives log, do:

code_perplexity       entries of a codebook (or units that HuBERT predicts) in use. 1 is one for everything; healthy
                      runs use dozens; below 1.5 a single one has 86 % of the frames or more.
target_deviation      of the teacher's targets over frames. Each block is normalised to deviation 1, and the mean of K
                      blocks has 1/√K if they have nothing in common: 0.35 for the paper's 8. fairseq stops at 0.1.
prediction_deviation  of what is predicted: a student that answers the mean has 0. fairseq stops at 0.01.

One bad log is no proof, as batches differ: only a number that stays low counts, and none before the learning rate has
warmed up, as a student learns the mean first. CPC's `feature_deviation` is logged but not judged: in healthy runs it
may fall to a few hundredths for the first hundred updates and come back.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from textless.errors import UserError

PATIENCE = 3  # logs in a row


@dataclass(frozen=True)
class Floor:
    """A number that must not stay below a value."""

    lowest: float
    meaning: str
    remedy: str


FLOORS = {
    "code_perplexity": Floor(
        1.5,
        "nearly all frames have one code",
        "lower optimizer.lr, or for wav2vec2 raise objective.diversity_weight or objective.final_temperature",
    ),
    "target_deviation": Floor(
        0.1,
        "the teacher's targets hardly depend on the sound",
        "raise objective.momentum and objective.final_momentum, or lower optimizer.lr",
    ),
    "prediction_deviation": Floor(
        0.01,
        "the prediction is the same everywhere",
        "lower optimizer.lr, lengthen its warm-up, or for data2vec raise objective.momentum",
    ),
}


class CollapseWatch:
    """Looks at every line of the log; it has a state, so that a resumed run stops where an uninterrupted one would.

    Args:
        warmup_steps: steps before which nothing is judged.
    """

    def __init__(self, warmup_steps: int = 0) -> None:
        self._warmup_steps = warmup_steps
        self._low = dict.fromkeys(FLOORS, 0)  # logs in a row

    def check(self, step: int, metrics: Mapping[str, float]) -> None:
        """Look at the metrics of a step; objectives that do not have one of the numbers are not judged by it.

        Raises:
            UserError: a number was too low in each of the last `PATIENCE` logs.
        """
        for name, floor in FLOORS.items():
            if name not in metrics or step < self._warmup_steps:
                continue
            self._low[name] = self._low[name] + 1 if metrics[name] < floor.lowest else 0
            if self._low[name] >= PATIENCE:
                raise UserError(
                    f"collapsed at step {step}: {name} is {metrics[name]:.3g}, under {floor.lowest:g} for {PATIENCE} "
                    f"logs ({floor.meaning}); {floor.remedy}, and start again with --force"
                )

    def state_dict(self) -> dict[str, int]:
        """How many logs in a row each number was too low."""
        return dict(self._low)

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Go on from such a state."""
        self._low.update(state_dict)
