"""What is wrong with a submission: everything at once, equal mistakes together."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from zerospeech_eval.names import listed

Severity = Literal["error", "remark"]
MOST_SHOWN = 20


@dataclass(frozen=True)
class Finding:
    """One kind of mistake in one place, and the names it concerns."""

    severity: Severity  # a remark is what is valid here, but not for the organisers' own program
    where: str
    what: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.names:
            return f"{self.severity}: {self.where}: {self.what}"
        return f"{self.severity}: {self.where}: {self.what}: {len(self.names)}, {listed(self.names, MOST_SHOWN)}"


@dataclass
class Findings:
    """Collects findings, those of equal place and kind as one."""

    _found: dict[tuple[Severity, str, str], list[str]] = field(default_factory=dict)

    def error(self, where: str, what: str, names: Iterable[str] = ()) -> None:
        """Add something that makes the submission invalid."""
        self._add("error", where, what, names)

    def remark(self, where: str, what: str, names: Iterable[str] = ()) -> None:
        """Add something that only the organisers' program refuses, or that deserves a look."""
        self._add("remark", where, what, names)

    def _add(self, severity: Severity, where: str, what: str, names: Iterable[str]) -> None:
        self._found.setdefault((severity, where, what), []).extend(names)

    @property
    def all(self) -> list[Finding]:
        """Errors first, in the order they were met."""
        found = [Finding(*key, tuple(names)) for key, names in self._found.items()]
        return sorted(found, key=lambda finding: finding.severity)

    @property
    def errors(self) -> list[Finding]:
        """Errors only."""
        return [finding for finding in self.all if finding.severity == "error"]
