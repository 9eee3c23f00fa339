"""Prepared speech: segments are the runs of clusters, their means those of the projected frames."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from textless.errors import UserError
from textless.features.store import FeatureStore, StoreHeader, write_header, write_shard
from units.quantizer import load_quantizer
from unsup_asr.cli import app
from unsup_asr.prepare_speech import SpeechOptions, prepare_speech
from unsup_asr.segmentation import Segmentation, principal_components
from unsup_asr.speech_segments import Segments, SpeechSegments, pool_neighbours, segment_means


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """Six utterances of planted segments of 3 to 6 frames, around eight centres in twelve dimensions."""
    random = np.random.default_rng(0)
    centres = 5 * random.standard_normal((8, 12))
    made = {}
    for number in range(6):
        labels = random.integers(8, size=30).repeat(random.integers(3, 7, 30))
        made[f"u{number}"] = (centres[labels] + random.standard_normal((len(labels), 12))).astype(np.float32)
    write_header(tmp_path / "features", StoreHeader("planted", "0" * 64, 12, 50.0, 2, "1" * 64))
    for index in range(2):
        ids = list(made)[3 * index : 3 * index + 3]
        write_shard(tmp_path / "features", index, 2, {i: made[i] for i in ids})
    return tmp_path / "features"


def prepare(features: Path, out: Path, *options: str) -> dict[str, float]:
    arguments = ["prepare-speech", str(features), str(out), "--clusters", "8", "--pca", "5", "--json", *options]
    return json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)


def test_segments_are_runs_of_clusters_and_means_of_projected_frames(features: Path, tmp_path: Path) -> None:
    summary = prepare(features, tmp_path / "speech")
    store, speech = FeatureStore(features), SpeechSegments(tmp_path / "speech")
    quantizer = load_quantizer(tmp_path / "speech" / "quantizer")
    mean, components = principal_components(store, 5)
    assert (len(speech), speech.dim, speech.n_clusters, speech.frame_rate) == (6, 5, 8, 50.0)
    for utterance_id in store:
        labels, found = quantizer.encode(store[utterance_id]), speech[utterance_id]
        np.testing.assert_array_equal(np.repeat(found.clusters, found.frames), labels)
        projected, place = (store[utterance_id] - mean) @ components.T, 0
        for frames, expected in zip(found.frames, found.means, strict=True):
            np.testing.assert_allclose(projected[place : place + frames].mean(axis=0), expected, rtol=1e-4, atol=1e-4)
            place += frames
    assert summary["segments"] == sum(len(speech[i].frames) for i in speech)


def test_components_are_those_of_a_singular_value_decomposition(features: Path) -> None:
    store = FeatureStore(features)
    frames = np.concatenate([store[i] for i in store])
    mean, components = principal_components(store, 5)
    _, _, expected = np.linalg.svd(frames - frames.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(mean, frames.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.abs((components * expected[:5]).sum(axis=1)), 1.0, rtol=1e-4)
    assert principal_components(store, 99)[1].shape == (12, 12)


def test_as_many_segments_as_asked_for(features: Path, tmp_path: Path) -> None:
    free = prepare(features, tmp_path / "free")["segments_per_second"]
    wanted = 0.7 * free
    found = prepare(features, tmp_path / "cut", "--segments-per-second", str(wanted))["segments_per_second"]
    assert found == pytest.approx(wanted, abs=50 / FeatureStore(features).n_frames * 6)  # a segment an utterance
    with pytest.raises(UserError, match="use more clusters"):
        prepare(features, tmp_path / "more", "--segments-per-second", str(2 * free))


def test_neighbours_are_pooled_and_the_last_is_repeated() -> None:
    means = np.arange(10, dtype=np.float32).reshape(5, 2)
    np.testing.assert_allclose(pool_neighbours(means, 2), [[1, 2], [5, 6], [8, 9]])
    assert pool_neighbours(means[:0], 2).shape == (0, 2)
    assert segment_means(means[:0], np.empty(0, int)).frames.shape == (0,)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not prepared speech"):
        SpeechSegments(tmp_path)


def test_normalised_utterances_are_cut_the_same_at_any_level(features: Path, tmp_path: Path) -> None:
    prepare(features, tmp_path / "speech", "--normalise")
    model, store = Segmentation.load(tmp_path / "speech"), FeatureStore(features)
    quiet = model.cut(3 * store["u1"] + np.arange(12, dtype=np.float32))
    np.testing.assert_array_equal(quiet.clusters, SpeechSegments(tmp_path / "speech")["u1"].clusters)
    np.testing.assert_allclose(quiet.means, SpeechSegments(tmp_path / "speech")["u1"].means, atol=1e-4)


def test_other_speech_is_cut_as_the_first(features: Path, tmp_path: Path) -> None:
    prepare(features, tmp_path / "speech", "--segments-per-second", "9")
    summary = prepare(features, tmp_path / "again", "--like", str(tmp_path / "speech"), "--shards", "3")
    first, second = SpeechSegments(tmp_path / "speech"), SpeechSegments(tmp_path / "again")
    assert list(first) == list(second)
    for utterance_id in first:
        np.testing.assert_array_equal(first[utterance_id].means, second[utterance_id].means)
        np.testing.assert_array_equal(first[utterance_id].frames, second[utterance_id].frames)
    assert second.header["duration_penalty"] == first.header["duration_penalty"] > 0
    assert summary["segments"] == first.header["segments"]


def test_cutting_goes_on_where_it_was_killed(features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(features, tmp_path / "whole", "--shards", "3")
    cut, calls = Segmentation.cut, []

    def killed(model: Segmentation, frames: np.ndarray) -> Segments:
        calls.append(len(frames))
        if len(calls) == 4:
            raise RuntimeError
        return cut(model, frames)

    monkeypatch.setattr(Segmentation, "cut", killed)
    with pytest.raises(RuntimeError):
        prepare(features, tmp_path / "out", "--shards", "3")
    with pytest.raises(UserError, match="begun with other"):
        prepare_speech(features, tmp_path / "out", SpeechOptions(pca=5, clusters=4))
    prepare(features, tmp_path / "out", "--shards", "3")
    assert len(calls) == 4 + 4  # six utterances, two a shard, of which the first was finished
    for path in sorted(p for p in (tmp_path / "whole").rglob("*") if p.is_file()):
        assert (tmp_path / "out" / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()
