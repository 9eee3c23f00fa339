"""Transcribers: whatever writes down what speech says, so that the speech can be judged.

    DIR                 the project's own phone recogniser, of `textless eval train-recognizer`
    hf:DIR              a CTC model of Hugging Face (wav2vec 2.0, HuBERT, WavLM), extra `hf`
    torchaudio:NAME     a CTC bundle of torchaudio, such as WAV2VEC2_ASR_BASE_960H
    MODULE:FUNCTION     a function of yours, of a waveform `(S,)` at 16 kHz, that returns text

Rates and scores of different transcribers do not compare.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol

import torch

from textless.audio.batches import bucket, pad
from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import Manifest
from textless.distributed import select_device
from textless.errors import UserError
from textless.progress import say, track
from zerospeech_eval.names import listed
from zerospeech_eval.recognizer import Recognizer, load, log_mel

Kind = Literal["phones", "characters", "words"]

BATCH_FRAMES = 20_000  # of log-mel, 200 s
SPECIFICATIONS = "a folder of `train-recognizer`, hf:DIR, torchaudio:NAME or module:function"
TOGETHER = 600 * SAMPLE_RATE  # samples of speech in memory


class Transcriber(Protocol):
    """Waveforms to sequences of tokens.

    Attributes:
        name: for reports.
        kind: what the tokens are; characters without words are of languages that do not separate these.
        symbols: all tokens that it can write; None: any.
    """

    name: str
    kind: Kind
    symbols: frozenset[str] | None

    def transcribe(self, waveforms: Sequence[torch.Tensor]) -> list[list[str]]:
        """Tokens of every waveform `(S,)` at 16 kHz; none where nothing is heard. Company changes no transcript."""
        ...


class PhoneTranscriber:
    """The project's own phone recogniser."""

    kind: Kind = "phones"

    def __init__(self, model: Recognizer, name: str) -> None:
        self.model, self.name = model, name
        self.symbols: frozenset[str] | None = frozenset(model.config.phones)

    def transcribe(self, waveforms: Sequence[torch.Tensor]) -> list[list[str]]:
        """See `Transcriber`."""
        return transcribe_mels(self.model, [log_mel(waveform) for waveform in waveforms])


def transcribe_mels(model: Recognizer, mels: Sequence[torch.Tensor]) -> list[list[str]]:
    """Phones of every log-mel `(M, 80)`, in order; batches hold utterances of similar length."""
    device = next(model.parameters()).device
    heard: dict[int, list[str]] = {}
    for indices in bucket([len(mel) for mel in mels], BATCH_FRAMES):
        padded, lengths = pad([mels[index] for index in indices])
        heard |= zip(indices, model.transcribe(padded.to(device), lengths.to(device)), strict=True)
    return [heard[index] for index in range(len(mels))]


class FunctionTranscriber:
    """A function that returns text, whose words are between spaces."""

    kind: Kind = "words"
    symbols: frozenset[str] | None = None

    def __init__(self, function: Callable[[torch.Tensor], object], name: str) -> None:
        self.function, self.name = function, name

    def transcribe(self, waveforms: Sequence[torch.Tensor]) -> list[list[str]]:
        """See `Transcriber`."""
        return [str(self.function(waveform)).split() for waveform in waveforms]


def load_transcriber(spec: str | Path, device: torch.device | str = "auto") -> Transcriber:
    """The transcriber that a specification names, see the module.

    Args:
        spec: `DIR`, `hf:DIR`, `torchaudio:NAME` or `MODULE:FUNCTION`.
        device: where networks run; a function of yours runs where it likes.

    Raises:
        UserError: there is no such transcriber, it is damaged, or it needs an extra that is missing.
    """
    spec = str(spec)
    where = select_device(str(device))
    kind, separator, name = spec.partition(":")
    if Path(spec).exists():
        return PhoneTranscriber(load(Path(spec), where), spec)
    if not separator:
        raise UserError(f"recogniser not found: {spec}; give {SPECIFICATIONS}")
    match kind:
        case "hf":
            from zerospeech_eval.huggingface_ctc import HuggingFaceTranscriber

            return HuggingFaceTranscriber(Path(name), where)
        case "torchaudio":
            from zerospeech_eval.torchaudio_ctc import TorchaudioTranscriber

            return TorchaudioTranscriber(name, where)
        case _:
            return FunctionTranscriber(_find_function(kind, name), spec)


def _find_function(module: str, attribute: str) -> Callable[[torch.Tensor], object]:
    """The function `module:attribute`; modules of the working directory are found too."""
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds text
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"no recogniser {module + ':' + attribute!r}: {error}; give {SPECIFICATIONS}") from error
    if not callable(function):
        raise UserError(f"{module + ':' + attribute!r} is no function but {type(function).__name__}")
    return function


def transcribe_recordings(recordings: Manifest, transcriber: Transcriber) -> dict[str, list[str]]:
    """Tokens of every recording, by id; ten minutes of speech are in memory at a time, of similar length."""
    utterances = sorted(recordings, key=lambda u: u.n_samples)
    groups = bucket([u.n_samples for u in utterances], TOGETHER)
    heard: dict[str, list[str]] = {}
    for group in track(groups, "transcribing"):
        found = transcriber.transcribe([recordings.load(utterances[index]) for index in group])
        heard |= zip((utterances[index].id for index in group), found, strict=True)
    return {u.id: heard[u.id] for u in recordings}


def require_kind(transcriber: Transcriber, kinds: Sequence[Kind], instead: str) -> None:
    """Refuse a transcriber that writes something else; `instead` says what to do.

    Raises:
        UserError: it does.
    """
    if transcriber.kind not in kinds:
        raise UserError(f"{transcriber.name} writes {transcriber.kind}, not {' or '.join(kinds)}: {instead}")


def check_symbols(references: Iterable[Iterable[str]], transcriber: Transcriber, source: str) -> None:
    """Say which reference tokens can only be counted as errors; too many of them mean another set of phones.

    Raises:
        UserError: the transcriber cannot write most of them.
    """
    if transcriber.symbols is None:
        return
    tokens = [token for reference in references for token in reference]
    unknown = sorted(set(tokens) - transcriber.symbols)
    if 2 * sum(token in transcriber.symbols for token in tokens) < len(tokens):
        raise UserError(
            f"{source} has {len(unknown)} {transcriber.kind} that {transcriber.name} was not trained on, the first is "
            f"{unknown[0]!r}; use a recogniser of the same set of {transcriber.kind}"
        )
    if unknown:
        say(f"{transcriber.name} was not trained on {listed(unknown)}: these count as errors")
