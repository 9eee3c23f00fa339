import hashlib
import json
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from textless.audio.manifest import Manifest, read_manifest, write_manifest
from textless.audio.scan import scan
from textless.encoders.directory import save_encoder
from textless.encoders.encoder import load_encoder
from textless.encoders.logmel_front_end import LogMelConfig
from textless.encoders.speech_transformer import SpeechTransformer, SpeechTransformerConfig
from textless.encoders.transformer import TransformerConfig
from textless.errors import UserError
from textless.features import store
from textless.features.extract import store_features
from units.cli import app
from units.encode import SpeechToUnits, encode_corpus, encode_store, quantize
from units.files import Stream, Units, UnitsFile, read_units, scan_units, write_units
from units.frames import StoredFrames
from units.identity import QuantizerIdentity, require_same
from units.normalisation import SpeakerNormaliser, speaker_moments
from units.quantizer import Quantizer, load_quantizer, save_quantizer
from units.runs import deduplicate, expand
from units.segment import SegmentStream, segment
from units.stats import unit_statistics

IDENTITY = QuantizerIdentity(encoder="mfcc@50", k=8, frame_rate=50.0, sha256="ab" * 32)


@given(st.lists(st.integers(0, 5)))
def test_deduplication_is_undone_by_expansion(units):
    short, durations = deduplicate(units)
    assert expand(short, durations).tolist() == units
    assert all(a != b for a, b in pairwise(short))


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 2**32 - 1), st.floats(0, 3))
def test_segmentation_is_the_best_of_all_sequences(seed, penalty):
    distances = np.random.default_rng(seed).random((5, 3))

    def cost(units):
        return sum(distances[range(5), units]) + penalty * sum(a != b for a, b in pairwise(units))

    found = segment(distances, penalty)
    assert cost(found) == pytest.approx(min(cost(units) for units in product(range(3), repeat=5)))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 4), st.integers(1, 5))
def test_a_stream_is_segmented_as_the_whole_is(seed, penalty, k):
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, 4, (rng.integers(0, 50), k)).astype(np.float64)  # ties, too
    segmenter = SegmentStream(penalty)
    for _ in range(2):  # a second utterance begins anew
        parts = [segmenter.push(part) for part in np.split(distances, np.sort(rng.integers(0, len(distances) + 1, 4)))]
        assert np.concatenate([*parts, segmenter.finish()]).tolist() == segment(distances, penalty).tolist()


def test_a_stream_does_not_wait_for_the_end():
    segmenter = SegmentStream(2.0)
    waiting = 0
    for _ in range(100):
        waiting += 20 - len(segmenter.push(np.random.default_rng(waiting).random((20, 50))))
    assert waiting < 500  # of 2000 frames


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


def test_streams_lie_beside_units(tmp_path):
    path = tmp_path / "units.jsonl"
    streams = {"f0": Stream(size=4, sha256="x"), "stress": Stream(size=2, sha256="y")}
    items = [Units("a", [1, 2], [3, 1], {"f0": [0, 3], "stress": [1, 0]}), Units("b", [], [], {"f0": [], "stress": []})]
    write_units(path, IDENTITY, items, streams)
    assert read_units(path) == UnitsFile(IDENTITY, items, streams)
    header, first, _ = path.read_text().splitlines()
    for line, message in {
        first.replace("[0,3]", "[0,4]"): r"one value of f0 in 0\.\.3",
        first.replace("[0,3]", "[0]"): r"one value of f0 in 0\.\.3",
        '{"id":"a","units":[1],"durations":[1]}': r"has the streams \[\]",
        first.replace('{"f0"', '{"g0"'): r"the header declares \['f0', 'stress'\]",
    }.items():
        path.write_text(f"{header}\n{line}")
        with pytest.raises(UserError, match=message):
            read_units(path)
    write_units(tmp_path / "v-00000-of-00002.jsonl", IDENTITY, items, streams)
    write_units(tmp_path / "v-00001-of-00002.jsonl", IDENTITY, [Units("c", [1])])
    with pytest.raises(UserError, match="has other streams"):
        read_units(tmp_path / "v.jsonl")


def test_a_missing_shard_is_named(tmp_path):
    for index in (0, 2):
        write_units(tmp_path / f"u-0000{index}-of-00003.jsonl", IDENTITY, [Units(str(index), [1])])
    with pytest.raises(UserError, match=r"u-00001-of-00003\.jsonl is missing"):
        read_units(tmp_path / "u.jsonl")
    head, utterances = scan_units(tmp_path / "u-00002-of-00003.jsonl")
    assert (head.quantizer, [item.id for item in utterances]) == (IDENTITY, ["2"])


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


def test_the_identity_of_a_quantizer_is_that_of_version_1(tmp_path):
    codebook = torch.arange(12.0).reshape(3, 4)
    for penalty, said in ((0.0, b"encoder"), (0.25, b"encoder duration penalty 0.25")):
        quantizer = Quantizer(codebook, "x", "encoder", 50.0, penalty)
        assert quantizer.identity.sha256 == hashlib.sha256(said + codebook.numpy().tobytes()).hexdigest()
        save_quantizer(tmp_path / "q", quantizer, {})
        header = json.loads((tmp_path / "q" / "config.json").read_text())
        assert header["version"] == 1
        assert not {"speaker_normalised", "spherical"} & header.keys()
    traits = [{}, {"spherical": True}, {"speaker_normalised": True}]
    assert len({Quantizer(codebook, "x", "encoder", 50.0, **t).identity.sha256 for t in traits}) == 3


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

    run("features", tmp_path / "u.jsonl", tmp_path / "codes", "--quantizer", tmp_path / "q", "--force")
    assert store.read_header(tmp_path / "codes").dim == 8
    stats = json.loads(run("stats", tmp_path / "u.jsonl", "--json").stdout)
    assert stats["frames"] == sum(u.n_samples // 320 for u in manifest)
    assert "perplexity" in run("stats", tmp_path / "u.jsonl").stdout


@pytest.fixture
def speakers(tmp_path, noise_corpus):
    """Three recordings a speaker, one of them four times as loud, and one recording whose speaker is not known."""
    found = scan(noise_corpus)[0]
    named = [replace(u, speaker=u.path.split("/")[0]) for u in found]
    for utterance in named[:3]:
        path = noise_corpus / utterance.path
        samples, rate = soundfile.read(path)
        soundfile.write(path, samples / 4, rate, subtype="PCM_16")
    manifest = Manifest(found.root, (replace(named[0], speaker=None), *named[1:]))
    write_manifest(tmp_path / "m.tsv", manifest)
    return read_manifest(tmp_path / "m.tsv")


def test_speaker_normalised_units_depend_on_neither_shards_nor_loudness(tmp_path, speakers):
    encoder = load_encoder("logmel@50")
    store_features(speakers, encoder, tmp_path / "f", n_shards=2)
    features = store.FeatureStore(tmp_path / "f")
    known = {u.id: u.speaker for u in speakers if u.speaker}
    expected = {}
    for utterance in speakers:
        mine = [u for u in speakers if u.voice == utterance.voice]
        frames = np.concatenate([features[u.id] for u in mine]).astype(np.float64)
        expected[utterance.id] = (features[utterance.id] - frames.mean(axis=0)) / frames.std(axis=0)
    normaliser = SpeakerNormaliser(speaker_moments(features.items(), known), known)
    stored = StoredFrames(features, normaliser=normaliser)
    assert np.concatenate(list(expected.values())) == pytest.approx(torch.cat(list(stored.blocks())).numpy(), abs=1e-3)

    fitting = ["fit", tmp_path / "f", tmp_path / "q", "--k", 8, "--duration-penalty", 0, "--speaker-normalised"]
    result = CliRunner().invoke(app, [str(a) for a in [*fitting, "--manifest", tmp_path / "m.tsv"]])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "1 of 6 utterances have no speaker" in result.stderr
    quantizer = load_quantizer(tmp_path / "q")
    for shards in (1, 4):
        encode_corpus(speakers, SpeechToUnits(quantizer), tmp_path / f"{shards}.jsonl", n_shards=shards)
    whole = read_units(tmp_path / "1.jsonl")
    assert read_units(tmp_path / "4.jsonl") == whole
    for item in whole.utterances:
        nearest = np.square(expected[item.id][:, None] - quantizer.codebook.numpy()).sum(-1).argmin(1)
        assert (nearest != expand(item.units, item.durations)).mean() < 0.05  # float64 here, float32 there: near ties

    encoding = ["encode", tmp_path / "f", tmp_path / "s.jsonl", "--quantizer", tmp_path / "q", "--shards", 3]
    result = CliRunner().invoke(app, [str(a) for a in [*encoding, "--manifest", tmp_path / "m.tsv"]])
    assert result.exit_code == 0, (result.output, result.exception)
    assert read_units(tmp_path / "s.jsonl") == whole
    alone = SpeechToUnits(quantizer).encode([speakers.load(speakers.utterances[0])], ["x"])[0]
    assert alone.units == whole.utterances[0].units  # its speaker is not known, so that it was alone before, too
    plain = Quantizer(quantizer.codebook, "logmel@50", encoder.sha256, 50.0)
    assert plain.encode(features[whole.utterances[1].id]).tolist() != expand(*_runs(whole.utterances[1])).tolist()


def _runs(item):
    return item.units, item.durations


def test_stored_features_are_encoded_like_recordings(tmp_path, noise_corpus):
    write_manifest(tmp_path / "m.tsv", scan(noise_corpus)[0])
    manifest = read_manifest(tmp_path / "m.tsv")
    encoder = load_encoder("mfcc@50")
    store_features(manifest, encoder, tmp_path / "f")
    for penalty in (0.0, 300.0):
        quantizer = Quantizer(torch.randn(9, 39) * 5, "mfcc@50", encoder.sha256, 50.0, penalty)
        save_quantizer(tmp_path / "q", quantizer, {})
        encode_corpus(manifest, SpeechToUnits(quantizer), tmp_path / "u.jsonl", force=True)
        arguments = ["encode", tmp_path / "f", tmp_path / "v.jsonl", "--quantizer", tmp_path / "q", "--force", "--json"]
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert json.loads(result.stdout) == {"utterances": 6, "skipped": 0}
        assert read_units(tmp_path / "v.jsonl") == read_units(tmp_path / "u.jsonl")
    for other in (replace(quantizer, encoder="mfcc@50:3"), replace(quantizer, encoder_sha256="other")):
        with pytest.raises(UserError, match=r"holds features of mfcc@50 .* but the quantizer reads mfcc@50"):
            encode_store(store.FeatureStore(tmp_path / "f"), other, tmp_path / "w.jsonl")
    with pytest.raises(UserError, match="'x' hold NaN"):
        quantize(quantizer, "x", np.full((3, 39), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"expected features \(T, 39\)"):
        quantizer.encode(np.zeros((3, 5)))
    refused = CliRunner().invoke(
        app,
        [
            "encode",
            str(tmp_path / "m.tsv"),
            str(tmp_path / "x.jsonl"),
            "--quantizer",
            str(tmp_path / "q"),
            "--manifest",
            str(tmp_path / "m.tsv"),
        ],
    )
    assert "names the speakers of a feature store" in str(refused.exception)


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


def test_an_encoder_that_was_moved_is_found_where_it_is_said_to_be(tmp_path, noise_corpus) -> None:
    torch.manual_seed(0)
    transformer = TransformerConfig(dim=16, layers=1, heads=2, ffn_dim=32, position="alibi")
    encoder = SpeechTransformer(SpeechTransformerConfig(front_end=LogMelConfig(bins=10), transformer=transformer))
    save_encoder(tmp_path / "encoder", encoder)
    (manifest, _), spec = scan(noise_corpus), f"{tmp_path / 'encoder'}@100:1"
    loaded = load_encoder(spec)
    quantizer = Quantizer(torch.randn(4, 16), spec, loaded.sha256, loaded.frame_rate)
    encode_corpus(manifest, SpeechToUnits(quantizer), tmp_path / "before.jsonl")
    (tmp_path / "encoder").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="--encoder says so"):
        SpeechToUnits(quantizer)
    moved = SpeechToUnits(quantizer, encoder=f"{tmp_path / 'moved'}@100:1")
    encode_corpus(manifest, moved, tmp_path / "after.jsonl")
    assert read_units(tmp_path / "before.jsonl") == read_units(tmp_path / "after.jsonl")
    with pytest.raises(UserError, match="another version of the encoder"):
        SpeechToUnits(quantizer, encoder=f"{tmp_path / 'moved'}:1")
