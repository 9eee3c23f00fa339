"""Speed of generation and scoring beside transformers with the same weights in one run, and how far apart they are.

    python benchmarks/lm_generation.py [--threads 2] [--config examples/configs/ulm-modern-5m.toml]

The model has random weights, is exported, and loaded by transformers as a Llama. Its end symbol is made impossible on
both sides, so that every sample has all its units. Scoring utterances one at a time is measured on a part of them.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import LlamaForCausalLM

from ulm.config import TrainConfig
from ulm.export import export_model
from ulm.language_model import TransformerLanguageModel
from ulm.model import UnitTransformer
from ulm.sampling import Sampling
from units.identity import stated_identity

K, CONTEXT = 500, 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, default=Path("examples/configs/ulm-modern-5m.toml"))
    for name, default in (("threads", 2), ("samples", 64), ("units", 500), ("utterances", 10_000), ("alone", 300)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--repeats", type=int, default=2, help="the best of so many is told")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = TrainConfig.load(options.config).model
    network = UnitTransformer(config, K + 1).eval()
    model = TransformerLanguageModel(network, stated_identity("random", K, 50.0), CONTEXT)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "lm")
        export_model(Path(folder) / "lm", Path(folder) / "hf")
        other = LlamaForCausalLM.from_pretrained(Path(folder) / "hf").eval()
    size = sum(parameter.numel() for parameter in model.network.parameters()) / 1e6
    print(f"{size:.1f} M parameters, {options.threads} threads, torch {torch.__version__}")
    compare_scoring(model, other, options)
    compare_generation(model, other, options)


def best(work: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def compare_scoring(model: TransformerLanguageModel, other: LlamaForCausalLM, options: argparse.Namespace) -> None:
    """Short utterances, as the words of sWUGGY are: 15 to 40 units."""
    random = np.random.default_rng(0)
    sequences = [random.integers(0, K, length).tolist() for length in random.integers(15, 41, options.utterances)]
    few = sequences[: options.alone]

    @torch.inference_mode()
    def score_alone() -> list[float]:
        found = []
        for sequence in few:
            tokens = torch.tensor([[K, *sequence]])
            logs = other(tokens).logits[0, :-1].log_softmax(-1)
            found.append(float(logs.gather(1, tokens[0, 1:, None]).sum()))
        return found

    half = model.in_bfloat16()
    theirs = np.array(score_alone())
    print(f"scoring: largest deviation of a log-probability, of {np.abs(theirs).mean():.0f} on average:")
    for name, ours in (("fp32", model), ("bf16", half)):
        print(f"  {name} from transformers {np.abs(ours.score(few) - theirs).max():.1e}")
    rates = {
        "transformers, one at a time": len(few) / best(score_alone, options.repeats),
        "ours, one at a time": len(few) / best(lambda: [model.score([s]) for s in few], options.repeats),
        "ours, fp32": len(sequences) / best(lambda: model.score(sequences), options.repeats),
        "ours, bf16": len(sequences) / best(lambda: half.score(sequences), options.repeats),
    }
    tell(rates, "utterances/s")


def compare_generation(model: TransformerLanguageModel, other: LlamaForCausalLM, options: argparse.Namespace) -> None:
    """Samples of one short prompt each, all of the same number of units."""
    model.network.head = endless(model.network.head)
    other.lm_head = endless(other.lm_head)
    prompts = np.random.default_rng(1).integers(0, K, (options.samples, 16)).tolist()
    ids = torch.tensor([[K, *prompt] for prompt in prompts])
    length = {"max_new_tokens": options.units, "pad_token_id": K, "eos_token_id": K}

    def theirs(*, do_sample: bool) -> torch.Tensor:
        return other.generate(ids, do_sample=do_sample, **length)[:, ids.shape[1] :]

    greedy = [said for (said,) in model.generate(prompts, Sampling(options.units, temperature=0))]
    same = torch.tensor(greedy) == theirs(do_sample=False)
    print(f"generation: {float(same.float().mean()):.2%} of the units of greedy continuations are the same")
    half, sampling = model.in_bfloat16(), Sampling(options.units, temperature=1.0)
    units = options.samples * options.units
    rates = {
        "transformers": units / best(lambda: theirs(do_sample=True), options.repeats),
        "ours, fp32": units / best(lambda: model.generate(prompts, sampling), options.repeats),
        "ours, bf16": units / best(lambda: half.generate(prompts, sampling), options.repeats),
    }
    tell(rates, "units/s")


def endless(head: nn.Linear) -> nn.Linear:
    """The output layer with an end that never comes."""
    linear = nn.Linear(head.in_features, head.out_features)
    linear.weight = head.weight
    with torch.no_grad():
        linear.bias.zero_()[K] = -1e9
    return linear


def tell(rates: dict[str, float], what: str) -> None:
    first = next(iter(rates.values()))
    for name, rate in rates.items():
        print(f"  {name:28} {rate:9.0f} {what}  {rate / first:6.2f} x")


if __name__ == "__main__":
    main()
