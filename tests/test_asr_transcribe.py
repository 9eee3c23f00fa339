"""Transcription: tones between silences are named, in order and in the time of the recording as it is."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import unsup_asr.transcribe
from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, write_manifest
from textless.encoders.encoder import load_encoder
from textless.errors import UserError
from unsup_asr.cli import app
from unsup_asr.recognizers import EncoderSource, Posteriors
from unsup_asr.transcribe import Chunk, Transcriber, chunks_of
from unsup_asr.transcripts import read_transcripts

RATE = io.SAMPLE_RATE
TONES = {"low": 300.0, "middle": 1000.0, "high": 4000.0}


class ToneRecognizer:
    """Names the loudest of three bands of a log-mel spectrum; "silence" where none is loud."""

    phones = (*TONES, "<SIL>")
    silence = 3
    topology = "frames"
    source = EncoderSource("logmel@100", load_encoder("logmel@100").sha256, 100.0)

    def posteriors(self, features: Sequence[np.ndarray]) -> list[Posteriors]:
        found = []
        for frames in features:
            bands = np.stack([frames[:, :22].max(1), frames[:, 22:45].max(1), frames[:, 45:].max(1)], axis=1)
            scores = np.concatenate([bands, np.full((len(frames), 1), bands.max() - 6)], axis=1)
            log_probs = torch.from_numpy(scores).log_softmax(-1).numpy()
            found.append(Posteriors(log_probs, np.arange(len(frames)), np.arange(len(frames)) + 1))
        return found


@pytest.fixture(autouse=True)
def _tones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsup_asr.transcribe, "load_recognizer", lambda _: ToneRecognizer())


def melody(*notes: tuple[str, float, float], seconds: float, rate: int = RATE) -> torch.Tensor:
    """Tones (name, start, stop) over quiet noise."""
    waveform = 1e-4 * torch.randn(round(seconds * rate), generator=torch.Generator().manual_seed(0))
    for name, start, stop in notes:
        place = slice(round(start * rate), round(stop * rate))
        waveform[place] += 0.2 * torch.sin(2 * torch.pi * TONES[name] * torch.arange(place.stop - place.start) / rate)
    return waveform


NOTES = [("low", 1.0, 1.3), ("high", 1.3, 1.5), ("middle", 3.0, 3.4), ("low", 3.4, 3.6), ("high", 5.5, 5.8)]


@pytest.mark.parametrize("vad", ["energy", "none"])
def test_tones_are_heard_at_their_times_whatever_is_cut_out(vad: str) -> None:
    (found,) = Transcriber(Path("tones"), vad=vad)([("melody", melody(*NOTES, seconds=7.0))])
    assert [x.label for x in found.phones] == [name for name, _, _ in NOTES]
    # A frame hears 25 ms, and 50 ms of silence are kept around speech.
    np.testing.assert_allclose([[x.start, x.end] for x in found.phones], [note[1:] for note in NOTES], atol=0.04)
    assert found.seconds == 7.0
    assert found.speech_seconds == pytest.approx(1.4 + 6 * 0.05 if vad == "energy" else 7.0, abs=0.07)


def test_minutes_in_chunks_say_the_same_as_the_pieces() -> None:
    one = melody(*NOTES, seconds=7.0)
    long = one.repeat(12)  # 84 s, five chunks and more
    (alone,) = Transcriber(Path("tones"))([("one", one)])
    (found,) = Transcriber(Path("tones"))([("long", long)])
    assert [x.label for x in found.phones] == [x.label for x in alone.phones] * 12
    expected = [x.start + 7 * turn for turn in range(12) for x in alone.phones]
    np.testing.assert_allclose([x.start for x in found.phones], expected, atol=0.021)


def test_long_speech_is_cut_where_it_is_quiet_and_nothing_is_lost() -> None:
    waveform = melody(("low", 0.0, 8.0), seconds=8.0)
    waveform[round(4.5 * RATE) : round(4.6 * RATE)] *= 0.01
    groups = chunks_of(waveform, [(0, len(waveform))], 6.0)
    assert [start for (start, _), *_ in groups][1] / RATE == pytest.approx(4.55, abs=0.06)
    assert [piece for group in groups for piece in group][-1][1] == len(waveform)
    pieces = [(0, RATE), (2 * RATE, 3 * RATE), (4 * RATE, 5 * RATE)]
    assert chunks_of(waveform, pieces, 2.0) == [pieces[:2], pieces[2:]]


def test_times_at_a_seam_belong_to_both_sides() -> None:
    chunk = Chunk.of(torch.zeros(5 * RATE), [(0, RATE), (3 * RATE, 4 * RATE)])
    np.testing.assert_allclose(chunk.seconds_in_recording(np.array([0.5, 1.0, 1.5]), are_ends=False), [0.5, 3.0, 3.5])
    np.testing.assert_allclose(chunk.seconds_in_recording(np.array([0.0, 1.0, 2.0]), are_ends=True), [0.0, 1.0, 4.0])


def test_the_verb_reads_files_folders_and_manifests_and_says_what_is_odd(tmp_path: Path) -> None:
    io.save(tmp_path / "in" / "melody.wav", melody(*NOTES, seconds=7.0))
    io.save(tmp_path / "in" / "silent.wav", torch.zeros(RATE))
    io.save(tmp_path / "slow.wav", melody(*NOTES, seconds=7.0, rate=24_000), 24_000)
    (tmp_path / "broken.wav").write_bytes(b"RIFF no audio")
    row = Utterance("named", "slow.wav", 7 * 24_000)
    write_manifest(tmp_path / "list.tsv", Manifest(tmp_path, (row,)))
    inputs = [str(tmp_path / name) for name in ("in", "list.tsv", "broken.wav")]
    arguments = ["transcribe", *inputs, "--model", "tones", "--json", "--out", str(tmp_path / "phones.tsv")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    found = {row["id"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert list(found) == ["melody", "silent", "named"]
    names = [name for name, _, _ in NOTES]
    assert [x["label"] for x in found["named"]["phones"]] == [x["label"] for x in found["melody"]["phones"]] == names
    assert read_transcripts(tmp_path / "phones.tsv") == {"melody": names, "silent": [], "named": names}
    assert "1 recordings of other sample rates were resampled" in result.stderr
    assert "1 recordings could not be read" in result.stderr
    assert "1 recordings hold no speech: silent" in result.stderr
    plain = CliRunner().invoke(app, ["transcribe", inputs[1], "--model", "tones"], catch_exceptions=False)
    assert plain.stdout == f"named\t{' '.join(names)}\n"
    timed = CliRunner().invoke(app, ["transcribe", inputs[1], "--model", "tones", "--timestamps"])
    assert [line.split("\t")[3] for line in timed.stdout.splitlines()] == names


def test_what_cannot_be_transcribed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transcriber = Transcriber(Path("tones"))
    heard = unsup_asr.transcribe.Heard()
    with pytest.raises(UserError, match="no recording, folder or manifest"):
        list(unsup_asr.transcribe.transcribe([tmp_path / "none.wav"], transcriber, heard))
    (tmp_path / "broken.wav").write_bytes(b"RIFF no audio")
    with pytest.raises(UserError, match="none of the 1 recordings"):
        list(unsup_asr.transcribe.transcribe([tmp_path / "broken.wav"], transcriber, heard))
    io.save(tmp_path / "a.wav", torch.zeros(RATE))
    with pytest.raises(UserError, match="share an id"):
        list(unsup_asr.transcribe.transcribe([tmp_path / "a.wav"] * 2, transcriber, heard))
    monkeypatch.setattr(ToneRecognizer, "source", EncoderSource("logmel@100", "0" * 64, 100.0))
    with pytest.raises(UserError, match="put the encoder back"):
        Transcriber(Path("tones"))
