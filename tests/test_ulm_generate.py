"""Generation: the cache, the window, the draws, the seed, the beams; transformers does the same."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from test_ulm_model import TINY, lively, random_units
from test_ulm_score import tiny_lm
from test_ulm_source import IDENTITY, write

from textless.errors import UserError
from ulm.beams import BeamSearch
from ulm.cached_attention import attend_next
from ulm.export import export_model
from ulm.generate import cut, generate
from ulm.language_model import TransformerLanguageModel
from ulm.sampling import Sampling, choose, penalize, stream_key, truncate, uniform
from units.bpe import load_bpe, train_bpe
from units.files import Units, read_units

LLAMA = TINY.model_copy(update={"activation": "swiglu", "norm": "rms", "lookback": 0, "ngram_rows": 0, "kv_heads": 1})


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


def test_numbers_are_uniform_and_streams_are_apart() -> None:
    streams = torch.tensor([stream_key(0, "a", 0), stream_key(0, "a", 1), stream_key(1, "a", 0)])
    numbers = torch.stack([uniform(streams, step) for step in range(20_000)], dim=1)
    assert float(numbers.min()) > 0
    assert float(numbers.max()) < 1
    # 10 bins of 2000: the share in each has a standard error of 0.0021.
    shares = torch.stack([torch.histc(row, 10, 0, 1) for row in numbers]) / numbers.shape[1]
    assert float((shares - 0.1).abs().max()) < 0.01
    assert torch.corrcoef(numbers).fill_diagonal_(0).abs().max() < 0.03


def test_choices_are_narrowed_as_by_transformers() -> None:
    generation = pytest.importorskip("transformers.generation.logits_process")
    torch.manual_seed(0)
    logits, ids = torch.randn(20, 50) * 3, torch.randint(0, 50, (20, 30))
    seen = torch.zeros(20, 50, dtype=torch.bool).scatter(1, ids, True)
    processors = [
        generation.RepetitionPenaltyLogitsProcessor(1.3),
        generation.TemperatureLogitsWarper(0.8),
        generation.TopKLogitsWarper(30),
        generation.TopPLogitsWarper(0.9),
        generation.MinPLogitsWarper(0.05),
    ]
    expected = logits
    for processor in processors:
        expected = processor(ids, expected)
    sampling = Sampling(temperature=0.8, top_k=30, top_p=0.9, min_p=0.05)
    found = truncate(penalize(logits, seen, 1.3) / 0.8, sampling)
    assert torch.equal(torch.isfinite(found), torch.isfinite(expected))
    assert torch.allclose(found.softmax(-1), expected.softmax(-1), atol=1e-6)


def test_what_is_cut_off_is_never_drawn_and_the_rest_by_its_share() -> None:
    logits = torch.tensor([[0.5, 0.2, 0.25, 0.05]]).log()
    kept = lambda **options: torch.isfinite(truncate(logits, Sampling(**options)))[0].tolist()  # noqa: E731
    assert kept(top_k=2) == [True, False, True, False]
    assert kept(top_p=0.6) == [True, False, True, False]
    assert kept(top_p=0.5) == [True, False, False, False]
    assert kept(top_k=3, top_p=0.99) == [True, True, True, False]
    assert kept(min_p=0.45) == [True, False, True, False]
    assert kept() == [True] * 4
    assert choose(logits, torch.tensor([1]), 0, Sampling(temperature=0)).tolist() == [0]
    streams = torch.arange(20_000) * 7919
    drawn = choose(logits.expand(20_000, 4), streams, 3, Sampling(temperature=1, top_k=3)).bincount(minlength=4)
    assert drawn[3] == 0
    # The standard error of a share is 0.0035 at most.
    assert (drawn[:3] / 20_000).tolist() == pytest.approx([0.5 / 0.95, 0.2 / 0.95, 0.25 / 0.95], abs=0.015)


def test_the_penalty_is_on_units_of_prompt_and_continuation_not_on_the_end() -> None:
    model, prompts = tiny_lm(), random_units([2, 7, 0, 4])
    found = model.generate(prompts, Sampling(30, temperature=0, repetition_penalty=1.5))
    assert found != model.generate(prompts, Sampling(30, temperature=0))
    for prompt, (continuation,) in zip(prompts, found, strict=True):
        said = list(prompt)
        while len(said) < len(prompt) + 30:
            with torch.no_grad():
                logits = model.network(torch.tensor([[10, *said]]))[0, -1]
            for unit in set(said):
                logits[unit] = logits[unit] / 1.5 if logits[unit] > 0 else logits[unit] * 1.5
            if not said:
                logits[10] = -torch.inf
            token = int(logits.argmax())
            if token == 10:
                break
            said.append(token)
        assert continuation == said[len(prompt) :]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_to_a_cache_is_that_of_torch(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    queries, positions = torch.randn(5, 6, 1, 16), torch.tensor([0, 8, 19, 6, 2])
    cached = [torch.randn(5, 2, 20, 16).to(dtype) for _ in range(2)]
    new = [torch.randn(5, 2, 1, 16).to(dtype) for _ in range(2)]
    found = attend_next(queries, *new, *cached, positions)
    for row, position in enumerate(positions.tolist()):
        for x, y in zip(cached, new, strict=True):
            assert torch.equal(x[row, :, position], y[row, :, 0])
        k, v = (x[row, :, : position + 1].float().repeat_interleave(3, dim=0) for x in cached)
        expected = torch.nn.functional.scaled_dot_product_attention(queries[row], k, v)
        assert torch.allclose(found[row], expected, atol=1e-6)


def test_a_stream_is_the_first_sample_and_comes_unit_by_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompt = tiny_lm(context=16), random_units([6])[0]
    sampling = Sampling(40, temperature=1.0, seed=4, top_k=9)
    assert list(model.stream(prompt, sampling)) == model.generate([prompt], sampling, n=2)[0][0]
    assert list(model.stream(prompt, sampling, prompt_id="x")) == model.generate([prompt], sampling, ids=["x"])[0][0]
    reads: list[int] = []
    read = type(model.network).read
    monkeypatch.setattr(type(model.network), "read", lambda self, *arguments: reads.append(1) or read(self, *arguments))
    units = model.stream(prompt, sampling)
    next(units)
    next(units)
    assert len(reads) == 2  # the prompt, and the first unit


def test_inert_symbols_are_never_said_but_count() -> None:
    network = lively(k=14)  # 10 units, the boundary, 4 more
    network.boundary = 10
    identity = IDENTITY.model_copy(update={"k": 10})
    model = TransformerLanguageModel(network, identity, 64, inert=4)
    samples = model.generate([[1, 2]], Sampling(30, temperature=3.0), n=40)[0]
    assert {unit for sample in samples for unit in sample} == set(range(10))
    total = sum(np.exp(float(model.log_probs([[unit]])[0][0])) for unit in range(10))
    ended = np.exp(float(model.log_probs([[]])[0][0]))
    assert total + ended < 0.99  # the rest belongs to the inert symbols


def test_bpe_models_say_units(tmp_path: Path) -> None:
    source = [[1, 2, 3, 4] * 5 + [7, 8, 9] * 4 + [int(unit)] for unit in range(10)]
    identity = IDENTITY.model_copy(update={"k": 10})
    train_bpe(write(tmp_path / "u.jsonl", source, identity), tmp_path / "bpe", 16, max_units=10_000, max_length=8)
    bpe = load_bpe(tmp_path / "bpe")
    model = TransformerLanguageModel(lively(k=16), identity, 64, bpe=bpe)
    prompt = source[0][:9]
    sampling = Sampling(25, temperature=1.0, seed=1)
    (samples,) = model.generate([prompt], sampling, n=20)
    assert max(map(len, samples)) == 25
    assert {unit for sample in samples for unit in sample} <= set(range(10))
    assert list(model.stream(prompt, sampling)) == samples[0]
    tokens = model.tokenizer.encode(prompt).tolist()
    assert len(tokens) < len(prompt)
    # Greedy: token by token, reading everything again.
    (greedy,) = model.generate([prompt], Sampling(12, temperature=0))[0]
    said: list[int] = []
    while len(said) < 12:
        with torch.no_grad():
            token = int(model.network(torch.tensor([[16, *tokens]]))[0, -1].argmax())
        if token == 16:
            break
        tokens.append(token)
        said += bpe.pieces[token]
    assert greedy == said[:12]
    assert len(model.search([prompt], BeamSearch(5, beams=3), n=3)[0]) == 3


def all_continuations(model: TransformerLanguageModel, prompt: list[int], longest: int, penalty: float) -> list[list]:
    """Every continuation of at most `longest` tokens, best first, by scoring each."""
    scored = []
    for length in range(longest + 1):
        for units in product(range(model.quantizer.k), repeat=length):
            whole = length == longest
            if not prompt and not units:
                continue
            logs = model.log_probs([[*prompt, *units]])[0][len(prompt) :].astype(np.float64)
            total = logs[:-1].sum() if whole else logs.sum()
            scored.append((total / (length if whole else length + 1) ** penalty, list(units)))
    return [units for _, units in sorted(scored, reverse=True)]


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("prompt", [[], [2, 1]])
def test_beams_that_hold_everything_find_the_best(prompt: list[int], penalty: float) -> None:
    model = tiny_lm(k=3)
    found = model.search([prompt, [0]], BeamSearch(3, beams=40, length_penalty=penalty), n=10)
    assert found[0] == all_continuations(model, prompt, 3, penalty)[:10]
    assert found[1] == model.search([[0]], BeamSearch(3, beams=40, length_penalty=penalty), n=10)[0]


def test_one_beam_is_greedy_beyond_the_context_too() -> None:
    model, prompts = tiny_lm(context=16), random_units([3, 25, 15])
    greedy = model.generate(prompts, Sampling(20, temperature=0))
    beams = model.search(prompts, BeamSearch(20, beams=1, length_penalty=0.0))
    for (said,), (found,) in zip(greedy, beams, strict=True):
        # With one beam, a likelier utterance may be one that ends where the greedy one goes on.
        assert said == found or said[: len(found)] == found


def test_greedy_and_beams_are_those_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    identity = IDENTITY.model_copy(update={"k": 30})
    model = TransformerLanguageModel(lively(LLAMA, k=30), identity, 128)
    model.save(tmp_path / "lm")
    export_model(tmp_path / "lm", tmp_path / "hf")
    other = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "hf").eval()
    prompts = random_units([9] * 6, k=30)
    ids = torch.tensor([[30, *prompt] for prompt in prompts])
    common = {"do_sample": False, "eos_token_id": 30, "pad_token_id": 30, "bos_token_id": 30}

    def units(rows: torch.Tensor) -> list[list[int]]:
        return [[token for token in row if token != 30] for row in rows[:, ids.shape[1] :].tolist()]

    greedy = other.generate(ids, max_new_tokens=60, **common)
    assert [said for (said,) in model.generate(prompts, Sampling(60, temperature=0))] == units(greedy)
    for penalty in (0.0, 1.0, 2.0):
        options = {"num_beams": 4, "num_return_sequences": 3, "early_stopping": "never", "length_penalty": penalty}
        beams = units(other.generate(ids, max_new_tokens=20, **options, **common))
        found = model.search(prompts, BeamSearch(20, beams=4, length_penalty=penalty), n=3)
        assert [said for best in found for said in best] == beams


def test_bfloat16_is_near() -> None:
    model, sequences = tiny_lm(), random_units([60] * 20)
    exact, near = model.score(sequences), model.in_bfloat16().score(sequences)
    # 8 bits of mantissa: 0.4 % of a layer's output, and the weights of this model are large.
    assert np.abs(near - exact).max() / 60 < 0.05
    assert not np.array_equal(near, exact)
    assert np.array_equal(model.score(sequences), exact)  # the model itself is what it was
    half = model.in_bfloat16()
    said = half.generate(sequences[:3], Sampling(20, temperature=1.0, seed=1), n=2)
    assert [len(samples) for samples in said] == [2, 2, 2]


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
    for wrong in ({"temperature": -1.0}, {"top_p": 0.0}, {"min_p": 1.5}, {"repetition_penalty": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Sampling(**wrong)
    with pytest.raises(ValueError, match="n ≤ beams"):
        tiny_lm().search([[1]], BeamSearch(5, beams=2), n=3)
    with pytest.raises(ValueError, match="beams ≥ 1"):
        BeamSearch(beams=0)
    with pytest.raises(UserError, match="unit 10 is outside"):
        tiny_lm().generate([[1, 10]], Sampling())
