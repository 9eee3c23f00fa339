"""Spoken term discovery, as ZeroSpeech 2017 and 2020 score it (Ludusan et al., 2014; the organisers' `tdev2`).

A fragment stands for the phones it covers (`Tier.kept`), its *string*; one without phones is dropped. With silence and
noise marks SIL and SPN, the measures are

- NED: mean over all pairs inside the classes of the edit distance by the longer length, SIL left out;
- coverage: phones covered by some fragment / phones, SIL and SPN left out;
- grouping, where a pair of fragments is *right* if their strings are equal and they do not overlap: of the tokens in
  some pair of a class, those in a right one (precision); of the tokens in some right pair, those in one of a class
  (recall). A token is the phones covered. The organisers weigh types by their numbers of tokens, which cancels out;
- boundary: onsets of first phones and offsets of last ones that are onsets and offsets of words, exactly;
- token: fragments whose string is that of the word they overlap most, relative to the word, each word once;
- type: different strings among these, by different strings, and by different *written* words. So homophones keep even
  a perfect segmentation from a recall of 1, which is stated beside it.

ZeroSpeech 2015 used the same names for other samples and matches: compare its figures with caution.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from textless.errors import UserError
from units.detection import Detection
from zerospeech_eval.classes import Fragment
from zerospeech_eval.names import listed
from zerospeech_eval.ned import mean_normalised
from zerospeech_eval.transcribed_speech import TranscribedSpeech

SILENT = "SIL"
NOT_PHONES = ("SIL", "SPN")


@dataclass(frozen=True)
class TermDiscovery:
    """Scores of one language, and what they are of."""

    ned: float | None  # None without pairs
    n_pairs: int
    coverage: float
    grouping: Detection
    boundary: Detection
    token: Detection
    type: Detection
    n_classes: int
    n_fragments: int  # different ones, with phones
    n_dropped: int  # lines whose fragment covers no phone
    n_written_words: int
    n_spoken_words: int  # different strings of phones

    @property
    def type_recall_ceiling(self) -> float:
        """Type recall of a perfect segmentation: spoken by written words, above 1 where words have several forms."""
        return self.n_spoken_words / self.n_written_words

    def summary(self) -> dict[str, Any]:
        """Everything; None for what is undefined."""
        measures = {name: getattr(self, name).summary() for name in ("grouping", "boundary", "token", "type")}
        counts = ("n_pairs", "n_classes", "n_fragments", "n_dropped", "n_written_words", "n_spoken_words")
        return {
            "benchmark": "TDE",
            "ned": self.ned,
            "coverage": self.coverage,
            **measures,
            "type_recall_ceiling": self.type_recall_ceiling,
            **{name: getattr(self, name) for name in counts},
        }


def evaluate(classes: Mapping[str, Sequence[Fragment]], speech: TranscribedSpeech) -> TermDiscovery:
    """Score discovered classes.

    Raises:
        UserError: fragments of recordings without phones.
    """
    unknown = sorted({f.file for members in classes.values() for f in members} - set(speech.phones))
    if unknown:
        raise UserError(f"fragments name {len(unknown)} recordings that the alignment has not: {listed(unknown)}")
    spoken = _Spoken(speech)
    listing = [(name, fragment) for name, members in classes.items() for fragment in members]
    numbers: dict[Fragment, int] = {}
    members: dict[str, list[int]] = {}
    for name, fragment in listing:
        if fragment in numbers or spoken.add(fragment):
            members.setdefault(name, []).append(numbers.setdefault(fragment, len(numbers)))
    groups = [np.array(group) for group in members.values()]
    ned, n_pairs = mean_normalised([[spoken.without_silence(i) for i in group] for group in groups])
    words = _words(spoken)
    token, kind = _words_found(spoken, words)
    return TermDiscovery(
        ned=ned if n_pairs else None,
        n_pairs=n_pairs,
        coverage=spoken.coverage(),
        grouping=_grouping(spoken, groups),
        boundary=_boundaries(spoken),
        token=token,
        type=kind,
        n_classes=len(groups),
        n_fragments=len(numbers),
        n_dropped=len(listing) - sum(map(len, groups)),
        n_written_words=len({label for tier in speech.words.values() for label in tier.labels}),
        n_spoken_words=len({string for strings in words.values() for string in strings}),
    )


class _Spoken:
    """Different fragments in the order they were added, the phones they cover and the numbers of their strings."""

    def __init__(self, speech: TranscribedSpeech) -> None:
        self.speech = speech
        self.fragments: list[Fragment] = []
        self.phones: list[range] = []  # positions in the tier of the recording
        self.strings: list[int] = []
        self._strings: dict[tuple[str, ...], int] = {}
        self._symbols: dict[str, int] = {}
        self._pronounced: dict[int, tuple[int, ...]] = {}

    def add(self, fragment: Fragment) -> bool:
        """Add a fragment, unless it covers no phone."""
        tier = self.speech.phones[fragment.file]
        kept = tier.kept(fragment.onset, fragment.offset)
        if not kept:
            return False
        self.fragments.append(fragment)
        self.phones.append(kept)
        self.strings.append(self.string(fragment.file, kept))
        return True

    def string(self, file: str, positions: range) -> int:
        """Number of the string at these positions, the same for equal strings."""
        labels = tuple(self.speech.phones[file].labels[positions.start : positions.stop])
        return self._strings.setdefault(labels, len(self._strings))

    def without_silence(self, fragment: int) -> tuple[int, ...]:
        """String of a fragment as numbers of its phones, SIL left out."""
        string = self.strings[fragment]
        if string not in self._pronounced:
            labels = self.speech.phones[self.fragments[fragment].file].labels
            kept = [labels[i] for i in self.phones[fragment] if labels[i] != SILENT]
            self._pronounced[string] = tuple(self._symbols.setdefault(label, len(self._symbols)) for label in kept)
        return self._pronounced[string]

    def coverage(self) -> float:
        """Share of the phones that some fragment covers."""
        covered = {file: np.zeros(len(tier.labels), dtype=bool) for file, tier in self.speech.phones.items()}
        for fragment, positions in zip(self.fragments, self.phones, strict=True):
            covered[fragment.file][positions.start : positions.stop] = True
        found = total = 0
        for file, tier in self.speech.phones.items():
            phones = np.array([label not in NOT_PHONES for label in tier.labels])
            found, total = found + int((covered[file] & phones).sum()), total + int(phones.sum())
        return found / total if total else 0.0

    @property
    def tokens(self) -> np.ndarray:
        """Number of the token of every fragment, `(fragments,)`: one for the same phones of the same recording."""
        numbers: dict[tuple[str, int, int], int] = {}
        keys = ((f.file, p.start, p.stop) for f, p in zip(self.fragments, self.phones, strict=True))
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _grouping(spoken: _Spoken, groups: Sequence[np.ndarray]) -> Detection:
    """Tokens in pairs that are right, in pairs of classes, and in pairs that would be right.

    No pair is made: a fragment has a partner of equal string and without overlap if and only if some other recording
    has the string too, or one of this recording begins after its end or ends before its beginning.
    """
    strings, tokens = np.array(spoken.strings, dtype=np.int64), spoken.tokens
    in_classes = np.concatenate([group for group in groups if len(group) > 1] or [np.zeros(0, np.int64)])
    class_of = np.repeat(np.arange(len(groups)), [len(group) * (len(group) > 1) for group in groups])
    right = in_classes[_have_partner(spoken, in_classes, class_of * (strings.max(initial=0) + 1) + strings[in_classes])]
    every = np.arange(len(strings))
    would_be = every[_have_partner(spoken, every, strings)]
    hits, found, true = (len(np.unique(tokens[which])) for which in (right, in_classes, would_be))
    return Detection(hits, found, true)


def _have_partner(spoken: _Spoken, fragments: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Which of the fragments `(n,)` have another one in their `group` `(n,)` with which they do not overlap."""
    if not len(fragments):
        return np.zeros(0, dtype=bool)
    files: dict[str, int] = {}
    file = np.array([files.setdefault(spoken.fragments[i].file, len(files)) for i in fragments])
    onset = np.array([spoken.fragments[i].onset for i in fragments])
    offset = np.array([spoken.fragments[i].offset for i in fragments])
    _, group = np.unique(group, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    first_file, last_file = (ufunc.reduceat(file[order], starts)[group] for ufunc in (np.minimum, np.maximum))
    last_onset = np.maximum.reduceat(onset[order], starts)[group]
    first_offset = np.minimum.reduceat(offset[order], starts)[group]
    return (first_file != last_file) | (last_onset >= offset) | (first_offset <= onset)


def _boundaries(spoken: _Spoken) -> Detection:
    tiers, words = spoken.speech.phones, spoken.speech.words
    covered = [(f.file, p.start, p.stop - 1) for f, p in zip(spoken.fragments, spoken.phones, strict=True)]
    begin = {(file, tiers[file].onsets[first]) for file, first, _ in covered}
    end = {(file, tiers[file].offsets[last]) for file, _, last in covered}
    true_begin = {(file, time) for file, tier in words.items() for time in tier.onsets}
    true_end = {(file, time) for file, tier in words.items() for time in tier.offsets}
    return Detection(len(begin & true_begin | end & true_end), len(begin | end), len(true_begin | true_end))


def _words(spoken: _Spoken) -> dict[str, list[int]]:
    """Numbers of the strings of the words of every recording: the phones that share time with them."""
    phones = spoken.speech.phones
    return {
        file: [
            spoken.string(file, phones[file].overlapped(onset, offset))
            for onset, offset in zip(tier.onsets, tier.offsets, strict=True)
        ]
        for file, tier in spoken.speech.words.items()
    }


def _words_found(spoken: _Spoken, words: Mapping[str, Sequence[int]]) -> tuple[Detection, Detection]:
    """Tokens and types."""
    hits: set[tuple[str, int]] = set()
    kinds: set[int] = set()
    for fragment, string in zip(spoken.fragments, spoken.strings, strict=True):
        word = _most_overlapped(spoken, fragment)
        if word is not None and words[fragment.file][word] == string:
            hits.add((fragment.file, word))
            kinds.add(string)
    n_words = sum(map(len, words.values()))
    written = {label for tier in spoken.speech.words.values() for label in tier.labels}
    token = Detection(len(hits), len(spoken.fragments), n_words)
    return token, Detection(len(kinds), len(set(spoken.strings)), len(written))


def _most_overlapped(spoken: _Spoken, fragment: Fragment) -> int | None:
    """Position of the word of which the fragment covers the largest share, the earlier one of a tie."""
    tier = spoken.speech.words.get(fragment.file)
    if tier is None:
        return None

    def share(word: int) -> float:
        start, end = tier.onsets[word], tier.offsets[word]
        return (min(fragment.offset, end) - max(fragment.onset, start)) / (end - start)

    return max(tier.overlapped(fragment.onset, fragment.offset), key=share, default=None)
