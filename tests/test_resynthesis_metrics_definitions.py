"""Distortion, pitch errors and similarity of voices of a resynthesis against literal definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_resynthesis import buzz

from zerospeech_eval.acoustic_comparison import compare, new_tracker
from zerospeech_eval.f0_errors import add, f0_errors
from zerospeech_eval.mel_cepstra import distortions, mel_cepstra, warp
from zerospeech_eval.speaker_similarity import Converted, Voice, Voices, similarity, verify


def literal_cepstra(waveform: np.ndarray, order: int) -> np.ndarray:
    """The definition, frame by frame, band by band."""

    def mel(f: float) -> float:
        return 2595 * math.log10(1 + f / 700)

    edges = [700 * (10 ** (mel(8000) * i / 41 / 2595) - 1) for i in range(42)]
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / 1024) for n in range(1024)]
    powers = []
    for i in range(len(waveform) // 160):
        first = i * 160 + 80 - 512
        frame = [waveform[first + n] if 0 <= first + n < len(waveform) else 0.0 for n in range(1024)]
        spectrum = np.abs(np.fft.fft(np.array(frame) * window)[:513]) ** 2
        row = []
        for k in range(40):
            total = 0.0
            for b in range(513):
                f = b * 16_000 / 1024
                if edges[k] < f <= edges[k + 1]:
                    total += spectrum[b] * (f - edges[k]) / (edges[k + 1] - edges[k])
                elif edges[k + 1] < f < edges[k + 2]:
                    total += spectrum[b] * (edges[k + 2] - f) / (edges[k + 2] - edges[k + 1])
            row.append(total)
        powers.append(row)
    floor = max(map(max, powers)) * 1e-8
    return np.array(
        [
            [
                sum(math.log(max(p, floor)) * math.cos(math.pi * m * (k + 0.5) / 40) for k, p in enumerate(row)) / 40
                for m in range(1, order + 1)
            ]
            for row in powers
        ]
    )  # fmt: skip


def test_cepstra_and_distortion_are_their_definition() -> None:
    one, other = buzz(140, 0.12), buzz(180, 0.12, seed=1)
    found = [mel_cepstra(torch.from_numpy(w), 13) for w in (one, other)]
    expected = [literal_cepstra(w.astype(float), 13) for w in (one, other)]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
    dbs = [
        10 / math.log(10) * math.sqrt(2 * sum((a - b) ** 2 for a, b in zip(x, y, strict=True)))
        for x, y in zip(*expected, strict=True)
    ]
    np.testing.assert_allclose(distortions(*found), dbs, atol=1e-8)


def test_distortion_is_the_rms_difference_of_log_spectra_in_db() -> None:
    """All 39 cepstra together are the spectrum but for its level: a shaped gain of known size is found again."""
    rng = np.random.default_rng(0)
    bands = rng.normal(size=(7, 40))
    bands -= bands.mean(axis=1, keepdims=True)
    k, m = np.arange(40) + 0.5, np.arange(1, 40)
    cepstra = 2 / 40 * bands @ np.cos(np.pi / 40 * k[:, None] * m)
    rms_db = 20 / math.log(10) * np.sqrt((bands**2).mean(axis=1))
    np.testing.assert_allclose(distortions(cepstra, np.zeros_like(cepstra)), rms_db, rtol=1e-12)


def test_level_changes_no_cepstrum_and_identity_none() -> None:
    waveform = torch.from_numpy(buzz(150))
    np.testing.assert_allclose(mel_cepstra(waveform, 24), mel_cepstra(0.1 * waveform, 24), atol=1e-6)
    same = compare(waveform, waveform, 13, new_tracker())
    assert same.mcd == same.mcd_in_place == 0
    assert (same.f0.ffe, same.f0.gpe, same.f0.vde, same.f0.rmse_hertz) == (0, 0, 0, 0)
    assert same.f0.semitone_share == 1


def literal_warping(costs: np.ndarray) -> tuple[float, int]:
    """Smallest sum over all paths, by recursion, and the length of the path that prefers the diagonal, then up."""
    n, m = costs.shape
    best: dict[tuple[int, int], tuple[float, int]] = {(0, 0): (costs[0, 0], 1)}
    for i in range(n):
        for j in range(m):
            steps = [
                (best[p][0], best[p][1]) for p in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if p in best and p != (i, j)
            ]
            if steps:
                total, length = min(steps, key=lambda step: step[0])
                best[i, j] = total + costs[i, j], length + 1
    return best[n - 1, m - 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 10_000), st.booleans())
def test_warping(n: int, m: int, seed: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    one, other = (
        rng.integers(0, 2, (count, 3)).astype(float) if tied else rng.normal(size=(count, 3)) for count in (n, m)
    )
    costs = np.sqrt(((one[:, None] - other[None]) ** 2).sum(axis=2))
    path = warp(one, other)
    total, length = literal_warping(costs)
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [n - 1, m - 1]
    assert {tuple(step) for step in np.diff(path, axis=0).tolist()} <= {(1, 1), (1, 0), (0, 1)}
    assert costs[path[:, 0], path[:, 1]].sum() == pytest.approx(total)
    assert len(path) == length


def test_a_slower_copy_is_warped_onto_the_original() -> None:
    """Pitch as well: the tone rises by a fourth, later in the copy."""
    one, other = (np.concatenate([buzz(120, a), buzz(160, b)]) for a, b in ((0.3, 0.6), (0.6, 0.3)))
    found = compare(torch.from_numpy(one), torch.from_numpy(np.concatenate([other, other[-4000:]])), 13, new_tracker())
    assert found.mcd_in_place is None
    in_place = compare(torch.from_numpy(one), torch.from_numpy(other), 13, new_tracker())
    assert in_place.mcd_in_place is not None
    assert in_place.mcd < 0.5 * in_place.mcd_in_place
    assert in_place.f0.gpe is not None
    assert in_place.f0.gpe > 0.2  # a fourth is 33 %, and wrong for a third of the time
    assert found.f0.gpe is not None
    assert found.f0.gpe < 0.1


def test_f0_errors_by_hand() -> None:
    original = np.array([0, 100, 100, 100, 100, 200, 0, 100.0])
    resynthesis = np.array([0, 100, 121, 119, 0, 210, 90, 80.0])
    found = f0_errors(original, resynthesis)
    assert (found.frames, found.both_voiced, found.lost_voicing, found.false_voicing, found.gross) == (8, 5, 1, 1, 1)
    assert found.gpe == 1 / 5  # 21 %; exactly 20 % down is no gross error
    assert found.vde == 2 / 8
    assert found.ffe == 3 / 8
    assert found.rmse_hertz == pytest.approx(math.sqrt((0 + 21**2 + 19**2 + 10**2 + 20**2) / 5))
    cents = [0, 1200 * math.log2(1.21), 1200 * math.log2(1.19), 1200 * math.log2(1.05), 1200 * math.log2(0.8)]
    assert found.rmse_cents == pytest.approx(math.sqrt(sum(c * c for c in cents) / 5))
    assert found.semitone_share == 2 / 5
    assert add([found, found]).ffe == 3 / 8
    assert add([found, found]).frames == 16
    silent = f0_errors(np.zeros(3), np.zeros(3))
    assert (silent.gpe, silent.rmse_cents, silent.semitone_share, silent.vde) == (None, None, None, 0)


def test_a_tone_a_semitone_higher() -> None:
    found = compare(torch.from_numpy(buzz(150)), torch.from_numpy(buzz(150 * 2 ** (1 / 12))), 13, new_tracker())
    assert found.f0.rmse_cents == pytest.approx(100, abs=2)
    assert found.f0.gpe == 0


def unit(*values: float) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(values), dim=0)


def test_voices_of_a_conversion() -> None:
    """Two speakers on the axes of a plane; the conversion of x stops at 60 of the 90 degrees to y."""
    originals = [Voice("x1", "x", unit(1, 0.2)), Voice("x2", "x", unit(1, -0.2)), Voice("y1", "y", unit(0.0, 1))]
    sources = Voices(originals)
    turned = unit(math.cos(math.radians(60)), math.sin(math.radians(60)))
    found = similarity(Converted(originals[0], turned, "y"), sources, sources)
    assert found.to_source == pytest.approx(0.5)
    assert found.to_target == pytest.approx(math.cos(math.radians(30)))
    assert found.to_original == pytest.approx(float(turned @ unit(1, 0.2)))
    # y has one recording, which cannot be tried with itself; it serves as the other voice of the others.
    tried = verify(originals, sources)
    assert (tried.eer, tried.trials, tried.untried) == (0, 4, 1)
    assert verify([Voice("x1", "y", turned)], sources).trials == 2
    nameless = [Voice(v.id, None, v.vector) for v in originals]
    assert verify(nameless, Voices(nameless)).eer is None
