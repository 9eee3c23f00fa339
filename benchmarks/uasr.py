"""Speed of adversarial training beside a literal implementation of the released code's updates, and their difference.

    python benchmarks/uasr.py [--threads 1] [--batch 32] [--length 60] [--dim 512] [--width 384]
    python benchmarks/uasr.py --device cuda --batch 160 --length 250

Theirs is `tests/oracles/wav2vec_u.py`: torch's convolutions, a loop over sentences where runs are joined, the gradient
penalty by differentiating twice. Ours makes the same updates, of the same parameters by the same draws; the largest
difference of a parameter after a few of them is printed first. Then pairs of updates (one of each network) of both take
turns, and the middle round counts. Lines marked * compute something else: in bfloat16, with sentences cropped to a
length, or with the penalty every fourth time. The last lines are several seeds as one model, by `torch.func.vmap` over
their discriminators, against one after the other.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from unsup_asr.gan.adversaries import Adversaries, SpeechBatch
from unsup_asr.gan.config import DataConfig, DiscriminatorConfig, GanConfig
from unsup_asr.gan.data import one_hot

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from oracles.wav2vec_u import LiteralDiscriminator, LiteralGenerator, LiteralTraining

WEIGHTS = {"smoothness": 0.5, "diversity": 4.0, "gradient_penalty": 1.5}
PHONES = 44
PairOfUpdates = Callable[[int], object]


class Data:
    """Random features and sentences of random lengths, up to `length`."""

    def __init__(self, batch: int, length: int, dim: int, device: torch.device) -> None:
        source = torch.Generator().manual_seed(0)
        self.batch, self.length, self.device = batch, length, device
        self.lengths, self.sizes = (
            torch.randint(length // 2, length + 1, (batch,), generator=source) for _ in range(2)
        )
        self.features = torch.randn((batch, length, dim), generator=source).to(device)
        self.phones = torch.randint(PHONES, (batch, length), generator=source).to(device)
        self.lengths, self.sizes = self.lengths.to(device), self.sizes.to(device)
        self.features *= (torch.arange(length, device=device) < self.lengths[:, None])[..., None]
        self.text = one_hot(self.phones, self.sizes, PHONES)

    def cropped(self, length: int) -> "Data":
        """The first `length` places, and as many more sentences that there are as many places in all."""
        data = Data(self.batch * self.length // length, length, self.features.shape[2], self.device)
        data.lengths, data.sizes = (torch.full((data.batch,), length, device=self.device) for _ in range(2))
        return data


def ours(players: Adversaries, data: Data, penalty_every: int = 1) -> PairOfUpdates:
    chance = torch.Generator(data.device)
    speech = SpeechBatch(data.features, data.lengths)

    def update(number: int) -> None:
        for half in range(2):
            chance.manual_seed(2 * number + half)
            torch.manual_seed(2 * number + half)
            if half == 0:
                players.update_generator(speech, chance)
            else:
                weight = 1.5 * penalty_every * (number % penalty_every == 0)
                players.update_discriminator(speech, data.phones, data.sizes, chance, weight)

    return update


def theirs(training: LiteralTraining, data: Data) -> PairOfUpdates:
    chance = torch.Generator(data.device)

    def update(number: int) -> None:
        for half in range(2):
            chance.manual_seed(2 * number + half)
            draws = torch.rand((data.batch, data.length), generator=chance, device=data.device)
            points = torch.rand((data.batch, 1, 1), generator=chance, device=data.device)
            torch.manual_seed(2 * number + half)
            training.update(half, data.features, data.lengths, data.text, data.sizes, draws, points)

    return update


def networks(config: GanConfig, dim: int, device: torch.device) -> tuple[Adversaries, LiteralTraining]:
    torch.manual_seed(0)
    players = Adversaries(config, dim, PHONES, device)
    width = config.discriminator.dim
    literal = LiteralTraining(
        LiteralGenerator(dim, PHONES).to(device), LiteralDiscriminator(PHONES, width).to(device), WEIGHTS
    )
    literal.generator.load_state_dict(players.generator.state_dict())
    literal.discriminator.load_state_dict(players.discriminator.state_dict())
    return players, literal


def deviation(players: Adversaries, literal: LiteralTraining) -> float:
    """The largest difference of a parameter."""
    pairs = ((players.generator, literal.generator), (players.discriminator, literal.discriminator))
    return max(
        float((value - theirs.state_dict()[name]).abs().max())
        for mine, theirs in pairs
        for name, value in mine.state_dict().items()
    )


def timed(updates: dict[str, PairOfUpdates], rounds: int, device: torch.device) -> dict[str, float]:
    """Seconds of a pair of updates, the middle of rounds in which all take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in updates}
    for number in range(rounds + 1):
        for name, update in updates.items():
            start = time.perf_counter()
            update(number)
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def seeds_together(count: int, data: Data, width: int) -> dict[str, PairOfUpdates]:
    """The gradient of `count` discriminators' losses, one after the other and in one model."""
    judges = [LiteralDiscriminator(PHONES, width).to(data.device) for _ in range(count)]
    parameters, _ = torch.func.stack_module_state(judges)

    def loss(values: dict[str, torch.Tensor], phones: torch.Tensor) -> torch.Tensor:
        return F.softplus(torch.func.functional_call(judges[0], values, (phones,))).sum()

    together = torch.func.vmap(torch.func.grad(loss), in_dims=(0, None))
    alone = torch.func.grad(loss)
    single = [{name: value[i] for name, value in parameters.items()} for i in range(count)]
    return {
        f"{count} seeds, one after the other": lambda _: [alone(values, data.text) for values in single],
        f"{count} seeds in one model": lambda _: together(parameters, data.text),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("threads", 1), ("batch", 32), ("length", 60), ("dim", 512), ("width", 384), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--crop", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    data = Data(options.batch, options.length, options.dim, device)
    config = GanConfig(
        data=DataConfig(speech=Path(), text=Path()), discriminator=DiscriminatorConfig(dim=options.width)
    )
    print(f"torch {torch.__version__}, {options.device}, {options.threads} threads; {vars(options)}")

    players, literal = networks(config, options.dim, device)
    mine, other = ours(players, data), theirs(literal, data)
    for number in range(3):
        mine(number)
        other(number)
    print(f"largest difference of a parameter after 6 updates: {deviation(players, literal):.1e}")

    low = networks(config.model_copy(update={"precision": "bf16"}), options.dim, device)[0]
    lazy, short = (networks(config, options.dim, device)[0] for _ in range(2))
    cropped = data.cropped(options.crop)
    found = timed(
        {
            "literal": other,
            "ours": mine,
            "ours, bf16 *": ours(low, data),
            "ours, penalty every 4th *": ours(lazy, data, penalty_every=4),
            f"ours, cropped to {options.crop} *": ours(short, cropped),
        },
        options.rounds,
        device,
    )
    for name, seconds in found.items():
        print(f"{name:28} {2 / seconds:8.2f} updates/s   {found['literal'] / seconds:6.2f}x")

    batched = timed(seeds_together(options.seeds, data, options.width), options.rounds, device)
    alone, together = batched.values()
    print(f"{options.seeds} seeds in one model: {alone / together:.2f}x the speed of one after the other")


if __name__ == "__main__":
    main()
