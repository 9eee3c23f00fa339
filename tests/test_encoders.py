import json

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
import torchaudio.functional
from torchaudio.compliance import kaldi
from typer.testing import CliRunner

from textless.audio.manifest import Utterance, read_manifest, write_manifest
from textless.audio.scan import scan
from textless.encoders.cli import app
from textless.encoders.encoder import EncoderSpec, load_encoder
from textless.errors import AudioError, UserError
from textless.features import extract, store


@pytest.mark.parametrize("rate", [50, 100])
@pytest.mark.parametrize("name", ["mfcc", "logmel"])
def test_spectral_features_are_kaldis(name, rate):
    waveform = torch.randn(7777).cumsum(0) * 0.01
    hop = 16_000 // rate
    padded = F.pad(waveform, ((400 - hop) // 2, 400))[None]
    options = {"sample_frequency": 16_000, "frame_shift": hop / 16, "dither": 0.0}
    if name == "mfcc":
        static = kaldi.mfcc(padded, use_energy=False, **options)[: 7777 // hop].T
        delta = torchaudio.functional.compute_deltas(static)
        expected = torch.cat([static, delta, torchaudio.functional.compute_deltas(delta)]).T
    else:
        expected = kaldi.fbank(padded, num_mel_bins=80, **options)[: 7777 // hop]
    found = load_encoder(f"{name}@{rate}").encode([waveform])[0]
    # float32 rounding, which the logarithm magnifies in nearly empty filters, relative to the scale of the features
    assert (found - expected).abs().max() / expected.abs().max() < 1e-4


@pytest.mark.parametrize("spec", ["mfcc@50", "mfcc-cmvn", "logmel", "logmel-cmvn@50"])
def test_batching_and_padding_never_change_a_feature(spec):
    waveforms = [torch.randn(n) for n in (16_000, 399, 8001, 640)]
    encoder = load_encoder(spec)
    for alone, together in zip([encoder.encode([w])[0] for w in waveforms], encoder.encode(waveforms), strict=True):
        # matrix products may be blocked differently for another batch size: rounding only
        torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)


def test_frames_are_centred_where_they_say():
    click = torch.zeros(16_000)
    click[4 * 320 + 160] = 1.0  # (4 + ½) / 50 s
    energy = load_encoder("logmel@50").encode([click])[0].sum(dim=1)
    assert len(energy) == 50
    assert energy.argmax() == 4
    assert (energy[3:6] > energy[0]).tolist() == [False, True, False]  # 25 ms windows, 20 ms apart: one holds it


def test_specifications():
    assert EncoderSpec.parse("mfcc@50") == EncoderSpec("mfcc", 50)
    assert EncoderSpec.parse("models/my hubert:9") == EncoderSpec("models/my hubert", None, 9)
    for spec, message in {
        "hubert-huge:3": "no encoder or directory named",
        "mfcc:2": "layer 0 only",
        "mfcc@33": "must divide",
        "": "not an encoder",
    }.items():
        with pytest.raises(UserError, match=message):
            load_encoder(spec)
    with pytest.raises(AudioError, match="less than one frame"):
        load_encoder("mfcc@50").encode([torch.zeros(100)])
    assert load_encoder("mfcc@50").sha256 != load_encoder("mfcc").sha256


@pytest.fixture
def manifest_path(tmp_path, noise_corpus):
    path = tmp_path / "manifest.tsv"
    write_manifest(path, scan(noise_corpus)[0])
    return path


def test_store_and_npy_hold_the_same_frames_in_the_manifests_order(tmp_path, manifest_path):
    for name, extra in (("one", []), ("three", ["--shards", "3"]), ("npy", ["--format", "npy"])):
        result = CliRunner().invoke(
            app, ["features", str(manifest_path), str(tmp_path / name), "--encoder", "mfcc@50", "--json", *extra]
        )
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["utterances"] == 6
    one, three, npy = (store.open_features(tmp_path / name) for name in ("one", "three", "npy"))
    assert list(one) == list(three) == [u.id for u in read_manifest(manifest_path)]
    assert set(npy) == set(one)
    for utterance_id in one:
        np.testing.assert_allclose(one[utterance_id], three[utterance_id], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(one[utterance_id], npy[utterance_id], rtol=1e-5, atol=1e-4)
    assert three.n_frames == sum(len(x) for x in one.values())


def test_two_ranks_write_one_store_and_a_killed_run_does_only_what_is_left(tmp_path, manifest_path, monkeypatch):
    manifest, encoder, out = read_manifest(manifest_path), load_encoder("logmel"), tmp_path / "store"
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        extract.store_features(manifest, encoder, out)
        if rank == 0:
            with pytest.raises(UserError, match="shard 1 of 2 is missing"):
                store.FeatureStore(out)
    assert len(store.FeatureStore(out)) == 6
    (out / "shard-00001-of-00002.index.jsonl").unlink()
    before = (out / "shard-00000-of-00002.npy").stat().st_mtime_ns
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name)
    extract.store_features(manifest, encoder, out)
    assert (out / "shard-00000-of-00002.npy").stat().st_mtime_ns == before
    assert len(store.FeatureStore(out)) == 6
    with pytest.raises(UserError, match="encoder, encoder_sha256, dim"):
        extract.store_features(manifest, load_encoder("mfcc"), out)


def test_unusable_recordings_are_skipped_and_listed(tmp_path, manifest_path, noise_corpus):
    (noise_corpus / "γλώσσα" / "take 0.wav").write_text("text")
    out = tmp_path / "store"
    result = CliRunner().invoke(app, ["features", str(manifest_path), str(out), "--encoder", "mfcc"])
    assert "1 recordings skipped" in result.stdout
    assert "not an audio file" in (out / "skipped.tsv").read_text()
    assert len(store.FeatureStore(out)) == 5


def test_feature_folders_say_what_is_wrong(tmp_path):
    (tmp_path / "f").mkdir()
    with pytest.raises(UserError, match="holds neither"):
        store.open_features(tmp_path / "f")
    np.save(tmp_path / "f" / "a.npy", np.zeros((2, 3, 4)))
    (tmp_path / "f" / "b.npy").write_bytes(b"garbage")
    np.savetxt(tmp_path / "f" / "c.txt", [[1.0, 2.0]])
    torch.save(torch.ones(5, dtype=torch.bfloat16), tmp_path / "f" / "d.pt")
    folder = store.open_features(tmp_path / "f")
    with pytest.raises(UserError, match=r"\(T, D\), found float64 \(2, 3, 4\)"):
        folder["a"]
    with pytest.raises(UserError, match="cannot be read"):
        folder["b"]
    assert folder["c"].shape == (1, 2)
    assert folder["d"].shape == (5, 1)


def test_manifest_ids_need_not_be_paths(tmp_path, noise_corpus):
    manifest, _ = scan(noise_corpus)
    renamed = type(manifest)(
        manifest.root, tuple(Utterance(f"u{i}", u.path, u.n_samples) for i, u in enumerate(manifest))
    )
    extract.write_npy_folder(renamed, load_encoder("logmel"), tmp_path / "npy")
    assert sorted(p.name for p in (tmp_path / "npy").glob("*.npy")) == [f"u{i}.npy" for i in range(6)]


def test_other_sample_rates_are_resampled_and_said(tmp_path, capsys):
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(8_000) / 8_000)
    soundfile.write(tmp_path / "low.wav", tone, 8_000)
    soundfile.write(tmp_path / "usual.wav", np.repeat(tone, 2), 16_000)
    manifest, _ = scan(tmp_path)
    found = extract.encode_utterances(manifest, manifest.utterances, load_encoder("logmel"), [])
    assert {len(frames) for _, frames in found} == {100}
    assert "1 recordings of other sample rates were resampled to 16000 Hz" in capsys.readouterr().err
