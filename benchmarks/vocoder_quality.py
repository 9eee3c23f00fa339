"""What vocoders that were trained for minutes on a CPU keep of speech: what is said, timbre, pitch, and who says it.

    python benchmarks/vocoder_quality.py OUT --speech DIR --encoder ENCODER:LAYER [--arms ...] [--most MINUTES]

DIR (default: TEXTLESS_SPEECH) holds kathleen_en, 46 minutes of one reader, of whose recordings 60 are held out: a
recogniser of phones is trained on the others, and so are all vocoders. The arms differ in units (encoder, K, price of
a change), generator and minutes of training; each is resynthesised from the units of the held-out recordings and
judged by `textless eval resynthesis`. Beside them stand copy synthesis (Griffin-Lim from the true mel spectrogram) and
a recogniser that reads the units themselves (`unit_reader.py`). Arms named `voices` are of the embedded corpus with 20
voices: their own resynthesis, and conversion to another voice.

Minutes are those of two quiet cores; an arm is trained for the number of updates that they take there (see
`UPDATES_A_MINUTE`), so that the figures do not depend on what else the machine does. A stopped run continues. Written
to OUT/one and OUT/many are results.json, table.md, minutes.png and report.html, with sounds.
"""

import argparse
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torchaudio
import unit_reader
import vocoder_quality_page as page

from textless.audio import io
from textless.audio.manifest import Manifest, read_manifest, write_manifest
from textless.corpora.alignment import read_alignment, write_alignment
from textless.files import read_json, sha256, write_json
from textless.pipeline.commands import Commands
from textless.progress import say

CONFIGS = Path(__file__).parents[1] / "examples" / "configs"
CORPUS, HELD_OUT = "kathleen_en", 60
RECOGNIZER_STEPS = {"one": 2000, "many": 700}
READER_STEPS = 800
# `vocoder_speed.py` trains at 133 times real time on two quiet cores, and an update has 10.24 s of speech. An update of
# vocoder-f0 takes 1.27 times its CPU time, one of hifigan-cpu 1.9 times (`Clock` of `vocoder_training.py`).
UPDATES_A_MINUTE = {"vocoder": 780, "vocoder-f0": 610, "hifigan-cpu": 410}
VOICES = {"hours": 0.6, "speakers": 20}
FASTEST = 20.0  # phones a second that a recogniser at 50 Hz can write
SPEAKER_STEPS = 300
EXAMPLES = 3


@dataclass(frozen=True)
class Arm:
    """Units, a vocoder's configuration, and for how long it is trained."""

    name: str
    encoder: str
    k: int
    minutes: tuple[float, ...]
    config: str = "vocoder"
    penalty: float = 0.0  # of a change of units

    @property
    def units(self) -> str:
        """Name of the units, as a folder."""
        return f"{self.encoder}-{self.k}" + (f"-{self.penalty:g}" if self.penalty else "")


ARMS = (
    Arm("ssl-300", "ssl", 300, (0.5, 1.25, 2.5, 5, 10)),
    Arm("ssl-300, F0", "ssl", 300, (2.5,), "vocoder-f0"),
    Arm("ssl-100", "ssl", 100, (1.25,)),
    Arm("mfcc-100", "mfcc@50", 100, (1.25,)),
    Arm("logmel-100", "logmel@50", 100, (1.25,)),
    Arm("ssl-300, lasting", "ssl", 300, (1.25,), penalty=0.5),
    Arm("ssl-300, unit HiFi-GAN", "ssl", 300, (1.25, 2.5, 10), "hifigan-cpu"),
)
VOICE_ARMS = (
    Arm("voices, iSTFT", "ssl", 100, (1.25, 5)),
    Arm("voices, iSTFT, F0", "ssl", 100, (1.25, 5), "vocoder-f0"),
    Arm("voices, log-mel", "logmel@50", 100, (1.25,)),
    Arm("voices, unit HiFi-GAN", "ssl", 100, (1.25, 10), "hifigan-cpu"),
)


class Bench:
    """One corpus, with a judge: manifests `train.tsv` and `test.tsv`, `alignments.tsv`, and what is made of them."""

    def __init__(self, directory: Path, encoder: str) -> None:
        self.directory = directory
        self.encoder = encoder
        self.commands = Commands(directory)
        self.judge = {"recognizer": directory / "recognizer", "text": directory / "alignments.tsv"}

    def units(self, arm: Arm) -> Path:
        """Units of both sets, `train.jsonl` and `test.jsonl` in a folder."""
        folder, features = self.directory / "units" / arm.units, self.directory / "features" / arm.encoder
        spec = self.encoder if arm.encoder == "ssl" else arm.encoder
        for name in ("train", "test"):
            self.commands.run("encoder features", self.directory / f"{name}.tsv", features / name, encoder=spec)
        quantizer = folder / "quantizer"
        self.commands.run(
            "units fit", features / "train", quantizer, k=arm.k, max_frames=50_000, iterations=20,
            duration_penalty=arm.penalty, replace=True,
        )  # fmt: skip
        for name in ("train", "test"):
            self.commands.run(
                "units encode", features / name, folder / f"{name}.jsonl", quantizer=quantizer, replace=True
            )
        return folder

    def pitch(self) -> Path:
        """Pitch of both sets, in a folder."""
        for name in ("train", "test"):
            manifest, store = self.directory / f"{name}.tsv", self.directory / "pitch" / name
            self.commands.run("units prosody pitch", manifest, store, frame_rate=50)
        return self.directory / "pitch"

    def train(self, arm: Arm, minutes: float) -> Path:
        """A vocoder."""
        name = f"{arm.name}-{minutes:g}".replace(", ", "-").replace(" ", "-")
        units, model = self.units(arm), self.directory / "arms" / name / "model"
        steps = round(UPDATES_A_MINUTE[arm.config] * minutes)
        changes = {
            "data.units": units / "train.jsonl",
            "data.manifest": self.directory / "train.tsv",
            "steps": steps,
            "save_every": 250,
            "valid_every": 0,
        }
        if arm.config == "vocoder-f0":
            changes["data.pitch"] = self.pitch() / "train"
        overrides = " ".join(f"--set {key}={value}" for key, value in changes.items())
        self.commands.run(f"vocoder train {overrides}", CONFIGS / f"{arm.config}.toml", model)
        return model

    def speak(self, arm: Arm, model: Path, name: str, **options: object) -> Path:
        """The held-out recordings from their units."""
        spoken = model.with_name(name)
        units = self.units(arm) / "test.jsonl"
        options = {"manifest": self.directory / "test.tsv", **options}
        self.commands.run("vocoder synthesize", units, spoken, model=model, replace=True, **options)
        return spoken

    def compare(self, spoken: Path, **options: object) -> dict[str, Any]:
        """Judge a folder of resyntheses."""
        details = spoken.with_suffix(".tsv")
        test = self.directory / "test.tsv"
        answer: dict[str, Any] = self.commands.run_json(
            "eval resynthesis", test, spoken, **self.judge, details=details, **options
        )
        return answer


def prepare(speech: Path, out: Path) -> None:
    """Deal the recordings to `train.tsv` and `test.tsv`, by a hash of their ids."""
    manifest = read_manifest(speech / CORPUS / "manifest.tsv")
    spoken = read_alignment(speech / CORPUS / "alignments.tsv")
    usable = [utterance for utterance in manifest if utterance.id in spoken]
    held_out = {u.id for u in sorted(usable, key=lambda u: sha256(u.id.encode()))[:HELD_OUT]}
    (out / "alignments.tsv").write_bytes((speech / CORPUS / "alignments.tsv").read_bytes())
    for name, inside in (("train", False), ("test", True)):
        chosen = tuple(u for u in usable if (u.id in held_out) == inside)
        write_manifest(out / f"{name}.tsv", Manifest(manifest.root.resolve(), chosen))


def copy_synthesis(bench: Bench) -> Path:
    """The true mel spectrogram, 80 bands at 100 Hz, put back into sound by Griffin-Lim."""
    out = bench.directory / "copy" / "spoken"
    manifest = read_manifest(bench.directory / "test.tsv")
    shape = {"n_stft": 513, "n_mels": 80, "sample_rate": io.SAMPLE_RATE}
    mel = torchaudio.transforms.MelSpectrogram(io.SAMPLE_RATE, n_fft=1024, hop_length=160, n_mels=80, power=1)
    inverse = torchaudio.transforms.InverseMelScale(**shape, driver="gelsd")
    phases = torchaudio.transforms.GriffinLim(n_fft=1024, hop_length=160, power=1, n_iter=60)
    for utterance in manifest:
        path = out / f"{utterance.id}.wav"
        if not path.exists():
            torch.manual_seed(0)
            waveform = manifest.load(utterance)
            spoken = phases(inverse(mel(waveform)).clamp(min=0))
            io.save(path, torch.nn.functional.pad(spoken, (0, len(waveform) - len(spoken))))
    return out


def one_voice(bench: Bench, chosen: list[str], most: float, results: dict[str, Any]) -> None:
    """All arms on one speaker."""
    bench.commands.run(
        f"eval train-recognizer {bench.directory / 'train.tsv'} {bench.directory / 'alignments.tsv'}",
        bench.directory / "recognizer", steps=RECOGNIZER_STEPS[bench.directory.name], replace=True,
    )  # fmt: skip
    note(bench, results, "copy synthesis, Griffin-Lim", bench.compare(copy_synthesis(bench)))
    for arm in (arm for arm in ARMS if not chosen or arm.name in chosen):
        units = bench.units(arm)
        read = f"units {arm.units}, read directly"
        if read not in results:
            rate = unit_reader.error_rate(units, bench.directory, steps=READER_STEPS)
            note(bench, results, read, {"reader": rate})
        for minutes in (m for m in arm.minutes if m <= most):
            model = bench.train(arm, minutes)
            label = f"{arm.name}, {minutes:g} min"
            if arm.config == "vocoder-f0":
                told = bench.speak(arm, model, "spoken", f0=bench.pitch() / "test")
                predicted = bench.speak(arm, model, "predicted", pitch_from="model")
                note(bench, results, f"{label}, pitch predicted", bench.compare(predicted, units=units / "test.jsonl"))
            else:
                told = bench.speak(arm, model, "spoken")
            note(bench, results, label, bench.compare(told, units=units / "test.jsonl"), arm.name, minutes)


def prepare_voices(bench: Bench) -> None:
    """The embedded corpus: trained on are its training speakers, who say the held-out recordings too."""
    corpus = bench.directory / "corpus"
    bench.commands.run("corpus synth", corpus, **VOICES, replace=True)
    spoken = read_alignment(corpus / "train" / "alignments.tsv") | read_alignment(corpus / "dev" / "alignments.tsv")
    write_alignment(bench.directory / "alignments.tsv", spoken, "phone")
    for name, split in (("train", "train"), ("test", "dev")):
        manifest = read_manifest(corpus / split / "manifest.tsv")
        slow = tuple(u for u in manifest if len(spoken[u.id]) < FASTEST * u.n_samples / io.SAMPLE_RATE)
        write_manifest(bench.directory / f"{name}.tsv", Manifest(manifest.root.resolve(), slow))
    manifest = read_manifest(bench.directory / "test.tsv")
    names = sorted({str(u.speaker) for u in read_manifest(bench.directory / "train.tsv")})
    others = []
    for index, utterance in enumerate(manifest):
        rest = [name for name in names if name != utterance.speaker]
        others.append(replace(utterance, speaker=rest[index % len(rest)]))
    write_manifest(bench.directory / "others.tsv", Manifest(manifest.root, tuple(others)))


def many_voices(bench: Bench, chosen: list[str], most: float, results: dict[str, Any]) -> None:
    """Resynthesis in the same voice and in another."""
    directory = bench.directory
    if not (directory / "others.tsv").exists():
        prepare_voices(bench)
    bench.commands.run(
        f"eval train-recognizer {directory / 'train.tsv'} {directory / 'alignments.tsv'}",
        directory / "recognizer", steps=RECOGNIZER_STEPS[bench.directory.name], replace=True,
    )  # fmt: skip
    changes = f"--set data.manifest={directory / 'train.tsv'} --set steps={SPEAKER_STEPS} --set valid_every=0"
    bench.commands.run(f"speaker train {changes}", CONFIGS / "speaker.toml", directory / "speaker")
    judge = {"speaker_encoder": directory / "speaker"}
    for arm in (arm for arm in VOICE_ARMS if not chosen or arm.name in chosen):
        units = bench.units(arm) / "test.jsonl"
        for minutes in (m for m in arm.minutes if m <= most):
            model = bench.train(arm, minutes)
            told = {"f0": bench.pitch() / "test"} if arm.config == "vocoder-f0" else {}
            own = bench.speak(arm, model, "own", **told)
            spoke = {**told, "sources": directory / "test.tsv"} if told else {}
            other = bench.speak(arm, model, "other", manifest=directory / "others.tsv", **spoke)
            label = f"{arm.name}, {minutes:g} min"
            note(bench, results, f"{label}, own voice", bench.compare(own, units=units, **judge))
            target = {"target_manifest": directory / "train.tsv"}
            note(bench, results, f"{label}, another voice", bench.compare(other, units=units, **judge, **target))


def note(
    bench: Bench, results: dict[str, Any], label: str, answer: dict[str, Any], arm: str = "", minutes: float = 0.0
) -> None:
    """Keep what was found, and write everything found so far."""
    results[label] = {**answer, "arm": arm, "minutes": minutes}
    out = bench.directory
    write_json(out / "results.json", results)
    rows = page.rows(results)
    (out / "table.md").write_text(page.markdown(rows))
    if page.has_minutes(results):
        (out / "minutes.png").write_bytes(page.plot(results))
    say(page.line(page.rows({label: results[label]})[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--speech", type=Path, default=os.environ.get("TEXTLESS_SPEECH"))
    parser.add_argument("--encoder", required=True, help="the SSL encoder of the units `ssl`, DIR:LAYER")
    parser.add_argument("--arms", nargs="+", default=[], help="names of arms (default: all)")
    parser.add_argument("--most", type=float, default=10.0, help="leave out runs of more minutes")
    parser.add_argument("--part", choices=["one", "many", "both"], default="both", help="one voice, many, or both")
    options = parser.parse_args()
    if options.speech is None:
        raise SystemExit("give --speech DIR, or set TEXTLESS_SPEECH")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    parts = {"one": ("one",), "many": ("many",), "both": ("one", "many")}[options.part]
    for part in parts:
        bench = Bench((options.out / part).resolve(), options.encoder)
        bench.directory.mkdir(parents=True, exist_ok=True)
        path = bench.directory / "results.json"
        results: dict[str, Any] = read_json(path) if path.exists() else {}
        if part == "one":
            if not (bench.directory / "test.tsv").exists():
                prepare(options.speech, bench.directory)
            one_voice(bench, options.arms, options.most, results)
        else:
            many_voices(bench, options.arms, options.most, results)
        page.write(bench.directory, results, [done.line for done in bench.commands.finished], EXAMPLES)
        print((bench.directory / "table.md").read_text())
        print(json.dumps({"report": str(bench.directory / "report.html")}))


if __name__ == "__main__":
    main()
