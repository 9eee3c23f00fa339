"""The network of CTC students: loss, padding, step-by-step decoding, sampling, relaxation, masks."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from planted_students import DIM, SMALL

from unsup_asr.ctc.config import MaskConfig, NetworkConfig
from unsup_asr.ctc.masking import draw_masks
from unsup_asr.ctc.network import RecognitionNetwork, States, needed_states
from unsup_asr.ctc.relaxation import relax
from unsup_asr.ctc.sampling import Samples, sample, score


def network_of(**values: Any) -> RecognitionNetwork:
    return RecognitionNetwork(NetworkConfig(**{**SMALL, **values}), DIM, 3).eval()


def forward_algorithm(log_probs: np.ndarray, symbols: list[int]) -> float:
    """Nats of symbols under CTC with the blank last, state by state (Graves et al. 2006, section 4.1), in float64."""
    blank = log_probs.shape[1] - 1
    extended = [blank, *itertools.chain.from_iterable((s, blank) for s in symbols)]
    alpha = np.zeros(len(extended))
    alpha[:2] = np.exp(log_probs[0, extended[:2]])
    for row in np.exp(log_probs[1:]):
        before = alpha.copy()
        for s, label in enumerate(extended):
            reached = before[s] + (before[s - 1] if s >= 1 else 0.0)
            if s >= 2 and label != blank and label != extended[s - 2]:
                reached += before[s - 2]
            alpha[s] = reached * row[label]
    return -math.log(alpha[-2:].sum())


def test_the_ctc_loss_is_the_forward_algorithms() -> None:
    network = network_of()
    states = network(torch.randn(2, 20, DIM), torch.tensor([20, 15]))
    symbols, counts = torch.tensor([[0, 0, 2, 1], [1, 2, 0, 0]]), torch.tensor([4, 2])
    nats = network.ctc_nats(states, symbols, counts)
    logs = network.ctc_log_probs(states).detach().double().numpy()
    for row in range(2):
        expected = forward_algorithm(logs[row, : states.lengths[row]], symbols[row, : counts[row]].tolist())
        assert float(nats[row].detach()) == pytest.approx(expected, rel=1e-5)  # float32 against float64
    assert [needed_states(torch.tensor(s)) for s in ([0, 0, 2], [1, 1, 1], [2])] == [4, 5, 1]


@pytest.mark.parametrize("values", [{}, {"strides": (1, 2, 3), "kernel": 3, "decoder_blocks": 1}, {"blocks": 0}])
def test_padding_and_batches_change_nothing(values: dict[str, Any]) -> None:
    network = network_of(**values)
    lengths = torch.tensor([31, 17, 8])
    features = torch.randn(3, 37, DIM)  # more padding than the longest needs, and not zero
    symbols, counts = torch.tensor([[0, 1, 0], [2, 0, 0], [1, 2, 2]]), torch.tensor([3, 1, 2])
    together = network(features, lengths)
    for row in range(3):
        alone = network(features[row : row + 1, : lengths[row]], lengths[row : row + 1])
        n = int(together.lengths[row])
        assert n == int(alone.lengths[0]) == -(-int(lengths[row]) // network.stride)
        # Products of other shapes round differently; the tolerance is a few of the last bits.
        assert torch.allclose(together.values[row, :n], alone.values[0, :n], atol=2e-5)
        own = symbols[row : row + 1, : counts[row]]
        if network.decoder is not None:
            one = network.attention_nats(alone, own, counts[row : row + 1])
            assert network.attention_nats(together, symbols, counts)[row].item() == pytest.approx(one.item(), rel=1e-4)


def test_the_decoder_reads_step_by_step_what_it_reads_at_once() -> None:
    network = network_of(decoder_blocks=2)
    states = network(torch.randn(3, 20, DIM), torch.tensor([20, 15, 7]))
    drawn = sample(network, states, n=4, max_length=6, generator=torch.Generator().manual_seed(1))
    # Drawn with kept keys and values, scored at once; greedy decoding follows the largest logit of the latter.
    greedy = sample(network, states, temperature=0, max_length=6)
    assert network.decoder is not None
    logits = network.decoder(states.values, states.lengths, greedy.symbols)
    for row, count in enumerate(greedy.counts.tolist()):
        chosen = [*greedy.symbols[row, :count].tolist(), *([3] if greedy.ended[row] else [])]
        assert logits[row, : len(chosen)].argmax(-1).tolist() == chosen
    assert drawn.symbols.shape[0] == 12
    assert (drawn.counts <= 6).all()
    assert drawn.n_cut == int((drawn.counts == 6).sum())
    smooth = network.attention_nats(states, greedy.symbols, greedy.counts, smoothing=0.1)
    assert torch.isfinite(smooth).all()


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_probabilities_of_all_that_can_be_drawn_sum_to_one(attention: bool, temperature: float) -> None:
    network = network_of(decoder_blocks=1, strides=(2,))
    one = network(torch.randn(1, 7, DIM), torch.tensor([7]))  # 4 states
    longest = 4
    all_sequences = [s for n in range(longest + 1) for s in itertools.product(range(3), repeat=n)]
    if not attention:
        all_sequences = [s for s in all_sequences if needed_states(torch.tensor(s, dtype=torch.long)) <= 4]
    states = States(one.values.expand(len(all_sequences), -1, -1), one.lengths.expand(len(all_sequences)))
    symbols = torch.tensor([[*s, *[0] * (longest - len(s))] for s in all_sequences])
    counts = torch.tensor([len(s) for s in all_sequences])
    generator = torch.Generator().manual_seed(0)
    drawn = sample(
        network, one, n=4000, max_length=longest, temperature=temperature, attention=attention, generator=generator
    )
    # The decoder cuts at the bound, so that its longest sequences stand for all that would go on.
    ended = counts < longest if attention else torch.ones_like(counts, dtype=torch.bool)
    listed = Samples(symbols, counts, ended, torch.zeros(len(counts)))
    probabilities = score(network, states, listed, temperature=temperature, attention=attention).exp().detach()
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-5)
    rows = [tuple(s[:n].tolist()) for s, n in zip(drawn.symbols, drawn.counts, strict=True)]
    for sequence, probability in zip(all_sequences, probabilities.tolist(), strict=True):
        share = rows.count(sequence) / 4000
        assert abs(share - probability) < 4.5 * math.sqrt(probability * (1 - probability) / 4000) + 1e-3
    place = {sequence: index for index, sequence in enumerate(all_sequences)}
    assert torch.allclose(drawn.log_probs.exp(), probabilities[[place[row] for row in rows]], atol=1e-5)


@pytest.mark.parametrize("attention", [False, True])
def test_relaxed_transcripts_say_what_hard_ones_do_and_have_gradients(attention: bool) -> None:
    network = network_of(decoder_blocks=1)
    features, lengths = torch.randn(3, 40, DIM), torch.tensor([40, 30, 9])
    states = network(features, lengths)
    hard = sample(network, states, temperature=0, max_length=8, attention=attention)
    rows = relax(network, states, "argmax", max_length=8, attention=attention)
    assert torch.equal(rows.counts, hard.counts)
    for row, count in enumerate(hard.counts.tolist()):
        assert rows.rows[row, :count].argmax(-1).tolist() == hard.symbols[row, :count].tolist()
        assert torch.allclose(rows.rows[row, :count].sum(-1), torch.ones(count))
        assert not rows.rows[row, count:].any()
    assert torch.allclose(rows.rows, rows.rows.round(), atol=1e-6)
    soft = relax(network, states, "expected", max_length=8, attention=attention)  # the decoder reads other rows back
    inside = torch.arange(soft.rows.shape[1]) < soft.counts[:, None]
    assert torch.allclose(soft.rows.sum(-1), inside.float(), atol=1e-5)
    assert (soft.rows[inside].amax(-1) < 0.999).all()
    gumbel = [
        relax(network, states, "gumbel", max_length=8, attention=attention, generator=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    ]
    assert torch.equal(gumbel[0].rows, gumbel[1].rows)
    assert gumbel[0].rows.shape != gumbel[2].rows.shape or not torch.equal(gumbel[0].rows, gumbel[2].rows)
    (rows.rows * torch.randn(rows.rows.shape)).sum().backward()
    assert network.trunk.project.weight.grad is not None
    assert network.trunk.project.weight.grad.abs().sum() > 0


def test_masks_hide_the_shares_asked_for() -> None:
    frames = torch.tensor([200, 120, 3])
    hidden, channels = draw_masks(frames, 64, MaskConfig(time=0.3, channel=0.25), torch.Generator().manual_seed(0))
    assert hidden.shape == (3, 200)
    assert channels.shape == (3, 64)
    assert not hidden[1, 120:].any()
    assert 40 <= hidden[0].sum() <= 60  # six spans of ten, which may overlap
    nothing = draw_masks(frames, 64, MaskConfig(time=0, channel=0), torch.Generator().manual_seed(0))
    assert not any(mask.any() for mask in nothing)
    network = network_of()
    features = torch.randn(1, 20, DIM)
    changed = features.clone()
    changed[:, 5:10] = 9
    masks = torch.zeros(1, 20, dtype=torch.bool), torch.zeros(1, DIM, dtype=torch.bool)
    masks[0][:, 5:10] = True
    lengths = torch.tensor([20])
    assert torch.equal(network(features, lengths, masks).values, network(changed, lengths, masks).values)
