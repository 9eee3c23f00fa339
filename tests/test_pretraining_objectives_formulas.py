"""wav2vec 2.0, CPC and data2vec are equal to loops over their formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from small_objectives import batch, data2vec, means, planted, transformer, wav2vec2

from textless.audio.batches import mask
from textless.pretraining.cpc import draw_negatives, score
from textless.pretraining.data2vec import average_target
from textless.pretraining.gumbel import GumbelQuantizer, perplexity
from textless.pretraining.masking import span_mask
from textless.pretraining.wav2vec2 import contrastive_logits, draw_candidates


def test_contrastive_loss_is_the_papers_without_distractors_of_the_same_code() -> None:
    counts, codes = [5, 3], torch.randint(2, (2, 5, 2))
    predicted, targets = torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    candidates = draw_candidates(torch.tensor(counts), 3, torch.Generator().manual_seed(0))
    logits = contrastive_logits(predicted, targets, codes, candidates) / 0.1
    for row, n in enumerate(counts):
        for frame in range(n):
            own, *others = candidates[row, frame].tolist()
            assert own == frame

            def exponential(code: int, row: int = row, frame: int = frame) -> float:
                a, b = predicted[row, frame].double(), targets[row, code].double()
                return math.exp(float(a @ b / (a.norm() * b.norm())) / 0.1)

            wrong = [exponential(other) for other in others if codes[row, other].tolist() != codes[row, own].tolist()]
            expected = -math.log(exponential(own) / (exponential(own) + sum(wrong)))
            found = float(F.cross_entropy(logits[row, frame], torch.tensor(0)))
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)  # float32 cosines, divided by 0.1


def test_distractors_are_all_the_other_hidden_frames_of_the_utterance() -> None:
    counts = torch.tensor([4, 1, 7])
    candidates = draw_candidates(counts, 200, torch.Generator().manual_seed(0))
    for row, n in ((0, 4), (2, 7)):
        for frame in range(n):
            assert set(candidates[row, frame, 1:].tolist()) == set(range(n)) - {frame}


def test_perplexity_and_diversity() -> None:
    quantizer = GumbelQuantizer(6, groups=2, entries=5, code_dim=8).eval()
    x = torch.randn(30, 6) * 0.3
    with torch.no_grad():
        quantized = quantizer(x, 1.0, torch.Generator())
    scores = (x @ quantizer.score.weight.T).view(30, 2, 5).tolist()
    for group in range(2):
        mean, usage = [0.0] * 5, [0.0] * 5
        for frame in scores:
            total = sum(math.exp(s) for s in frame[group])
            mean = [m + math.exp(s) / total / 30 for m, s in zip(mean, frame[group], strict=True)]
            usage[frame[group].index(max(frame[group]))] += 1 / 30
        for found, p in ((quantized.prob_perplexity(), mean), (quantized.code_perplexity(), usage)):
            entropy = -sum(v * math.log(v) for v in p if v)
            assert float(found[group]) == pytest.approx(math.exp(entropy), rel=1e-4)
    assert perplexity(torch.eye(3)).tolist() == pytest.approx([1, 1, 1], abs=1e-5)

    objective = wav2vec2(groups=2, entries=12)
    found = means(objective(batch(planted(0)), 0.0))
    assert found["diversity"] == pytest.approx((2 * 12 - 2 * found["prob_perplexity"]) / (2 * 12), rel=1e-5)


def test_the_quantizer_takes_an_entry_and_its_gradient_is_that_of_the_softmax() -> None:
    quantizer = GumbelQuantizer(6, groups=2, entries=5, code_dim=8)
    x, weight = torch.randn(9, 6, requires_grad=True), torch.randn(9, 8)
    quantized = quantizer(x, 0.7, torch.Generator().manual_seed(3))
    for group in range(2):
        taken = quantizer.codebook[group, quantized.codes[:, group]]
        assert torch.equal(quantized.vectors[:, 4 * group : 4 * group + 4], taken)
    (found,) = torch.autograd.grad((quantized.vectors * weight).sum(), x)

    uniform = torch.rand(9, 2, 5, generator=torch.Generator().manual_seed(3))
    noisy = quantizer.score(x).view(9, 2, 5) - torch.log(-torch.log(uniform))
    assert torch.equal(noisy.argmax(-1), quantized.codes)
    soft = (noisy / 0.7).softmax(-1)
    mixed = torch.cat([soft[:, g] @ quantizer.codebook[g] for g in range(2)], dim=1)
    (expected,) = torch.autograd.grad((mixed * weight).sum(), x)
    torch.testing.assert_close(found, expected)
    assert found.abs().sum() > 0


def test_gumbel_noise_draws_from_the_softmax_and_evaluation_has_none() -> None:
    quantizer = GumbelQuantizer(3, groups=1, entries=4, code_dim=4)
    x = torch.randn(3).expand(20_000, 3)
    generator = torch.Generator().manual_seed(0)
    probabilities = quantizer.score(x[0]).softmax(-1)
    frequency = F.one_hot(quantizer(x, 0.5, generator).codes[:, 0], 4).double().mean(0)
    deviation = (probabilities * (1 - probabilities) / len(x)).sqrt()
    assert ((frequency - probabilities).abs() < 4 * deviation + 1e-6).all()
    assert quantizer.eval()(x, 0.5, generator).codes.unique().tolist() == [int(probabilities.argmax())]


def test_infonce() -> None:
    frames, steps = [4, 3], 2
    z = torch.randn(7, 5)
    predictions = torch.randn(7, steps, 5)
    negatives = draw_negatives(torch.tensor(frames), torch.tensor([0, 0]), 6, torch.Generator().manual_seed(0))
    scores, exists = score(predictions, z, torch.tensor(frames), negatives)
    first = 0
    for n in frames:
        for t in range(n):
            for k in range(steps):
                here, coming = first + t, first + t + k + 1
                assert bool(exists[here, k]) == (t + k + 1 < n)
                if not exists[here, k]:
                    continue

                def exponential(frame: int, here: int = here, k: int = k) -> float:
                    return math.exp(float(predictions[here, k].double() @ z[frame].double()) / 5)

                wrong = sum(exponential(frame) for frame in negatives[here].tolist() if frame != coming)
                expected = -math.log(exponential(coming) / (exponential(coming) + wrong))
                found = float(F.cross_entropy(scores[here, k], torch.tensor(0)))
                assert found == pytest.approx(expected, rel=1e-5)
        first += n


def test_negatives_are_all_the_frames_of_the_speaker() -> None:
    frames, speakers = torch.tensor([3, 2, 4]), torch.tensor([7, 1, 7])
    negatives = draw_negatives(frames, speakers, 300, torch.Generator().manual_seed(0))
    assert len(negatives) == 9
    own = {0, 1, 2, 5, 6, 7, 8}
    for frame, drawn in enumerate(negatives.tolist()):
        assert set(drawn) == (own if frame in own else {3, 4})


@pytest.mark.parametrize("target", ["ffn", "block"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_data2vec_targets(target: str, norm_first: bool) -> None:
    objective = data2vec(transformer(norm_first=norm_first, layers=3, dropout=0.5, layer_drop=0.9), target=target)
    lengths = torch.tensor([16_000, 11_000])
    projected, frames = objective.encoder.embed(planted(0, 2), lengths)
    found = objective.teacher(projected, frames)  # in training mode: the teacher must not drop anything
    model = objective.encoder.transformer.eval()
    for row, n in enumerate(frames.tolist()):
        alone, only = projected[row : row + 1, :n], torch.tensor([n])
        layers = list(model.layers(model.enter(alone, only), only))
        expected = torch.zeros(n, 32, dtype=torch.float64)
        for number in (2, 3):
            x, block = layers[number - 1], model.blocks[number - 1]
            bias = model._bias(only, mask(only, n))
            if norm_first:
                fed = block._feed_forward(block.ffn_norm(x + block._attend(block.attention_norm(x), bias, None)))
            else:
                fed = block._feed_forward(block.attention_norm(x + block._attend(x, bias, None)))
            output = (fed if target == "ffn" else layers[number])[0].detach().double()
            for d in range(32):
                column = output[:, d]
                variance = ((column - column.mean()) ** 2).sum() / n
                expected[:, d] += (column - column.mean()) / (variance + 1e-5).sqrt() / 2
        torch.testing.assert_close(found[row, :n].double(), expected, rtol=1e-3, atol=1e-4)  # float32, small variances


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_data2vec_error(beta: float) -> None:
    objective = data2vec(beta=beta).eval()
    seen: list[torch.Tensor] = []
    for module in (objective.teacher, objective.head):
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach()))
    outcome = objective(batch(planted(0, 1)), 0.0)
    targets, predicted = seen
    hidden = span_mask(torch.tensor([50]), 0.65, 5, torch.Generator().manual_seed(0))
    expected = 0.0
    for a, b in zip(predicted.flatten().tolist(), targets[hidden].flatten().tolist(), strict=True):
        error = abs(a - b)
        if beta == 0:
            expected += error**2
        else:
            expected += error**2 / 2 / beta if error <= beta else error - beta / 2
    assert float(outcome.loss.detach()) == pytest.approx(expected / math.sqrt(32), rel=1e-4)
    assert int(outcome.count) == int(hidden.sum())


def test_average_target_ignores_padding() -> None:
    layers = [torch.randn(2, 6, 3) for _ in range(3)]
    frames = torch.tensor([6, 4])
    changed = [torch.where(mask(frames, 6)[..., None], layer, 1e4) for layer in layers]
    torch.testing.assert_close(average_target(layers, frames), average_target(changed, frames))
