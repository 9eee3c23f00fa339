"""What a selection without labels has cost: the same candidates by their errors, for reports only.

An `OracleComparison` is made of a `Selection` that is finished, and of references; there is no way back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unsup_asr.scoring import ScoringOptions, score
from unsup_asr.select_runs import Selection


@dataclass(frozen=True)
class OracleComparison:
    """A selection, and the error rates that nobody knew when it was made."""

    selection: Selection
    error_rates: tuple[float, ...]

    @property
    def best(self) -> int:
        """Index of the candidate that labels would have chosen."""
        return min(range(len(self.error_rates)), key=lambda index: self.error_rates[index])

    @property
    def cost(self) -> float:
        """How much higher the error rate of the choice is than the lowest."""
        return self.error_rates[self.selection.chosen] - self.error_rates[self.best]

    def summary(self) -> dict[str, Any]:
        """For JSON; what labels were used for has `oracle` in its name."""
        rates = {str(c.directory): r for c, r in zip(self.selection.candidates, self.error_rates, strict=True)}
        return {
            "oracle_error_rates": rates,
            "oracle_choice": str(self.selection.candidates[self.best].directory),
            "oracle_cost": self.cost,
        }

    def __str__(self) -> str:
        percents = [f"{100 * rate:.2f} %" for rate in self.error_rates]
        chosen, code = self.selection.chosen, self.selection.by_weighted_perplexity
        return "\n".join(
            [
                "phone errors (labels, read after the choice; for this report only):",
                *(f"  {p:>8}  {c.directory}" for p, c in zip(percents, self.selection.candidates, strict=True)),
                f"chosen {percents[chosen]}, by ppl/U² {percents[code]}, oracle {percents[self.best]}",
                f"the choice costs {100 * self.cost:.2f} points",
            ]
        )


def compare_with_oracle(selection: Selection, references: Mapping[str, Sequence[str]]) -> OracleComparison:
    """Score what the candidates of a selection transcribed.

    Raises:
        ValueError: the selection was made without speech.
        UserError: references and speech have no utterance in common.
    """
    rates = []
    for candidate in selection.candidates:
        if candidate.transcripts is None:
            raise ValueError("the selection was made without speech")
        rates.append(score(candidate.transcripts, references, ScoringOptions(permutations=0)).errors.rate)
    return OracleComparison(selection, tuple(rates))
