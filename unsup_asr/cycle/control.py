"""Does a cycle carry content? What it gained, beside what the same cycle gained with deranged pairs.

The control is trained exactly as the cycle, but what is said and what is heard belong to different utterances wherever
they are not paired by a transcript. Whatever it gains is not due to the content of the unpaired data.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from textless.files import write_json
from textless.provenance import make_header
from textless.training.run import read_metrics

FORMAT, VERSION = "textless-asr-cycle", 1
REPORT = "report.json"


@dataclass(frozen=True)
class Course:
    """From the first validation of a run to the one that was kept.

    Attributes:
        steps: at which the best was found.
        criterion: before and after, see `Validation`.
        own: error a frame of the cycle on own transcripts, before and after.
        deranged: the same on those of a neighbour.
        stopped: why it ended.
    """

    steps: int
    criterion: tuple[float, float]
    own: tuple[float, float]
    deranged: tuple[float, float]
    stopped: str

    @property
    def content(self) -> float:
        """By how much more the loss fell for own transcripts than for deranged ones."""
        return (self.own[0] - self.own[1]) - (self.deranged[0] - self.deranged[1])

    @classmethod
    def of(cls, directory: Path, best: int, stopped: str) -> "Course":
        """Of a run's metrics; `own` and `deranged` are those of its last validation, where learning led."""
        rows = [row for row in read_metrics(directory) if "criterion" in row]
        first, last = rows[0], rows[-1]
        kept = next(row for row in rows if row["step"] == best)
        return cls(
            best,
            (first["criterion"], kept["criterion"]),
            (first["cycle_own"], last["cycle_own"]),
            (first["cycle_deranged"], last["cycle_deranged"]),
            stopped,
        )


def write_report(directory: Path, cycle: Course, control: Course | None, terms: dict[str, float]) -> dict[str, Any]:
    """Write and return `report.json`: both courses, and whether the cycle gained what the control did not."""
    report: dict[str, Any] = {
        "terms": terms,
        "cycle": asdict(cycle) | {"content": cycle.content},
        "control": None if control is None else asdict(control) | {"content": control.content},
        "carries_content": None if control is None else cycle.content > max(0.0, control.content),
    }
    write_json(directory / REPORT, make_header(FORMAT, VERSION, **report))
    return report


def said(report: dict[str, Any]) -> str:
    """The report for a reader."""

    def course(name: str) -> str:
        values = report[name]
        own, deranged = values["own"], values["deranged"]
        return (
            f"{name}: criterion {values['criterion'][0]:.3f} -> {values['criterion'][1]:.3f} at step "
            f"{values['steps']}; loss a frame {own[0]:.4f} -> {own[1]:.4f} with own transcripts, {deranged[0]:.4f} -> "
            f"{deranged[1]:.4f} with deranged ones ({values['stopped']})"
        )

    if report["control"] is None:
        return f"{course('cycle')}\nno control was run: what was gained may be due to anything"
    verdict = "carries content" if report["carries_content"] else "carries no content that its control has not"
    return f"{course('cycle')}\n{course('control')}\nthe cycle {verdict}"
