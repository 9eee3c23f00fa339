"""What holds for every objective: padding, random numbers, gradients, bfloat16, hidden frames."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from small_objectives import FRONT_ENDS, batch, cpc, data2vec, planted, transformer, wav2vec2

from textless.audio.batches import mask
from textless.pretraining.data2vec import Data2VecObjective
from textless.pretraining.objective import Batch, Objective
from textless.pretraining.wav2vec2 import Wav2Vec2Objective

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
OBJECTIVES = {
    **{f"wav2vec2-{name}": lambda front=front: wav2vec2(transformer(front)) for name, front in FRONT_ENDS.items()},
    **{f"data2vec-{name}": lambda front=front: data2vec(transformer(front)) for name, front in FRONT_ENDS.items()},
    "data2vec-block": lambda: data2vec(transformer(norm_first=False, position="conv"), target="block", beta=0.5),
    "cpc-transformer": cpc,
    "cpc-linear": lambda: cpc(predictor="linear"),
}
all_objectives = pytest.mark.parametrize("build", OBJECTIVES.values(), ids=OBJECTIVES.keys())


def move(a: Batch, device: str) -> Batch:
    return Batch(a.waveforms.to(device), a.lengths.to(device), a.speakers.to(device), (), a.generator)


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
