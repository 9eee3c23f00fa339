"""A synthesizer with what its symbols and outputs mean. This module owns its model directory (`textless-asr-tts`).

    model = TtsModel.load(Path("tts"))
    model.reconstruct(phones, sizes, voices, speech, lengths)     how well known speech can be made of phones
    model.speak(phones, sizes, voices)                            speech of phones

`reconstruct` finds by itself when each phone is said (`alignment.best_durations` under the prior of the symbols), so
that it scores any phones against any speech: it is the reverse model of a cycle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import nn
from torch.nn import functional as F

from textless.audio.batches import mask
from textless.config import Config
from textless.errors import UserError
from textless.training.checkpoint import load_model, save_model
from units.identity import QuantizerIdentity
from unsup_asr.tts.alignment import EDGES, best_durations, equal_durations
from unsup_asr.tts.config import NetworkConfig, Target
from unsup_asr.tts.expansion import expand
from unsup_asr.tts.network import States, TtsNetwork

FORMAT, VERSION = "textless-asr-tts", 1
LONGEST_SYMBOL = 1.0  # seconds that a symbol can be said for: what is longer has run away
PHONE_TABLE = "network.phone.weight"
LARGEST_BANK = 512  # voices that are remembered for speech without a speaker of its own


class SpeechKind(Config):
    """What a synthesizer's outputs are.

    Attributes:
        target: units, frames or states.
        encoder: specification of the encoder behind them.
        encoder_sha256: its identity.
        frame_rate: outputs a second.
        size: K of units, D of frames or states.
        quantizer: identity, of units.
        recognizer_sha256: hash of the weights of the recogniser, of states.
    """

    target: Target
    encoder: str
    encoder_sha256: str
    frame_rate: float
    size: int
    quantizer: QuantizerIdentity | None = None
    recognizer_sha256: str | None = None

    @property
    def is_discrete(self) -> bool:
        """Whether outputs are units."""
        return self.target == "units"

    def __str__(self) -> str:
        of = f"{self.quantizer}" if self.quantizer is not None else f"{self.encoder} ({self.encoder_sha256[:12]})"
        return f"{self.target} of {of} at {self.frame_rate:g} Hz"


@dataclass(frozen=True)
class Reconstruction:
    """How badly speech can be made of phones, `(B,)` each.

    Attributes:
        speech: sum over frames: of units the nats, of vectors the absolute and squared error of a standardised number.
        prior: the same of the symbols' prior.
        duration: sum over symbols of the squared error of log durations.
        frames: how many.
        symbols: how many, edges included.
        durations: `(B, N)` those that were used.
        said: `(B, T, K or D)` what was made.
    """

    speech: torch.Tensor
    prior: torch.Tensor
    duration: torch.Tensor
    frames: torch.Tensor
    symbols: torch.Tensor
    durations: torch.Tensor
    said: torch.Tensor

    def loss(self) -> torch.Tensor:
        """What training makes small: means over all frames and symbols of the batch."""
        frames = self.frames.sum()
        return (self.speech.sum() + self.prior.sum()) / frames + self.duration.sum() / self.symbols.sum()

    def of_utterance(self) -> torch.Tensor:
        """`(B,)` what a reward is made of: the mean over the frames of each utterance."""
        return (self.speech + self.prior) / self.frames


@dataclass(frozen=True)
class Spoken:
    """Speech that was made: units `(B, T)` int64 or vectors `(B, T, D)`; `n_clipped` symbols ran away and were cut."""

    values: torch.Tensor
    lengths: torch.Tensor
    n_clipped: int

    def rows(self) -> list[torch.Tensor]:
        """One utterance each, `(T,)` or `(T, D)`."""
        return [row[:length] for row, length in zip(self.values, self.lengths.tolist(), strict=True)]


class TtsModel(nn.Module):
    """Network, symbols, kind of speech and voices.

    Args:
        config: shape of the network.
        phones: names of the V symbols.
        kind: of the outputs.
        speakers: names, of a table.
        voice_size: numbers of an embedding.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    scatter: torch.Tensor
    duration_scatter: torch.Tensor
    bank: torch.Tensor

    def __init__(
        self,
        config: NetworkConfig,
        phones: Sequence[str],
        kind: SpeechKind,
        *,
        speakers: Sequence[str] = (),
        voice_size: int = 0,
    ) -> None:
        super().__init__()
        self.config, self.phones, self.kind, self.speakers = config, tuple(phones), kind, list(speakers)
        self.voice_size = voice_size
        self.network = TtsNetwork(config, len(self.phones), kind.size, len(speakers) or voice_size)
        vectors = 0 if kind.is_discrete else kind.size
        self.register_buffer("mean", torch.zeros(vectors))
        self.register_buffer("scale", torch.ones(vectors))
        self.register_buffer("scatter", torch.ones(vectors))  # of standardised frames around what is said of them
        self.register_buffer("duration_scatter", torch.zeros(()))  # of log durations
        self.register_buffer("bank", torch.zeros(0, voice_size))

    def standardise(self, speech: torch.Tensor) -> torch.Tensor:
        """Vectors `(..., D)` → zero mean and unit variance over the training speech; units as they are."""
        return speech if self.kind.is_discrete else (speech - self.mean) / self.scale

    def reconstruct(
        self,
        phones: torch.Tensor,
        sizes: torch.Tensor,
        voices: torch.Tensor | None,
        speech: torch.Tensor,
        lengths: torch.Tensor,
        durations: torch.Tensor | None = None,
        *,
        flat: bool = False,
    ) -> Reconstruction:
        """How well speech can be made of phones.

        Args:
            phones: `(B, N)`, or distributions `(B, N, V)`.
            sizes: of the phones, `(B,)`.
            voices: `(B,)` speakers, `(B, E)` embeddings, or None.
            speech: units `(B, T)` or vectors `(B, T, D)`.
            lengths: its frames `(B,)`, at least as many as phones and two edges.
            durations: `(B, N + 2)` frames of the symbols; None: the best, given what the network knows now.
            flat: equal durations instead, for a network that knows nothing yet.
        """
        states = self.network.read(phones, sizes, voices)
        heard = self.standardise(speech)
        prior = self.network.prior(states)
        if durations is None:
            durations = self._durations(prior, states, heard, lengths, flat=flat)
        expansion = expand(durations)
        valid = mask(lengths, heard.shape[1])
        said = self._fit(self.network.say(states, expansion), heard.shape[1])
        expected = self._fit(expansion(prior), heard.shape[1])
        error = (self.network.log_durations(states) - durations.clamp(min=1).float().log()).square()
        return Reconstruction(
            (self._distance(said, heard) * valid).sum(1),
            (self._distance(expected, heard) * valid).sum(1),
            (error * mask(states.sizes, error.shape[1])).sum(1),
            lengths,
            states.sizes,
            durations,
            said,
        )

    def _durations(
        self, prior: torch.Tensor, states: States, heard: torch.Tensor, lengths: torch.Tensor, *, flat: bool
    ) -> torch.Tensor:
        if flat:
            return equal_durations(states.sizes, lengths, prior.shape[1])
        with torch.no_grad():
            if self.kind.is_discrete:
                logs = prior.log_softmax(-1)
                scores = logs.gather(2, heard[:, None].expand(-1, logs.shape[1], -1))  # (B, N, K) -> (B, N, T)
            else:  # of a normal distribution with unit variance, less what is the same for every symbol
                scores = prior @ heard.mT - prior.square().sum(2, keepdim=True) / 2
        return best_durations(scores, states.sizes, lengths)

    def _distance(self, said: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
        """`(B, T)`."""
        if self.kind.is_discrete:
            return F.cross_entropy(said.mT.float(), heard, reduction="none")
        error = said.float() - heard
        return (error.abs() + error.square()).mean(-1)

    @staticmethod
    def _fit(frames: torch.Tensor, size: int) -> torch.Tensor:
        """`(B, T', ...)` of the longest utterance → the padded length of its batch."""
        return F.pad(frames, (0, 0, 0, size - frames.shape[1]))

    @torch.no_grad()
    def speak(
        self,
        phones: torch.Tensor,
        sizes: torch.Tensor,
        voices: torch.Tensor | None = None,
        *,
        scatter: float = 0.0,
        speed: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Spoken:
        """Speech of phones `(B, N)`.

        Args:
            phones: numbers.
            sizes: `(B,)`.
            voices: see `reconstruct`.
            scatter: 0 gives the likeliest; 1 scatters durations and outputs as those of the training speech do.
            speed: 2 speaks twice as quickly.
            generator: of the scatter, on the device of the model.
        """
        states = self.network.read(phones, sizes, voices)
        logs = self.network.log_durations(states).float()
        if scatter:
            logs = logs + scatter * self.duration_scatter * _normal(logs, generator)
        longest = max(1, round(LONGEST_SYMBOL * self.kind.frame_rate))
        wanted = (logs.exp() / speed).round().nan_to_num(nan=torch.inf)
        valid = mask(states.sizes, wanted.shape[1])
        expansion = expand((wanted.clamp(1, longest) * valid).long())
        said = self.network.say(states, expansion).float()
        n_clipped = int(((wanted > longest) & valid).sum())
        if not self.kind.is_discrete:
            if scatter:
                said = said + scatter * self.scatter * _normal(said, generator)
            said = said * self.scale + self.mean
            inside = mask(expansion.lengths, said.shape[1])[..., None]
            return Spoken(said * inside, expansion.lengths, n_clipped)
        if scatter:
            chance = torch.empty_like(said).exponential_(generator=generator)
            units = ((said / scatter).softmax(-1) / chance).argmax(-1)  # a draw from the softmax
        else:
            units = said.argmax(-1)
        return Spoken(units * mask(expansion.lengths, units.shape[1]), expansion.lengths, n_clipped)

    def sample_voices(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor | None:
        """Voices of speakers drawn at random from those of the training: `(count,)`, `(count, E)` or None."""
        match self.config.speaker:
            case "none":
                return None
            case "table":
                number = len(self.speakers)
                return torch.randint(number, (count,), generator=generator, device=self.mean.device)
            case "embedding" | "mean":
                rows = torch.randint(len(self.bank), (count,), generator=generator, device=self.bank.device)
                return self.bank[rows]

    def numbers(self, phones: Sequence[str], where: str) -> torch.Tensor:
        """Phones by name → `(N,)`.

        Raises:
            UserError: some the synthesizer has never seen; all of them are named.
        """
        known = {phone: number for number, phone in enumerate(self.phones)}
        unknown = sorted(set(phones) - set(known))
        if unknown:
            raise UserError(
                f"{where} has {' '.join(unknown)}, which the synthesizer has never seen; it knows "
                f"{' '.join(self.phones)}"
            )
        return torch.tensor([known[phone] for phone in phones], dtype=torch.long)

    def renumbered(self, phones: Sequence[str]) -> tuple["TtsModel", list[str]]:
        """The same model with its phones in another order, and those among them that it has never seen.

        What it has never seen begins as the mean of all that it has.
        """
        known = {phone: number for number, phone in enumerate(self.phones)}
        unseen = [phone for phone in phones if phone not in known]
        other = type(self)(self.config, phones, self.kind, speakers=self.speakers, voice_size=self.voice_size)
        state = self.state_dict()
        table = state[PHONE_TABLE]
        rows = [table[known[phone]] if phone in known else table.mean(0) for phone in phones]
        other.bank = torch.zeros_like(self.bank)
        other.load_state_dict(state | {PHONE_TABLE: torch.stack(rows)})
        return other, unseen

    def save(self, directory: Path, **training: object) -> None:
        """Write the model directory; `training` says how it came about."""
        save_model(
            directory,
            FORMAT,
            VERSION,
            self.state_dict(),
            network=self.config.model_dump(),
            phones=list(self.phones),
            kind=self.kind.model_dump(),
            speakers=self.speakers,
            voice_size=self.voice_size,
            training=training,
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Rebuild a synthesizer in evaluation mode, on the CPU.

        Raises:
            UserError: it is none, or damaged.
        """
        header, weights = load_model(directory, FORMAT, VERSION)
        source = str(directory)
        model = cls(
            NetworkConfig.parse(header["network"], source),
            header["phones"],
            SpeechKind.parse(header["kind"], source),
            speakers=header["speakers"],
            voice_size=header["voice_size"],
        )
        model.bank = torch.zeros_like(weights["bank"])
        model.load_state_dict(weights)
        return model.eval()


def needed_frames(sizes: torch.Tensor) -> torch.Tensor:
    """Frames `(B,)` without which phones `sizes` `(B,)` and their edges have no room."""
    return sizes + EDGES


def _normal(like: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device)
