import json
import math
import os

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from textless import distributed
from textless.errors import UserError
from textless.features import store
from textless.training.run import Run
from units import assign, kmeans
from units.assign import NearestCode
from units.cli import app
from units.config import KMeansConfig
from units.fit import fit_quantizer
from units.frames import LoadedFrames, StoredFrames
from units.kmeans import fit_kmeans
from units.quantizer import Quantizer, load_quantizer
from units.seeding import seed_codebook


def clusters(count=20, per_cluster=250, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((count, dim)) * 10
    labels = rng.integers(0, count, count * per_cluster)
    return (centres[labels] + rng.standard_normal((len(labels), dim))).astype(np.float32), labels


def corpus(frames, size=311):
    return {f"u{i}": frames[start : start + size] for i, start in enumerate(range(0, len(frames), size))}


def write_store(directory, features, shards=1, encoder="mfcc@50", sha="e" * 64):
    header = store.StoreHeader(encoder, sha, next(iter(features.values())).shape[1], 50.0, shards, "m" * 64)
    store.write_header(directory, header)
    for index in range(shards):
        share = distributed.shard_slice(list(features), index, shards)
        store.write_shard(directory, index, shards, {i: features[i] for i in share})
    return directory


def fit(features, **config):
    return fit_kmeans(StoredFrames(features, config.get("max_frames")), KMeansConfig(**config))


def test_labels_are_exact_whatever_the_block(monkeypatch):
    codes = torch.randn(30, 24) + 5  # far from the origin, where float32 cancels most
    between = (codes[torch.randint(30, (500,))] + codes[torch.randint(30, (500,))]) / 2
    frames = torch.cat([torch.randn(500, 24) + 5, between + 1e-6 * torch.randn(500, 24), codes])
    distances = (frames.double()[:, None] - codes.double()).square().sum(-1).sort(dim=1)
    certain = distances.values[:, 1] - distances.values[:, 0] > 1e-11  # beyond what float64 tells apart
    expected = distances.indices[:, 0]
    assert certain.sum() > 900
    for size in (1, 7, 2048):
        monkeypatch.setattr(assign, "CPU_BLOCK", size)
        labels = NearestCode(codes).labels(frames)
        assert torch.equal(labels[certain], expected[certain])
    plain = (codes.square().sum(1) - 2 * frames[:500] @ codes.T).argmin(1)
    assert torch.equal(labels[:500], plain)  # nothing near: float32 is enough
    twins = NearestCode(codes[[3, 3, 5, 5]])
    assert twins.labels(codes[[5, 3]]).tolist() == [2, 0]  # ties go to the lower code
    assert NearestCode(codes).labels(frames[:0]).shape == (0,)


def test_lloyd_is_what_loops_compute():
    frames, _ = clusters(8, 60, 5)
    config = KMeansConfig(k=12, iterations=3, tolerance=0)
    found = fit_kmeans(StoredFrames(corpus(frames)), config)
    codes = kmeans._seed(StoredFrames(corpus(frames)), config, 0).numpy().astype(np.float64)
    for _ in range(3):
        labels = np.square(frames[:, None] - codes).sum(-1).argmin(1)
        codes = np.stack([frames[labels == code].mean(axis=0, dtype=np.float64) for code in range(12)])
    distances = np.square(frames[:, None] - codes).sum(-1).min(1)
    assert found.codebook == pytest.approx(codes, abs=1e-4)
    assert found.inertia == pytest.approx(distances.mean(), rel=1e-5)
    assert (found.steps, found.frames, found.empty) == (3, len(frames), 0)


@pytest.mark.parametrize("method", ["lloyd", "minibatch"])
@pytest.mark.parametrize("seeding", ["k-means++", "k-means||"])
def test_planted_clusters_are_found(method, seeding):
    frames, labels = clusters()
    result = fit(corpus(frames), k=20, method=method, seeding=seeding, restarts=3, batch_frames=700)
    assert result.empty == 0
    assert result.inertia == pytest.approx(16, rel=0.05)  # the variance that was planted: 1 a dimension
    found = Quantizer(torch.from_numpy(result.codebook), "x", "", 50.0).encode(frames)
    assert len(set(zip(labels, found.tolist(), strict=True))) == 20  # one code a cluster, one cluster a code


def test_minibatches_reach_what_lloyd_reaches():
    frames = np.random.default_rng(0).standard_normal((20_000, 8)).astype(np.float32)
    inertia = {m: fit(corpus(frames), k=32, method=m, batch_frames=2000).inertia for m in ("lloyd", "minibatch")}
    assert inertia["minibatch"] == pytest.approx(inertia["lloyd"], rel=0.01)  # two local optima of one problem


def test_more_restarts_are_never_worse():
    frames = np.random.default_rng(1).standard_normal((2000, 3)).astype(np.float32)
    inertia = [fit(corpus(frames), k=15, restarts=n).inertia for n in (1, 3, 6)]
    assert inertia == sorted(inertia, reverse=True)


@pytest.mark.parametrize("method", ["lloyd", "minibatch"])
def test_codes_without_frames_are_put_elsewhere(method, monkeypatch):
    frames, _ = clusters()
    far = torch.full((20, 16), 1e3) + torch.arange(20)[:, None]
    monkeypatch.setattr(kmeans, "seed_codebook", lambda *_: far)  # all frames fall to one code
    result = fit(corpus(frames), k=20, method=method, batch_frames=1000)
    assert result.reassigned >= 19
    assert result.empty == 0
    assert result.inertia < 0.25 * frames.var(axis=0).sum()  # they are of use there


def test_a_sphere_compares_directions():
    frames, labels = clusters()
    scaled = frames * np.random.default_rng(2).uniform(0.1, 10, (len(frames), 1)).astype(np.float32)
    result = fit_kmeans(StoredFrames(corpus(scaled), spherical=True), KMeansConfig(k=20, spherical=True, restarts=3))
    assert np.linalg.norm(result.codebook, axis=1) == pytest.approx(np.ones(20), abs=1e-5)
    quantizer = Quantizer(torch.from_numpy(result.codebook), "x", "", 50.0, spherical=True)
    found = quantizer.encode(frames)
    assert np.array_equal(found, quantizer.encode(scaled))
    assert np.array_equal(found, (frames @ result.codebook.T).argmax(axis=1))
    assert len(set(zip(labels, found.tolist(), strict=True))) == 20


def test_seeds_are_distinct_frames_far_apart():
    frames = torch.from_numpy(clusters()[0]).repeat(2, 1)
    for method in ("k-means++", "k-means||"):
        codes = seed_codebook(frames, 50, method, np.random.default_rng(0))
        assert len({tuple(code) for code in codes.tolist()}) == 50
        assert {tuple(code) for code in codes.tolist()} <= {tuple(frame) for frame in frames.tolist()}
        drawn = frames[torch.randperm(len(frames))[:50]]
        spread, of_drawn = (torch.cdist(frames, c).amin(1).square().mean() for c in (codes, drawn))
        assert spread < of_drawn
        few = torch.arange(50.0)[:, None]
        assert len(seed_codebook(few, 50, method, np.random.default_rng(0)).unique()) == 50
    for frames in (torch.ones(100, 4), torch.arange(9.0)[:, None].repeat(20, 1)):
        with pytest.raises(UserError, match="as many distinct frames"):
            seed_codebook(frames, 10, "k-means++", np.random.default_rng(0))


def test_features_that_are_not_finite_are_named():
    frames, _ = clusters()
    features = corpus(frames)
    features["u3"] = features["u3"].copy()
    features["u3"][5, 2] = np.nan
    for method in ("lloyd", "minibatch"):
        with pytest.raises(UserError, match=r"'u3' hold NaN"):
            fit(features, k=20, method=method)
    with pytest.raises(UserError, match="'b' has 3 dimensions"):
        list(StoredFrames({"a": np.zeros((5, 2)), "b": np.zeros((5, 3))}).blocks())


def test_a_sample_an_evenly_spread_subset_and_batches_are_frames_of_the_corpus():
    features = {"long": np.arange(5000.0)[:, None], "short": np.arange(5000.0, 5300.0)[:, None]}
    stored = StoredFrames(features)
    assert max(piece.stop - piece.start for piece in stored.pieces) < 5000  # a long recording is read in pieces
    loaded = LoadedFrames(stored)
    for stride in loaded.STRIDES:
        assert sorted(torch.cat(list(loaded.blocks(stride)))[:, 0].tolist()) == list(range(0, 5300, stride))
    plan = stored.plan(2500, [0])
    batches = [torch.cat(batch) for batch in stored.batches(plan)]
    assert sorted(torch.cat(batches)[:, 0].tolist()) == list(range(5300))
    assert plan != stored.plan(2500, [1])
    drawn = stored.sample(100, [3])[:, 0].tolist()
    assert len(set(drawn)) == 100
    assert drawn == stored.sample(100, [3])[:, 0].tolist() != stored.sample(100, [4])[:, 0].tolist()
    assert len(stored.sample(10_000, [3])) == 5300


@pytest.mark.parametrize("method", ["lloyd", "minibatch"])
def test_a_stopped_fit_goes_on_as_if_it_had_not(method, tmp_path, monkeypatch):
    features = write_store(tmp_path / "f", corpus(np.random.default_rng(0).standard_normal((6000, 4))))
    config = KMeansConfig(k=10, method=method, restarts=2, batch_frames=1000, iterations=8)
    whole = fit_quantizer(features, tmp_path / "whole", config)
    steps = 0

    def stop_every_third(_run):
        nonlocal steps
        steps += 1
        return steps % 3 == 0

    with monkeypatch.context() as patch:
        patch.setattr(Run, "stopping", stop_every_third)
        stops = 0
        while (again := fit_quantizer(features, tmp_path / "again", config)) is None:
            stops += 1
            with pytest.raises(UserError, match=r"kmeans\.k differ"):
                fit_quantizer(features, tmp_path / "again", config.model_copy(update={"k": 9}))
    assert stops >= 3
    assert again.result.inertia == whole.result.inertia
    assert load_quantizer(tmp_path / "again").identity == load_quantizer(tmp_path / "whole").identity
    assert sorted(p.name for p in (tmp_path / "again").iterdir()) == ["config.json", "model.safetensors"]
    with pytest.raises(UserError, match="exists already"):
        fit_quantizer(features, tmp_path / "again", config)


def _fit_as(rank, size, port, features, out, method):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    fit_quantizer(features, out, KMeansConfig(k=12, method=method, batch_frames=800, iterations=5))


@pytest.mark.parametrize("method", ["lloyd", "minibatch"])
def test_two_processes_fit_what_one_fits(method, tmp_path):
    frames = np.random.default_rng(0).standard_normal((5000, 6)).astype(np.float32)
    features = write_store(tmp_path / "f", corpus(frames), shards=3)
    one = fit_quantizer(features, tmp_path / "one", KMeansConfig(k=12, method=method, batch_frames=800, iterations=5))
    port = 20_000 + (os.getpid() + len(method)) % 20_000
    torch.multiprocessing.spawn(_fit_as, (2, port, features, tmp_path / "two", method), nprocs=2)
    two = load_quantizer(tmp_path / "two").codebook
    assert torch.allclose(two, one.quantizer.codebook, atol=1e-5)  # only the order of float sums differs


def test_every_option_of_fit_reaches_the_quantizer(tmp_path):
    frames, _ = clusters(10, 100, 5)
    features = write_store(tmp_path / "f", corpus(frames, 97), shards=2)

    def run(name, *options):
        arguments = ["fit", features, tmp_path / name, "--k", 6, "--json", "--device", "cpu", *options]
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == 0, (result.output, result.exception)
        return json.loads(result.stdout), load_quantizer(tmp_path / name)

    plain, quantizer = run("plain")
    assert plain["frames"] == 1000
    assert plain["seconds"] > 0
    assert plain["memory_mib"] > 0
    assert {plain["empty"], plain["reassigned"]} == {0}
    assert run("sampled", "--max-frames", 300)[0]["frames"] == 300
    streamed, _ = run("streamed", "--method", "minibatch", "--batch-frames", 200, "--seeding", "k-means||")
    assert streamed["frames"] == 1000
    assert run("one-step", "--iterations", 1)[0]["steps"] == 1
    assert run("hasty", "--tolerance", 10)[0]["steps"] < plain["steps"]
    assert run("seeded", "--seed", 1)[0]["identity"] != plain["identity"]
    assert run("round", "--spherical")[1].spherical
    assert quantizer.duration_penalty == pytest.approx(0.5 * plain["inertia"])
    assert run("free", "--duration-penalty", 0)[1].duration_penalty == 0
    lasting = run("lasting", "--duration-penalty", 0.25)[1]
    assert lasting.duration_penalty == pytest.approx(0.25 * plain["inertia"])
    normalised = run("normalised", "--speaker-normalised")[1]
    assert normalised.speaker_normalised
    assert len({q.identity.sha256 for q in (quantizer, lasting, normalised)}) == 3
    header = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert (header["version"], header["fitted"]["frames"]) == (1, 1000)
    assert json.loads((tmp_path / "normalised" / "config.json").read_text())["version"] == 2
    restarted = run("plain", "--force", "--restarts", 3)[0]
    assert restarted["inertia"] <= plain["inertia"]


def test_more_codes_than_frames_or_an_unfinished_store_are_one_line(tmp_path):
    frames, _ = clusters(4, 10, 3)
    features = write_store(tmp_path / "f", corpus(frames, 7), shards=3)
    with pytest.raises(UserError, match="K=41 needs as many distinct frames; the 40 looked at hold 40"):
        fit_quantizer(features, tmp_path / "q", KMeansConfig(k=41))
    next(features.glob("shard-00001-*.index.jsonl")).unlink()
    with pytest.raises(UserError, match="there are no frames"):
        fit(corpus(frames[:0]) or {"u": frames[:0]}, k=4)
    with pytest.raises(UserError, match=r"shard 1 of 3 is missing"):
        fit_quantizer(features, tmp_path / "q", KMeansConfig(k=4))
    assert not math.isnan(fit(corpus(np.ones((50, 3), np.float32)), k=1).inertia)  # constant, but one code is enough
