"""The verb `select`: which of several trained recognisers is best, without a label.

All transcribe the same speech greedily, and are judged by the same unpaired text (`unsup_asr.selection`). Without
speech, what was noted in training counts: of what every recogniser was validated on, which should have been the same.
Nothing here can be given a reference; what a selection costs is told afterwards, by `unsup_asr.oracle`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.files import read_json, require
from textless.progress import say, track
from textless.training.checkpoint import CONFIG_NAME
from unsup_asr.decoding.best_path import greedy
from unsup_asr.phone_text import PhoneText
from unsup_asr.recognizers import check_features, load_recognizer
from unsup_asr.selection import DOUBTFUL, Judge, Quality, in_text_phones, three_steps, without

Transcripts = dict[str, list[str]]
HEAD = f"{'':3}{'ppl/U²':>9}{'ppl':>8}{'usage':>7}{'Σ log p':>12}{'JSD 1':>7}{2:>6}{3:>6}{4:>6}{'length':>8}{'/s':>7}"


@dataclass(frozen=True)
class Candidate:
    """A recogniser, how good it is, and what it made of the speech (nothing is known without speech).

    `strangeness` is what was noted in training, of recognisers with n-grams of text in them.
    """

    directory: Path
    quality: Quality
    phones_per_second: float | None = None
    transcripts: Transcripts | None = None
    strangeness: float | None = None

    @property
    def is_doubtful(self) -> bool:
        """Whether its transcripts may be like text only because of the n-grams in it."""
        return self.strangeness is not None and self.strangeness > DOUBTFUL


@dataclass(frozen=True)
class Selection:
    """What was chosen, without labels.

    Attributes:
        candidates: in the order given.
        anchor: index of the anchor of the paper's criterion.
        kept: indices of those that its second step keeps.
        chosen: index of the choice: the paper's third step.
        by_weighted_perplexity: index of the choice of the released code.
    """

    candidates: tuple[Candidate, ...]
    anchor: int
    kept: tuple[int, ...]
    chosen: int
    by_weighted_perplexity: int

    @property
    def directory(self) -> Path:
        """The recogniser that was chosen."""
        return self.candidates[self.chosen].directory

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        rows = []
        for index, candidate in enumerate(self.candidates):
            quality = candidate.quality
            rows.append(
                {
                    "directory": str(candidate.directory),
                    **quality.record(),
                    "rate_term": quality.rate_term,
                    "phones_per_second": candidate.phones_per_second,
                    "is_collapsed": quality.is_collapsed,
                    "strangeness": candidate.strangeness,
                    "is_anchor": index == self.anchor,
                    "is_kept": index in self.kept,
                }
            )
        return {
            "chosen": str(self.directory),
            "by_weighted_perplexity": str(self.candidates[self.by_weighted_perplexity].directory),
            "candidates": rows,
        }

    def __str__(self) -> str:
        """A table: * chosen, a the anchor, + kept beside it, ! collapsed, ? doubtful."""
        return "\n".join([HEAD, *(self._row(index) for index in range(len(self.candidates)))])

    def _row(self, index: int) -> str:
        candidate = self.candidates[index]
        quality = candidate.quality
        mark = "*" if index == self.chosen else "+" if index in self.kept else "!" if quality.is_collapsed else ""
        mark += "?" if candidate.is_doubtful else ""
        mark += "a" if index == self.anchor else ""
        divergence = f"{quality.divergence[0]:7.3f}" + "".join(f"{value:6.3f}" for value in quality.divergence[1:])
        rate = f"{candidate.phones_per_second:7.2f}" if candidate.phones_per_second is not None else f"{'':7}"
        return (
            f"{mark:3}{quality.weighted_perplexity:9.2f}{quality.perplexity:8.2f}{quality.usage:7.2f}"
            f"{quality.log_prob:12.1f}{divergence}{quality.tokens_per_sentence:8.2f}{rate}  {candidate.directory}"
        )


def select(directories: Sequence[Path], text: Path, speech: Path | None = None) -> Selection:
    """Judge recognisers and choose one; collapsed and doubtful ones only if there are no others.

    Args:
        directories: model directories.
        text: prepared text.
        speech: a feature store of their encoder; None: what was noted in training.

    Raises:
        UserError: no directory holds a recogniser, they do not fit the data, or none recognises anything.
    """
    judge = Judge(PhoneText.load(text))
    if speech is None:
        return choose_among(
            [Candidate(directory, _noted(directory), strangeness=_strangeness(directory)) for directory in directories]
        )
    store = FeatureStore(speech)
    return choose_among([_judged(directory, judge, store) for directory in track(directories, "transcribing")])


def choose_among(candidates: Sequence[Candidate]) -> Selection:
    """Choose by what is known of the candidates."""
    if not any(candidate.quality.usage > 0 for candidate in candidates):
        raise UserError(f"none of the {len(candidates)} recognisers has recognised anything")
    sound = [i for i, c in enumerate(candidates) if not (c.quality.is_collapsed or c.is_doubtful)]
    if not sound:
        say(
            "all recognisers have collapsed (most phones unused, or transcripts of a length that no text has) or are "
            "doubtful (what they hear without n-grams is not like the text)"
        )
        sound = list(range(len(candidates)))
    qualities = [candidates[i].quality for i in sound]
    steps = three_steps(qualities)
    lightest = min(range(len(sound)), key=lambda i: qualities[i].weighted_perplexity)
    kept = tuple(sound[i] for i in steps.kept)
    return Selection(tuple(candidates), sound[steps.anchor], kept, sound[steps.chosen], sound[lightest])


def _judged(directory: Path, judge: Judge, store: FeatureStore) -> Candidate:
    recognizer = load_recognizer(directory)
    check_features(recognizer, store.header, store.directory)
    features = [np.asarray(store[name], dtype=np.float32) for name in store]
    heard = [greedy(found.log_probs, recognizer.topology) for found in recognizer.posteriors(features)]
    said = [without(phones, recognizer.silence) for phones in heard]
    quality = judge(in_text_phones(said, recognizer.phones, judge.text))
    transcripts = {n: [recognizer.phones[p] for p in phones] for n, phones in zip(store, said, strict=True)}
    seconds = store.n_frames / store.header.frame_rate
    rate = quality.tokens / seconds if seconds else 0.0
    return Candidate(directory, quality, rate, transcripts, _strangeness(directory))


def _strangeness(directory: Path) -> float | None:
    """What training noted of it; None of recognisers without n-grams in them."""
    path = directory / CONFIG_NAME
    training = read_json(path).get("training") if path.is_file() else None
    return training.get("strangeness") if isinstance(training, dict) else None


def _noted(directory: Path) -> Quality:
    header = read_json(require(directory / CONFIG_NAME, "recogniser"))
    try:
        return Quality.of_record(header["training"])
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{directory / CONFIG_NAME} does not say how good the recogniser was in training; give --speech FEATURES"
        ) from error
