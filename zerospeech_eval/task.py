"""An ABX task: which tokens are compared with which, prepared context by context.

Within speakers, a cell is (context, speaker, a, b): X and A are different tokens of phone a, B of phone b, all of one
speaker; (a, b) and (b, a) are two cells. Across speakers, a cell is (context, speaker, x-speaker, a, b): A and B are of
one speaker, X of another. With context "any" all contexts are one.
"""

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from textless.errors import UserError
from zerospeech_eval.datasets import Dataset

SpeakerMode = Literal["within", "across"]
ContextMode = Literal["within", "any"]


@dataclass(frozen=True)
class Task:
    """What to compare.

    Args:
        speakers: within, across, or both, which share most of their work.
        context: compare tokens in the same context only (`within`), or in any.
        max_size_group: at most so many tokens of a phone, a speaker and a context. They are drawn once and serve every
            cell, whatever its role for them. (Libri-light draws A again for every B; the expected score is the same.)
        max_x_across: at most so many other speakers X for each (context, speaker, a): the first that have the phone, in
            an order of the other speakers drawn for each (context, speaker).
        seed: of both draws. Each depends on names alone, so that adding a speaker or a context changes no other draw.
    """

    speakers: tuple[SpeakerMode, ...] = ("within",)
    context: ContextMode = "within"
    max_size_group: int | None = None
    max_x_across: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.speakers or not set(self.speakers) <= {"within", "across"} or self.context not in {"within", "any"}:
            raise ValueError(f"unknown speaker or context mode: {self.speakers}, {self.context!r}")
        if self.max_size_group is not None and self.max_size_group < 2:
            raise UserError("--max-size-group should be at least 2, since X and A are two tokens of a phone")
        if self.max_x_across is not None and self.max_x_across < 1:
            raise UserError("--max-x-across should be at least 1")


@dataclass(frozen=True)
class Group:
    """The tokens of one context that some cell needs, sorted by speaker, then phone.

    A bucket is all tokens of a speaker and a phone. Speakers are numbered within the group.

    Shape:
        tokens: `(N,)` numbers of tokens in the dataset.
        bounds: `(buckets + 1,)`; bucket k is `tokens[bounds[k]:bounds[k + 1]]`.
        phone, speaker: `(buckets,)`.
        needed: `(buckets, speakers)`: whether the bucket is X for A and B of the speaker.
        speaker_names: `(speakers,)` codes of the dataset.
    """

    context: int
    tokens: np.ndarray
    bounds: np.ndarray
    phone: np.ndarray
    speaker: np.ndarray
    needed: np.ndarray
    speaker_names: np.ndarray


def make_groups(task: Task, data: Dataset) -> Iterator[Group]:
    """The contexts that have a cell, one after the other."""
    context = np.zeros_like(data.context) if task.context == "any" else data.context
    order = np.lexsort((data.phone, data.speaker, context))  # stable: tokens stay in the order of the item file
    keys = np.stack([context[order], data.speaker[order], data.phone[order]])
    starts = np.flatnonzero(np.diff(keys, axis=1, prepend=-1).any(axis=0))
    buckets = keys[:, starts]
    bounds = np.append(starts, len(order))
    edges = np.flatnonzero(np.diff(buckets[0], prepend=-1, append=-1))
    for first, last in itertools.pairwise(edges):
        if last - first >= 2:
            tokens = [order[bounds[k] : bounds[k + 1]] for k in range(first, last)]
            code, speaker, phone = buckets[:, first:last]
            group = _make_group(task, data, int(code[0]), speaker, phone, tokens)
            if group is not None:
                yield group


def _make_group(
    task: Task, data: Dataset, context: int, speaker: np.ndarray, phone: np.ndarray, tokens: list[np.ndarray]
) -> Group | None:
    names, speaker_index = np.unique(speaker, return_inverse=True)
    phones, phone_index = np.unique(phone, return_inverse=True)
    has = np.zeros((len(names), len(phones)), dtype=bool)
    has[speaker_index, phone_index] = True
    # As X, a bucket needs the same phone and another one from the speaker of A and B.
    comparable = (has & (has.sum(axis=1) >= 2)[:, None])[:, phone_index].T  # (buckets, speakers)
    same_speaker = speaker_index[:, None] == np.arange(len(names))
    sizes = np.array([len(bucket) for bucket in tokens])
    needed = np.zeros_like(comparable)
    if "within" in task.speakers:
        needed |= comparable & same_speaker & (sizes >= 2)[:, None]
    if "across" in task.speakers:
        across = comparable & ~same_speaker
        if task.max_x_across is not None and len(names) - 1 > task.max_x_across:
            across &= _draw_x_speakers(task, data, context, names, speaker_index, phone_index, has)
        needed |= across
    used = needed.any(axis=1) | needed.any(axis=0)[speaker_index]
    if not used.any():
        return None
    kept = [_draw_tokens(task, data, context, tokens[k]) for k in np.flatnonzero(used)]
    bounds = np.concatenate([[0], np.cumsum([len(bucket) for bucket in kept])])
    return Group(context, np.concatenate(kept), bounds, phone[used], speaker_index[used], needed[used], names)


def _draw_tokens(task: Task, data: Dataset, context: int, tokens: np.ndarray) -> np.ndarray:
    if task.max_size_group is None or len(tokens) <= task.max_size_group:
        return tokens
    first = tokens[0]
    names = (_context_name(task, data, context), data.speakers[data.speaker[first]], data.phones[data.phone[first]])
    chosen = _generator(task.seed, *names).choice(len(tokens), task.max_size_group, replace=False)
    return tokens[np.sort(chosen)]


def _draw_x_speakers(
    task: Task,
    data: Dataset,
    context: int,
    names: np.ndarray,
    speaker_index: np.ndarray,
    phone_index: np.ndarray,
    has: np.ndarray,
) -> np.ndarray:
    """Whether a bucket's speaker is among the first `max_x_across` other speakers with its phone, for every speaker."""
    drawn = np.zeros((len(speaker_index), len(names)), dtype=bool)
    for target, name in enumerate(names):
        generator = _generator(task.seed, _context_name(task, data, context), data.speakers[name])
        order = generator.permutation(len(names))
        order = order[order != target]
        place = np.cumsum(has[order], axis=0) * has[order]  # 1, 2, ... along the speakers that have a phone
        chosen = np.zeros_like(has)
        chosen[order] = (place > 0) & (place <= task.max_x_across)
        drawn[:, target] = chosen[speaker_index, phone_index]
    return drawn


def _context_name(task: Task, data: Dataset, context: int) -> str:
    return "any" if task.context == "any" else data.contexts[context]


def _generator(seed: int, *names: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32("\0".join(names).encode())])
