"""Speed of training a unit LM beside LlamaForCausalLM of transformers with the same weights, and how far they differ.

    python benchmarks/lm.py [--threads 2] [--config examples/configs/ulm-modern-5m.toml] [--compile]
    python benchmarks/lm.py --device cuda --config examples/configs/ulm-modern-150m.toml --compile --rows 32

Ours reads packed utterances and keeps them apart. Theirs is timed twice on the same utterances: packed in the same rows
without a mask, so that it has less to do than ours (and sees other utterances, which it should not), and padded, an
utterance a row sorted by length, which is what its own training does. Rounds of both take turns, and the middle one
counts; tokens are those with a target. On a GPU the share of its peak (MFU) is that of the matrix products that weights
and attention need (6 N + 6 L D T a token), whatever is computed besides.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ulm.config import ModelConfig, TrainConfig
from ulm.data import IGNORED, Batch, DocumentsInMemory, PackedUnits
from ulm.export import export_model
from ulm.language_model import TransformerLanguageModel
from ulm.model import UnitTransformer
from ulm.train import cross_entropy_sum, make_optimizer
from ulm.vocabulary import Vocabulary
from units.identity import QuantizerIdentity

CONFIG = Path(__file__).parents[1] / "examples/configs/ulm-modern-5m.toml"
K = 500
PEAK_TERAFLOPS = {"H200": 989, "H100": 989, "A100": 312, "L40": 181, "4090": 165}  # dense bfloat16, of their makers
Step = Callable[[int], int]  # number of an update → tokens trained on


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, default=CONFIG)
    for name, default in (("threads", 2), ("rows", 8), ("context", 256), ("steps", 3), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="of both")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    config = TrainConfig.load(options.config)
    vocabulary = Vocabulary(K)
    ours = UnitTransformer(config.model, vocabulary.size).to(device)
    theirs = exported(ours, options.context).to(device)
    random = np.random.default_rng(0)
    sequences = [random.integers(0, K, length) for length in random.integers(20, options.context, 40 * options.rows)]
    data = PackedUnits(DocumentsInMemory(sequences, vocabulary), options.context)
    parameters = sum(p.numel() for p in ours.parameters())
    print(
        f"{options.config.stem}: {parameters / 1e6:.1f} M parameters, {options.rows} rows of {options.context} tokens"
    )
    print(f"torch {torch.__version__}, {options.device}, {options.threads} threads, compile={options.compile}")
    one = data.batch(0, 1, 0).rows(0, 1, device).tokens[:, : len(sequences[0])]
    with torch.no_grad():
        deviation = (ours.eval()(one) - theirs.eval()(one).logits).abs().max()
    print(f"largest deviation of a logit with equal weights, fp32: {float(deviation):.1e}")

    batches = [data.batch(step, options.rows, 0) for step in range(options.steps)]
    padded = pad(sequences, options.steps, options.rows * options.context, vocabulary)
    forward = {name: torch.compile(m) if options.compile else m for name, m in (("o", ours), ("t", theirs))}
    for precision in ("fp32", "bf16"):
        steps = {
            "ours, packed": updates(forward["o"], ours, batches, config, device, precision),
            "transformers, packed, no mask": updates(Logits(forward["t"]), theirs, batches, config, device, precision),
            "transformers, padded": updates(Logits(forward["t"]), theirs, padded, config, device, precision),
        }
        rates = interleaved(steps, options.steps, options.rounds, device)
        for name, rate in rates.items():
            ratio = rates["ours, packed"] / rate
            print(f"train {precision}  {name:30} {rate:9.0f} tokens/s   ours is {ratio:.2f} times as fast")
        if device.type == "cuda":
            print(f"train {precision}  MFU of ours {mfu(config.model, rates['ours, packed'], ours, options.context)}")


class Logits(torch.nn.Module):
    """Theirs, to be called as ours: without documents."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor, _documents: torch.Tensor) -> torch.Tensor:
        """`(B, T)` → `(B, T, K + 1)`."""
        return self.model(tokens).logits


def exported(network: UnitTransformer, context: int) -> torch.nn.Module:
    """The same weights in LlamaForCausalLM, by way of `textless ulm export`."""
    from transformers import AutoModelForCausalLM

    quantizer = QuantizerIdentity(encoder="benchmark", k=K, frame_rate=50.0, sha256="0" * 64)
    with tempfile.TemporaryDirectory() as folder:
        TransformerLanguageModel(network, quantizer, context).save(Path(folder) / "ours")
        export_model(Path(folder) / "ours", Path(folder) / "theirs")
        return AutoModelForCausalLM.from_pretrained(Path(folder) / "theirs", dtype=torch.float32)


def pad(sequences: list[np.ndarray], steps: int, n_tokens: int, vocabulary: Vocabulary) -> list[Batch]:
    """An utterance a row, batches of similar lengths and about as many tokens as those of ours."""
    ordered = sorted(sequences, key=len)
    batches = []
    for middle in np.linspace(0, len(ordered), steps + 2)[1:-1].astype(int):
        rows = round(n_tokens / (len(ordered[middle]) + 1))
        documents = [vocabulary.document(sequence) for sequence in ordered[max(0, middle - rows // 2) :][:rows]]
        shape = (len(documents), max(map(len, documents)) - 1)
        tokens, targets = torch.full(shape, vocabulary.boundary), torch.full(shape, IGNORED)
        for row, document in enumerate(documents):
            tokens[row, : len(document) - 1] = torch.from_numpy(document[:-1])
            targets[row, : len(document) - 1] = torch.from_numpy(document[1:])
        batches.append(Batch(tokens, targets, torch.zeros_like(tokens), int((targets != IGNORED).sum())))
    return batches


def updates(
    forward: torch.nn.Module,
    model: torch.nn.Module,
    batches: list[Batch],
    config: TrainConfig,
    device: torch.device,
    precision: str,
) -> Step:
    """Forward, backward, clipping and update, the same for both."""
    optimizer = make_optimizer(model, config.optimizer)
    model.train()

    def update(number: int) -> int:
        batch = batches[number].rows(0, len(batches[number].tokens), device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            (cross_entropy_sum(forward, batch) / batch.n_targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return batch.n_targets

    return update


def interleaved(steps: dict[str, Step], n_steps: int, rounds: int, device: torch.device) -> dict[str, float]:
    """Tokens a second of each, in the middle of several rounds."""
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            tokens = sum(step(update) for update in range(n_steps))
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first warms up
                rates[name].append(tokens / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in rates.items()}


def mfu(config: ModelConfig, rate: float, model: torch.nn.Module, context: int) -> str:
    """Share of the GPU's peak in bfloat16."""
    name = torch.cuda.get_device_name()
    peak = next((value for key, value in PEAK_TERAFLOPS.items() if key in name), None)
    per_token = 6 * sum(p.numel() for p in model.parameters()) + 6 * config.layers * config.dim * context
    speed = f"{rate * per_token / 1e12:.0f} TFLOP/s on {name}"
    return speed if peak is None else f"{rate * per_token / 1e12 / peak:.1%} ({speed})"


if __name__ == "__main__":
    main()
