"""A corpus of tones, each unit a frequency, and what the vocoder's training data make of it."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.errors import UserError
from textless.speakers.embeddings import Embeddings, write_embeddings
from units.files import Units, write_units
from units.identity import QuantizerIdentity
from vocoder.conditions import Conditions
from vocoder.data import Corpus
from vocoder.reading import load_corpus

QUANTIZER = QuantizerIdentity(encoder="tones", k=4, frame_rate=50.0, sha256="a" * 64)
OTHER = QuantizerIdentity(encoder="tones", k=4, frame_rate=50.0, sha256="b" * 64)
FREQUENCIES = (400.0, 700.0, 1200.0, 2000.0)
DURATIONS = (3, 5, 8, 12)  # frames of each unit
SPEAKERS = {"loud": (0.5, 0.0), "soft": (0.05, 0.05)}  # amplitudes of the tone and of its double
HOP = 320


def tone_utterance(name: str, units: list[int], speaker: str) -> tuple[Units, np.ndarray]:
    durations = [DURATIONS[unit] for unit in units]
    frequency = np.repeat([FREQUENCIES[unit] for unit in units], [d * HOP for d in durations])
    phase = 2 * np.pi * np.cumsum(frequency) / io.SAMPLE_RATE
    first, second = SPEAKERS[speaker]
    return Units(name, units, durations), first * np.sin(phase) + second * np.sin(2 * phase)


def sequences(count: int, length: int, seed: int) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        steps = generator.integers(1, 4, size=length)  # never the same unit twice in a row
        found.append(((steps.cumsum() + generator.integers(4)) % 4).tolist())
    return found


def write_tones(directory: Path, count: int = 12, length: int = 12) -> None:
    """Write `units.jsonl`, `manifest.tsv` and the recordings; speakers take turns."""
    items, rows = [], []
    for index, (units, speaker) in enumerate(
        zip(sequences(count, length, seed=0), itertools.cycle(SPEAKERS), strict=False)
    ):
        item, waveform = tone_utterance(f"{speaker}/{index:03d}", units, speaker)
        io.save(directory / "audio" / f"{item.id}.wav", waveform)
        items.append(item)
        rows.append(Utterance(item.id, f"audio/{item.id}.wav", len(waveform), speaker))
    write_units(directory / "units.jsonl", QUANTIZER, items)
    write_manifest(directory / "manifest.tsv", Manifest(directory, tuple(rows)))


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tones")
    write_tones(directory)
    return directory


def load(directory: Path, **changes: object) -> Corpus:
    settings = {"memory_gb": 1.0, **changes}
    return load_corpus(directory / "units.jsonl", directory / "manifest.tsv", **settings)


def test_a_segment_is_the_samples_of_its_frames(tones: Path) -> None:
    corpus = load(tones)
    batch = corpus.collate([(2, 10)], 20)
    whole = io.load(tones / "audio" / f"{corpus.recordings[2].units.id}.wav")
    torch.testing.assert_close(batch.waveform[0], whole[10 * HOP : 30 * HOP], atol=2**-16, rtol=0)
    assert batch.frames.units[0].tolist() == corpus.recordings[2].frames.units[10:30].tolist()
    assert corpus.cast.speakers[batch.voices.speakers[0]] == corpus.recordings[2].speaker


def test_runs_at_the_edges_of_a_segment_keep_their_whole_duration(tones: Path) -> None:
    corpus = load(tones)
    recording = corpus.recordings[0]
    for start in range(0, len(recording.frames) - 20, 7):
        units, durations = recording.runs(start, start + 20)
        inside = [unit for unit, _ in itertools.groupby(recording.frames.units[start : start + 20].tolist())]
        assert units.tolist() == inside
        assert durations.tolist() == [DURATIONS[unit] for unit in inside]


def test_an_epoch_covers_the_corpus_evenly_and_a_later_start_sees_the_same_batches(tones: Path) -> None:
    corpus = load(tones)
    epoch = corpus.segments(0, 20, seed=3)
    expected = {index: round(len(r.frames) / 20) for index, r in enumerate(corpus.recordings)}
    assert {index: sum(i == index for i, _ in epoch) for index in expected} == expected
    assert all(0 <= start <= len(corpus.recordings[index].frames) - 20 for index, start in epoch)
    assert corpus.segments(1, 20, seed=3) != epoch
    first = list(itertools.islice(corpus.batches(0, 20, 16, seed=3), 9))
    later = list(itertools.islice(corpus.batches(5, 20, 16, seed=3), 4))
    assert first[5:] == later


def test_reading_when_needed_gives_the_same_batches(tones: Path) -> None:
    kept, read = load(tones), load(tones, memory_gb=0.0)
    assert read.recordings[0].waveform is None
    segments = kept.segments(0, 20, seed=0)[:5]
    torch.testing.assert_close(
        kept.collate(segments, 20).waveform,
        read.collate(segments, 20).waveform,
        atol=0,
        rtol=0,
    )


def test_what_cannot_be_used_is_counted(tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tones(tmp_path, count=4)
    (tmp_path / "audio/loud/000.wav").write_bytes(b"not audio")
    kept = [tone_utterance(f"{s}/{i:03d}", u, s)[0] for i, (u, s) in enumerate(
        zip(sequences(4, 12, seed=0), itertools.cycle(SPEAKERS), strict=False)
    )]  # fmt: skip
    write_units(
        tmp_path / "units.jsonl", QUANTIZER, [*kept[:3], Units("soft/003", [], []), Units("elsewhere", [1], [1])]
    )
    corpus = load(tmp_path)
    assert [recording.units.id for recording in corpus.recordings] == ["soft/001", "loud/002"]
    said = " ".join(capsys.readouterr().err.split())
    assert "1 without a recording in the manifest" in said
    assert "1 whose recording cannot be used" in said
    assert "1 without units" in said


def test_silent_and_very_short_recordings_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items, rows = [], []
    for name, waveform in (
        ("speech", 0.1 * np.ones(40 * HOP)),
        ("silence", np.zeros(40 * HOP)),
        ("hum", 3e-4 * np.ones(40 * HOP)),
        ("click", 0.5 * np.ones(160)),  # 10 ms
    ):
        io.save(tmp_path / f"{name}.wav", waveform)
        items.append(Units(name, [1], [max(1, len(waveform) // HOP)]))
        rows.append(Utterance(name, f"{name}.wav", len(waveform), "x"))
    write_units(tmp_path / "units.jsonl", QUANTIZER, items)
    write_manifest(tmp_path / "manifest.tsv", Manifest(tmp_path, tuple(rows)))
    assert [recording.units.id for recording in load(tmp_path).recordings] == ["speech"]
    said = " ".join(capsys.readouterr().err.split())
    assert "2 silent" in said
    assert "1 shorter than 0.1 s" in said
    write_units(tmp_path / "units.jsonl", QUANTIZER, items[1:])
    with pytest.raises(UserError, match="nothing is left to use.*2 silent"):
        load(tmp_path)


def test_validation_speakers_that_training_lacks_are_counted(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tones(tmp_path, count=1)
    only_loud = load(tmp_path)
    capsys.readouterr()
    load(tones, like=only_loud)
    assert "6 of speakers that the training corpus lacks" in " ".join(capsys.readouterr().err.split())


def test_speakers_as_embeddings(tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training hears every utterance's own embedding; validation, and the model, the speaker's mean."""
    ids = [recording.units.id for recording in load(tones).recordings]
    vectors = torch.nn.functional.normalize(torch.randn(len(ids), 6), dim=1)
    write_embeddings(tmp_path / "e.safetensors", Embeddings(tuple(ids), vectors, "utterance", "test", "c" * 64))
    corpus = load(tones, conditions=Conditions(embeddings=tmp_path / "e.safetensors"))
    batch = corpus.collate([(3, 0), (4, 0)], 10)
    torch.testing.assert_close(batch.voices.speakers, vectors[[3, 4]])
    loud = torch.nn.functional.normalize(
        vectors[[i for i, name in enumerate(ids) if "loud" in name]].mean(dim=0), dim=0
    )
    torch.testing.assert_close(corpus.cast.embeddings["loud"], loud)
    valid = load(tones, conditions=corpus.conditions, like=corpus)
    torch.testing.assert_close(valid.collate([(0, 0)], 10).voices.speakers, loud[None])
    assert corpus.cast.speaker_encoder == "c" * 64

    write_embeddings(tmp_path / "s.safetensors", Embeddings(("loud",), loud[None], "speaker", "test", "c" * 64))
    capsys.readouterr()
    by_speaker = load(tones, conditions=Conditions(embeddings=tmp_path / "s.safetensors"))
    assert {recording.speaker for recording in by_speaker.recordings} == {"loud"}
    assert "6 without a speaker embedding" in " ".join(capsys.readouterr().err.split())


def test_styles_come_from_the_manifest(tones: Path, tmp_path: Path) -> None:
    manifest = read_manifest(tones / "manifest.tsv")
    rows = tuple(replace(u, extra={"style": "happy" if i % 3 else "sad"}) for i, u in enumerate(manifest))
    write_manifest(tmp_path / "styled.tsv", Manifest(manifest.root, rows))
    corpus = load_corpus(
        tones / "units.jsonl", tmp_path / "styled.tsv", memory_gb=1.0, conditions=Conditions(styles=True)
    )
    assert corpus.cast.styles == ["happy", "sad"]
    assert corpus.collate([(0, 0), (1, 0), (3, 0)], 10).voices.styles.tolist() == [1, 0, 1]


def test_units_and_manifest_without_a_common_id(tones: Path, tmp_path: Path) -> None:
    write_units(tmp_path / "units.jsonl", QUANTIZER, [Units("x", [1], [2])])
    with pytest.raises(UserError, match="share no utterance id"):
        load_corpus(tmp_path / "units.jsonl", tones / "manifest.tsv", memory_gb=1.0)


def test_units_without_durations(tones: Path, tmp_path: Path) -> None:
    write_units(tmp_path / "units.jsonl", QUANTIZER, [Units("loud/000", [1, 2])])
    with pytest.raises(UserError, match="no durations"):
        load_corpus(tmp_path / "units.jsonl", tones / "manifest.tsv", memory_gb=1.0)


def test_units_of_another_recording(tones: Path, tmp_path: Path) -> None:
    write_units(tmp_path / "units.jsonl", QUANTIZER, [Units("loud/000", [1, 2], [9, 9])])
    with pytest.raises(UserError, match="made from another file"):
        load_corpus(tmp_path / "units.jsonl", tones / "manifest.tsv", memory_gb=1.0)


def test_validation_data_of_another_quantizer_or_other_speakers(tones: Path, tmp_path: Path) -> None:
    corpus = load(tones)
    write_units(tmp_path / "units.jsonl", OTHER, [corpus.recordings[0].units])
    with pytest.raises(UserError, match="was made with the quantizer"):
        load_corpus(tmp_path / "units.jsonl", tones / "manifest.tsv", memory_gb=1.0, like=corpus)
    write_tones(tmp_path, count=1)
    only_loud = load(tmp_path)
    assert {r.speaker for r in load(tones, like=only_loud).recordings} == {"loud"}
