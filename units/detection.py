"""Found things against true ones: precision, recall, F-score, and the R-value of segmentations."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Detection:
    """How many of the found things are right, and how many of the true ones are found."""

    hits: int
    found: int
    true: int

    @property
    def precision(self) -> float | None:
        """Share of the found that are right; None if nothing was found."""
        return self.hits / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """Share of the true that are found; None if there are none."""
        return self.hits / self.true if self.true else None

    @property
    def fscore(self) -> float | None:
        """Harmonic mean of both, 0 without hits; None where either is undefined."""
        return 2 * self.hits / (self.found + self.true) if self.found and self.true else None

    @property
    def over_segmentation(self) -> float | None:
        """How many more are found than there are, relative to what there is."""
        return self.found / self.true - 1 if self.true else None

    @property
    def r_value(self) -> float | None:
        """1 at a recall of 1 without over-segmentation, less by the distances from there (Räsänen et al., 2009)."""
        recall, over = self.recall, self.over_segmentation
        if recall is None or over is None:
            return None
        return 1 - (math.hypot(1 - recall, over) + abs(recall - 1 - over) / math.sqrt(2)) / 2

    def summary(self) -> dict[str, float | None]:
        """The three scores."""
        return {"precision": self.precision, "recall": self.recall, "fscore": self.fscore}
