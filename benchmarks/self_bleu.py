"""Self-BLEU and auto-BLEU: seconds and deviation, beside plain loops and, where it is installed, nltk.

    python benchmarks/self_bleu.py [--texts 150] [--words 30] [--many 20000]

Texts are words under a Zipf law. The loops take time that grows with the square of the number of texts; `--many` texts
are measured with ours alone.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from oracles import bleu as oracle

from zerospeech_eval.ngram_overlap import auto_bleu, self_bleu


def texts_of(count: int, words: int) -> list[list[str]]:
    rng = np.random.default_rng(0)
    return [[f"w{w}" for w in rng.zipf(1.4, size=rng.integers(words // 2, 3 * words // 2 + 1))] for _ in range(count)]


def timed(function: Callable[[], Sequence[float]]) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    return np.asarray(function()), time.perf_counter() - start


def nltk_self_bleu(texts: list[list[str]], order: int) -> list[float]:
    from nltk.translate.bleu_score import sentence_bleu

    warnings.filterwarnings("ignore", module="nltk")
    weights = (1 / order,) * order
    return [sentence_bleu(texts[:i] + texts[i + 1 :], text, weights=weights) for i, text in enumerate(texts)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=150)
    parser.add_argument("--words", type=int, default=30)
    parser.add_argument("--many", type=int, default=20_000)
    options = parser.parse_args()
    texts = texts_of(options.texts, options.words)
    for order in (2, 3):
        ours, seconds = timed(lambda: self_bleu(texts, order, brevity_penalty=True))  # noqa: B023 - called at once
        peers = {"plain loops": lambda: oracle.self_bleu(texts, order, brevity_penalty=True)}  # noqa: B023
        try:
            import nltk  # noqa: F401

            peers["nltk"] = lambda: nltk_self_bleu(texts, order)  # noqa: B023
        except ImportError:
            print("nltk is not installed: left out")
        for name, peer in peers.items():
            theirs, theirs_seconds = timed(peer)
            print(
                f"self-BLEU-{order} of {len(texts)} texts: {seconds:.4f} s, {name} {theirs_seconds:.2f} s "
                f"({theirs_seconds / seconds:.0f} x), largest deviation {np.abs(ours - theirs).max():.1e}"
            )
        ours, seconds = timed(lambda: auto_bleu(texts, order))  # noqa: B023
        theirs, theirs_seconds = timed(lambda: [oracle.auto_bleu(text, order) for text in texts])  # noqa: B023
        print(
            f"auto-BLEU-{order} of {len(texts)} texts: {seconds:.4f} s, plain loops {theirs_seconds:.2f} s "
            f"({theirs_seconds / seconds:.0f} x), largest deviation {np.abs(ours - theirs).max():.1e}"
        )
    many = texts_of(options.many, options.words)
    print(f"self-BLEU-2 of {len(many)} texts: {timed(lambda: self_bleu(many))[1]:.2f} s")


if __name__ == "__main__":
    main()
