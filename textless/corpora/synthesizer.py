"""Text to speech with known phones: espeak-ng (the package `espeakng-loader`) behind one function.

espeak-ng keeps state between utterances (glottal phase, pitch flutter, noise) in static variables that nothing
resets, so the same text sounds a little different every time. Here every utterance is spoken by a freshly loaded copy
of the library with its random generators seeded: the result depends on the arguments alone. Loading takes 3 ms.
"""

import _ctypes
import ctypes
import difflib
import functools
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchaudio.transforms

from textless.audio.io import SAMPLE_RATE
from textless.corpora.alignment import SILENCE, Segment
from textless.corpora.phone_events import Event, align, normalize_phone
from textless.errors import UserError

# speak_lib.h
SYNCHRONOUS = 2
PHONEME_EVENTS, PHONEME_IPA, DONT_EXIT = 0x0001, 0x0002, 0x8000
CHARS_UTF8, PHONEMES_IN_BRACKETS = 0x001, 0x100
MODE_IPA = 2
RATE, PITCH, RANGE = 1, 3, 4
EVENT_END_OF_LIST, EVENT_WORD, EVENT_PHONEME = 0, 1, 7
NAME_BYTES = 8

# Whispered, robotic, strongly reverberating or joke voices, and all but one of families that sound the same.
UNFIT = frozenset(
    (
        "Alicia",
        "AnxiousAndy",
        "Demonic",
        "Gene2",
        "Marco",
        "RicishayMax",
        "RicishayMax2",
        "RicishayMax3",
        "Storm",
        "UniRobot",
        "anikaRobot",
        "announcer",
        "benjamin",
        "caleb",
        "croak",
        "edward2",
        "fast",
        "iven",
        "iven3",
        "iven4",
        "klatt",
        "klatt2",
        "klatt3",
        "klatt4",
        "klatt5",
        "klatt6",
        "sandro",
        "steph2",
        "steph3",
        "whisper",
        "whisperf",
        "zac",
    )
)


@dataclass(frozen=True)
class Voice:
    """A speaker: espeak-ng's language and voice variant, words a minute, pitch and its range (0 to 99, normal 50)."""

    language: str
    variant: str
    rate: int = 170
    pitch: int = 50
    range: int = 50


@dataclass(frozen=True)
class Speech:
    """A waveform `(S,)` at 16 kHz, float32; phones that tile it, silence included; words. Times in seconds."""

    waveform: torch.Tensor
    phones: list[Segment]
    words: list[Segment]


class _Name(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("string", ctypes.c_char * NAME_BYTES))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Name),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def synthesize(text: str, voice: Voice, seed: int, *, phonemes: bool = False) -> Speech:
    """Say `text`.

    Args:
        text: a sentence, or with `phonemes` espeak-ng's phoneme mnemonics, joined with `|` (see `pronounce`).
        voice: who says it.
        seed: of the noise and the flutter of the voice.
        phonemes: `text` is mnemonics.

    Raises:
        UserError: espeak-ng is not installed, knows no such voice, or finds nothing to say in `text`.
    """
    chunks: list[np.ndarray] = []
    events: list[Event] = []

    def receive(samples: "ctypes._Pointer[ctypes.c_short]", n: int, found: "ctypes._Pointer[_Event]") -> int:
        if samples and n > 0:
            chunks.append(np.ctypeslib.as_array(samples, (n,)).copy())
        i = 0
        while found[i].type != EVENT_END_OF_LIST:
            events.extend(_read_event(found[i], voice.language))
            i += 1
        return 0

    with _espeak(voice, seed) as (library, rate):
        callback = _Callback(receive)
        library.espeak_SetSynthCallback(callback)
        spoken = f"[[{text}]]".encode() if phonemes else text.encode()
        flags = CHARS_UTF8 | (PHONEMES_IN_BRACKETS if phonemes else 0)
        library.espeak_Synth(spoken, len(spoken) + 1, 0, 1, 0, flags, None, None)
        library.espeak_Synchronize()
        samples = np.concatenate(chunks) if chunks else np.zeros(0, np.int16)
        phones, words = align(
            _without_echo(samples, rate, voice.variant),
            rate,
            events,
            "" if phonemes else text,
            lambda word: len(_phonemes(library, word)),
        )
    if all(phone.label == SILENCE for phone in phones):
        raise UserError(f"espeak-ng finds nothing to say in {text!r} ({voice.language})")
    waveform = _resample(torch.from_numpy(samples.astype(np.float32) / 32768), rate)
    end = len(waveform) / SAMPLE_RATE  # resampling rounds the length up by less than a sample
    phones[-1] = Segment(phones[-1].start, end, phones[-1].label)
    return Speech(waveform, phones, words)


def _read_event(event: _Event, language: str) -> Iterator[Event]:
    match event.type:
        case 7:  # EVENT_PHONEME; the name fills its eight bytes without a terminator, or is cut inside a character
            raw = ctypes.string_at(ctypes.addressof(event.id), NAME_BYTES).split(b"\0")[0]
            name = normalize_phone(raw.decode("utf-8", "ignore"), language)
            if not name.startswith("("):  # "(en)": a foreign word begins or ends
                yield Event("phone", event.sample, name)
        case 1:  # EVENT_WORD; positions count characters from 1
            yield Event("word", event.sample, position=event.text_position - 1, length=event.length)
        case _:
            pass


@dataclass(frozen=True)
class Pronunciation:
    """Of a word said alone: espeak-ng's mnemonics with stress marks (' and ,), and phones as `Speech` has them."""

    mnemonics: tuple[str, ...]
    phones: tuple[str, ...]


def phones_of_words(words: Iterable[str], language: str) -> dict[str, tuple[str, ...]]:
    """Phones of every word; words that espeak-ng says nothing for are left out."""
    with _espeak(Voice(language, ""), 0) as (library, _):
        found = {
            word: tuple(normalize_phone(name, language) for name in _phonemes(library, word, MODE_IPA))
            for word in words
        }
    return {word: phones for word, phones in found.items() if phones}


def pronounce(words: Iterable[str], language: str) -> dict[str, Pronunciation]:
    """Pronunciation of every word whose mnemonics and phones correspond one to one.

    In German, where the glottal stop before a vowel is a mnemonic but no phone, that leaves out a quarter of the words;
    `phones_of_words` has them.
    """
    with _espeak(Voice(language, ""), 0) as (library, _):
        found = {
            word: Pronunciation(
                tuple(_phonemes(library, word)),
                tuple(normalize_phone(name, language) for name in _phonemes(library, word, MODE_IPA)),
            )
            for word in words
        }
    return {word: said for word, said in found.items() if said.mnemonics and len(said.mnemonics) == len(said.phones)}


def _phonemes(library: ctypes.CDLL, word: str, mode: int = 0) -> list[str]:
    pointer = ctypes.c_char_p(word.encode())
    spelled = library.espeak_TextToPhonemes(ctypes.byref(pointer), CHARS_UTF8, ord("_") << 8 | mode).decode()
    return [name for name in re.split(r"[_\s|]+", spelled) if name.strip("',ˈˌ")]


@contextmanager
def _espeak(voice: Voice, seed: int) -> Iterator[tuple[ctypes.CDLL, int]]:
    """A fresh copy of the library, seeded, speaking as `voice`, and its sample rate."""
    path, data = _paths()
    library = ctypes.CDLL(path)
    try:
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        library.espeak_Synth.argtypes = (
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int),
            *(ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
        )
        options = PHONEME_EVENTS | PHONEME_IPA | DONT_EXIT
        rate = library.espeak_Initialize(SYNCHRONOUS, 0, str(data).encode(), options)
        if rate <= 0:
            raise UserError(f"espeak-ng cannot read its data in {data}; reinstall espeakng-loader")
        require_language(voice.language)
        name = "+".join(part for part in (languages()[voice.language], voice.variant) if part)
        if library.espeak_SetVoiceByName(name.encode()) != 0:
            raise UserError(f"espeak-ng has no voice {name!r}")
        for parameter, value in ((RATE, voice.rate), (PITCH, voice.pitch), (RANGE, voice.range)):
            library.espeak_SetParameter(parameter, value, 0)
        ctypes.CDLL(None).srand(ctypes.c_uint(seed & 0xFFFFFFFF))
        library.espeak_ng_SetRandSeed(ctypes.c_long(seed & 0x7FFFFFFF))
        yield library, rate
    finally:
        library.espeak_Terminate()
        handle = library._handle  # noqa: SLF001
        del library
        _ctypes.dlclose(handle)


@functools.cache
def _paths() -> tuple[str, Path]:
    try:
        import espeakng_loader
    except ImportError as error:
        raise UserError("the synthetic corpus needs espeak-ng: pip install 'textless[synth]'") from error
    return espeakng_loader.get_library_path(), Path(espeakng_loader.get_data_path())


def _resample(waveform: torch.Tensor, rate: int) -> torch.Tensor:
    """What `audio.io.resample` computes, `(S,)` at `rate` to `(S,)` at 16 kHz, several times faster for many lengths.

    The filter is designed once, and applied as a matrix product: torch's convolution compiles itself anew for every
    length it meets.
    """
    kernel, width, step = _filter(rate)
    padded = torch.nn.functional.pad(waveform, (width, width + step))
    blocks = padded.unfold(0, len(kernel), step) @ kernel  # (blocks, taps) x (taps, samples of a block)
    return blocks.flatten()[: -(-len(waveform) * SAMPLE_RATE // rate)]


@functools.cache
def _filter(rate: int) -> tuple[torch.Tensor, int, int]:
    """Torchaudio's windowed sinc `(taps, samples of a block)`, its reach to the left, and samples between blocks."""
    design = torchaudio.transforms.Resample(rate, SAMPLE_RATE)
    return design.kernel[:, 0].T.contiguous(), design.width, rate // math.gcd(rate, SAMPLE_RATE)


def _without_echo(samples: np.ndarray, rate: int, variant: str) -> np.ndarray:
    """Undo the echo of some voices, y[n] = x[n] + a y[n - d], so that pauses are silent in what is aligned."""
    delay_ms, amplitude = _echo(variant)
    delay = delay_ms * rate // 1000
    dry = samples.astype(np.float32)
    if delay and amplitude:
        dry[delay:] -= samples[:-delay] * np.float32(amplitude / 256)
    return dry


@functools.cache
def _echo(variant: str) -> tuple[int, int]:
    found = re.search(r"^echo\s+(\d+)\s+(\d+)", _voice_file(variant), flags=re.MULTILINE) if variant else None
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _voice_file(variant: str) -> str:
    return (_paths()[1] / "voices" / "!v" / variant).read_text(encoding="utf-8", errors="replace")


@functools.cache
def variants() -> tuple[str, ...]:
    """Voice variants that can stand for different people."""
    names = sorted(path.name for path in (_paths()[1] / "voices" / "!v").iterdir() if path.is_file())
    return tuple(n for n in names if n not in UNFIT and not n.startswith("robosoft") and " " not in n)


@functools.cache
def languages() -> dict[str, str]:
    """Voice file of every language espeak-ng can speak, by language code: `en-us`, `de`, `fr-fr` ..."""
    data = _paths()[1]
    best: dict[str, tuple[int, str]] = {}
    for path in sorted((data / "lang").rglob("*")):
        if not path.is_file():
            continue
        rows = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        stated = {row[0]: row[1] for row in rows if len(row) > 1}
        if not (data / f"{stated.get('dictionary', path.name.split('-')[0])}_dict").exists():
            continue  # the package holds the voice but not the pronunciations
        for row in rows:
            if row[:1] == ["language"]:
                code = row[1].lower()
                priority = 0 if path.name.lower() == code else int(row[2]) if len(row) > 2 else 5
                best[code] = min(best.get(code, (99, "")), (priority, path.relative_to(data / "lang").as_posix()))
    return {code: name for code, (_, name) in sorted(best.items())}


def require_language(language: str) -> None:
    """Raise `UserError` with a few near matches if espeak-ng does not speak `language`."""
    known = languages()
    if language in known:
        return
    related = [code for code in known if code.partition("-")[0] == language.lower().partition("-")[0]]
    close = difflib.get_close_matches(language.lower(), related or known, n=5, cutoff=0.5) or related[:5]
    hint = f"did you mean {' or '.join(close)}?" if close else f"it speaks {', '.join(list(known)[:12])} ..."
    raise UserError(f"espeak-ng speaks no language {language!r}; {hint}")
