"""The objectives learn a planted source on their schedules, and it is noticed when they do not."""

import math
from collections.abc import Callable

import pytest
import torch
from small_objectives import batch, cpc, data2vec, means, planted, transformer, wav2vec2

from textless.errors import UserError
from textless.pretraining.collapse import PATIENCE, CollapseWatch
from textless.pretraining.data2vec import Data2VecConfig, Data2VecObjective
from textless.pretraining.objective import Objective
from textless.pretraining.wav2vec2 import Wav2Vec2Config


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
