"""Configuration of a cycle: what it starts from, what it reads, which terms it has and how they are weighted."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from textless.config import Config
from textless.training.precision import Precision
from textless.training.schedule import ScheduleConfig
from unsup_asr.ctc.config import MaskConfig
from unsup_asr.cycle.estimators import Baseline

Labels = Literal["pseudo", "reference"]


class DataConfig(Config):
    """Speech and text that are not paired, and the pairs that keep the models where they are.

    A relative path in the TOML is relative to the TOML's own folder; one given with `--set` to the working directory.

    Attributes:
        speech: feature store.
        text: folder of `asr prepare-text`.
        paired: phones.tsv, of a human (`labels = "reference"`) or of a recogniser.
        paired_speech: feature store of these utterances; None: they are among `speech`.
        labels: whose transcripts they are. "pseudo" is the zero-label setting, in which the models that the cycle
            starts from have to be taught by pseudo labels, too.
        valid_speech: feature store that the label-free criterion listens to; None: some of `speech` are held out.
        manifest: names the speakers, for voices that are a table or embeddings by speaker.
        embeddings: file of `textless speaker embed`.
        quantizer: directory, for a synthesizer of units.
    """

    speech: Path
    text: Path
    paired: Path | None = None
    paired_speech: Path | None = None
    labels: Labels = "pseudo"
    valid_speech: Path | None = None
    held_out: float = Field(default=0.05, gt=0, lt=1)
    manifest: Path | None = None
    embeddings: Path | None = None
    quantizer: Path | None = None


class TermsConfig(Config):
    """Weights of the terms of the loss; 0 leaves one out.

    Attributes:
        paired: of pairs, for both models.
        reinforce: speech → text → speech, teaches the recogniser by the synthesizer's scores (Hori et al. 2019).
        straight_through: the same through the text (Tjandra et al. 2019).
        transcribed: speech → text, teaches the synthesizer (speech chain, Tjandra et al. 2017; back-translation).
        spoken: text → speech, teaches the recogniser (speech chain; back-translation; Baskar et al. 2019).
        pseudo_label: speech → text, teaches the recogniser what it said itself.
    """

    paired: float = Field(default=1.0, ge=0)
    reinforce: float = Field(default=0.0, ge=0)
    straight_through: float = Field(default=0.0, ge=0)
    transcribed: float = Field(default=0.0, ge=0)
    spoken: float = Field(default=0.0, ge=0)
    pseudo_label: float = Field(default=0.0, ge=0)

    @property
    def listening(self) -> bool:
        """Whether unpaired speech is read."""
        return any((self.reinforce, self.straight_through, self.transcribed, self.pseudo_label))


class SpeechConfig(Config):
    """How hypotheses of unpaired speech are made and rewarded.

    Attributes:
        samples: of each utterance, for REINFORCE.
        baseline: see `estimators.advantages`.
        standardise: see `estimators.reinforce`; the weight of the term then means the same for any kind of speech.
        estimator: of the straight-through term.
        temperature: of samples and of straight-through gradients.
        lm_weight: of the log-probability of a hypothesis under the unpaired text, per frame, in the reward.
        choose: samples beside the likeliest transcript, of which the best makes the lesson of `transcribed` and
            `pseudo_label` (`choice.py`); 0: the likeliest.
        lasting: updates for which such a lesson is used again before another one is chosen of the same utterance.
        longest: phones a second; a hypothesis with more has run away, is cut and counted.
    """

    samples: int = Field(default=5, ge=1)
    baseline: Baseline = "others"
    standardise: bool = True
    estimator: Literal["argmax", "gumbel", "expected"] = "argmax"
    temperature: float = Field(default=1.0, gt=0)
    lm_weight: float = Field(default=0.0, ge=0)
    choose: int = Field(default=0, ge=0)
    lasting: int = Field(default=0, ge=0)
    longest: float = Field(default=30.0, gt=0)


class TextConfig(Config):
    """How unpaired text is spoken, by voices that are drawn from those of the synthesizer's training.

    Attributes:
        scatter: of what the synthesizer says: 0 the likeliest, 1 as speech scatters.
    """

    scatter: float = Field(default=1.0, ge=0)


class ReverseConfig(Config):
    """The model that a term uses but does not teach.

    Attributes:
        kind: `frozen` is the model of the start, `ema` an average of the trained one, which is also what is judged and
            kept, `current` the trained one itself.
        decay: of the average.
    """

    kind: Literal["frozen", "ema", "current"] = "ema"
    decay: float = Field(default=0.99, ge=0, lt=1)


class ListenConfig(Config):
    """The page on which the synthesizer of the start and that of the end say the same sentences.

    Attributes:
        vocoder: directory; None: there is no page. Frames are spoken through data.quantizer.
        sentences: of the unpaired text, drawn at random.
    """

    vocoder: Path | None = None
    sentences: int = Field(default=6, ge=1)


class WeightingConfig(Config):
    """Whether weights stay as they are, or follow how quickly each loss falls (Liu et al. 2019, weight averaging)."""

    kind: Literal["fixed", "dynamic"] = "fixed"
    temperature: float = Field(default=2.0, gt=0)


class OptimizerConfig(Config):
    """AdamW for each model; `lr` is the recogniser's, the synthesizer's is `tts_factor` times it (0: it is frozen)."""

    lr: float = Field(default=5e-4, gt=0)
    tts_factor: float = Field(default=1.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    schedule: ScheduleConfig = ScheduleConfig(warmup_steps=50, plateau=0.5)


class CycleConfig(Config):
    """One run, and its control with deranged pairs."""

    data: DataConfig
    asr: Path  # directory of `asr student`
    tts: Path  # directory of `asr train-tts`
    terms: TermsConfig = TermsConfig(reinforce=0.5, transcribed=0.5, spoken=0.5)
    speech: SpeechConfig = SpeechConfig()
    text: TextConfig = TextConfig()
    reverse: ReverseConfig = ReverseConfig()
    weighting: WeightingConfig = WeightingConfig()
    mask: MaskConfig = MaskConfig()
    ctc_weight: float = Field(default=0.3, ge=0, le=1)  # beside the decoder's loss, where there is a decoder
    optimizer: OptimizerConfig = OptimizerConfig()
    control: bool = True  # the same once more with deranged pairs
    listen: ListenConfig = ListenConfig()
    steps: int = Field(default=600, ge=1)
    batch_seconds: float = Field(default=40.0, gt=0)  # of each part of an update: pairs, speech, text
    patience: int = Field(default=8, ge=1)  # validations without a better one, after which it stops
    precision: Precision = "fp32"
    tensorboard: bool = False
    save_every: int = Field(default=100, ge=0)
    log_every: int = Field(default=25, ge=1)
    valid_every: int = Field(default=50, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _terms_fit(self) -> Self:
        terms = self.terms
        if not (terms.listening or terms.spoken):
            raise ValueError("terms: at least one of reinforce, straight_through, transcribed, spoken, pseudo_label")
        if terms.reinforce and self.speech.baseline in {"others", "samples"} and self.speech.samples < 2:
            raise ValueError(f"speech.baseline = {self.speech.baseline} needs speech.samples of at least 2")
        if terms.transcribed and not self.optimizer.tts_factor:
            raise ValueError("terms.transcribed teaches the synthesizer, but optimizer.tts_factor = 0 freezes it")
        return self
