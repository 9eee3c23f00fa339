"""`params.yaml`: how a submission is to be scored. The names and defaults are those of the ZeroSpeech toolbox.

Those that only tell the toolbox how to run (`quiet`, `cuda`, `n_jobs` ...) are kept and change nothing here.
"""

from decimal import Decimal
from typing import Literal

from pydantic import Field

from textless.config import Config

Context = Literal["all", "triphone-within", "phoneme-within", "phoneme-any"]
SpeakerMode = Literal["all", "within", "across"]
# Both spellings: the programs behind the toolbox disagree on it.
DistanceMode = Literal["cosine", "euclidian", "euclidean", "kl", "kl_symmetric"]


class Params(Config):
    """What every task has."""

    quiet: bool = False


class FeatureParams(Params):
    """Of the ABX tasks."""

    distance_mode: DistanceMode = "cosine"
    feature_size: float = Field(0.01, gt=0)  # seconds a frame
    max_size_group: int | None = Field(10, ge=2)
    max_x_across: int | None = Field(5, ge=1)
    seed: int = 3459
    cuda: bool = True
    score_file_type: Literal[".npy", ".txt"] = ".npy"
    result_filename: str = "score_all_phonetic"

    @property
    def frequency(self) -> str:
        """Frames a second, exactly where the frame's length is a decimal."""
        return str(1 / Decimal(str(self.feature_size)))


class AbxParams(FeatureParams):
    """Of abxLS."""

    context: Context = "all"
    speaker_mode: SpeakerMode = "all"


class Abx17Params(FeatureParams):
    """Of abx17, which has one kind of context."""

    mode: SpeakerMode = "all"
    feature_size: float = Field(0.1, gt=0)
    result_filename: str = "scores.csv"


class SemanticParams(Config):
    """How sSIMI pools and compares."""

    metric: str = "euclidean"
    pooling: Literal["mean", "max", "min", "sum", "last", "lastlast", "off"] = "mean"
    synthetic: bool = True
    librispeech: bool = True
    n_jobs: int = 1


class SlmParams(Params):
    """Of sLM21."""

    semantic: SemanticParams = SemanticParams()


class ProsAuditParams(Params):
    """Of prosAudit."""

    results_filename: str = "score_prosodic_{0}_{1}_{2}.csv"


class TdeParams(Params):
    """Of tde17."""

    njobs: int = 1


class NoParams(Config):
    """Of tasks without `params.yaml`."""
