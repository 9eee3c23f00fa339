"""Unit BPE on growing corpora: time and peak memory of training, and of encoding, each in a process of its own (Linux).

    python benchmarks/bpe.py                                        # 1e6, 1e7 and 1e8 units, 2,000 and 50,000 tokens
    python benchmarks/bpe.py --units 1e6 --vocabulary 2000

Units are a Markov source: K = 500, after each of which one of eight follows, the likelier ones much the likelier, as
deduplicated units of speech do. They are written as they are drawn and never held.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from units.files import Units, write_units
from units.identity import stated_identity

K, SUCCESSORS, RATE = 500, 8, 50.0
UTTERANCE, BLOCK = 500, 2000  # units; utterances drawn together
MEASURED = (  # a command, and its own peak of memory
    "import sys; from textless.cli import build; build()(sys.argv[1:], standalone_mode=False); "
    "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)"
)


def markov_units(n_units: int, seed: int = 0) -> Iterator[Units]:
    """Utterances of `UTTERANCE` units with durations, no unit beside its like."""
    rng = np.random.default_rng(seed)
    following = (
        np.arange(K)[:, None] + 1 + rng.permuted(np.tile(np.arange(K - 1), (K, 1)), axis=1)[:, :SUCCESSORS]
    ) % K
    shares = np.cumsum(0.6 ** np.arange(SUCCESSORS))
    shares /= shares[-1]
    for block in range(-(-n_units // (UTTERANCE * BLOCK))):
        n = min(BLOCK, n_units // UTTERANCE - block * BLOCK)
        units = np.empty((n, UTTERANCE), dtype=np.int64)
        units[:, 0] = rng.integers(0, K, n)
        for step in range(1, UTTERANCE):
            units[:, step] = following[units[:, step - 1], np.searchsorted(shares, rng.random(n))]
        durations = 1 + rng.geometric(0.5, units.shape)
        for row in range(n):
            yield Units(f"{block}-{row}", units[row].tolist(), durations[row].tolist())


def measured(*words: object) -> tuple[float, float]:
    """Seconds and peak memory in MiB of a command."""
    start = time.perf_counter()
    command = [sys.executable, "-c", MEASURED, *map(str, words)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(ran.stderr)
    seconds = time.perf_counter() - start
    return seconds, int(ran.stderr.split()[-2]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=float, nargs="+", default=[1e6, 1e7, 1e8])
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[2000, 50_000])
    parser.add_argument("--folder", type=Path, help="where the corpus is written (6 bytes a unit)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        for size in map(int, arguments.units):
            path = folder / "units.jsonl"
            write_units(path, stated_identity("markov", K, RATE), markov_units(size))
            print(f"{size} units, {path.stat().st_size / 2**20:.0f} MiB", flush=True)
            for vocabulary in arguments.vocabulary:
                seconds, memory = measured(
                    "units", "bpe", "train", path, folder / "bpe", "--vocabulary", vocabulary, "--force"
                )
                print(f"  training, {vocabulary} tokens: {seconds:.1f} s, {memory:.0f} MiB at most", flush=True)
            seconds, memory = measured(
                "units", "bpe", "encode", path, folder / "tokens.jsonl", "--bpe", folder / "bpe", "--force"
            )
            print(f"  encoding: {size / seconds:.3g} units/s, {memory:.0f} MiB at most", flush=True)


if __name__ == "__main__":
    main()
