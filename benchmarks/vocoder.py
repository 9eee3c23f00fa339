"""The vocoder's speed, in seconds of speech a second: synthesis alone and batched, training; and deviation by batching.

    OMP_NUM_THREADS=1 python benchmarks/vocoder.py [--device cpu]      # one thread
    TEXTLESS_SPEECH=DIR python benchmarks/vocoder.py --speech NAME     # training on the recordings of DIR/NAME

Without recordings training reads noise, which is as quick. Weights are random: speed does not depend on them.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.pop(0)  # this folder, in which this file's name hides the package
sys.path.insert(0, str(Path(__file__).parents[1]))

from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.distributed import select_device
from units.files import Units, write_units
from units.identity import QuantizerIdentity
from units.runs import deduplicate
from vocoder.config import AdversarialConfig, DataConfig, ModelConfig, VocoderConfig
from vocoder.model import VocoderModel
from vocoder.train import train
from vocoder.vocoder import Vocoder

QUANTIZER = QuantizerIdentity(encoder="random", k=100, frame_rate=50.0, sha256="0" * 64)


def random_units(name: str, n_frames: int, seed: int) -> Units:
    labels = np.random.default_rng(seed).integers(100, size=n_frames // 2 + 1).repeat(2)[:n_frames]
    return Units(name, *deduplicate(labels))


class Stopwatch:
    """Prints seconds of speech a second of wall clock and, for a machine that others use too, of CPU time."""

    def __init__(self, label: str, speech: float) -> None:
        self.label, self.speech = label, speech

    def __enter__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        print(f"{self.label:26} {self.speech / wall:8.0f} x real time, {self.speech / cpu:8.0f} x CPU time")


def synthesis(device: torch.device) -> None:
    vocoder = Vocoder(VocoderModel(ModelConfig(), QUANTIZER, ["a", "b"]), device)
    items = [random_units(str(i), 100 + 10 * i, seed=i) for i in range(40)]
    seconds = sum(item.n_frames for item in items) / QUANTIZER.frame_rate
    vocoder.synthesize(items[:2])
    with Stopwatch("synthesis, one at a time", seconds):
        single = [vocoder.synthesize([item])[0] for item in items]
    with Stopwatch("synthesis, batched", seconds):
        batched = vocoder.synthesize(items)
    deviation = max(float((a - b).abs().max()) for a, b in zip(single, batched, strict=True))
    peak = max(float(a.abs().max()) for a in single)
    print(f"{'largest deviation':26} {deviation:8.1e} of a peak of {peak:.2f}")


def corpus(directory: Path, speech: str | None) -> Manifest:
    if speech is None:
        noise = np.random.default_rng(0).normal(size=80_000) * 0.1
        for index in range(20):
            io.save(directory / f"{index}.wav", noise)
        return Manifest(directory, tuple(Utterance(str(i), f"{i}.wav", len(noise), "a") for i in range(20)))
    if "TEXTLESS_SPEECH" not in os.environ:
        raise SystemExit("--speech NAME needs TEXTLESS_SPEECH, the folder that NAME/manifest.tsv lies in")
    return read_manifest(Path(os.environ["TEXTLESS_SPEECH"]) / speech / "manifest.tsv")


def training(device: torch.device, speech: str | None, steps: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        manifest = corpus(directory, speech)
        items = [random_units(u.id, io.info(manifest.audio_path(u)).n_samples // 320, seed=0) for u in manifest]
        write_units(directory / "units.jsonl", QUANTIZER, items)
        write_manifest(directory / "manifest.tsv", manifest)
        data = DataConfig(units=directory / "units.jsonl", manifest=directory / "manifest.tsv")
        for label, start in (("training", None), ("training, adversarial", 0)):
            phase = AdversarialConfig(start_step=start)
            config = VocoderConfig(data=data, steps=2, save_every=0, adversarial=phase)
            train(config, directory / "warm", device_name=str(device), force=True)
            config = config.model_copy(update={"steps": steps})
            with Stopwatch(label, steps * config.batch_size * config.segment_seconds):
                train(config, directory / label, device_name=str(device))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--speech", help="a corpus below TEXTLESS_SPEECH")
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, {options.device}")
    synthesis(select_device(options.device))
    training(select_device(options.device), options.speech, options.steps)
