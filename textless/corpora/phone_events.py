"""From the events of a speech synthesizer to an alignment: phones that tile the signal, and word boundaries.

espeak-ng announces every phone, but its announcement is not where a phonetician would draw the line:

- a stop's closure (and any pause before a phone) is played *before* the phone is announced; the closure is silent, so
  the boundary goes back to where the signal fell silent;
- a vowel after a nasal or liquid is announced after the transition into it, so that the nasal spans murmur and
  transition, which is right; but the *word* event in between comes too early, so words start where their first phone
  starts;
- a liquid or nasal after a vowel may be sung entirely inside the vowel and be left with no time of its own; it gets the
  end of that vowel;
- a linking glide has no name: it belongs to the vowel that it leads into.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from textless.corpora.alignment import SILENCE, Segment

STRESS = "ˈˌ"
SHORTEST = 0.020  # s; a phone with less sound than this borrows from its neighbour
BORROWED = 0.060  # s, at most
BORROWED_SHARE = 0.35
QUIET = 0.005  # of the loudest part
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


@dataclass(frozen=True)
class Event:
    """At `sample`, a phone named `label` starts, or the word of `length` characters at `position` in the text."""

    kind: Literal["phone", "word"]
    sample: int
    label: str = ""
    position: int = 0
    length: int = 0


@dataclass
class _Span:
    start: int
    end: int
    label: str  # "" while it is not known what it is
    word: int  # index of the word event, -1 before the first

    @property
    def length(self) -> int:
        return self.end - self.start


def normalize_phone(name: str, language: str) -> str:
    """IPA without stress marks; in English also without length marks, where [i] and [iː] are one phoneme."""
    phone = "".join(name.split())
    for mark in STRESS + ("ː" if language.partition("-")[0] == "en" else ""):
        phone = phone.replace(mark, "")
    return phone


def align(
    dry: np.ndarray, rate: int, events: Sequence[Event], text: str, count_phones: Callable[[str], int]
) -> tuple[list[Segment], list[Segment]]:
    """Phones that tile the signal, silence included, and the words.

    Args:
        dry: samples `(S,)` without reverberation, in which a pause is silent.
        rate: its sample rate.
        events: phones (with normalized labels, "" for a pause or a glide) and words, in order.
        text: what was said, which the word events point into; empty: no words.
        count_phones: number of phones of a word said alone, to divide words that were said as one ("in the").
    """
    spans = _tile(dry, rate, events)
    phones = [Segment(s.start / rate, s.end / rate, s.label) for s in spans]
    marks = [event for event in events if event.kind == "word"]
    return phones, _words(spans, marks, text, rate, count_phones) if text else []


def _tile(dry: np.ndarray, rate: int, events: Sequence[Event]) -> list[_Span]:
    loudness = np.abs(dry.astype(np.int32))
    threshold = max(30.0, QUIET * float(np.percentile(loudness, 99.5))) if len(dry) else 0.0
    loud = loudness > threshold
    spans = [_Span(0, len(dry), SILENCE, -1)]
    word = -1
    for event in events:
        if event.kind == "word":
            word += 1
            continue
        spans[-1].end = max(event.sample, spans[-1].start)
        spans.append(_Span(spans[-1].end, len(dry), event.label, word))
    spans = _name_nameless(spans, loud)
    _move_closures(spans, loud, rate)
    _lend_to_short(spans, rate)
    return _merge_silence([span for span in spans if span.length > 0])


def _name_nameless(spans: list[_Span], loud: np.ndarray) -> list[_Span]:
    """A nameless span is silence, or the glide into the next phone."""
    named: list[_Span] = []
    glide: _Span | None = None
    for span in spans:
        if not span.label:
            if span.length and loud[span.start : span.end].mean() > 0.1:
                glide = span
            elif span.length:
                named.append(_Span(span.start, span.end, SILENCE, -1))
            continue
        if glide is not None:
            span.start, glide = glide.start, None
        named.append(span)
    if glide is not None:
        named[-1].end = glide.end
    return named


def _move_closures(spans: list[_Span], loud: np.ndarray, rate: int) -> None:
    """Silence at the end of a phone belongs to what follows: a stop's closure, or a pause."""
    for span, after in itertools.pairwise(spans):
        if span.label == SILENCE:
            continue
        sounding = np.flatnonzero(loud[span.start : span.end])
        end = span.start + (int(sounding[-1]) + 1 if len(sounding) else 0)
        if span.end - end > 0.003 * rate:
            span.end = after.start = end


def _lend_to_short(spans: list[_Span], rate: int) -> None:
    """A phone with no time of its own gets the end of the phone before it, or else the start of the next."""
    for i, span in enumerate(spans):
        if span.label == SILENCE or span.length >= SHORTEST * rate:
            continue
        before = spans[i - 1] if i else None
        after = spans[i + 1] if i + 1 < len(spans) else None
        if before is not None and before.label != SILENCE and before.length > 2 * SHORTEST * rate:
            wanted = int(min(BORROWED * rate, BORROWED_SHARE * (before.length + span.length)))
            span.start = before.end = span.end - max(wanted, span.length)
        elif after is not None and after.label != SILENCE and after.length > 2 * SHORTEST * rate:
            wanted = int(min(BORROWED * rate, BORROWED_SHARE * (after.length + span.length)))
            span.end = after.start = span.start + max(wanted, span.length)


def _merge_silence(spans: list[_Span]) -> list[_Span]:
    merged: list[_Span] = []
    for span in spans:
        if merged and merged[-1].label == span.label == SILENCE:
            merged[-1].end = span.end
        else:
            merged.append(span)
    return merged


def _words(
    spans: Sequence[_Span], marks: Sequence[Event], text: str, rate: int, count_phones: Callable[[str], int]
) -> list[Segment]:
    words: list[Segment] = []
    for index, mark in enumerate(marks):
        phones = [span for span in spans if span.word == index and span.label != SILENCE]
        end = marks[index + 1].position if index + 1 < len(marks) else len(text)
        said = WORD.findall(text[mark.position : end]) or WORD.findall(
            text[mark.position : mark.position + mark.length]
        )
        if not phones or not said:
            continue
        for word, part in zip(said, _divide(phones, said, count_phones), strict=False):
            words.append(Segment(part[0].start / rate, part[-1].end / rate, word.lower()))
    return words


def _divide(phones: list[_Span], said: list[str], count_phones: Callable[[str], int]) -> list[list[_Span]]:
    """Phones of each of the words said as one; with fewer phones than words the last words stay without."""
    parts, rest = [], phones
    for later, word in zip(range(len(said) - 1, -1, -1), said, strict=True):
        if not rest:
            break
        n = len(rest) if later == 0 else max(1, min(count_phones(word), len(rest) - later))
        parts.append(rest[:n])
        rest = rest[n:]
    return parts
