"""Term discovery: seconds and deviation, beside a program that makes every pair, as the organisers' does.

    python benchmarks/term_discovery.py [--fragments 4000] [--classes 3] [--skip-reference]

Data: words of a random lexicon under a Zipf law, spoken in 20 recordings; fragments are words with shaken ends, in
classes at random. With `--full` every word is a fragment and every word form a class, as segmenters of everything have
it.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from oracles import term_discovery as oracle

from zerospeech_eval.classes import Fragment
from zerospeech_eval.term_discovery import evaluate
from zerospeech_eval.transcribed_speech import Tier, TranscribedSpeech

Tiers = dict[str, list[oracle.Segment]]


def synthesize(n_words: int, seed: int = 0) -> tuple[Tiers, Tiers]:
    """Phones and words of 20 recordings."""
    rng = np.random.default_rng(seed)
    lexicon = [tuple(f"p{p}" for p in rng.integers(0, 40, rng.integers(2, 9))) for _ in range(2000)]
    weights = 1 / np.arange(3, 2003)
    phones: Tiers = {}
    words: Tiers = {}
    for file in (f"f{i}" for i in range(20)):
        time_ms = 0
        phones[file], words[file] = [], []
        for index in rng.choice(2000, n_words // 20, p=weights / weights.sum()):
            start = time_ms
            for phone in lexicon[index]:
                end = time_ms + int(rng.integers(30, 120))
                phones[file].append((time_ms / 1000, end / 1000, phone))
                time_ms = end
            words[file].append((start / 1000, time_ms / 1000, f"w{index}"))
            if rng.random() < 0.15:
                phones[file].append((time_ms / 1000, time_ms / 1000 + 0.2, "SIL"))
                time_ms += 200
    return phones, words


def discover(words: Tiers, n: int, n_classes: int, seed: int = 1) -> dict[str, list[oracle.Fragment]]:
    """`n` words with shaken ends, in classes at random."""
    rng = np.random.default_rng(seed)
    every = [(file, *word[:2]) for file, found in words.items() for word in found]
    classes: dict[str, list[oracle.Fragment]] = {str(k): [] for k in range(n_classes)}
    for i in rng.choice(len(every), n, replace=n > len(every)):
        file, onset, offset = every[i]
        shaken = onset + rng.uniform(-0.04, 0.04), offset + rng.uniform(-0.04, 0.04)
        fragment = file, round(max(0.0, min(shaken)), 4), round(max(shaken) + 0.02, 4)
        classes[str(rng.integers(n_classes))].append(fragment)
    return classes


def tiers(found: Tiers) -> dict[str, Tier]:
    return {file: Tier(*map(list, zip(*rows, strict=True))) for file, rows in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fragments", type=int, default=4000)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--skip-reference", action="store_true")
    arguments = parser.parse_args()
    phones, words = synthesize(max(10_000, arguments.fragments))
    classes = discover(words, arguments.fragments, arguments.classes)
    if arguments.full:
        classes = {}
        for file, found in words.items():
            for onset, offset, word in found:
                classes.setdefault(word, []).append((file, onset, offset))
    speech = TranscribedSpeech(tiers(phones), tiers(words))
    ours_input = {name: [Fragment(*f) for f in members] for name, members in classes.items()}
    n = sum(map(len, classes.values()))
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        ours = evaluate(ours_input, speech)
        times.append(time.perf_counter() - begin)
    print(
        f"{n} fragments in {len(classes)} classes, {ours.n_pairs} pairs, {sum(map(len, words.values()))} words: "
        f"ours first {times[0]:.2f} s, best {min(times):.2f} s, "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    )
    if arguments.skip_reference:
        return
    begin = time.perf_counter()
    theirs = oracle.scores(classes, phones, words)
    seconds = time.perf_counter() - begin
    summary = {"ned": ours.ned, "coverage": ours.coverage}
    for name in ("grouping", "boundary", "token", "type"):
        summary |= {f"{name}_{key}": value for key, value in getattr(ours, name).summary().items()}
    worst = max(abs((summary[name] or 0.0) - theirs[name]) for name in summary)
    print(
        f"every pair {seconds:.1f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB: "
        f"{seconds / min(times):.0f} x; largest difference of {len(summary)} scores {worst:.1e}"
    )


if __name__ == "__main__":
    main()
