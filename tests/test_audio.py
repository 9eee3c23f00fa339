import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from textless.audio import io
from textless.audio.batches import bucket, mask, pad
from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.audio.scan import scan
from textless.errors import AudioError, UserError


@pytest.mark.parametrize(
    ("rate", "suffix"), [(8000, "wav"), (44100, "flac"), (48000, "ogg"), (192000, "wav"), (44100, "mp3")]
)
def test_a_tone_survives_loading_at_any_rate_and_format(tmp_path, tone, rate, suffix):
    stereo = np.stack([tone(1000, 1.0, rate)] * 2, axis=1)
    soundfile.write(tmp_path / f"tone.{suffix}", stereo, rate)
    waveform = io.load(tmp_path / f"tone.{suffix}")
    assert waveform.dtype == torch.float32
    assert len(waveform) == pytest.approx(16_000, rel=0.1)  # mp3 pads to whole blocks
    spectrum = torch.fft.rfft(waveform[2000:14000]).abs()
    assert spectrum.argmax() * 16_000 / 12_000 == pytest.approx(1000, abs=2)
    peak = waveform[2000:14000].abs().max()
    assert peak == pytest.approx(0.5, abs=0.05)  # lossy formats ripple


def test_resampling_removes_what_would_alias(tone):
    assert io.resample(torch.from_numpy(tone(11_000, 1.0, 48_000)), 48_000).abs()[500:-500].max() < 0.02


def test_bad_files_are_named_with_their_reason(tmp_path, tone):
    good = tmp_path / "good.wav"
    soundfile.write(good, tone(440), 16_000)
    soundfile.write(tmp_path / "good.flac", tone(440) + 0.01 * np.random.default_rng(0).standard_normal(16_000), 16_000)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is not audio at all")
    (tmp_path / "cut.wav").write_bytes(good.read_bytes()[:9000])
    flac = (tmp_path / "good.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(flac[: len(flac) // 2])
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan, 0.1] * 400), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "slow.wav", tone(440), 4000)
    for name, reason in {
        "missing.wav": "not found",
        "empty.wav": "empty",
        "text.wav": "not an audio file",
        "cut.wav": "truncated",
        "cut.flac": "truncated",
        "none.wav": "no samples",
        "nan.wav": "NaN",
        "slow.wav": "4000 Hz",
    }.items():
        with pytest.raises(AudioError, match=reason):
            io.load(tmp_path / name)
    with pytest.raises(UserError, match="'good'"):  # good.wav and good.flac
        scan(tmp_path)
    good.unlink()
    manifest, skipped = scan(tmp_path)
    assert [u.id for u in manifest] == ["good"]
    assert len(skipped) == 7


def test_scan_finds_speakers_and_refuses_colliding_ids(noise_corpus):
    manifest, skipped = scan(noise_corpus, "parent")
    assert not skipped
    assert {u.speaker for u in manifest} == {"sprecher eins", "γλώσσα"}
    assert manifest.utterances[0].id == "sprecher eins/take 1"
    assert scan(noise_corpus, "prefix")[0].utterances[0].speaker == "take 1"
    shutil.copy(noise_corpus / "γλώσσα/take 0.wav", noise_corpus / "γλώσσα/take 0.WAV")
    with pytest.raises(UserError, match="more than once"):
        scan(noise_corpus)


def test_manifests_round_trip_in_both_forms(tmp_path, noise_corpus):
    manifest, _ = scan(noise_corpus)
    write_manifest(tmp_path / "plain.tsv", manifest)
    lines = (tmp_path / "plain.tsv").read_text().splitlines()
    assert lines[0] == "corpus"
    assert lines[1].split("\t") == [manifest.utterances[0].path, str(manifest.utterances[0].n_samples)]
    assert read_manifest(tmp_path / "plain.tsv").utterances == manifest.utterances
    rich = Manifest(
        noise_corpus,
        tuple(
            Utterance(f"id {i}", u.path, u.n_samples, "s", "ein Satz", {"take": "2"}) for i, u in enumerate(manifest)
        ),
    )
    write_manifest(tmp_path / "sub" / "rich.tsv", rich)
    again = read_manifest(tmp_path / "sub" / "rich.tsv")
    assert again.utterances == rich.utterances
    assert again.load(again.utterances[0]).shape == (rich.utterances[0].n_samples,)


def test_a_stale_manifest_and_malformed_lines_are_errors(tmp_path, noise_corpus):
    path = tmp_path / "manifest.tsv"
    path.write_text("corpus\nγλώσσα/take 0.wav\t99\n")
    manifest = read_manifest(path)
    with pytest.raises(UserError, match="4800 samples but its manifest says 99"):
        manifest.load(manifest.utterances[0])
    for content, message in {
        "": "is empty",
        "corpus\na.wav 16000\n": ":2 should be",
        "corpus\na.wav\tlong\n": "positive integer",
        "path\tn_samples\tspeaker\na.wav\t5\n": "2 columns, its header has 3",
        "corpus\na.wav\t5\na.flac\t5\n": "more than once",
        "a\tb\n": "neither a root",
    }.items():
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            read_manifest(path)


def test_saving_clips_and_reads_back(tmp_path, tone):
    io.save(tmp_path / "loud.wav", 4 * tone(100))
    assert io.load(tmp_path / "loud.wav").abs().max() == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(AudioError, match="cannot write"):
        io.save(tmp_path / "tone.xyz", tone(100))


def test_buckets_hold_everything_once_and_respect_the_bound():
    lengths = [*np.random.default_rng(0).integers(1, 500, 200).tolist(), 5000]
    for seed in (None, 1):
        batches = bucket(lengths, 2000, seed=seed)
        assert sorted(index for batch in batches for index in batch) == list(range(201))
        assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 2000 for b in batches)
    padded, sizes = pad([torch.ones(3, 2), torch.ones(1, 2)])
    assert padded.shape == (2, 3, 2)
    assert (mask(sizes, 3) == torch.tensor([[1, 1, 1], [1, 0, 0]])).all()


def test_paths_stay_relative_so_that_a_corpus_can_be_moved(tmp_path, noise_corpus):
    write_manifest(tmp_path / "manifest.tsv", scan(noise_corpus)[0])
    moved = tmp_path.parent / (tmp_path.name + "-moved")
    shutil.move(tmp_path, moved)
    manifest = read_manifest(Path(moved) / "manifest.tsv")
    assert len(manifest.load(manifest.utterances[0])) == manifest.utterances[0].n_samples
