"""Voice conversion from Python and from the command line: words, melody, speed, height, references, folders."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_vocoder_pitch import SPEAKERS, contour, settings, sung, voice
from typer.testing import CliRunner

from textless.audio import io
from textless.audio.manifest import read_manifest
from textless.cli import build
from textless.encoders.encoder import load_encoder
from textless.errors import UserError
from textless.pipeline.bundle import write_bundle
from textless.pipeline.conversion import Converter, Manner
from textless.pipeline.speech import SpeechPipeline
from textless.speakers.config import SpeakerEncoderConfig
from textless.speakers.embedder import load_embedder
from textless.speakers.embeddings import Embeddings, write_embeddings
from textless.speakers.model import SpeakerEncoder
from ulm.config import ModelConfig as LanguageModelConfig
from ulm.language_model import TransformerLanguageModel
from ulm.model import UnitTransformer
from units.encode import SpeechToUnits
from units.files import write_units
from units.pitch import PitchTracker
from units.quantizer import Quantizer, save_quantizer
from vocoder.loudness import gain_to
from vocoder.train import train
from vocoder.vocoder import load_vocoder

__all__ = ["sung"]  # a fixture
ENCODER = "mfcc@50"


class Trained:
    """Directories of a bundle's parts, trained on two singers."""

    def __init__(self, directory: Path, corpus: Path) -> None:
        self.directory = directory
        encoder = load_encoder(ENCODER)
        self.manifest = read_manifest(corpus / "manifest.tsv")
        frames = torch.cat(encoder.encode([self.manifest.load(item) for item in self.manifest]))
        picked = frames[:: len(frames) // 12][:12].contiguous()
        quantizer = Quantizer(picked, ENCODER, encoder.sha256, encoder.frame_rate)
        save_quantizer(directory / "quantizer", quantizer, {})
        self.speech_to_units = SpeechToUnits(quantizer, torch.device("cpu"))
        network = UnitTransformer(LanguageModelConfig(layers=1, dim=16, heads=2, ffn=16, ngram_rows=16), 13)
        TransformerLanguageModel(network, quantizer.identity, 32).save(directory / "ulm")
        ids = [item.id for item in self.manifest]
        units = self.speech_to_units.encode([self.manifest.load(item) for item in self.manifest], ids)
        write_units(directory / "units.jsonl", quantizer.identity, units)

    def vocoder(self, name: str, model: dict[str, object], steps: int, **data: object) -> Path:
        config = settings(self.manifest.root, model, steps=steps, batch_size=8, log_every=50, data=data)
        data_config = config.data.model_copy(update={"units": self.directory / "units.jsonl"})
        train(config.model_copy(update={"data": data_config}), self.directory / name)
        return self.directory / name

    def converter(self, name: str) -> Converter:
        return Converter(self.speech_to_units, load_vocoder(self.directory / name, "cpu"))

    def bundle(self, vocoder: str) -> Path:
        out = self.directory / f"bundle-{vocoder}"
        write_bundle(out, ENCODER, self.directory / "quantizer", self.directory / "ulm", self.directory / vocoder)
        return out


@pytest.fixture(scope="module")
def trained(sung: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    parts = Trained(tmp_path_factory.mktemp("parts"), sung)
    parts.vocoder("raw", {"pitch": "raw", "width": 32, "hidden": 32}, steps=100)
    parts.vocoder("plain", {}, steps=1)
    torch.manual_seed(0)
    encoder = SpeakerEncoder(SpeakerEncoderConfig(width=16, dim=8))
    encoder.save(parts.directory / "speakers")
    embedder = load_embedder(str(parts.directory / "speakers"), "cpu")
    vectors = embedder.embed([parts.manifest.load(item) for item in parts.manifest])
    path = parts.directory / "embeddings.safetensors"
    ids = tuple(item.id for item in parts.manifest)
    write_embeddings(path, Embeddings(ids, vectors, "utterance", embedder.name, embedder.sha256))
    parts.vocoder("embedding", {"pitch": "raw", "speaker": "embedding", "speaker_size": 8}, steps=1, embeddings=path)
    parts.bundle("raw")
    parts.bundle("embedding")
    return parts


def song(index: int, speaker: str) -> torch.Tensor:
    return torch.from_numpy(voice(contour(index, SPEAKERS[speaker]))).float()


def octaves(waveform: torch.Tensor, f0: np.ndarray) -> np.ndarray:
    """How far, in octaves, a waveform lies above a contour, where both are voiced."""
    tracked = PitchTracker(50).track(waveform)[: len(f0)]
    voiced = (tracked > 0) & (f0[: len(tracked)] > 0)
    assert voiced.sum() > 30
    return np.log2(tracked[voiced] / f0[: len(tracked)][voiced])


def test_the_melody_moves_to_the_height_of_the_other_voice(trained: Trained) -> None:
    f0 = contour(200, SPEAKERS["low"])
    low = torch.from_numpy(voice(f0)).float()
    converter = trained.converter("raw")
    levels = [float(converter.vocoder.model.levels[converter.vocoder.speaker_index(n)]) for n in ("low", "high")]
    own_mean = np.log(f0[f0 > 0]).mean()
    moved = converter.convert([low], "high")[0]
    assert np.median(octaves(moved, f0)) == pytest.approx((levels[1] - own_mean) / np.log(2), abs=1 / 12)
    kept = converter.convert([low], "low", Manner(source="low"))[0]
    assert abs(np.median(octaves(kept, f0))) < 1 / 12  # not the recording's mean, but that of the voice, is taken off
    raised = converter.convert([low], "low", Manner(source="low", semitones=3.0))[0]
    assert np.median(octaves(raised, f0)) == pytest.approx(3 / 12, abs=1 / 12)


def test_batches_change_nothing_and_speed_changes_the_length(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    converter = trained.converter("raw")
    songs = [song(201, "low"), song(202, "high")[:9000], song(203, "low")[:400]]
    together = converter.convert(songs, "high")
    for waveform, found in zip(songs, together, strict=True):
        torch.testing.assert_close(converter.convert([waveform], "high")[0], found, atol=1e-4, rtol=0)
    loud = converter.convert(songs, "high", Manner(loudness=-30.0))
    assert torch.equal(loud[2], together[2])  # 25 ms have no loudness
    assert not torch.equal(loud[0], together[0])
    assert "1 of 3 waveforms are too short" in " ".join(capsys.readouterr().err.split())
    slow = converter.convert(songs[:1], "high", Manner(speed=0.5))[0]
    assert len(slow) == 2 * len(together[0])


def test_a_vocoder_without_pitch_converts_too_but_cannot_be_shifted(trained: Trained) -> None:
    converter = trained.converter("plain")
    assert len(converter.convert([song(204, "low")], "high")[0]) > 0
    with pytest.raises(UserError, match="pitch cannot be shifted"):
        converter.convert([song(204, "low")], "high", Manner(semitones=2.0))


def test_references(trained: Trained) -> None:
    converter = trained.converter("embedding")
    embedder = load_embedder(str(trained.directory / "speakers"), "cpu")
    reference = song(205, "high")
    voice_heard = converter.voice_of(reference, embedder)
    torch.testing.assert_close(voice_heard.speakers, embedder.embed([reference]))
    hertz = PitchTracker(50).track(reference)
    assert float(voice_heard.levels) == pytest.approx(np.log(hertz[hertz > 0]).mean(), abs=1e-4)
    with pytest.raises(UserError, match="knows voices by name only"):
        trained.converter("raw").voice_of(reference, embedder)
    with pytest.raises(UserError, match="speaker encoder needs 0.10 s"):
        converter.voice_of(reference[:800], embedder)
    with pytest.raises(UserError, match="nothing in the reference is voiced"):
        converter.voice_of(0.1 * torch.randn(16000), embedder)
    torch.manual_seed(1)
    SpeakerEncoder(SpeakerEncoderConfig(width=16, dim=8)).save(trained.directory / "others")
    with pytest.raises(UserError, match="was trained with embeddings of the speaker encoder"):
        converter.voice_of(reference, load_embedder(str(trained.directory / "others"), "cpu"))


def test_python_speaks_as_the_parts_do(trained: Trained) -> None:
    pipeline = SpeechPipeline.load(trained.directory / "bundle-embedding", "cpu")
    embedder = load_embedder(str(trained.directory / "speakers"), "cpu")
    waveform, reference = song(206, "low"), song(207, "high")
    found = pipeline.convert([waveform], reference=reference, embedder=embedder)[0]
    expected = pipeline.converter.convert([waveform], pipeline.converter.voice_of(reference, embedder))[0]
    assert torch.equal(found, expected)
    named = pipeline.convert([waveform], "high", manner=Manner(speed=0.5))[0]
    assert torch.equal(named, pipeline.resynthesize(waveform, "high", speed=0.5))
    with pytest.raises(ValueError, match="either a speaker, or a reference"):
        pipeline.convert([waveform], "high", reference=reference, embedder=embedder)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(build(), [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return " ".join(result.stdout.split())


def test_command_on_a_file(trained: Trained, tmp_path: Path) -> None:
    io.save(tmp_path / "in.wav", song(208, "low"))
    bundle = trained.directory / "bundle-raw"
    options = ["--bundle", bundle, "--device", "cpu"]
    said = run("convert", tmp_path / "in.wav", tmp_path / "out.wav", *options, "--speaker", "high", "--source", "low")
    assert "1.20 s, spoken in 1.2" in said
    expected = trained.converter("raw").convert([io.load(tmp_path / "in.wav")], "high", Manner(source="low"))[0]
    torch.testing.assert_close(io.load(tmp_path / "out.wav"), expected.clamp(-1, 1), atol=2**-14, rtol=0)
    with pytest.raises(UserError, match="exists already"):
        run("convert", tmp_path / "in.wav", tmp_path / "out.wav", *options)
    run("convert", tmp_path / "in.wav", tmp_path / "out.wav", *options, "--force", "--speed", "2", "--pitch", "-2")
    assert len(io.load(tmp_path / "out.wav")) < 0.6 * len(expected)
    run("convert", tmp_path / "in.wav", tmp_path / "soft.wav", *options, "--loudness", "-40")
    assert gain_to(io.load(tmp_path / "soft.wav"), -40.0) == pytest.approx(1.0, abs=0.01)  # 16 bits
    run("resynthesize", tmp_path / "in.wav", tmp_path / "again.wav", *options, "--pitch", "3", "--source", "low")
    again = trained.converter("raw").convert([io.load(tmp_path / "in.wav")], None, Manner(1.0, 3.0, "low"))[0]
    torch.testing.assert_close(io.load(tmp_path / "again.wav"), again.clamp(-1, 1), atol=2**-14, rtol=0)


def test_command_with_a_reference(trained: Trained, tmp_path: Path) -> None:
    io.save(tmp_path / "in.wav", song(209, "low"))
    io.save(tmp_path / "who.wav", song(210, "high"))
    bundle, encoder = trained.directory / "bundle-embedding", trained.directory / "speakers"
    arguments = ("convert", tmp_path / "in.wav", tmp_path / "out.wav", "--bundle", bundle)
    run(*arguments, "--reference", tmp_path / "who.wav", "--speaker-encoder", encoder)
    assert (tmp_path / "out.wav").exists()
    with pytest.raises(UserError, match="go together"):
        run(*arguments, "--force", "--reference", tmp_path / "who.wav")
    with pytest.raises(UserError, match="not both"):
        run(*arguments, "--force", "--reference", tmp_path / "who.wav", "--speaker", "high")


def test_command_on_a_folder_continues_and_counts(trained: Trained, tmp_path: Path) -> None:
    for index in range(3):
        io.save(tmp_path / "in" / "deep" / f"{index}.wav", song(211 + index, "low"))
    (tmp_path / "in/text.wav").write_text("no sound")
    io.save(tmp_path / "in" / "click.wav", 0.5 * torch.ones(160))
    arguments = ("convert", tmp_path / "in", tmp_path / "out", "--bundle", trained.directory / "bundle-raw")
    said = run(*arguments, "--speaker", "high")
    assert "3 recordings; 2 skipped, see skipped.tsv" in said
    assert [item.id for item in read_manifest(tmp_path / "out/manifest.tsv")] == [f"deep/{i}" for i in range(3)]
    skipped = (tmp_path / "out/skipped.tsv").read_text().splitlines()[1:]
    assert [row.split("\t")[0] for row in skipped] == ["text.wav", "click.wav"]
    kept = tmp_path / "out/deep/0.wav"
    alone = trained.converter("raw").convert([io.load(tmp_path / "in/deep/0.wav")], "high")[0]
    torch.testing.assert_close(io.load(kept), alone.clamp(-1, 1), atol=2**-13, rtol=0)
    (tmp_path / "out/manifest.tsv").unlink()  # as if it had been killed before it was done
    (tmp_path / "out/deep/1.wav").unlink()
    before = kept.stat().st_mtime_ns
    assert "2 were there already" in run(*arguments, "--speaker", "high")
    assert kept.stat().st_mtime_ns == before
    assert "nothing to do" in run(*arguments, "--speaker", "high")
    with pytest.raises(UserError, match="another synthesis.*conversion differ"):
        run(*arguments, "--speaker", "low")
    assert "3 recordings" in run(*arguments, "--speaker", "low", "--force")


def test_what_cannot_be_converted(trained: Trained, tmp_path: Path) -> None:
    bundle = trained.directory / "bundle-raw"
    with pytest.raises(UserError, match="no recording or folder"):
        run("convert", tmp_path / "none.wav", tmp_path / "out.wav", "--bundle", bundle)
    io.save(tmp_path / "in.wav", song(215, "low")[:100])
    with pytest.raises(UserError, match="did you mean high"):
        run("convert", tmp_path / "in.wav", tmp_path / "out.wav", "--bundle", bundle, "--speaker", "hihg")
    with pytest.raises(UserError, match="100 samples are less than one frame"):
        run("convert", tmp_path / "in.wav", tmp_path / "out.wav", "--bundle", bundle, "--speaker", "high")
