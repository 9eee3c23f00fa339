"""Loss, pooling and equal error rate of speaker encoders are their formulas."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve

from textless.speakers.margin import MarginSoftmax
from textless.speakers.model import AttentiveStatistics
from textless.speakers.verification import equal_error_rate


def test_margin_softmax_is_its_formula() -> None:
    head = MarginSoftmax(5, 3, scale=7.0)
    vectors = torch.nn.functional.normalize(torch.randn(4, 5), dim=1)
    speakers = torch.tensor([0, 2, 2, 1])
    losses, right = head(vectors, speakers, 0.3)
    for vector, speaker, loss, hit in zip(vectors, speakers.tolist(), losses.tolist(), right, strict=True):
        cosines = [float(vector @ d / d.norm()) for d in head.directions.detach()]
        scores = np.exp([7 * (c - 0.3 * (k == speaker)) for k, c in enumerate(cosines)])
        assert loss == pytest.approx(-np.log(scores[speaker] / scores.sum()), rel=1e-5)
        assert bool(hit) == (int(np.argmax(cosines)) == speaker)


def test_attentive_statistics_are_weighted_moments() -> None:
    pooling = AttentiveStatistics(3, 4)
    hidden = torch.randn(1, 6, 3)
    inside = torch.tensor([True] * 4 + [False] * 2)[None, :, None]
    (found,) = pooling(hidden, inside)
    scores = pooling.score(hidden)[0, :4].detach().double().numpy()
    x = hidden[0, :4].double().numpy()
    for channel in range(3):
        w = np.exp(scores[:, channel]) / np.exp(scores[:, channel]).sum()
        mean = (w * x[:, channel]).sum()
        deviation = np.sqrt((w * (x[:, channel] - mean) ** 2).sum())
        assert float(found[channel]) == pytest.approx(mean, rel=1e-5)
        assert float(found[3 + channel]) == pytest.approx(deviation, rel=1e-5)


def test_equal_error_rate_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for same_size, different_size, digits in ((40, 300, 9), (7, 5, 9), (50, 60, 1)):  # one decimal: many ties
        same = rng.normal(0.6, 1, same_size).round(digits)
        different = rng.normal(-0.3, 1, different_size).round(digits)
        labels = [1] * same_size + [0] * different_size
        accepted, hits, _ = roc_curve(labels, [*same, *different], drop_intermediate=False)
        x = np.linspace(0, 1, 200_001)  # false acceptances at which the curve, joined by lines, meets the diagonal
        expected = x[np.argmin(np.abs(np.interp(x, accepted, 1 - hits) - x))]
        assert equal_error_rate(same, different) == pytest.approx(expected, abs=1e-5)
    assert equal_error_rate(np.array([2.0, 3]), np.array([0.0, 1])) == 0
    assert equal_error_rate(np.array([0.0, 1]), np.array([2.0, 3])) == 1
    assert equal_error_rate(np.ones(3), np.ones(5)) == 0.5
    with pytest.raises(ValueError, match="trials"):
        equal_error_rate(np.ones(3), np.ones(0))
