"""Configuration of `textless asr train`: which of two methods, and its own settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from textless.config import Config
from unsup_asr.gan.config import GanConfig
from unsup_asr.matching import MatchingOptions
from unsup_asr.self_training.config import SelfTrainingConfig
from unsup_asr.self_training.features import Normalisation

Silence = Literal["ends", "all", "none"]


class BootstrapData(Config):
    """What is trained on: features of any encoder, of speech without silences, and prepared text.

    A relative path in the TOML is relative to the TOML's own folder; one given with `--set` to the working directory.

    Of the silences of the text, those at the ends of sentences are kept, even where speech has none: they tell where an
    utterance begins and ends, from which matching gains. Those inside are not: `prepare` has cut them out of speech.
    """

    features: Path
    text: Path
    silence: Silence = "ends"  # which of those of the text are kept


class BootstrapConfig(Config):
    """Matching and self-training.

    How many phones a second are spoken cannot be known from text: it has to be given. 10 to 15 is usual; 13 segments
    and 12.5 phones, the two edges of every utterance among them, is what this was developed with.
    """

    method: Literal["matching"] = "matching"
    data: BootstrapData
    normalisation: Normalisation = "none"
    pca: int = Field(default=64, ge=1)  # numbers of a frame that are kept
    clusters: int = Field(default=128, ge=2)
    segments_per_second: float = Field(default=13.0, gt=0)
    phones_per_second: float = Field(default=12.5, gt=0)  # that are to be recognised
    matching: MatchingOptions = MatchingOptions()
    network: SelfTrainingConfig = SelfTrainingConfig()
    rounds: int = Field(default=5, ge=1)  # of clustering, matching and self-training
    hidden_pca: int = Field(default=48, ge=1)  # of the hidden layer that later rounds cluster
    tensorboard: bool = False
    seed: int = 0


class AutoConfig(Config):
    """Both methods: the adversarial one is taken where there is a GPU, matching elsewhere."""

    method: Literal["auto"] = "auto"
    matching: BootstrapConfig
    gan: GanConfig


class _Method(Config):
    """The one key that says what the others mean."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    method: Literal["auto", "matching", "gan"]


def load_train_config(path: Path, overrides: Sequence[str]) -> BootstrapConfig | GanConfig | AutoConfig:
    """Read a TOML whose key `method` says which of the three configurations it is.

    Raises:
        UserError: it says nothing, or the other keys are not those of the method.
    """
    chosen = _Method.load(path, [override for override in overrides if override.startswith("method=")])
    match chosen.method:
        case "matching":
            return BootstrapConfig.load(path, overrides)
        case "gan":
            return GanConfig.load(path, overrides)
        case "auto":
            return AutoConfig.load(path, overrides)
