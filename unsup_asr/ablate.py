"""What each ingredient of adversarial training is worth: runs with everything, and runs without one of them.

| ingredient | without it |
|---|---|
| silence | the text has no silences, neither at its ends nor between words |
| pooling | segments are read one by one instead of in pairs, twice as many as phones |
| diversity, smoothness, penalty, auxiliary | the weight of that loss is 0 |
| noise | the discriminator sees no instance noise |
| small-start | the generator's first weights are of the usual size |
| initialiser | a generator at random, where the configuration starts from matching; else the other way round |

`OUT/ablation.tsv` and `OUT/ablation.md` have the table; figures are means and standard deviations over the seeds.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from textless.errors import UserError
from textless.files import atomic_write
from textless.progress import say
from unsup_asr.gan.config import GanConfig
from unsup_asr.select_runs import Selection
from unsup_asr.selection import Quality
from unsup_asr.sweep.plan import Variation

EVERYTHING = "everything"
COLUMNS = ("runs", "collapsed", "weighted_perplexity", "divergence_4", "usage", "tokens_per_sentence", "error_rate")
Row = dict[str, str | int | float | None]


def ingredients(config: GanConfig) -> dict[str, tuple[str, ...]]:
    """What is changed to leave out each ingredient that a configuration has."""
    other = "random" if config.initial == "matching" else "matching"
    found = {
        "silence": ("data.silence=false",) if config.data.silence else (),
        "pooling": ("data.pool=1",) if config.data.pool > 1 else (),
        "diversity": ("loss.diversity=0",) if config.loss.diversity else (),
        "smoothness": ("loss.smoothness=0",) if config.loss.smoothness else (),
        "penalty": ("loss.gradient_penalty=0",) if config.loss.gradient_penalty else (),
        "noise": ("instance_noise=0",) if config.instance_noise else (),
        "small-start": ("generator.initial_scale=1",) if config.generator.initial_scale != 1 else (),
        "initialiser": (f"initial={other}",),
        "auxiliary": ("loss.auxiliary=0",) if config.loss.auxiliary else (),
    }
    return {name: changes for name, changes in found.items() if changes}


def ablations(config: GanConfig, seeds: int, without: Sequence[str] | None) -> dict[str, list[Variation]]:
    """The runs with everything, and without each ingredient (None: all that the configuration has).

    Raises:
        UserError: there is no such ingredient, or the configuration is without it already.
    """
    known = ingredients(config)
    chosen = list(known) if without is None else list(dict.fromkeys(without))
    if absent := [name for name in chosen if name not in known]:
        raise UserError(f"the configuration has no {', '.join(absent)} to leave out, but {', '.join(known)}")
    changes: dict[str, tuple[str, ...]] = {EVERYTHING: (), **{name: known[name] for name in chosen}}
    prefix = {name: name if name == EVERYTHING else f"without-{name}" for name in changes}
    return {
        name: [Variation(f"{prefix[name]}_seed-{seed}", (*changed, f"seed={seed}")) for seed in range(seeds)]
        for name, changed in changes.items()
    }


@dataclass(frozen=True)
class AblationTable:
    """A row for everything, and one for each ingredient left out."""

    rows: list[Row]

    def write(self, out: Path) -> None:
        """Write `ablation.tsv` and `ablation.md`."""
        with atomic_write(out / "ablation.tsv") as file:
            file.write("\t".join(self.rows[0]) + "\n")
            for row in self.rows:
                file.write("\t".join("" if cell is None else str(cell) for cell in row.values()) + "\n")
        with atomic_write(out / "ablation.md") as file:
            file.write(self.markdown() + "\n")

    def markdown(self) -> str:
        """For reading: means ± standard deviations."""
        lines = [
            "| | runs | collapsed | weighted perplexity | JSD of 4-grams | phones used | length / text | errors, % |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in self.rows:
            name = row["without"]
            cells = [str(name) if name == EVERYTHING else f"without {name}", str(row["runs"]), str(row["collapsed"])]
            for column in COLUMNS[2:]:
                mean, deviation = row[column], row[f"{column}_sd"]
                scale = 100 if column == "error_rate" else 1
                if isinstance(mean, float) and isinstance(deviation, float):
                    cells.append(f"{scale * mean:.3g} ± {scale * deviation:.2g}")
                else:
                    cells.append("")
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)


def ablation_table(
    variations: Mapping[str, Sequence[Variation]], selection: Selection, error_rates: Mapping[str, float]
) -> AblationTable:
    """Gather what the runs of every variation reached; those that kept no recogniser are counted by their absence.

    Args:
        variations: runs by ingredient.
        selection: the candidates, whose directories have the names of the runs.
        error_rates: by name of the run, where references were given.
    """
    qualities = {candidate.directory.name: candidate.quality for candidate in selection.candidates}
    rows = []
    for ingredient, runs in variations.items():
        present = [run.name for run in runs if run.name in qualities]
        if len(present) < len(runs):
            say(f"{len(runs) - len(present)} of {len(runs)} runs of {ingredient} kept nothing: see their logs")
        found = [qualities[name] for name in present]
        row: Row = {"without": ingredient, "runs": len(present), "collapsed": sum(q.is_collapsed for q in found)}
        values = {name: [_value(quality, name) for quality in found] for name in COLUMNS[2:-1]}
        values["error_rate"] = [error_rates[name] for name in present if name in error_rates]
        for name, column in values.items():
            row[name] = statistics.fmean(column) if column else None
            row[f"{name}_sd"] = statistics.stdev(column) if len(column) > 1 else 0.0 if column else None
        rows.append(row)
    return AblationTable(rows)


def _value(quality: Quality, name: str) -> float:
    return float(quality.record()[name])
