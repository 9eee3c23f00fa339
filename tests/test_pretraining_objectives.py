"""wav2vec 2.0, CPC and data2vec: equal to loops over their formulas, and they learn a planted source."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from textless.audio.batches import mask
from textless.encoders.cpc import Cpc, CpcConfig
from textless.encoders.logmel_front_end import LogMelConfig
from textless.encoders.speech_transformer import ConvolutionalConfig, SpeechTransformer, SpeechTransformerConfig
from textless.encoders.transformer import TransformerConfig
from textless.errors import UserError
from textless.pretraining.collapse import PATIENCE, CollapseWatch
from textless.pretraining.cpc import CpcObjective, CpcObjectiveConfig, draw_negatives, score
from textless.pretraining.data2vec import Data2VecConfig, Data2VecObjective, average_target
from textless.pretraining.gumbel import GumbelQuantizer, perplexity
from textless.pretraining.masking import span_mask
from textless.pretraining.objective import Batch, Objective, Outcome
from textless.pretraining.wav2vec2 import Wav2Vec2Config, Wav2Vec2Objective, contrastive_logits, draw_candidates

LOGMEL = LogMelConfig(context=0)
CONVOLUTIONS = {
    norm: ConvolutionalConfig(layers=((16, 10, 5), (16, 8, 8), (24, 8, 8)), norm=norm) for norm in ("group", "layer")
}
FRONT_ENDS = {"logmel": LOGMEL, **CONVOLUTIONS}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def transformer(front_end: ConvolutionalConfig | LogMelConfig = LOGMEL, **values: object) -> SpeechTransformer:
    size = {"dim": 32, "layers": 2, "heads": 4, "ffn_dim": 64, "position": "alibi", "norm_first": True}
    return SpeechTransformer(
        SpeechTransformerConfig(front_end=front_end, transformer=TransformerConfig(**size | values))
    )


def wav2vec2(encoder: SpeechTransformer | None = None, **values: object) -> Wav2Vec2Objective:
    small = {"entries": 12, "code_dim": 32, "projection": 32, "distractors": 20, "mask_span": 5}
    return Wav2Vec2Objective(encoder or transformer(), Wav2Vec2Config(**small | values))


def data2vec(encoder: SpeechTransformer | None = None, **values: object) -> Data2VecObjective:
    return Data2VecObjective(encoder or transformer(), Data2VecConfig(**{"top_blocks": 2, "mask_span": 5} | values))


def cpc(**values: object) -> CpcObjective:
    small = {"steps": 4, "negatives": 20, "heads": 4, "ffn_dim": 64, "dropout": 0.0}
    return CpcObjective(Cpc(CpcConfig(conv_dim=32, dim=48)), CpcObjectiveConfig(**small | values))


OBJECTIVES = {
    **{f"wav2vec2-{name}": lambda front=front: wav2vec2(transformer(front)) for name, front in FRONT_ENDS.items()},
    **{f"data2vec-{name}": lambda front=front: data2vec(transformer(front)) for name, front in FRONT_ENDS.items()},
    "data2vec-block": lambda: data2vec(transformer(norm_first=False, position="conv"), target="block", beta=0.5),
    "cpc-transformer": cpc,
    "cpc-linear": lambda: cpc(predictor="linear"),
}
all_objectives = pytest.mark.parametrize("build", OBJECTIVES.values(), ids=OBJECTIVES.keys())


def planted(seed: int, size: int = 8, seconds: float = 1.0) -> torch.Tensor:
    """Waveforms `(B, S)`: twelve tones of 60 to 100 ms in a ring; after one comes, nine times in ten, the next."""
    generator = torch.Generator().manual_seed(seed)

    def draw(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    rows = []
    for _ in range(size):
        frequencies: list[float] = []
        tone = draw(12)
        while len(frequencies) < seconds * 16_000:
            frequencies += [200 * 1.3**tone] * (160 * (6 + draw(5)))
            tone = (tone + 1) % 12 if draw(10) else draw(12)
        hertz = torch.tensor(frequencies[: int(seconds * 16_000)], dtype=torch.float64)
        rows.append(0.3 * torch.sin(2 * math.pi * (hertz / 16_000).cumsum(0)).float())
    waveforms = torch.stack(rows)
    return waveforms + 0.005 * torch.randn(waveforms.shape, generator=generator)


def batch(waveforms: torch.Tensor, lengths: list[int] | None = None, seed: int = 0) -> Batch:
    lengths = lengths or [waveforms.shape[1]] * len(waveforms)
    speakers = torch.arange(len(waveforms)) // 2
    return Batch(waveforms, torch.tensor(lengths), speakers, (), torch.Generator().manual_seed(seed))


def move(a: Batch, device: str) -> Batch:
    return Batch(a.waveforms.to(device), a.lengths.to(device), a.speakers.to(device), (), a.generator)


def means(outcome: Outcome) -> dict[str, float]:
    return {name: float(total / count) for name, (total, count) in outcome.metrics.items()}


# The formulas, against loops.


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


# What holds for every objective.


@all_objectives
def test_padding_changes_nothing(build: Callable[[], Objective]) -> None:
    objective = build()
    waveforms, lengths = planted(0, 3), [16_000, 9000, 12_345]
    silent = waveforms * mask(torch.tensor(lengths), 16_000)
    noisy = F.pad(torch.where(mask(torch.tensor(lengths), 16_000), waveforms, 5.0), (0, 4000), value=-3.0)
    losses = [float(objective(batch(w, lengths), 0.3).loss.detach()) for w in (silent, noisy)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)  # sums in float32 over differently padded frames


@all_objectives
def test_the_generator_gives_every_random_number(build: Callable[[], Objective]) -> None:
    objective = build()
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(losses))  # of no importance
        losses.append(objective(batch(planted(0, 4), seed=seed), 0.3).loss.detach())
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


@all_objectives
def test_everything_that_is_trained_gets_a_gradient(build: Callable[[], Objective]) -> None:
    objective = build()
    objective(batch(planted(0, 2)), 0.3).loss.backward()
    for name, parameter in objective.named_parameters():
        assert parameter.requires_grad == (not name.startswith("teacher.")), name
        assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize("device", DEVICES)
@all_objectives
def test_bfloat16_is_near_float32(build: Callable[[], Objective], device: str) -> None:
    objective = build().to(device).eval()
    losses = []
    for enabled in (False, True):
        with torch.autocast(device, torch.bfloat16, enabled=enabled):
            losses.append(objective(move(batch(planted(0, 4)), device), 0.3).loss)
    losses[1].backward()
    assert losses[1].dtype == torch.float32
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=0.03)  # bfloat16 has 8 bits


@pytest.mark.parametrize("build", [wav2vec2, data2vec])
def test_hidden_frames_are_replaced(build: Callable[[], Wav2Vec2Objective | Data2VecObjective]) -> None:
    objective = build()
    entered: list[torch.Tensor] = []
    enter = objective.encoder.transformer.enter

    def spy(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        entered.append(x)
        return enter(x, lengths)

    objective.encoder.transformer.enter = spy  # type: ignore[method-assign]
    example = batch(planted(0, 3))
    outcome = objective(example, 0.0)
    hidden = (entered[0] == objective.mask_embedding).all(dim=-1)
    assert int(hidden.sum()) == int(outcome.count)
    projected, _ = objective.encoder.embed(example.waveforms, example.lengths)
    assert torch.equal(entered[0][~hidden], projected[~hidden])
    outcome.loss.backward()
    assert objective.mask_embedding.grad.abs().sum() > 0


def test_an_utterance_with_one_hidden_frame_is_left_out() -> None:
    objective = wav2vec2(mask_span=1, mask_probability=0.0)
    outcome = objective(batch(planted(0, 2)), 0.0)
    assert int(outcome.count) == 0
    assert float(outcome.loss.detach()) == 0


# Schedules and the teacher.


def test_schedules() -> None:
    config = Wav2Vec2Config(temperature=2, final_temperature=0.5, annealing=0.5)
    assert [config.gumbel_temperature(p) for p in (0, 0.25, 0.5, 1)] == pytest.approx([2, 1, 0.5, 0.5])
    paper = Wav2Vec2Config()
    assert paper.gumbel_temperature(200_000 / 400_000) == pytest.approx(2 * 0.999995**200_000, rel=0.02)
    teacher = Data2VecConfig(momentum=0.5, final_momentum=0.9, annealing=0.2)
    assert [teacher.momentum_at(p) for p in (0, 0.1, 0.2, 1)] == pytest.approx([0.5, 0.7, 0.9, 0.9])


def test_the_teacher_is_a_moving_average_with_the_students_positions() -> None:
    objective = data2vec(transformer(position="conv", norm_first=False), momentum=0.9, final_momentum=0.9)
    before = {name: p.clone() for name, p in objective.teacher.transformer.named_parameters()}
    student = dict(objective.encoder.transformer.named_parameters())
    with torch.no_grad():
        for parameter in student.values():
            parameter.add_(torch.randn_like(parameter))
    objective.after_update(0.5)
    for name, parameter in objective.teacher.transformer.named_parameters():
        kept = 0.0 if name.startswith("position.") else 0.9
        torch.testing.assert_close(parameter, kept * before[name] + (1 - kept) * student[name])


def test_mistakes_in_the_configuration() -> None:
    with pytest.raises(UserError, match=r"groups 3"):
        Wav2Vec2Config.parse({"groups": 3}, "test")
    with pytest.raises(UserError, match=r"top_blocks averages 8 blocks, but the encoder has 2"):
        Data2VecObjective(transformer(), Data2VecConfig())
    with pytest.raises(UserError, match=r"heads 5"):
        cpc(heads=5)


# They learn, and it is noticed when they do not.


def train(
    objective: Objective, steps: int, waveforms: Callable[[int], torch.Tensor], lr: float = 3e-3
) -> list[dict[str, float]]:
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=lr)
    log = []
    for step in range(steps):
        outcome = objective(batch(waveforms(step), seed=step), step / steps)
        (outcome.loss / outcome.count).backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        objective.after_update((step + 1) / steps)
        log.append({"loss": float(outcome.loss.detach() / outcome.count), **means(outcome)})
    return log


def average(log: list[dict[str, float]], name: str) -> float:
    return sum(row[name] for row in log) / len(log)


def test_wav2vec2_learns_and_keeps_its_codes() -> None:
    log = train(wav2vec2(), 150, planted)
    watch = CollapseWatch()
    for step, row in enumerate(log):
        watch.check(step, row)
    assert average(log[-20:], "contrastive_accuracy") > 8 / 21  # chance is 1 / 21, a little more with equal codes gone
    assert average(log[-20:], "code_perplexity") > 4


def test_cpc_learns() -> None:
    log = train(cpc(), 90, planted, lr=2e-3)
    assert average(log[:5], "accuracy") < 4 / 21
    assert average(log[-10:], "accuracy_1") > 6 / 21  # chance is 1 / 21
    assert average(log[-10:], "accuracy_1") > average(log[-10:], "accuracy_4") > 4 / 21


def test_data2vec_learns_and_keeps_its_targets() -> None:
    log = train(data2vec(momentum=0.99, final_momentum=0.99), 120, planted)
    watch = CollapseWatch()
    for step, row in enumerate(log):
        watch.check(step, row)
    of_the_mean = average(log[-20:], "target_deviation") ** 2 * math.sqrt(32)  # the loss of predicting nothing else
    assert average(log[-20:], "loss") < 0.6 * of_the_mean
    assert average(log[:5], "loss") > 0.9 * of_the_mean


@pytest.mark.parametrize(("build", "number"), [(wav2vec2, "code_perplexity"), (data2vec, "target_deviation")])
def test_silence_collapses(build: Callable[[], Objective], number: str) -> None:
    log = train(build(), PATIENCE, lambda _: torch.zeros(4, 8000))
    watch = CollapseWatch()
    for step in range(PATIENCE - 1):
        watch.check(step, log[step])
    with pytest.raises(UserError, match=rf"collapsed at step 7: {number} is .*--force"):
        watch.check(7, log[-1])


def test_what_is_the_same_everywhere_is_never_right() -> None:
    silence = batch(torch.zeros(2, 16_000))
    collapsed = wav2vec2().eval()(silence, 0.0)
    assert means(collapsed)["contrastive_accuracy"] == 0  # although no distractor is left that it could be taken for
    dead = cpc()
    torch.nn.init.zeros_(dead.encoder.norms[-1].weight)
    assert means(dead(silence, 0.0))["accuracy"] == 0  # although nothing has a higher score


def test_only_a_number_that_stays_low_is_a_collapse() -> None:
    watch = CollapseWatch()
    for step in range(10):
        watch.check(step, {"loss": 1.0, "code_perplexity": 30.0 if step % PATIENCE == 0 else 1.0})
    resumed, warming = CollapseWatch(), CollapseWatch(warmup_steps=100)
    for step in range(2 * PATIENCE):
        warming.check(step, {"prediction_deviation": 0.0})
    for step in range(PATIENCE - 1):
        watch.check(step, {"prediction_deviation": 0.0})
    resumed.load_state_dict(watch.state_dict())
    with pytest.raises(UserError, match="prediction_deviation is 0, under 0.01 for 3 logs"):
        resumed.check(PATIENCE, {"prediction_deviation": 0.0})
