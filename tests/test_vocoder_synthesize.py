"""`textless vocoder synthesize` with pitch, styles, embeddings, loudness and long utterances; and what it refuses."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.errors import UserError
from textless.features.store import StoreHeader, write_header, write_shard
from textless.speakers.embeddings import Embeddings, write_embeddings
from units.files import Stream, Units, write_units
from units.identity import stated_identity
from units.pitch import PitchTracker
from vocoder import synthesize as synthesis
from vocoder import vocoder as vocoder_module
from vocoder.cli import app
from vocoder.config import ModelConfig
from vocoder.frames import raw_pitch
from vocoder.loudness import gain_to
from vocoder.model import FORMAT, VERSION, VocoderModel
from vocoder.vocoder import load_vocoder

QUANTIZER = stated_identity("log-mel", 7, 50.0)
SMALL = ModelConfig(width=16, hidden=16, dilations=(1,), duration_width=8, duration_layers=1)
ITEMS = [Units("a", [1, 2, 3], [20, 10, 15]), Units("b", [4, 0], [25, 25])]
HERTZ = {"a": np.full(45, 110.0), "b": np.tile([0.0, 220.0], 25)}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def save_model(out: Path, **changes: object) -> Path:
    torch.manual_seed(0)
    config = SMALL.model_copy(update=changes)
    styles = ["calm", "cheerful"][: config.n_styles]
    stream = Stream(size=5, sha256="5" * 64) if config.pitch == "bins" else None
    model = VocoderModel(config, QUANTIZER, ["f", "m"], styles=styles, pitch=stream)
    if config.pitch == "raw":
        model.levels.copy_(torch.tensor([math.log(200.0), math.log(100.0)]))
    model.write(out)
    return out


@pytest.fixture
def units(tmp_path: Path) -> Path:
    write_units(tmp_path / "units.jsonl", QUANTIZER, ITEMS)
    return tmp_path / "units.jsonl"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    tracker = PitchTracker(50)
    header = StoreHeader(tracker.spec, tracker.sha256(), 1, 50.0, 1, "0" * 64)
    write_header(tmp_path / "pitch", header)
    write_shard(tmp_path / "pitch", 0, 1, {i: hertz[:, None].astype(np.float32) for i, hertz in HERTZ.items()})
    return tmp_path / "pitch"


def waveform(out: Path, utterance_id: str) -> torch.Tensor:
    return torch.from_numpy(soundfile.read(out / f"{utterance_id}.wav", dtype="float32")[0])


def test_pitch_comes_from_a_store(units: Path, store: Path, tmp_path: Path) -> None:
    """Less the level of whoever spoke it, as far as that is known; raised by --pitch; spoken at the voice's level."""
    model = save_model(tmp_path / "model", pitch="raw")
    run("synthesize", units, tmp_path / "own", "--model", model, "--f0", store, "--speaker", "m")
    for name in ("m", "f", "stranger"):
        who = ["--speaker", "m", "--manifest", tmp_path / f"{name}.tsv"]
        spoken = Manifest(tmp_path, tuple(Utterance(item.id, f"{item.id}.wav", 1, name) for item in ITEMS))
        write_manifest(tmp_path / f"{name}.tsv", spoken)
        run("synthesize", units, tmp_path / name, "--model", model, "--f0", store, *who)
    run("synthesize", units, tmp_path / "high", "--model", model, "--f0", store, "--speaker", "m", "--pitch", "12")
    vocoder, log = load_vocoder(model, "cpu"), math.log(2)
    who = ["--manifest", tmp_path / "m.tsv", "--sources", tmp_path / "f.tsv"]
    run("synthesize", units, tmp_path / "f to m", "--model", model, "--f0", store, *who)
    joint = (45 * math.log(110) + 25 * math.log(220)) / 70
    for out, levels, shift in (
        ("own", {"a": math.log(110), "b": math.log(220)}, 0.0),
        ("stranger", {"a": joint, "b": joint}, 0.0),
        ("m", {"a": math.log(100), "b": math.log(100)}, 0.0),  # as the vocoder knows that speaker
        ("f", {"a": math.log(200), "b": math.log(200)}, 0.0),
        ("f to m", {"a": math.log(200), "b": math.log(200)}, 0.0),
        ("high", {"a": math.log(110), "b": math.log(220)}, log),
    ):
        for item in ITEMS:
            hertz = HERTZ[item.id]
            with np.errstate(divide="ignore"):
                pitch = raw_pitch(np.where(hertz > 0, np.log(hertz) - levels[item.id] + shift, np.nan))
            expected = vocoder.synthesize([item], ["m"], pitch=[pitch])[0].clamp(-1, 1)
            torch.testing.assert_close(waveform(tmp_path / out, item.id), expected, atol=1e-4, rtol=0)


def test_a_stranger_is_as_high_as_the_source(units: Path, store: Path, tmp_path: Path) -> None:
    """Of embeddings, those of training speakers have their own height."""
    model = save_model(tmp_path / "model", pitch="raw", speaker="embedding", speaker_size=3)
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0, 1], [0, 1, 2]]), dim=1)
    write_embeddings(tmp_path / "speakers", Embeddings(("m", "stranger"), vectors, "speaker", "x", "0" * 64))
    spoken = Manifest(tmp_path, tuple(Utterance(item.id, f"{item.id}.wav", 1, "f") for item in ITEMS))
    write_manifest(tmp_path / "f.tsv", spoken)
    vocoder, hertz = load_vocoder(model, "cpu"), HERTZ["a"]
    pitch = raw_pitch(np.log(hertz) - math.log(200))
    for name, vector, level in (("m", vectors[0], math.log(100)), ("stranger", vectors[1], math.log(200))):
        who = ["--embeddings", tmp_path / "speakers", "--speaker", name, "--f0", store, "--sources", tmp_path / "f.tsv"]
        run("synthesize", units, tmp_path / name, "--model", model, *who)
        voice = vocoder.voice(embedding=vector, level=level)
        expected = vocoder.synthesize(ITEMS[:1], [voice], pitch=[pitch])[0].clamp(-1, 1)
        torch.testing.assert_close(waveform(tmp_path / name, "a"), expected, atol=1e-4, rtol=0)


def test_pitch_that_is_missing_or_of_no_use(units: Path, store: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", pitch="raw")
    with pytest.raises(UserError, match="a has no pitch.*units prosody pitch.*--f0"):
        run("synthesize", units, tmp_path / "out", "--model", model)
    write_units(tmp_path / "more.jsonl", QUANTIZER, [*ITEMS, Units("c", [1], [3])])
    with pytest.raises(UserError, match="c has no pitch in the store"):
        run("synthesize", tmp_path / "more.jsonl", tmp_path / "out", "--model", model, "--f0", store)
    write_units(tmp_path / "untimed.jsonl", QUANTIZER, [Units("a", [1, 2])])
    with pytest.raises(UserError, match="a has pitch in the store but no durations"):
        run("synthesize", tmp_path / "untimed.jsonl", tmp_path / "out", "--model", model, "--f0", store)
    plain = save_model(tmp_path / "plain")
    with pytest.raises(UserError, match="the vocoder has no pitch"):
        run("synthesize", units, tmp_path / "out", "--model", plain, "--f0", store)
    with pytest.raises(UserError, match="none is read: it goes with --f0"):
        run("synthesize", units, tmp_path / "out", "--model", plain, "--sources", tmp_path / "someone.tsv")
    with pytest.raises(UserError, match="pitch cannot be shifted"):
        run("synthesize", units, tmp_path / "out", "--model", plain, "--pitch", "2")


def test_bins_of_pitch_come_from_the_units(units: Path, store: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", pitch="bins", n_pitch_bins=5)
    binned = [Units("a", [1, 2, 3], [20, 10, 15], {"f0": [0, 4, 2]})]
    write_units(tmp_path / "binned.jsonl", QUANTIZER, binned, {"f0": Stream(size=5, sha256="5" * 64)})
    run("synthesize", tmp_path / "binned.jsonl", tmp_path / "out", "--model", model)
    expected = load_vocoder(model, "cpu").synthesize(binned)[0]
    torch.testing.assert_close(waveform(tmp_path / "out", "a"), expected, atol=1e-4, rtol=0)
    write_units(tmp_path / "other.jsonl", QUANTIZER, binned, {"f0": Stream(size=5, sha256="6" * 64)})
    with pytest.raises(UserError, match="other bins than the vocoder was trained on"):
        run("synthesize", tmp_path / "other.jsonl", tmp_path / "no", "--model", model)
    with pytest.raises(UserError, match="a has no pitch.*`fit` and `add`"):
        run("synthesize", units, tmp_path / "no", "--model", model)
    with pytest.raises(UserError, match="reads bins of pitch from the units"):
        run("synthesize", units, tmp_path / "no", "--model", model, "--f0", store)


def test_styles(units: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", n_styles=2)
    for style in ("calm", "cheerful"):
        run("synthesize", units, tmp_path / style, "--model", model, "--style", style)
    run("synthesize", units, tmp_path / "first", "--model", model)
    assert torch.equal(waveform(tmp_path / "calm", "a"), waveform(tmp_path / "first", "a"))
    assert not torch.equal(waveform(tmp_path / "calm", "a"), waveform(tmp_path / "cheerful", "a"))
    with pytest.raises(UserError, match="style named 'cherful'; did you mean cheerful"):
        run("synthesize", units, tmp_path / "no", "--model", model, "--style", "cherful")
    with pytest.raises(UserError, match="has no styles"):
        run("synthesize", units, tmp_path / "no", "--model", save_model(tmp_path / "plain"), "--style", "calm")


def test_speakers_by_embedding(units: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", speaker="embedding", speaker_size=3)
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0, 1], [0, 1, 2]]), dim=1)
    for per, ids in (("speaker", ("ann", "bob")), ("utterance", ("a", "b"))):
        write_embeddings(tmp_path / per, Embeddings(ids, vectors, per, "x", "0" * 64))
    run(
        "synthesize",
        units,
        tmp_path / "bob",
        "--model",
        model,
        "--embeddings",
        tmp_path / "speaker",
        "--speaker",
        "bob",
    )
    run("synthesize", units, tmp_path / "own", "--model", model, "--embeddings", tmp_path / "utterance")
    assert torch.equal(waveform(tmp_path / "bob", "b"), waveform(tmp_path / "own", "b"))
    assert not torch.equal(waveform(tmp_path / "bob", "a"), waveform(tmp_path / "own", "a"))
    assert {row.speaker for row in read_manifest(tmp_path / "bob/manifest.tsv")} == {"bob"}
    vocoder = load_vocoder(model, "cpu")
    expected = vocoder.synthesize([ITEMS[0]], [vocoder.voice(embedding=vectors[0])])[0]
    torch.testing.assert_close(waveform(tmp_path / "own", "a"), expected, atol=1e-4, rtol=0)
    with pytest.raises(UserError, match="not the embeddings"):
        table = save_model(tmp_path / "table")
        run("synthesize", units, tmp_path / "no", "--model", table, "--embeddings", tmp_path / "speaker")
    with pytest.raises(UserError, match="embeddings of size 3.*shape \\(4,\\)"):
        vocoder.voice(embedding=torch.zeros(4))


def test_loudness(units: Path, tmp_path: Path) -> None:
    import torchaudio.functional

    model = save_model(tmp_path / "model")
    write_units(tmp_path / "more.jsonl", QUANTIZER, [*ITEMS, Units("click", [1], [2])])
    result = run("synthesize", tmp_path / "more.jsonl", tmp_path / "out", "--model", model, "--loudness", "-30")
    assert "1 silent or under 0.4 s" in " ".join(result.stderr.split())
    for name in ("a", "b"):
        found = float(torchaudio.functional.loudness(waveform(tmp_path / "out", name)[None], 16000))
        assert abs(found + 30) < 0.1  # 16-bit rounding and clipping of single peaks
    assert gain_to(torch.zeros(16000), -23.0) is None
    time = torch.arange(16000) / 16000
    sine = torch.sin(2 * math.pi * 997 * time)  # 0 dBFS is -3.01 LUFS by definition of the measure
    assert abs(20 * math.log10(gain_to(sine, -23.0) or 1) + 23 - 3.01) < 0.1


def test_long_utterances_are_written_in_pieces(units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save_model(tmp_path / "model")
    expected = load_vocoder(model, "cpu").synthesize(ITEMS)
    for module in (synthesis, vocoder_module):
        monkeypatch.setattr(module, "MAX_FRAMES", 20)
    run("synthesize", units, tmp_path / "out", "--model", model)
    for item, wanted in zip(ITEMS, expected, strict=True):
        torch.testing.assert_close(waveform(tmp_path / "out", item.id), wanted.clamp(-1, 1), atol=2**-14, rtol=0)


def test_precision_is_part_of_the_recipe(units: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model")
    run("synthesize", units, tmp_path / "out", "--model", model)
    with pytest.raises(UserError, match="precision differ"):
        run("synthesize", units, tmp_path / "out", "--model", model, "--precision", "bf16")


def test_weights_that_do_not_fit_their_config(units: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model")
    header = json.loads((model / "config.json").read_text())
    header["model"]["hidden"] = 24
    (model / "config.json").write_text(json.dumps(header))
    with pytest.raises(UserError, match="weights do not fit config.json"):
        run("synthesize", units, tmp_path / "out", "--model", model)


def test_models_of_the_first_version_are_read(tmp_path: Path) -> None:
    from textless.training.checkpoint import load_model
    from textless.training.checkpoint import save_model as save

    model = save_model(tmp_path / "new")
    header, weights = load_model(model, FORMAT, VERSION)
    old = {name.replace("speaker.table.weight", "speaker.weight"): value for name, value in weights.items()}
    identity = {name: header[name] for name in ("model", "quantizer", "speakers", "sample_rate")}
    save(tmp_path / "old", "textless-vocoder", 1, old, **identity)
    ours, before = load_vocoder(model, "cpu"), load_vocoder(tmp_path / "old", "cpu")
    assert torch.equal(ours.synthesize(ITEMS[:1])[0], before.synthesize(ITEMS[:1])[0])
