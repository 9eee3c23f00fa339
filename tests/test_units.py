import json
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from textless.audio.manifest import read_manifest, write_manifest
from textless.audio.scan import scan
from textless.encoders.encoder import load_encoder
from textless.errors import UserError
from textless.features import store
from textless.features.extract import store_features
from units.cli import app
from units.config import KMeansConfig
from units.encode import SpeechToUnits, encode_corpus
from units.files import Units, UnitsFile, read_units, write_units
from units.frames import LoadedFrames, StoredFrames
from units.identity import QuantizerIdentity, require_same
from units.kmeans import fit_kmeans
from units.quantizer import Quantizer, load_quantizer, save_quantizer
from units.runs import deduplicate, expand
from units.segment import segment
from units.stats import unit_statistics

IDENTITY = QuantizerIdentity(encoder="mfcc@50", k=8, frame_rate=50.0, sha256="ab" * 32)


@given(st.lists(st.integers(0, 5)))
def test_deduplication_is_undone_by_expansion(units):
    short, durations = deduplicate(units)
    assert expand(short, durations).tolist() == units
    assert all(a != b for a, b in pairwise(short))


def test_kmeans_finds_planted_clusters():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, 16)) * 10
    labels = rng.integers(0, 20, 5000)
    frames = centres[labels] + rng.standard_normal((5000, 16))
    stored = StoredFrames({"a": frames[:3000], "b": frames[3000:]})
    result = fit_kmeans(stored, KMeansConfig(k=20, restarts=3))
    assert result.empty == 0
    assert result.inertia == pytest.approx(16, rel=0.05)  # the variance that was planted: 1 a dimension
    found = Quantizer(torch.from_numpy(result.codebook), "x", "", 50.0).encode(frames)
    assert len({(a, b) for a, b in zip(labels, found, strict=True)}) == 20  # one code a cluster, one cluster a code
    with pytest.raises(UserError, match="as many distinct frames"):
        fit_kmeans(StoredFrames({"a": frames[:10]}), KMeansConfig(k=20))


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 2**32 - 1), st.floats(0, 3))
def test_segmentation_is_the_best_of_all_sequences(seed, penalty):
    distances = np.random.default_rng(seed).random((5, 3))

    def cost(units):
        return sum(distances[range(5), units]) + penalty * sum(a != b for a, b in pairwise(units))

    found = segment(distances, penalty)
    assert cost(found) == pytest.approx(min(cost(units) for units in product(range(3), repeat=5)))


def test_a_duration_penalty_belongs_to_the_quantizer(tmp_path):
    codebook, frames = torch.randn(6, 4), torch.randn(200, 4)
    plain, lasting = (Quantizer(codebook, "x", "", 50.0, penalty) for penalty in (0.0, 2.0))
    save_quantizer(tmp_path / "q", lasting, {})
    assert load_quantizer(tmp_path / "q").identity == lasting.identity != plain.identity
    assert len(deduplicate(lasting.encode(frames))[0]) < len(deduplicate(plain.encode(frames))[0])
    assert segment((frames[:, None] - codebook).square().sum(-1).numpy(), 0.0).tolist() == plain.encode(frames).tolist()


def test_frames_are_sampled_uniformly_and_reproducibly():
    features = {str(i): np.full((100 * (i + 1), 1), i, dtype=np.float32) for i in range(4)}
    drawn = torch.cat(list(StoredFrames(features, 500, seed=1).blocks()))
    assert len(drawn) == 500
    shares = [(drawn == i).float().mean().item() for i in range(4)]
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.05)  # hypergeometric: 2 standard deviations
    assert torch.equal(drawn, torch.cat(list(StoredFrames(features, 500, seed=1).blocks())))
    assert StoredFrames(features, 5000, seed=1).total == 1000


def test_units_files_round_trip_and_refuse_nonsense(tmp_path):
    path = tmp_path / "units.jsonl"
    items = [Units("a b/ü", [1, 2, 1], [3, 1, 2]), Units("c", [7]), Units("leer", [], [])]
    write_units(path, IDENTITY, items)
    assert read_units(path) == UnitsFile(IDENTITY, items)
    header, first, *_ = path.read_text().splitlines()
    for line, message in {
        '{"id":"a"}': "should be an object",
        '{"id":"a","units":[8]}': "should lie in 0..7",
        '{"id":"a","units":[1],"durations":[0]}': "positive duration",
        '{"id":"a","units":[1,2],"durations":[1]}': "positive duration",
        first: "two utterances with the id",
        '{"id":': "not valid JSON",
    }.items():
        path.write_text(f"{header}\n{first}\n{line}")
        with pytest.raises(UserError, match=message):
            read_units(path)
    path.write_text(first)
    with pytest.raises(UserError, match="not a textless-units file"):
        read_units(path)


def test_identity_names_both_quantizers():
    require_same(IDENTITY, IDENTITY, "x", "y")
    other = IDENTITY.model_copy(update={"sha256": "cd" * 32})
    with pytest.raises(UserError, match=r"the LM was made with .*abababababab.*u\.jsonl holds units of .*cdcdcdcdcdcd"):
        require_same(IDENTITY, other, "the LM", "u.jsonl")


def test_statistics_of_a_known_sequence():
    items = [Units("a", [0, 1, 2, 3], [1, 1, 1, 1]), Units("b", [0, 1, 2, 3], [4, 4, 4, 4])]
    s = unit_statistics(UnitsFile(IDENTITY, items))
    assert (s.frames, s.units, s.used, s.k) == (20, 8, 4, 8)
    assert s.perplexity == pytest.approx(4)
    assert s.frame_bit_rate == pytest.approx(2 * 50)
    assert s.unit_bit_rate == pytest.approx(2 * 8 / (20 / 50))
    assert s.duration_entropy == pytest.approx(1)


def test_a_quantizer_directory_is_checked(tmp_path):
    quantizer = Quantizer(torch.randn(5, 39), "mfcc@50", load_encoder("mfcc@50").sha256, 50.0)
    save_quantizer(tmp_path / "q", quantizer, {"frames": 9})
    loaded = load_quantizer(tmp_path / "q")
    assert loaded.identity == quantizer.identity
    assert torch.equal(loaded.codebook, quantizer.codebook)
    weights = tmp_path / "q" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(UserError, match="not the file that config.json describes"):
        load_quantizer(tmp_path / "q")
    with pytest.raises(UserError, match="another version of the encoder"):
        SpeechToUnits(Quantizer(torch.randn(5, 39), "mfcc@50", "older", 50.0))


def test_from_recordings_to_statistics_by_command(tmp_path, noise_corpus):
    def run(*arguments, ok=True):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if ok:
            assert result.exit_code == 0, (result.output, result.exception)
        return result

    manifest_path = tmp_path / "manifest.tsv"
    write_manifest(manifest_path, scan(noise_corpus)[0])
    manifest = read_manifest(manifest_path)
    store_features(manifest, load_encoder("mfcc-cmvn@50"), tmp_path / "features")
    fitted = json.loads(run("fit", tmp_path / "features", tmp_path / "q", "--k", 8, "--restarts", 2, "--json").stdout)
    assert isinstance(run("fit", tmp_path / "features", tmp_path / "q", ok=False).exception, UserError)
    refit = json.loads(
        run("fit", tmp_path / "features", tmp_path / "q", "--k", 8, "--restarts", 2, "--force", "--json").stdout
    )
    assert refit["identity"] == fitted["identity"]  # the same seed, the same codebook, to the bit
    too_many = run("fit", tmp_path / "features", tmp_path / "q2", "--k", 5000, ok=False).exception
    assert "K=5000 needs as many distinct frames" in str(too_many)

    run("encode", manifest_path, tmp_path / "u.jsonl", "--quantizer", tmp_path / "q")
    units = read_units(tmp_path / "u.jsonl")
    assert [item.id for item in units.utterances] == [u.id for u in manifest]
    assert [item.n_frames for item in units.utterances] == [u.n_samples // 320 for u in manifest]
    assert isinstance(
        run("encode", manifest_path, tmp_path / "u.jsonl", "--quantizer", tmp_path / "q", ok=False).exception, UserError
    )
    run("encode", manifest_path, tmp_path / "v.jsonl", "--quantizer", tmp_path / "q", "--shards", 4)
    assert read_units(tmp_path / "v.jsonl") == units

    run("features", tmp_path / "u.jsonl", tmp_path / "onehot", "--quantizer", tmp_path / "q")
    run("features", tmp_path / "u.jsonl", tmp_path / "codes", "--quantizer", tmp_path / "q", "--as", "codebook")
    first = units.utterances[0]
    onehot = store.open_features(tmp_path / "onehot")[first.id]
    assert onehot.argmax(axis=1).tolist() == expand(first.units, first.durations).tolist()
    codes = store.open_features(tmp_path / "codes")[first.id]
    assert np.array_equal(codes, load_quantizer(tmp_path / "q").codebook.numpy()[onehot.argmax(axis=1)])

    stats = json.loads(run("stats", tmp_path / "u.jsonl", "--json").stdout)
    assert stats["frames"] == sum(u.n_samples // 320 for u in manifest)
    assert "perplexity" in run("stats", tmp_path / "u.jsonl").stdout


def test_skipped_recordings_do_not_stop_a_corpus(tmp_path, noise_corpus):
    manifest_path = tmp_path / "manifest.tsv"
    write_manifest(manifest_path, scan(noise_corpus)[0])
    (noise_corpus / "γλώσσα" / "take 2.wav").unlink()
    quantizer = Quantizer(torch.randn(4, 39), "mfcc@50", load_encoder("mfcc@50").sha256, 50.0)
    done, skipped = encode_corpus(read_manifest(manifest_path), SpeechToUnits(quantizer), tmp_path / "u.jsonl")
    assert (done, len(skipped)) == (5, 1)
    encode_corpus(read_manifest(tmp_path / "manifest.tsv"), SpeechToUnits(quantizer), tmp_path / "v.jsonl")
    listed = (tmp_path / "skipped.tsv").read_text().splitlines()
    assert len(listed) == 2  # header and one recording, though two outputs share the folder
    assert "not found" in listed[1]
