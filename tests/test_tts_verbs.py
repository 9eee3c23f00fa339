"""`textless asr train-tts`, `augment` and `cycle` as commands, on planted speech of every kind."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import planted_speech as planted
from typer.testing import CliRunner, Result

from textless.audio.manifest import read_manifest
from textless.corpora.alignment import Segment, write_alignment
from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.files import read_json
from textless.speakers.embeddings import Embeddings, write_embeddings
from units.files import Units, read_units, write_units
from units.identity import QuantizerIdentity, stated_identity
from units.runs import deduplicate
from unsup_asr.cli import app
from unsup_asr.ctc.config import NetworkConfig as AsrConfig
from unsup_asr.ctc.model import CtcRecognizer
from unsup_asr.ctc.network import RecognitionNetwork
from unsup_asr.recognizers import EncoderSource, Posteriors
from unsup_asr.transcripts import read_transcripts, write_transcripts
from unsup_asr.tts.alignment import durations_by_recognizer
from unsup_asr.tts.config import DataConfig
from unsup_asr.tts.data import load_corpus
from unsup_asr.tts.model import TtsModel
from vocoder.config import ModelConfig
from vocoder.model import VocoderModel

QUANTIZER = stated_identity("planted", 7, 50.0)
QUICK = ["steps=4", "flat_steps=2", "batch_seconds=6", "valid_every=2", "network.width=16", "network.kernel=3"]
QUICK += ["network.encoder_layers=1", "network.decoder_layers=1"]
PACKAGE = Path(__file__).parents[1] / "unsup_asr"


def run(*arguments: object, settings: list[str] | None = None) -> Result:
    words = [str(argument) for argument in arguments]
    for setting in settings or []:
        words += ["--set", setting]
    return CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Planted speech as features and as units, with transcripts, speakers, an alignment and text."""
    directory = tmp_path_factory.mktemp("verbs")
    spoken = planted.utterances(30, seed=0)
    planted.write_corpus(directory, spoken)
    planted.write_text(directory / "text", 20, seed=4)
    units, alignment = [], {}
    for place, u in enumerate(spoken):
        symbols = np.repeat([6, *u.phones, 6], u.durations)
        units.append(Units(f"u{place}", *deduplicate(symbols)))
        ends = np.cumsum(u.durations) / planted.RATE
        alignment[f"u{place}"] = [
            Segment(float(ends[i]), float(ends[i + 1]), planted.PHONES[p]) for i, p in enumerate(u.phones)
        ]
    write_units(directory / "units.jsonl", QUANTIZER, units)
    write_alignment(directory / "alignments.tsv", alignment, "phone")
    (directory / "tts.toml").write_text('[data]\nspeech = "features"\ntranscripts = "phones.tsv"\n')
    return directory


def save_vocoder(directory: Path, quantizer: QuantizerIdentity) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(width=16, hidden=16, dilations=(1,), duration_width=8, duration_layers=1)
    VocoderModel(config, quantizer, ["f", "m"]).write(directory)
    return directory


def test_frames_are_trained_and_text_is_spoken_beside_real_speech(corpus: Path, tmp_path: Path) -> None:
    table = ['network.speaker="table"', f'data.manifest="{corpus / "manifest.tsv"}"', 'data.labels="reference"']
    aligned = [f'data.alignment="{corpus / "alignments.tsv"}"']
    assert run("train-tts", corpus / "tts.toml", tmp_path / "tts", settings=QUICK + table + aligned).exit_code == 0
    assert TtsModel.load(tmp_path / "tts").speakers == ["s0", "s1"]
    assert read_json(tmp_path / "tts" / "config.json")["training"]["labels"] == "reference"
    beside = ["--with-speech", corpus / "features", "--with-transcripts", corpus / "phones.tsv"]
    options = ["--model", tmp_path / "tts", "--voices", 2, "--limit", 5, "--json", *beside]
    result = run("augment", corpus / "text", tmp_path / "more", *options)
    report = json.loads(result.stdout)
    assert (report["utterances"], report["real_utterances"]) == (10, 30)
    store, transcripts = (
        FeatureStore(tmp_path / "more" / "features"),
        read_transcripts(tmp_path / "more" / "phones.tsv"),
    )
    assert set(store) == set(transcripts)
    assert store.header.encoder_sha256 == planted.SHA
    assert np.array_equal(store["u3"], FeatureStore(corpus / "features")["u3"])
    voices = [name for name in transcripts if name.startswith("text-")]
    assert len({name.split("/")[0] for name in voices}) == 5
    assert sum(len(store[name]) for name in voices) / planted.RATE == pytest.approx(report["seconds"])
    again = run("augment", corpus / "text", tmp_path / "again", *options)
    assert again.stdout == result.stdout
    assert np.array_equal(FeatureStore(tmp_path / "again" / "features")[voices[0]], store[voices[0]])


def test_units_are_trained_and_spoken_by_the_vocoder_of_their_quantizer(corpus: Path, tmp_path: Path) -> None:
    units = ['data.target="units"', f'data.speech="{corpus / "units.jsonl"}"']
    assert run("train-tts", corpus / "tts.toml", tmp_path / "tts", settings=QUICK + units).exit_code == 0
    own, other = stated_identity("planted", 7, 50.0), stated_identity("planted", 8, 50.0)
    options = ["--model", tmp_path / "tts", "--limit", 3]
    vocoder = save_vocoder(tmp_path / "vocoder", own)
    assert run("augment", corpus / "text", tmp_path / "said", *options, "--vocoder", vocoder).exit_code == 0
    file = read_units(tmp_path / "said" / "units.jsonl")
    assert file.quantizer == QUANTIZER
    recorded = read_manifest(tmp_path / "said" / "audio" / "manifest.tsv")
    assert [u.id for u in recorded] == [item.id for item in file.utterances]
    for utterance, item in zip(recorded, file.utterances, strict=True):
        assert len(recorded.load(utterance)) == item.n_frames * 320
    with pytest.raises(UserError, match="was made with the quantizer"):
        run("augment", corpus / "text", tmp_path / "b", *options, "--vocoder", save_vocoder(tmp_path / "v", other))
    with pytest.raises(UserError, match="encode its recordings"):
        run(
            "augment", corpus / "text", tmp_path / "b", *options,
            "--with-speech", corpus / "features", "--with-transcripts", corpus / "phones.tsv",
        )  # fmt: skip


def test_text_that_was_never_seen_is_refused_or_left_out(corpus: Path, tmp_path: Path) -> None:
    run("train-tts", corpus / "tts.toml", tmp_path / "tts", settings=QUICK)
    write_transcripts(tmp_path / "new.tsv", {"x": ["a", "ʘ"], "y": ["b", "c"]})
    with pytest.raises(UserError, match=r"new.tsv has ʘ, which the synthesizer has never seen; it knows a b c d e f"):
        run("augment", tmp_path / "new.tsv", tmp_path / "out", "--model", tmp_path / "tts")
    said = run("augment", tmp_path / "new.tsv", tmp_path / "out", "--model", tmp_path / "tts", "--skip-unknown")
    assert "1 utterances" in said.stdout
    assert "1 sentences left out" in said.stdout
    assert list(read_transcripts(tmp_path / "out" / "phones.tsv")) == ["y/voice-0"]
    with pytest.raises(UserError, match="--force"):
        run("augment", tmp_path / "new.tsv", tmp_path / "out", "--model", tmp_path / "tts", "--skip-unknown")
    with pytest.raises(UserError, match="a vocoder speaks units"):
        vocoder = save_vocoder(tmp_path / "vocoder", QUANTIZER)
        options = ["--model", tmp_path / "tts", "--vocoder", vocoder]
        run("augment", corpus / "text", tmp_path / "b", *options)


def save_asr(directory: Path) -> Path:
    torch.manual_seed(0)
    network = RecognitionNetwork(AsrConfig(dim=16, strides=(2,), blocks=1, heads=2, ffn=32), planted.DIM, 6)
    recognizer = CtcRecognizer(network, planted.PHONES, EncoderSource("planted", planted.SHA, planted.RATE))
    recognizer.save(directory, "pseudo")
    return directory


def test_states_of_a_recogniser_are_what_it_has(corpus: Path, tmp_path: Path) -> None:
    asr = save_asr(tmp_path / "asr")
    data = DataConfig(target="states", speech=corpus / "features", transcripts=corpus / "phones.tsv", recognizer=asr)
    found = load_corpus(data, "mean", 0)
    pair = found.pairs[0]
    features = torch.from_numpy(np.array(FeatureStore(corpus / "features")[pair.id]))
    with torch.inference_mode():
        states = CtcRecognizer.load(asr).network(features[None], torch.tensor([len(features)])).values[0]
    torch.testing.assert_close(torch.from_numpy(pair.speech), states)
    assert found.kind.frame_rate == 25.0
    assert pair.voice is not None
    assert float(pair.voice.norm()) == pytest.approx(1)


def test_embeddings_by_speaker_and_by_utterance_are_voices(corpus: Path, tmp_path: Path) -> None:
    vectors = torch.nn.functional.normalize(torch.randn(2, 4), dim=1)
    write_embeddings(tmp_path / "speakers", Embeddings(("s0", "s1"), vectors, "speaker", "e", "0"))
    config = DataConfig(
        speech=corpus / "features", transcripts=corpus / "phones.tsv", manifest=corpus / "manifest.tsv",
        embeddings=tmp_path / "speakers",
    )  # fmt: skip
    pairs = load_corpus(config, "embedding", 0).pairs
    speakers = {u.id: u.speaker for u in read_manifest(corpus / "manifest.tsv")}
    assert all(torch.equal(pair.voice, vectors[int(speakers[pair.id][1])]) for pair in pairs)  # type: ignore[arg-type,index]
    write_embeddings(tmp_path / "utterances", Embeddings(("u0",), vectors[:1], "utterance", "e", "0"))
    with pytest.raises(UserError, match="no embedding"):
        load_corpus(config.model_copy(update={"embeddings": tmp_path / "utterances"}), "embedding", 0)


class Aligner:
    """Says what was planted: a recogniser of frames."""

    phones, silence, encoder, encoder_sha256, frame_rate = (*planted.PHONES, "<SIL>"), 6, "planted", planted.SHA, 50.0
    topology = "frames"

    def posteriors(self, features: list[np.ndarray]) -> list[Posteriors]:
        rows = [np.eye(7, dtype=np.float32)[frames[:, 0].astype(int)] for frames in features]
        return [Posteriors(8 * row, np.arange(len(row)), np.arange(1, len(row) + 1)) for row in rows]


def test_a_recogniser_aligns() -> None:
    symbols = np.array([6, 6, 0, 0, 0, 2, 2, 1, 6])
    aligner = Aligner()
    found = durations_by_recognizer(aligner, symbols[:, None].astype(float), ["a", "c", "b"], "x")  # type: ignore[arg-type]
    assert found.tolist() == [2, 3, 2, 1, 1]
    with pytest.raises(UserError, match="does not know z"):
        durations_by_recognizer(aligner, symbols[:, None].astype(float), ["z"], "x")  # type: ignore[arg-type]


def test_the_cycle_is_a_command(corpus: Path, tmp_path: Path) -> None:
    run("train-tts", corpus / "tts.toml", tmp_path / "tts", settings=QUICK)
    lines = (corpus / "phones.tsv").read_text().splitlines(keepends=True)
    (tmp_path / "paired.tsv").write_text("".join(lines[:6]))
    settings = [f'asr="{save_asr(tmp_path / "asr")}"', f'tts="{tmp_path / "tts"}"', "steps=2", "valid_every=1"]
    settings += ["batch_seconds=6", "log_every=1"]
    paths = f'speech = "{corpus / "features"}"\ntext = "{corpus / "text"}"\npaired = "{tmp_path / "paired.tsv"}"\n'
    (tmp_path / "cycle.toml").write_text(f'asr = "a"\ntts = "t"\n[data]\n{paths}')
    result = run("cycle", tmp_path / "cycle.toml", tmp_path / "out", settings=settings)
    assert result.stdout.count(": criterion ") == 2
    assert "the cycle carries" in result.stdout
    report = json.loads(run("cycle", tmp_path / "cycle.toml", tmp_path / "out", "--json", settings=settings).stdout)
    assert report["control"]["own"][0] == report["cycle"]["own"][0]
    alone = run("cycle", tmp_path / "cycle.toml", tmp_path / "alone", settings=[*settings, "control=false"])
    assert "no control was run" in alone.stdout


def test_the_cycle_reads_no_alignment_and_no_manifest_text() -> None:
    """What could hold labels is read by `tts/data.py` alone, which refuses alignments where labels are pseudo."""
    forbidden = {"textless.corpora.alignment", "zerospeech_eval.texts", "unsup_asr.scoring"}
    for path in sorted((PACKAGE / "cycle").glob("*.py")):
        tree = ast.parse(path.read_text())
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not imported & forbidden, path
        if path.name != "reading.py":
            assert "unsup_asr.transcripts" not in imported, path
