"""The vocoders' speed, in seconds of speech a second, beside the original's and the hardware's; and deviations.

    OMP_NUM_THREADS=1 python benchmarks/vocoder_speed.py istft           # one thread
    OMP_NUM_THREADS=2 python benchmarks/vocoder_speed.py hifigan         # against the original, operation by operation
    TEXTLESS_SPEECH=DIR python benchmarks/vocoder_speed.py training --speech NAME  # on the recordings of DIR/NAME

Every figure is the best of several runs that alternate between the competitors, in wall clock and, for a machine that
others use too, in CPU time of all threads. Weights are random: speed does not depend on them. Without recordings
training reads noise, which is as quick.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/oracles"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import hifigan as original

from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.distributed import select_device
from units.files import Units, write_units
from units.identity import stated_identity
from units.runs import deduplicate
from vocoder.checkpoints import load_foreign
from vocoder.config import AdversarialConfig, DataConfig, ModelConfig, VocoderConfig
from vocoder.model import VocoderModel
from vocoder.train import train
from vocoder.vocoder import Vocoder

QUANTIZER = stated_identity("random", 100, 50.0)
# HiFi-GAN V1 on 100 units at 50 Hz: the size of every published unit vocoder
V1: dict[str, Any] = original.CONFIG | {
    "upsample_initial_channel": 512,
    "embedding_dim": 128,
    "num_embeddings": 100,
}


def random_units(name: str, n_frames: int, seed: int) -> Units:
    labels = np.random.default_rng(seed).integers(100, size=n_frames // 2 + 1).repeat(2)[:n_frames]
    return Units(name, *deduplicate(labels))


def race(competitors: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Best wall clock and best CPU time of each, in seconds."""
    best = dict.fromkeys(competitors, (float("inf"), float("inf")))
    for turn in range(rounds + 1):
        for name, run in competitors.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if turn:  # the first warms up
                best[name] = min(best[name][0], wall), min(best[name][1], cpu)
    return best


def matmul_rate(dtype: torch.dtype) -> tuple[float, float]:
    """Highest measured rate of matrix products, in operations a second of wall clock and of CPU time."""
    rates = []
    for size in (512, 1024, 2048):
        a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
        wall, cpu = race({"": lambda a=a, b=b: a @ b}, 12)[""]
        rates.append((2 * size**3 / wall, 2 * size**3 / cpu))
    return max(rate[0] for rate in rates), max(rate[1] for rate in rates)


def decibels(signal: torch.Tensor, difference: torch.Tensor) -> float:
    return float(10 * torch.log10(signal.square().sum() / difference.square().sum()))


@torch.inference_mode()
def hifigan(seconds: float, rounds: int) -> None:
    state = original.random_state(V1, None)
    state["conv_post.weight"] *= 0.1  # about as loud as speech: saturated samples would flatter or hide deviations
    with tempfile.TemporaryDirectory() as name:
        torch.save({"generator": state}, Path(name) / "g_00400000")
        (Path(name) / "config.json").write_text(json.dumps(V1))
        device = torch.device("cpu")
        ours = {p: Vocoder(load_foreign(Path(name) / "g_00400000", QUANTIZER), device, p) for p in ("fp32", "bf16")}
    item = random_units("a", round(seconds * 50), seed=0)
    labels = torch.tensor(item.units).repeat_interleave(torch.tensor(item.durations))
    with FlopCounterMode(display=False) as counter:
        ours["fp32"].synthesize([item])
    flops = counter.get_total_flops()
    print(f"unit HiFi-GAN V1: {flops / seconds / 1e9:.1f} GFLOP a second of speech, utterance of {seconds:g} s")
    expected = original.synthesize(state, V1, labels)
    found = race(
        {"original, fp32": lambda: original.synthesize(state, V1, labels)}
        | {f"ours, {p}": lambda v=v: v.synthesize([item]) for p, v in ours.items()},
        rounds,
    )
    rates = {"fp32": matmul_rate(torch.float32), "bf16": matmul_rate(torch.bfloat16)}
    before = found["original, fp32"]
    for label, (wall, cpu) in found.items():
        peak = rates[label[-4:]]
        print(
            f"{label:16} {seconds / wall:7.1f} x real time ({before[0] / wall:4.2f} x the original), "
            f"{seconds / cpu:7.1f} x CPU time ({before[1] / cpu:4.2f} x); "
            f"{100 * flops / wall / peak[0]:3.0f} % (CPU time {100 * flops / cpu / peak[1]:3.0f} %) of matrix products"
        )
    for precision, vocoder in ours.items():
        difference = vocoder.synthesize([item])[0] - expected
        largest, peak = float(difference.abs().max()), float(expected.abs().max())
        print(
            f"deviation, {precision}: {largest:.1e} of a peak of {peak:.2f}, "
            f"signal to difference {decibels(expected, difference):.1f} dB"
        )


def istft(device: torch.device, rounds: int) -> None:
    vocoder = Vocoder(VocoderModel(ModelConfig(), QUANTIZER, ["a", "b"]), device)
    items = [random_units(str(i), 100 + 10 * i, seed=i) for i in range(40)]
    seconds = sum(item.n_frames for item in items) / QUANTIZER.frame_rate
    found = race(
        {
            "iSTFT, one at a time": lambda: [vocoder.synthesize([item]) for item in items],
            "iSTFT, batched": lambda: vocoder.synthesize(items),
        },
        rounds,
    )
    for label, (wall, cpu) in found.items():
        print(f"{label:26} {seconds / wall:8.0f} x real time, {seconds / cpu:8.0f} x CPU time")
    single = [vocoder.synthesize([item])[0] for item in items]
    deviation = max(float((a - b).abs().max()) for a, b in zip(single, vocoder.synthesize(items), strict=True))
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
            wall, cpu = time.perf_counter(), time.process_time()
            train(config, directory / label, device_name=str(device))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            seconds = steps * config.batch_size * config.segment_seconds
            print(f"{label:26} {seconds / wall:8.0f} x real time, {seconds / cpu:8.0f} x CPU time")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["istft", "hifigan", "training"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--speech", help="a corpus below TEXTLESS_SPEECH")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the unit HiFi-GAN's utterance")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, {options.device}")
    if "istft" in options.what:
        istft(select_device(options.device), options.rounds)
    if "hifigan" in options.what:
        hifigan(options.seconds, options.rounds)
    if "training" in options.what:
        training(select_device(options.device), options.speech, options.steps)
