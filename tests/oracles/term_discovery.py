"""Term discovery scores by their definitions: every pair made, every phone looked at, plain Python."""

import itertools
import math
from collections import Counter, defaultdict

Segment = tuple[float, float, str]
Fragment = tuple[str, float, float]


def phones_of(fragment: Fragment, phones: dict[str, list[Segment]]) -> tuple[Segment, ...]:
    file, onset, offset = fragment
    covered = [p for p in phones[file] if p[0] < offset and p[1] > onset]

    def enough(phone: Segment) -> bool:
        duration, overlap = phone[1] - phone[0], min(offset, phone[1]) - max(onset, phone[0])
        return round(overlap, 3) >= 0.03 if round(duration, 3) >= 0.06 else overlap / duration >= 0.5

    keep = [True] * len(covered)
    for edge in (0, -1):
        if covered:
            keep[edge] = enough(covered[edge])
    return tuple(phone for phone, kept in zip(covered, keep, strict=True) if kept)


def levenshtein(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row, above = [i], row
        for j, b in enumerate(other, 1):
            row.append(min(above[j - 1] + (a != b), above[j] + 1, row[j - 1] + 1))
    return row[-1]


def fscore(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def overlap(one: Fragment, other: Fragment) -> bool:
    return one[0] == other[0] and min(one[2], other[2]) > max(one[1], other[1])


def scores(
    classes: dict[str, list[Fragment]], phones: dict[str, list[Segment]], words: dict[str, list[Segment]]
) -> dict[str, float]:
    covered = {f: phones_of(f, phones) for members in classes.values() for f in members}
    classes = {name: [f for f in members if covered[f]] for name, members in classes.items()}
    fragments = sorted({f for members in classes.values() for f in members})
    string = {f: tuple(label for _, _, label in covered[f]) for f in fragments}
    result: dict[str, float] = {}

    distances = []
    for members in classes.values():
        for one, other in itertools.combinations(members, 2):
            a, b = (tuple(p for p in string[f] if p != "SIL") for f in (one, other))
            distances.append(levenshtein(a, b) / max(len(a), len(b)) if a or b else 1.0)
    result["n_pairs"] = len(distances)
    result["ned"] = math.fsum(distances) / len(distances) if distances else math.nan

    real = {(file, p) for file, found in phones.items() for p in found if p[2] not in {"SIL", "SPN"}}
    result["coverage"] = len({(f[0], p) for f in fragments for p in covered[f]} & real) / len(real)

    def tokens(pairs: set[tuple[Fragment, Fragment]]) -> dict[tuple[str, ...], set]:
        found = defaultdict(set)
        for f in itertools.chain.from_iterable(pairs):
            found[string[f]].add((f[0], covered[f]))
        return found

    found_pairs = {tuple(sorted(p)) for members in classes.values() for p in itertools.combinations(members, 2)}
    gold_pairs = {
        (a, b) for a, b in itertools.combinations(fragments, 2) if string[a] == string[b] and not overlap(a, b)
    }
    found, gold, both = tokens(found_pairs), tokens(gold_pairs), tokens(found_pairs & gold_pairs)
    for name, by_type in (("precision", found), ("recall", gold)):
        total = sum(map(len, by_type.values()))
        weighted = [len(t) / total * len(both.get(s, ())) / len(t) for s, t in by_type.items()]
        result[f"grouping_{name}"] = math.fsum(weighted) if by_type else math.nan

    begin, end = {(f[0], covered[f][0][0]) for f in fragments}, {(f[0], covered[f][-1][1]) for f in fragments}
    true_begin = {(file, w[0]) for file, found in words.items() for w in found}
    true_end = {(file, w[1]) for file, found in words.items() for w in found}
    hits = {b for b in begin if b in true_begin} | {b for b in end if b in true_end}
    result["boundary_precision"] = len(hits) / len(begin | end)
    result["boundary_recall"] = len(hits) / len(true_begin | true_end)

    used, kinds = set(), set()
    for f in fragments:
        touched = [w for w in words.get(f[0], ()) if w[0] < f[2] and w[1] > f[1]]
        if not touched:
            continue
        word = max(touched, key=lambda w: (min(f[2], w[1]) - max(f[1], w[0])) / (w[1] - w[0]))
        if tuple(p[2] for p in phones[f[0]] if p[0] < word[1] and p[1] > word[0]) == string[f]:
            used.add((f[0], word))
            kinds.add(string[f])
    n_words = sum(map(len, words.values()))
    result["token_precision"], result["token_recall"] = len(used) / len(fragments), len(used) / n_words
    result["type_precision"] = len(kinds) / len(set(string.values()))
    result["type_recall"] = len(kinds) / len(Counter(w[2] for found in words.values() for w in found))
    for name in ("grouping", "boundary", "token", "type"):
        result[f"{name}_fscore"] = fscore(result[f"{name}_precision"], result[f"{name}_recall"])
    return result
