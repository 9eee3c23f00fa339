"""Whether adversarial training converges: phones of a text, planted in noise, are found again without a label.

    python benchmarks/uasr_planted.py OUT [--set updates=20000 ...]
    python benchmarks/uasr_planted.py OUT --phones espeak:en-us [--text sentences.txt]
    python benchmarks/uasr_planted.py OUT --segments --set initial=matching --set instance_noise=0 \
        --set generator_optimizer.lr=5e-5

Some sentences are spoken, so to say: every phone becomes one row of features (now and then two), a random vector of its
own plus noise. The rest is the unpaired text. The configuration is that of
examples/configs/asr-gan-cpu.toml. Training sees rows and text; this script, which knows what was planted, reads every
checkpoint that it leaves and prints the phone error rate. A stopped script goes on. OUT/curve.json has the figures, and
OUT/curve.png a picture of them.

The sentences are of a planted language of 20 phones, in which no phone follows itself; or, with --phones, of natural
text as the prepared folders have it (without --text the documentation of Python's own modules, 5,000 sentences). With
--segments the rows are cut by their clusters as speech is, which is what a generator that starts from matching needs.
"""

import argparse
import ast
import json
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from textless.features.store import StoreHeader, write_header, write_shard
from textless.files import write_json
from textless.provenance import make_header
from textless.training.checkpoint import RESUME_NAME
from textless.training.run import read_metrics
from units.compare import edit_distance
from unsup_asr.gan.config import GanConfig
from unsup_asr.gan.generator import Generator
from unsup_asr.gan.model import PhoneRecognizer
from unsup_asr.gan.unpaired import load_unpaired
from unsup_asr.phone_text import FORMAT, HEADER, PHONES, VERSION, PhoneText
from unsup_asr.prepare_speech import SpeechOptions, prepare_speech
from unsup_asr.prepare_text import TextOptions, prepare_text
from unsup_asr.selection import without

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from oracles.planted_language import Language, spoken_rows, unequal_neighbours

CONFIG = Path(__file__).parents[1] / "examples/configs/asr-gan-cpu.toml"
SPOKEN = "spoken.txt"  # what the planted utterances say
JUDGED = 200  # utterances that errors are counted in
CLUSTERS = 64  # with --segments
SENTENCES = 12_000  # of the planted language, spoken and text together


def documentation() -> Iterator[str]:
    """Sentences of plain words in the documentation of the standard library."""
    seen = set()
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if {"site-packages", "test", "tests"} & set(path.parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                words = re.sub(r"\s+", " ", ast.get_docstring(node) or "")
                for sentence in re.split(r"(?<=[.!?])\s+", words):
                    plain = sentence.rstrip(".!?").replace(",", "").lower()
                    if re.fullmatch(r"[a-z' ]+", plain) and 5 <= len(plain.split()) <= 25 and plain not in seen:
                        seen.add(plain)
                        yield plain


def planted_text(out: Path) -> None:
    """Sentences of a language of 20 phones, in which none follows itself."""
    names = [f"p{number:02}" for number in range(20)]
    out.mkdir(parents=True)
    write_json(out / HEADER, make_header(FORMAT, VERSION, phones=names))
    sentences = map(unequal_neighbours, Language(0).sentences(SENTENCES, 1))
    (out / PHONES).write_text("".join(" ".join(names[p] for p in s) + "\n" for s in sentences), encoding="utf-8")


def natural_text(out: Path, options: argparse.Namespace) -> None:
    """Sentences of natural text, as phones."""
    source = options.text
    if source is None:
        source = out.parent / "sentences.txt"
        sentences = list(documentation())
        np.random.default_rng(0).shuffle(sentences)
        source.write_text("\n".join(sentences) + "\n", encoding="utf-8")
    print(prepare_text(source, out, TextOptions(options.phones, min_phone_count=options.min_phone_count)), flush=True)


def plant(out: Path, options: argparse.Namespace) -> None:
    """Write OUT/features, OUT/text and OUT/spoken.txt."""
    if options.phones is None:
        planted_text(out / "all")
    else:
        natural_text(out / "all", options)
    lines = (out / "all" / PHONES).read_text(encoding="utf-8").splitlines()
    spoken, text = lines[: options.utterances], lines[options.utterances :]
    shutil.copytree(out / "all", out / "text", dirs_exist_ok=True)
    (out / "text" / PHONES).write_text("\n".join(text) + "\n", encoding="utf-8")
    names = PhoneText.load(out / "all").phones
    numbers = {name: number for number, name in enumerate(names)}
    rows = spoken_rows(
        [np.array([numbers[name] for name in line.split()]) for line in spoken],
        options.planted_seed,
        n_phones=len(names),
        dim=options.dim,
        noise=options.noise,
        repeated=options.repeated,
    )
    features = {f"u{index:05d}": row for index, row in enumerate(rows)}
    write_header(out / "features", StoreHeader("planted", "0" * 64, options.dim, 14.0, 1, "0" * 64))
    write_shard(out / "features", 0, 1, features)
    (out / SPOKEN).write_text("\n".join(spoken) + "\n", encoding="utf-8")


class Errors:
    """Phone errors of the generator that a checkpoint holds, silences apart."""

    def __init__(self, out: Path, config: GanConfig) -> None:
        self.text = PhoneText.load(out / "text")
        numbers = {name: number for number, name in enumerate(self.text.phones)}
        lines = (out / SPOKEN).read_text(encoding="utf-8").splitlines()[:JUDGED]
        self.said = [without(np.array([numbers[n] for n in line.split()]), self.text.silence) for line in lines]
        data = load_unpaired(config.data)
        self.rows, self.front_end, self.config = data.speech[:JUDGED], data.front_end, config.generator

    def of(self, checkpoint: Path) -> tuple[int, float]:
        """The update reached, and the error rate in percent."""
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        generator = Generator(self.config, self.front_end.dim, len(self.text.phones))
        generator.load_state_dict(state["parts"]["generator"])
        return int(state["step"]), self.rate(generator)

    def rate(self, generator: Generator) -> float:
        heard = PhoneRecognizer(generator, self.front_end, self.text.phones).transcribe(self.rows)
        heard = [without(phones, self.text.silence) for phones in heard]
        wrong = sum(edit_distance(a, b) for a, b in zip(self.said, heard, strict=True))
        return 100 * wrong / sum(map(len, self.said))


def draw(path: Path, runs: list[Path]) -> None:
    """A picture of one or more folders that this script has filled."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for out in runs:
        axes[0].plot(*zip(*json.loads((out / "curve.json").read_text()), strict=True), label=out.name)
        metrics = [row for row in read_metrics(out / "run") if "weighted_perplexity" in row]
        for axis, key in zip(axes[1:], ("weighted_perplexity", "divergence_4"), strict=True):
            axis.plot([row["step"] for row in metrics], [row[key] for row in metrics])
    axes[0].set(title="phone errors, %", ylim=(0, 100))
    axes[1].set(title="weighted perplexity", ylim=(0, None))
    axes[2].set(title="divergence of 4-grams, bits", ylim=(0, 1))
    for axis in axes:
        axis.set_xlabel("updates")
        axis.grid(alpha=0.3)
    if len(runs) > 1:
        figure.legend(loc="outside lower center", ncols=len(runs))
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--phones", help="of natural text, as for prepare-text; default: the planted language")
    parser.add_argument("--text", type=Path, help="natural text, a sentence a line")
    parser.add_argument("--min-phone-count", type=int, default=200)
    parser.add_argument("--utterances", type=int, default=3000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--noise", type=float, default=1.0, help="standard deviation; that of the phones is 1")
    parser.add_argument("--repeated", type=float, default=0.15, help="share of phones that give two rows")
    parser.add_argument("--planted-seed", type=int, default=0, help="of the phones' vectors and the noise")
    parser.add_argument("--segments", action="store_true", help="cut the rows by their clusters, as speech is")
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="earlier OUTs to draw into the same picture")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if not (out / SPOKEN).exists():
        plant(out, options)
    if options.segments and not (out / "segments").exists():
        prepare_speech(out / "features", out / "segments", SpeechOptions(pca=options.dim, clusters=CLUSTERS))
    speech = out / ("segments" if options.segments else "features")
    settings = [f"data.speech={speech}", f"data.text={out / 'text'}", "data.pool=1", *options.set]
    config = GanConfig.load(options.config, settings)
    errors = Errors(out, config)
    words = [sys.executable, "-m", "textless", "asr", "train", str(options.config), str(out / "run"), "--device", "cpu"]
    checkpoint = out / "run" / RESUME_NAME
    curve = json.loads((out / "curve.json").read_text()) if (out / "curve.json").exists() else []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends the training, too
    began, seen = time.monotonic(), 0.0
    with (out / "train.log").open("ab") as log:
        training = subprocess.Popen([*words, *(w for s in settings for w in ("--set", s))], stdout=log, stderr=log)
        try:
            while (running := training.poll() is None) or (checkpoint.exists() and checkpoint.stat().st_mtime > seen):
                if checkpoint.exists() and checkpoint.stat().st_mtime > seen:
                    seen = checkpoint.stat().st_mtime
                    curve.append(errors.of(checkpoint))
                    (out / "curve.json").write_text(json.dumps(curve))
                    print(
                        f"{curve[-1][0]:7} updates: {curve[-1][1]:5.1f} %   {time.monotonic() - began:7.0f} s",
                        flush=True,
                    )
                elif running:
                    time.sleep(2)
        finally:
            training.terminate()
            training.wait()
    if curve:
        draw(out / "curve.png", [*options.beside, out])
        print(f"best of all checkpoints {min(rate for _, rate in curve):.1f} %, last {curve[-1][1]:.1f} %")


if __name__ == "__main__":
    main()
