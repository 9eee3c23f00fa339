"""Generation: the cache, the window, the noise, the seed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_ulm_model import random_units
from test_ulm_score import tiny_lm
from test_ulm_source import write

from textless.errors import UserError
from ulm.generate import cut, generate
from ulm.sampling import Sampling, choose, gumbel_noise, stream_key, truncate
from units.files import Units, read_units


def test_greedy_continuations_are_those_of_reading_everything_again() -> None:
    model, prompts = tiny_lm(context=16), random_units([3, 1, 25, 16, 15, 0])
    found = model.generate(prompts, Sampling(max_units=40, temperature=0))
    for prompt, (continuation,) in zip(prompts, found, strict=True):
        tokens = [10, *prompt]
        expected: list[int] = []
        while len(expected) < 40:
            start = 8 * max(0, -(-(len(tokens) - 16) // 8))  # the window that scoring reads
            with torch.no_grad():
                logits = model.network(torch.tensor([tokens[start:]]))[0, -1]
            if len(tokens) == 1:
                logits[10] = -torch.inf
            token = int(logits.argmax())
            if token == 10:
                break
            expected.append(token)
            tokens.append(token)
        assert continuation == expected


def test_a_seed_gives_the_same_samples_whatever_the_batch_and_the_company() -> None:
    model, prompts = tiny_lm(), random_units([6, 2, 9])
    sampling = Sampling(max_units=30, temperature=1.0, seed=5)
    ids = ["a", "b", "c"]
    together = model.generate(prompts, sampling, n=3, ids=ids)
    assert model.generate(prompts, sampling, n=3, ids=ids, batch_size=2) == together
    assert model.generate(prompts[1:2], sampling, n=2, ids=["b"]) == [together[1][:2]]
    assert model.generate(prompts, Sampling(max_units=30, temperature=1.0, seed=6), n=3, ids=ids) != together
    assert len({tuple(sample) for sample in together[0]}) > 1  # samples of one prompt differ


def test_samples_have_the_probabilities_of_the_model() -> None:
    model = tiny_lm(k=4)
    (samples,) = model.generate([[1, 2]], Sampling(1, temperature=1.0), n=4000)
    logs = [model.log_probs([[1, 2, unit]])[0][2] for unit in range(4)]
    for unit, log in enumerate(logs):
        share, p = samples.count([unit]) / 4000, float(np.exp(log))
        assert share == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / 4000) + 1e-9)


def test_noise_is_standard_gumbel_and_streams_are_apart() -> None:
    streams = torch.tensor([stream_key(0, "a", 0), stream_key(0, "a", 1), stream_key(1, "a", 0)])
    noise = gumbel_noise(streams, 3, 50_000)
    assert noise.mean(1).numpy() == pytest.approx(np.full(3, 0.5772), abs=0.03)  # Euler's constant
    assert noise.var(1).numpy() == pytest.approx(np.full(3, np.pi**2 / 6), abs=0.06)
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.02
    assert torch.equal(gumbel_noise(streams, 0, 20)[:, 10:], gumbel_noise(streams, 1, 10))


def test_top_k_and_top_p_keep_the_likeliest() -> None:
    logits = torch.tensor([[0.5, 0.2, 0.25, 0.05]]).log().double()
    kept = lambda **options: torch.isfinite(truncate(logits, Sampling(**options)))[0].tolist()  # noqa: E731
    assert kept(top_k=2) == [True, False, True, False]
    assert kept(top_p=0.6) == [True, False, True, False]
    assert kept(top_p=0.5) == [True, False, False, False]
    assert kept(top_p=0.001) == [True, False, False, False]
    assert kept(top_k=3, top_p=0.99) == [True, True, True, False]
    assert kept() == [True] * 4
    assert choose(logits, torch.tensor([1]), 0, Sampling(temperature=0)).tolist() == [0]


def test_files_prompts_cuts_and_ids(tmp_path: Path) -> None:
    model = tiny_lm(k=100)
    model.save(tmp_path / "lm")
    prompts = write(tmp_path / "p.jsonl", random_units([9, 4], k=100))
    sampling = Sampling(max_units=5)
    written = generate(tmp_path / "lm", tmp_path / "o.jsonl", sampling, prompts=prompts, n=2, device="cpu")
    file = read_units(tmp_path / "o.jsonl")
    assert file.utterances == written
    assert [item.id for item in written] == ["u00000__0", "u00000__1", "u00001__0", "u00001__1"]
    assert all(item.durations is None for item in written)
    source = read_units(prompts).utterances
    assert written[2].units[:4] == source[1].units
    # Two frames a unit at 50 Hz: 0.1 s are 5 frames, which the third unit begins in; 0.2 s at 25 units/s are 5 units.
    options = {"prompts": prompts, "prompt_seconds": 0.1, "device": "cpu"}
    cut_short = generate(tmp_path / "lm", tmp_path / "c.jsonl", sampling, **options)
    only = generate(tmp_path / "lm", tmp_path / "d.jsonl", sampling, continuation_only=True, **options)
    assert [item.units for item in cut_short] == [s.units[:3] + o.units for s, o in zip(source, only, strict=True)]
    timed = generate(tmp_path / "lm", tmp_path / "e.jsonl", Sampling(), prompts=prompts, max_seconds=0.2, device="cpu")
    assert max(len(item.units) for item in timed) <= 9 + 5
    new = generate(tmp_path / "lm", tmp_path / "f.jsonl", sampling, n=3, device="cpu")
    assert [item.id for item in new] == ["sample__0", "sample__1", "sample__2"]
    assert all(1 <= len(item.units) <= 5 for item in new)


def test_what_cannot_be_cut_or_timed_says_so(tmp_path: Path) -> None:
    assert cut(Units("a", [1, 2, 3], [2, 2, 2]), 4).units == [1, 2]
    with pytest.raises(UserError, match="no durations"):
        cut(Units("a", [1, 2]), 4)
    model = tiny_lm(k=100)
    model.units_per_second = None
    model.save(tmp_path / "lm")
    with pytest.raises(UserError, match="--max-units"):
        generate(tmp_path / "lm", tmp_path / "o.jsonl", Sampling(), max_seconds=1.0, device="cpu")
    with pytest.raises(ValueError, match="temperature"):
        Sampling(temperature=-1)
