"""How to go about some ABX tasks at once: tokens in an order in which every task finds its buckets side by side.

Tokens that share every label that all tasks hold fixed (BY of all of them) form a *group*: nothing is compared beyond
it. Within a group, tokens that share what each task either holds fixed or keeps for A and B form a *side*: a bucket of
any task lies in one side, and so do all the buckets that A and B of a cell come from. So sides are never split, groups
are packed into blocks of a size that suits the machine, and the distances between two blocks serve every task.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise

import numpy as np

from zerospeech_eval.datasets import Dataset
from zerospeech_eval.draws import draw_partners, hash_names, mix_columns
from zerospeech_eval.task import Task

PACK_FRAMES = 256  # whole groups are packed into a block up to so many frames
BLOCK_FRAMES = 8192  # a larger group is split into blocks of sides, of up to so many frames


@dataclass(frozen=True)
class Buckets:
    """The buckets of a task that some cell needs, in the order of the plan.

    Shape:
        bounds, places: bucket k holds the tokens at `places[bounds[k]:bounds[k + 1]]` of the plan.
        labels: by column (ON, BY and ACROSS): `(buckets,)` codes of the dataset.
        sides: `(buckets, len(across))`, labels ACROSS.
        first, last: `(buckets,)`; buckets `first[k]:last[k]` share BY and ACROSS with k: there lie A and B.
        partners, first_x, last_x: where k is A, the buckets `partners[first_x[k]:last_x[k]]` are X (if they differ from
            k in all of `sides`); none where k is never A.
        of_block: `(blocks + 1,)`; block i holds the buckets `of_block[i]:of_block[i + 1]`.
    """

    bounds: np.ndarray
    places: np.ndarray
    labels: Mapping[str, np.ndarray]
    sides: np.ndarray
    first: np.ndarray
    last: np.ndarray
    partners: np.ndarray
    first_x: np.ndarray
    last_x: np.ndarray
    of_block: np.ndarray


@dataclass(frozen=True)
class Plan:
    """What to do for some tasks.

    Shape:
        tokens: `(N,)` tokens of the dataset that any cell needs.
        blocks: first place and the one after the last of every block.
        pairs: blocks between which some cell may lie, each pair once, the lower number first.
    """

    tokens: np.ndarray
    buckets: Mapping[str, Buckets]
    blocks: list[tuple[int, int]]
    pairs: list[tuple[int, int]]


def make_plan(tasks: Mapping[str, Task], data: Dataset) -> Plan:
    """Find buckets, draw from them where a task caps them, and lay the tokens out."""
    shared = set.intersection(*(set(task.by) for task in tasks.values()))
    kept = set.intersection(*({*task.by, *task.across} for task in tasks.values())) - shared
    group, side = _joint_codes(data, sorted(shared)), _joint_codes(data, sorted(kept))
    drafts = {name: _draft(task, data, group, side) for name, task in tasks.items()}
    used = np.zeros(len(data), dtype=bool)
    for tokens, _ in drafts.values():
        used[tokens] = True
    chosen = np.flatnonzero(used)
    first_on = data.label(next(iter(tasks.values())).on).codes
    tokens = chosen[np.lexsort((first_on[chosen], side[chosen], group[chosen]))]
    place = np.zeros(len(data), dtype=np.int64)
    place[tokens] = np.arange(len(tokens))
    blocks, pairs = _blocks(group[tokens], side[tokens], data.lengths[tokens])
    edges = np.array([0, *(last for _, last in blocks)])
    buckets = {name: _buckets(tasks[name], data, *draft, place, edges) for name, draft in drafts.items()}
    return Plan(tokens, buckets, blocks, pairs)


def _joint_codes(data: Dataset, columns: Sequence[str]) -> np.ndarray:
    """One code for every combination of labels, `(N,)`; 0 for no columns."""
    codes = np.zeros(len(data), dtype=np.int64)
    for column in columns:
        codes = _joint(codes, data.label(column).codes)
    return codes


def _joint(codes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """One code for every pair of codes, without gaps."""
    return np.unique(codes * (others.max(initial=0) + 1) + others, return_inverse=True)[1]


def _draft(task: Task, data: Dataset, group: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of the buckets that some cell needs, after the draw, bucket after bucket, and the bounds of buckets."""
    on, by, across = data.label(task.on).codes, _joint_codes(data, task.by), _joint_codes(data, task.across)
    order = np.lexsort((on, across, by, side, group))  # stable: tokens stay in the order of the item file
    bounds = _edges(by[order], across[order], on[order])
    heads = order[bounds[:-1]]
    spans = _edges(by[heads], across[heads])
    in_span = np.repeat(np.diff(spans), np.diff(spans))  # buckets beside which a bucket lies, and itself
    if task.across:
        same_on = _joint(by[heads], on[heads])
        n_same = np.bincount(same_on)
        is_a = (in_span >= 2) & (n_same[same_on] >= 2)
        is_x = np.bincount(same_on, is_a)[same_on] - is_a >= 1
    else:
        is_a = (in_span >= 2) & (np.diff(bounds) >= 2)
        is_x = is_a
    beside_a = np.repeat(np.add.reduceat(is_a, spans[:-1]) > 0, np.diff(spans))
    needed = beside_a | is_x
    sizes = np.diff(bounds)
    tokens, sizes = order[np.repeat(needed, sizes)], sizes[needed]
    if task.max_size_group is not None and sizes.max(initial=0) > task.max_size_group:
        tokens, sizes = _draw_tokens(task, data, tokens, sizes)
    return tokens, np.append(0, np.cumsum(sizes))


def _edges(*columns: np.ndarray) -> np.ndarray:
    """Where any column changes, with 0 and the end."""
    changes = np.zeros(max(len(columns[0]) - 1, 0), dtype=bool)
    for column in columns:
        changes |= column[1:] != column[:-1]
    inner = np.flatnonzero(changes) + 1
    return np.concatenate([[0], inner, [len(columns[0])]]) if len(columns[0]) else np.zeros(1, dtype=np.int64)


def _draw_tokens(task: Task, data: Dataset, tokens: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    assert task.max_size_group is not None
    names = hash_names(data.files)[data.file[tokens]]
    numbers = np.stack([names, data.start[tokens].astype(np.uint64), data.stop[tokens].astype(np.uint64)], axis=1)
    bucket = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((mix_columns(task.seed, numbers), bucket))
    rank = np.arange(len(tokens)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    drawn = np.sort(order[rank < task.max_size_group])
    return tokens[drawn], np.minimum(sizes, task.max_size_group)


def _buckets(
    task: Task, data: Dataset, tokens: np.ndarray, bounds: np.ndarray, place: np.ndarray, block_edges: np.ndarray
) -> Buckets:
    heads = tokens[bounds[:-1]]
    labels = {name: data.label(name).codes[heads] for name in (task.on, *task.by, *task.across)}
    on, by, across = labels[task.on], _joint_codes(data, task.by)[heads], _joint_codes(data, task.across)[heads]
    spans = _edges(by, across)
    widths = np.diff(spans)
    first, last = np.repeat(spans[:-1], widths), np.repeat(spans[1:], widths)
    sides = np.stack([labels[name] for name in task.across], axis=1) if task.across else np.zeros((len(heads), 0), int)
    if task.across:
        same_on = _joint(by, on)
        partners = np.argsort(same_on, kind="stable")
        edges = np.append(0, np.cumsum(np.bincount(same_on)))
        first_x, last_x = edges[same_on], edges[same_on + 1]
        last_x = np.where(last - first >= 2, last_x, first_x)
        if task.max_x_across is not None:
            keys, names = _numbers(task, data, labels)
            partners, first_x, last_x = draw_partners(partners, first_x, last_x, sides, keys, names, task.max_x_across)
    else:
        partners = first_x = np.arange(len(heads))
        last_x = first_x + ((last - first >= 2) & (np.diff(bounds) >= 2))
    # Places of buckets fall now and then within a block, but never beyond its edges, which is all that a search needs.
    of_block = np.searchsorted(place[heads], block_edges)
    return Buckets(bounds, place[tokens], labels, sides, first, last, partners, first_x, last_x, of_block)


def _numbers(task: Task, data: Dataset, labels: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Random numbers of every bucket: as A, by BY and ACROSS; as X, by ACROSS."""
    hashes = {name: hash_names(data.label(name).names)[labels[name]] for name in (*task.by, *task.across)}
    sides = np.stack([hashes[name] for name in task.across], axis=1)
    return mix_columns(task.seed, np.stack(list(hashes.values()), axis=1)), mix_columns(task.seed, sides)


def _blocks(
    group: np.ndarray, side: np.ndarray, lengths: np.ndarray
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    blocks: list[tuple[int, int]] = []
    pairs: list[tuple[int, int]] = []
    frames = np.append(0, np.cumsum(lengths))
    edges = _edges(group)
    large = np.diff(frames[edges]) > PACK_FRAMES
    packed = 0  # first place of the pack that is being filled
    for first, last, is_large in zip(edges[:-1].tolist(), edges[1:].tolist(), large.tolist(), strict=True):
        if packed < first and (is_large or frames[last] - frames[packed] > PACK_FRAMES):
            blocks.append((packed, first))
            pairs.append((len(blocks) - 1, len(blocks) - 1))
            packed = first
        if is_large:
            parts = list(_split(first, last, side, frames))
            pairs += combinations_with_replacement(range(len(blocks), len(blocks) + len(parts)), 2)
            blocks += parts
            packed = last
    if packed < len(group):
        blocks.append((packed, len(group)))
        pairs.append((len(blocks) - 1, len(blocks) - 1))
    return blocks, pairs


def _split(first: int, last: int, side: np.ndarray, frames: np.ndarray) -> Iterator[tuple[int, int]]:
    """Blocks of whole sides of one group."""
    edges = (first + _edges(side[first:last])).tolist()
    for before, edge in pairwise(edges):
        if before > first and frames[edge] - frames[first] > BLOCK_FRAMES:
            yield first, before
            first = before
    yield first, last
