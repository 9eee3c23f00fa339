r"""N-gram models in the ARPA format, which KenLM, SRILM, flashlight and Kaldi read and write.

    \data\
    ngram 1=42
    ngram 2=907

    \1-grams:
    -99<TAB><s><TAB>-0.7           log10 p(w | h), the n-gram hw, log10 of the back-off weight of what begins with it
    -1.2<TAB></s>
    -2.5<TAB>a<TAB>-0.3
    ...
    \end\

A boundary of ours is `<s>` at the beginning of an n-gram and `</s>` at its end. What is written are the probabilities
of the model, interpolation included; its γ(h) are the back-off weights. Models of any smoothing can be read: an n-gram
that is listed has the probability that is listed, whatever that leaves to the lower orders.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from textless.errors import UserError
from textless.files import atomic_write, require
from units.kneser_ney import NgramModel, NgramTable

BEGIN, END = "<s>", "</s>"
NEVER = -99.0  # log10 of the probability of what is never predicted


def write_arpa(path: Path, model: NgramModel, symbols: Sequence[str]) -> None:
    """Write a model; `symbols` are the names of its units 0..K-1.

    Raises:
        UserError: a symbol occurs twice, is empty, holds white space or is one of the format's own.
    """
    _check(symbols, model.k)
    boundary = model.k
    with atomic_write(path) as file:
        counts = [len(table.keys) for table in model.tables]
        counts[0] += 1  # the boundary is two unigrams
        file.write("\\data\\\n" + "".join(f"ngram {m}={count}\n" for m, count in enumerate(counts, 1)))
        grams = np.zeros((1, 0), dtype=np.int64)  # of the order before
        for m, table in enumerate(model.tables, 1):
            history, last = np.divmod(table.keys, model.size)
            grams = np.column_stack([grams[history], last])  # (G, m)
            p = table.backoff[history] * _probabilities(model.tables[: m - 1], grams[:, 1:], model.size)
            logs = _log10(p + table.discounted)
            weights = _log10(model.tables[m].backoff) if m < model.order else np.zeros(len(grams))
            file.write(f"\n\\{m}-grams:\n")
            for gram, log, weight in zip(grams.tolist(), logs.tolist(), weights.tolist(), strict=True):
                words = [BEGIN if token == boundary else symbols[token] for token in gram]
                tail = f"\t{weight:.7g}" if m < model.order else ""
                if gram[-1] == boundary:
                    if m == 1:
                        file.write(f"{NEVER:g}\t{BEGIN}{tail}\n")
                    words[-1], tail = END, ""
                file.write(f"{log:.7g}\t{' '.join(words)}{tail}\n")
        file.write("\n\\end\\\n")


def read_arpa(path: Path) -> tuple[NgramModel, list[str]]:
    """Read a model and the names of its units 0..K-1, in the order of the file (`<unk>`, if there, is one of them).

    Raises:
        UserError: it is not an ARPA file, is cut off, or lists an n-gram without the n-gram it continues.
    """
    orders: list[dict[tuple[str, ...], tuple[float, float]]] = []
    for m, words, log, weight in _lines(path):
        while len(orders) < m:
            orders.append({})
        orders[m - 1][words] = (log, weight)
    symbols = [words[0] for words in orders[0] if words[0] not in {BEGIN, END}]
    numbers = {symbol: number for number, symbol in enumerate(symbols)} | {BEGIN: len(symbols), END: len(symbols)}
    size = len(symbols) + 1
    backoff = np.zeros(1)  # of the empty history: every unigram is listed
    tables: list[NgramTable] = []
    for m, found in enumerate(orders, 1):
        listed = [(words, values) for words, values in found.items() if m > 1 or words[0] != BEGIN]
        try:
            grams = np.array([[numbers[word] for word in words] for words, _ in listed], dtype=np.int64).reshape(-1, m)
        except KeyError as error:
            raise UserError(f"{path} has an n-gram with {error}, which is no unigram") from error
        history = _find(tables, grams[:, :-1], size)
        if (history < 0).any():
            words = listed[int(np.argmin(history))][0]
            raise UserError(f"{path} lists {' '.join(words)!r} without {' '.join(words[:-1])!r}")
        keys = history * size + grams[:, -1]
        order = np.argsort(keys)
        p = np.array([10.0**log for _, (log, _) in listed])
        lower = _probabilities(tables, grams[:, 1:], size)
        tables.append(NgramTable(keys[order], (p - backoff[history] * lower)[order], backoff))
        weights = {words: weight for words, (_, weight) in found.items()}
        if m == 1:
            weights[END,] = weights.get((BEGIN,), 0.0)  # one token of ours
        backoff = np.array([10.0 ** weights[listed[place][0]] for place in order.tolist()])
    return NgramModel(len(symbols), tables), symbols


def _lines(path: Path) -> Iterator[tuple[int, tuple[str, ...], float, float]]:
    """Order, words, log10 of probability and of back-off weight of every n-gram of a file, checked for wholeness."""
    declared: dict[int, int] = {}
    seen: dict[int, int] = {}
    m, ended = 0, False
    with require(path, "ARPA file").open(encoding="utf-8") as file:
        for number, raw in enumerate(file, 1):
            line = raw.strip()
            try:
                if line.startswith("ngram ") and not m:
                    order, count = line.removeprefix("ngram ").split("=")
                    declared[int(order)], seen[int(order)] = int(count), 0
                elif line == "\\end\\":
                    ended = True
                    break
                elif line.endswith("-grams:") and line.startswith("\\"):
                    m = int(line[1 : -len("-grams:")])
                elif line and m:
                    log, *words = line.split()
                    weight = float(words.pop()) if len(words) == m + 1 else 0.0
                    if len(words) != m:
                        raise ValueError
                    seen[m] += 1
                    yield m, tuple(words), float(log), weight
            except (ValueError, KeyError) as error:
                raise UserError(f"{path}:{number} is not a line of an ARPA file: {line[:80]!r}") from error
    if not declared or not ended or declared != seen:
        raise UserError(f"{path} is not a whole ARPA file: it declares {declared} n-grams and has {seen}")


def _find(tables: Sequence[NgramTable], grams: np.ndarray, size: int) -> np.ndarray:
    """Numbers `(G,)` of n-grams `(G, m)` in the table of their order; -1 where they are not listed."""
    number = np.zeros(len(grams), dtype=np.int64)
    for table, tokens in zip(tables, grams.T, strict=False):
        key = np.where(number >= 0, number * size + tokens, -1)
        place = np.minimum(np.searchsorted(table.keys, key), len(table.keys) - 1)
        number = np.where((number >= 0) & (table.keys[place] == key), place, -1)
    return number


def _probabilities(tables: Sequence[NgramTable], grams: np.ndarray, size: int) -> np.ndarray:
    """Probability `(G,)` of the last token of each n-gram `(G, m)` after those before it; uniform for m = 0."""
    probability = np.full(len(grams), 1 / size)
    for m, table in enumerate(tables, 1):
        suffix = grams[:, grams.shape[1] - m :]
        history = _find(tables, suffix[:, :-1], size)
        probability = np.where(history >= 0, probability * table.backoff[history], probability)
        number = _find(tables, suffix, size)
        probability += np.where(number >= 0, table.discounted[number], 0.0)
    return probability


def _log10(p: np.ndarray) -> np.ndarray:
    return np.log10(np.maximum(p, 10.0**NEVER))


def _check(symbols: Sequence[str], k: int) -> None:
    if len(symbols) != k:
        raise ValueError(f"{k} units but {len(symbols)} symbols")
    bad = [s for s in symbols if not s or s in {BEGIN, END} or any(c.isspace() for c in s)]
    if bad:
        raise UserError(
            f"{bad[0]!r} cannot stand in an ARPA file: a symbol has no white space and is not {BEGIN}, {END}"
        )
    if len(set(symbols)) < len(symbols):
        raise UserError("a symbol occurs twice among those of the model")
