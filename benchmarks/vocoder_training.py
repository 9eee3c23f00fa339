"""Training of both generators beside the plain implementation (`plain_vocoder.py`), and the deviation between them.

    OMP_NUM_THREADS=1 python benchmarks/vocoder_training.py [istft hifigan published] [--speech NAME]

`istft` and `hifigan` are the configurations `vocoder.toml` and `hifigan-cpu.toml`; `published` is `hifigan.toml`, V1
with its discriminators, in batches of `--batch`. The competitors train in turn, `--rounds` times; of each counts the
quickest update, in wall clock and, for a machine that others use too, in CPU time. Recordings are those of
TEXTLESS_SPEECH/NAME, or noise. Deviations are of waveforms and losses with equal weights, in float32.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import plain_vocoder as plain
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from vocoder_speed import QUANTIZER, V1, corpus, original, random_units

from textless.audio import io
from textless.audio.manifest import Manifest, write_manifest
from units.files import Units, write_units
from vocoder.checkpoints import load_foreign
from vocoder.config import VocoderConfig
from vocoder.critics import Critic
from vocoder.discriminators import discriminator_loss, feature_matching, generator_loss
from vocoder.frames import expand_frames, pad_frames
from vocoder.generator import Generator
from vocoder.losses import Sound, SpectralLoss
from vocoder.train import train
from vocoder.voices import Voices

CONFIGS = Path(__file__).parents[1] / "examples" / "configs"
RECORDINGS = 60  # few: reading them all is not what is measured
NAMES = {"istft": "vocoder", "hifigan": "hifigan-cpu", "published": "hifigan"}


@dataclass(frozen=True)
class Data:
    """Recordings and their units, for both programs."""

    directory: Path
    recordings: list[tuple[Path, torch.Tensor]]
    items: list[Units]

    def config(self, name: str, steps: int, batch_size: int | None) -> VocoderConfig:
        """A ready configuration for these."""
        changes = {"data.units": self.directory / "units.jsonl", "data.manifest": self.directory / "manifest.tsv"}
        changes |= {"steps": steps, "save_every": 0, "valid_every": 0}
        changes |= {} if batch_size is None else {"batch_size": batch_size}
        return VocoderConfig.load(CONFIGS / f"{NAMES[name]}.toml", [f"{key}={value}" for key, value in changes.items()])


def prepare(directory: Path, speech: str | None) -> Data:
    found = corpus(directory, speech)
    manifest = Manifest(found.root, found.utterances[:RECORDINGS])
    items = [random_units(u.id, io.info(manifest.audio_path(u)).n_samples // 320, seed=0) for u in manifest]
    write_units(directory / "units.jsonl", QUANTIZER, items)
    write_manifest(directory / "manifest.tsv", manifest)
    labels = [torch.tensor(item.units).repeat_interleave(torch.tensor(item.durations)) for item in items]
    return Data(directory, [(manifest.audio_path(u), x) for u, x in zip(manifest, labels, strict=True)], items)


def train_plainly(config: VocoderConfig, data: Data) -> None:
    """The same updates, but for the duration predictor, which takes next to nothing."""
    size = round(config.segment_seconds * 50)
    batches = plain.batches(plain.Segments(data.recordings, size), config.batch_size)
    istft, adversarial = config.model.kind == "istft", config.adversarial.start_step == 0
    spectral = plain.SpectralLoss(config.loss)
    generator = (
        plain.ISTFTGenerator(config.model, 100, 1) if istft else plain.UnitHifigan(config.model.hifigan, QUANTIZER.k)
    )
    optimizer = torch.optim.AdamW(generator.parameters(), lr=config.optimizer.lr, betas=config.optimizer.betas)
    critic = Critic(config.adversarial, len(config.loss.fft_sizes))  # of PyTorch's own layers as it is
    critic_optimizer = torch.optim.AdamW(critic.parameters(), lr=config.adversarial.lr, betas=config.optimizer.betas)
    for _ in range(config.steps):
        units, waveform = next(batches)
        if istft:
            places = torch.zeros(*units.shape, 2)
            made = generator(units, places, torch.zeros(len(units), dtype=torch.long))
        else:
            made = generator(units)
        if adversarial:
            critic_optimizer.zero_grad()
            discriminator_loss(critic(Sound(waveform, ())), critic(Sound(made.detach(), ()))).mean().backward()
            critic_optimizer.step()
        mel, stft = spectral(made, waveform)
        loss = config.loss.mel * mel + config.loss.stft * stft
        if adversarial:
            real, fake = critic(Sound(waveform, ())), critic(Sound(made, ()))
            loss = loss + generator_loss(fake).mean() + 2 * feature_matching(real, fake).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def deviation(config: VocoderConfig, data: Data) -> tuple[float, float]:
    """Largest difference of waveforms, relative to the peak, and relative difference of the loss."""
    torch.manual_seed(0)
    size = round(config.segment_seconds * 50)
    long = [(path, item) for (path, _), item in zip(data.recordings, data.items, strict=True) if item.n_frames >= size]
    cut = [expand_frames(item.units, item.durations or []).cut(0, size) for _, item in long[:2]]
    frames, lengths = pad_frames(cut)
    waveform = torch.stack([io.load(path)[: size * 320] for path, _ in long[:2]])
    voices = Voices(torch.zeros(2, dtype=torch.long))
    if config.model.kind == "istft":
        ours = Generator(config.model, QUANTIZER.k, 1, 50.0).eval()
        theirs = plain.ISTFTGenerator(config.model, QUANTIZER.k, 1).copy(ours)
        made = ours(frames, voices, lengths), theirs(frames.units, frames.features, voices.speakers)
    else:
        shape = config.model.hifigan
        said = V1 | {
            "upsample_initial_channel": shape.channels,
            "upsample_rates": shape.rates,
            "upsample_kernel_sizes": shape.kernels,
            "resblock_kernel_sizes": shape.block_kernels,
            "resblock_dilation_sizes": shape.block_dilations,
        }
        state = original.random_state(said, tuple(f"parametrizations.weight.original{i}" for i in (0, 1)))
        folder = data.directory / "weights"
        folder.mkdir(exist_ok=True)
        torch.save({"generator": state}, folder / "g_00000000")
        (folder / "config.json").write_text(json.dumps(said))
        published = plain.UnitHifigan(shape, QUANTIZER.k)
        published.load_state_dict(state)
        model = load_foreign(folder / "g_00000000", QUANTIZER)
        made = model.generator(frames, voices, lengths), published(frames.units)
    loss = SpectralLoss(config.loss)
    distances = loss(loss.hear(made[0]), loss.hear(waveform), lengths * 320)
    mel, stft = plain.SpectralLoss(config.loss)(made[1], waveform)
    found = config.loss.mel * distances["mel"].mean() + config.loss.stft * distances["stft"].mean()
    expected = config.loss.mel * mel + config.loss.stft * stft
    difference = float((made[0] - made[1]).detach().abs().max() / made[1].detach().abs().max())
    return difference, float((found - expected).detach().abs() / expected.detach())


class Clock:
    """Wall clock and CPU time of every update, taken where it ends: after a step of the generator's optimizer."""

    def __init__(self, n_optimizers: int) -> None:
        self.n_optimizers = n_optimizers
        self.times: list[tuple[float, float]] = []

    def __call__(self, *_: object) -> None:
        self.times.append((time.perf_counter(), time.process_time()))

    def best(self, run: Callable[[], None]) -> tuple[float, float]:
        """Least wall clock and least CPU time of an update of one run; the first two warm up."""
        self.times.clear()
        hook = register_optimizer_step_post_hook(self)
        run()
        hook.remove()
        ends = self.times[:: self.n_optimizers][2:]
        wall, cpu = (min(b[i] - a[i] for a, b in pairwise(ends)) for i in (0, 1))
        return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["istft", "hifigan"])
    parser.add_argument("--speech", help="a corpus below TEXTLESS_SPEECH")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, help="segments an update (default: the configuration's)")
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        data = prepare(Path(name), options.speech)
        for what in options.what:
            config = data.config(what, 1, options.batch)
            whole = data.config(what, options.steps + 3, options.batch)
            competitors: dict[str, Callable[[], None]] = {
                "plain": lambda whole=whole: train_plainly(whole, data),
                "ours": lambda whole=whole, out=data.directory / what: train(whole, out, device_name="cpu", force=True),
            }
            clock = Clock(2 if config.adversarial.start_step == 0 else 1)
            best = dict.fromkeys(competitors, (float("inf"), float("inf")))
            for _ in range(options.rounds):
                for label, run in competitors.items():
                    wall, cpu = clock.best(run)
                    best[label] = min(best[label][0], wall), min(best[label][1], cpu)
            speech = config.batch_size * config.segment_seconds
            for label, (wall, cpu) in best.items():
                print(
                    f"{NAMES[what]:12} {label:6} {1 / wall:7.2f} updates/s ({speech / wall:6.1f} x real time), "
                    f"{1 / cpu:7.2f} a second of CPU time; {best['plain'][1] / cpu:.2f} x plain"
                )
            waveforms, loss = deviation(config, data)
            print(f"{NAMES[what]:12} deviation of waveforms {waveforms:.1e}, of the loss {loss:.1e}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
