"""Published unit HiFi-GANs, saved in their own layout with random weights: imported, they equal the literal oracle."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from textless.errors import UserError
from units.files import Units
from units.identity import QuantizerIdentity, stated_identity
from vocoder.checkpoints import import_vocoder, load_foreign
from vocoder.cli import app
from vocoder.frames import Frames, expand_frames, raw_pitch
from vocoder.model import VocoderModel
from vocoder.vocoder import Vocoder, load_vocoder
from vocoder.voices import Voices

sys.path.insert(0, str(Path(__file__).parent / "oracles"))
import hifigan as oracle

OLD, NEW = ("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1")
QUANTIZER = stated_identity("hubert-base:6", 12, 50.0)
UNITS = torch.tensor([3, 3, 3, 0, 7, 7, 11, 11, 11, 2, 2, 5])


def save(
    folder: Path, h: dict[str, Any], names: tuple[str, str] | None = OLD, more: oracle.State | None = None, **files: str
) -> Path:
    """A checkpoint folder as published: weights under `generator`, config.json, speakers.txt ..."""
    folder.mkdir(exist_ok=True)
    path = folder / "g_00400000"
    torch.save({"generator": oracle.random_state(h, names) | (more or {})}, path)
    (folder / "config.json").write_text(json.dumps(h))
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return path


def frames(pitch: torch.Tensor | None = None) -> Frames:
    whole = expand_frames(UNITS.tolist(), [1] * len(UNITS), pitch)
    return Frames(whole.units[None], whole.features[None], None if pitch is None else pitch[None])


BINS = torch.randint(0, 9, (12,), generator=torch.Generator().manual_seed(1))
CODES = torch.arange(20)[[0, 7, 19]]  # at a quarter of the units' rate
CONTOUR = torch.tensor([0.0, 0, 0.1, 0.2, 0.25, 0.2, 0, 0, -0.1, -0.2, -0.1, 0])
CASES = {
    "units": {},
    "durations": oracle.DURATIONS,
    "speakers": {"multispkr": "single", "num_speakers": 5},
    "200 speakers": {"multispkr": "_"},
    "embedder": {"multispkr": "_", "embedder_params": {"x": 1}, "embedder_dim": 10},
    "f0 bins": oracle.F0_BINS,
    "f0 codes": oracle.F0_CODES,
    "f0 raw": {"f0": True},
    "style": {"multistyle": True, "num_styles": 3},
    "all": {**oracle.F0_BINS, "multispkr": "_", "multistyle": True, "num_styles": 3, **oracle.DURATIONS},
    "100 Hz": {"upsample_rates": [5, 4, 2, 2, 2], "upsample_kernel_sizes": [11, 8, 4, 4, 4], "code_hop_size": 160},
    "25 Hz": {"upsample_rates": [5, 4, 4, 4, 2], "upsample_kernel_sizes": [11, 8, 8, 8, 4], "code_hop_size": 640},
    "units repeated": {"upsample_rates": [5, 4, 2, 2, 2], "upsample_kernel_sizes": [11, 8, 4, 4, 4]},
}


@pytest.mark.parametrize(
    ("case", "names"), [*((case, OLD) for case in CASES), ("units", NEW), ("units", None), ("all", NEW), ("all", None)]
)
def test_equals_the_published_architecture(tmp_path: Path, case: str, names: tuple[str, str] | None) -> None:
    h = oracle.CONFIG | CASES[case]
    quantizer = stated_identity("hubert-base:6", 12, 16000 / h["code_hop_size"])
    path = save(tmp_path / "theirs", h, names)
    import_vocoder(path, tmp_path / "ours", quantizer)
    model, state = VocoderModel.load(tmp_path / "ours"), oracle.random_state(h, names)

    ours: torch.Tensor | None = None
    theirs: torch.Tensor | None = None
    if case == "f0 raw":
        theirs, ours = CONTOUR, raw_pitch(CONTOUR.numpy())
    elif case == "f0 codes":
        theirs, ours = CODES, CODES.repeat_interleave(4)
    elif h.get("f0"):
        theirs = ours = BINS
    embedding = torch.randn(10, generator=torch.Generator().manual_seed(2))
    speaker = embedding if case == "embedder" else 4 if h.get("multispkr") else None
    voice = Voices(
        embedding[None] if case == "embedder" else torch.tensor([4 if h.get("multispkr") else 0]),
        torch.tensor([2]) if h.get("multistyle") else None,
    )
    units = UNITS.repeat_interleave(2) if case == "units repeated" else UNITS
    with torch.inference_mode():
        expected = oracle.synthesize(state, h, units, theirs, speaker, 2 if h.get("multistyle") else None)
        found = model.generator(frames(ours), voice, torch.tensor([12]))[0]
        assert expected.std() > 0.05  # neither silent nor saturated: the comparison means something
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
        folded = model.generator.fold()(frames(ours), voice, torch.tensor([12]))[0]
        torch.testing.assert_close(folded, expected, atol=1e-4, rtol=0)
        if "dur_predictor_params" in h:
            found = model.durations.predict(UNITS[None], voice, torch.tensor([12]))[0]
            assert torch.equal(found, oracle.durations(state, UNITS))
            assert len(set(found.tolist())) > 1


def test_f0_quantizer_makes_the_published_codes(tmp_path: Path) -> None:
    """Equal codes of a contour; ours is log F0, which to first order is a fifth of hertz in deviations."""
    h = oracle.CONFIG | oracle.F0_CODES
    more = oracle.random_f0_quantizer(h)
    import_vocoder(save(tmp_path / "theirs", h, more=more), tmp_path / "ours", QUANTIZER)
    quantizer = VocoderModel.load(tmp_path / "ours").f0_quantizer
    assert quantizer is not None
    contour = torch.randn(16 * 40, generator=torch.Generator().manual_seed(3))
    contour[100:200] = 0
    ours = torch.stack([contour / 5, (contour != 0).float()], dim=1)
    expected = oracle.f0_codes(more, h, contour)
    assert len(expected.unique()) > 5
    assert torch.equal(quantizer.encode(ours), expected)
    assert quantizer.frame_rate / quantizer.shrink == 12.5


@pytest.mark.parametrize("changes", [{"f0_normalize": False}, {}])
def test_codes_without_their_quantizer_come_from_the_units(tmp_path: Path, changes: dict[str, Any]) -> None:
    h = oracle.CONFIG | oracle.F0_CODES | changes
    more = oracle.random_f0_quantizer(h) if changes else None
    vocoder = Vocoder(load_foreign(save(tmp_path / "x", h, more=more), QUANTIZER), torch.device("cpu"))
    assert vocoder.model.f0_quantizer is None
    assert len(vocoder.synthesize([Units("a", [1, 2], [2, 3], {"f0": [19, 0]})])[0]) == 5 * 320
    with pytest.raises(UserError, match="a has no pitch.*stream|beside the units"):
        vocoder.synthesize([Units("a", [1, 2], [2, 3])])


def test_names_of_speakers_and_styles(tmp_path: Path) -> None:
    h = oracle.CONFIG | {"multispkr": "_", "num_speakers": 4, "multistyle": True, "num_styles": 2}
    path = save(tmp_path / "x", h, speakers="ex01\nex02\nex03\n", styles="default\nhappy\n")
    vocoder = Vocoder(load_foreign(path, QUANTIZER), torch.device("cpu"))
    assert vocoder.speakers == ["ex01", "ex02", "ex03", "3"]
    item = Units("a", UNITS.tolist(), [1] * 12)
    found = vocoder.synthesize([item], [vocoder.voice("ex03", style="happy")])[0]
    expected = oracle.synthesize(oracle.random_state(h, OLD), h, UNITS, None, 2, 1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    with pytest.raises(UserError, match="named 'ex04'; did you mean ex0"):
        vocoder.voice("ex04")
    (tmp_path / "x/speakers.txt").write_text("a\n" * 5)
    with pytest.raises(UserError, match=r"names 5 \(1 different\), the weights have 4 rows"):
        load_foreign(path, QUANTIZER)


def test_a_voice_of_embeddings_has_no_names(tmp_path: Path) -> None:
    path = save(tmp_path / "x", oracle.CONFIG | CASES["embedder"])
    vocoder = Vocoder(load_foreign(path, QUANTIZER), torch.device("cpu"))
    with pytest.raises(UserError, match="knows none by name: give an embedding"):
        vocoder.synthesize([Units("a", [1], [2])])
    with pytest.raises(UserError, match="no durations and the vocoder no duration predictor"):
        vocoder.synthesize([Units("a", [1])], [vocoder.voice(embedding=torch.zeros(10))])
    with pytest.raises(UserError, match=r"a has units 1\.\.12; the vocoder knows those of .* 0\.\.11"):
        vocoder.synthesize([Units("a", [1, 12], [1, 1])], [vocoder.voice(embedding=torch.zeros(10))])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upsample_initial_channel": 128}, r"makes conv_pre\.bias \(128,\), the weights have \(64,\)"),
        ({"upsample_kernel_sizes": [9, 8, 8, 4, 4]}, r"ups\.0.* \(64, 32, 9\), the weights have \(64, 32, 11\)"),
        ({"resblock_kernel_sizes": [3, 7, 9]}, r"resblocks\.2\..* 9\), the weights have .* 11\)"),
        ({"multispkr": "_"}, r"has no spkr\.weight"),
        ({"f0": True}, r"conv_pre.* \(64, 9, 7\), the weights have \(64, 8, 7\)"),
        ({"num_embeddings": 100}, "num_embeddings is 100, but should be 12"),
        ({"code_hop_size": 640}, "code_hop_size is 640, but should be 320"),
        ({"sampling_rate": 22050}, "sampling_rate is 22050"),
        ({"resblock": "2"}, "resblock is 2"),
        ({"upsample_rates": [3, 4, 4, 2, 2]}, "the rest of upsample_rates"),
    ],
)
def test_a_config_that_disagrees(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "x", oracle.CONFIG)
    (tmp_path / "x/config.json").write_text(json.dumps(oracle.CONFIG | changes))
    with pytest.raises(UserError, match=message):
        load_foreign(path, QUANTIZER)


def test_weights_that_the_config_does_not_know(tmp_path: Path) -> None:
    path = save(tmp_path / "x", oracle.CONFIG, more={"style_dict.weight": torch.zeros(100, 8)})
    with pytest.raises(UserError, match=r"holds style_dict\.weight, for which .* has no place"):
        load_foreign(path, QUANTIZER)


def test_files_that_are_no_vocoder(tmp_path: Path) -> None:
    path = save(tmp_path / "x", oracle.CONFIG)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged or not a checkpoint"):
        load_foreign(path, QUANTIZER)
    torch.save({"generator": {"conv_pre.bias": torch.zeros(3)}}, path)
    with pytest.raises(UserError, match=r"no unit HiFi-GAN: it lacks dict\.weight.*conv_pre\.bias"):
        load_foreign(path, QUANTIZER)
    torch.save({"generator": os.system}, path)
    with pytest.raises(UserError, match="asks to import .*system"):
        load_foreign(path, QUANTIZER)
    path.write_bytes(whole)
    (tmp_path / "x/config.json").unlink()
    with pytest.raises(UserError, match="configuration of the checkpoint not found"):
        load_foreign(path, QUANTIZER)
    (tmp_path / "x/config.json").write_text("{}")
    with pytest.raises(UserError, match="does not say upsample_rates"):
        load_foreign(path, QUANTIZER)
    (tmp_path / "x/config.json").write_text("[]")
    with pytest.raises(UserError, match="no object of settings"):
        load_foreign(path, QUANTIZER)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upsample_rates": 320}, "says that upsample_rates is 320 .*tuple"),
        ({"upsample_rates": [5, 0]}, r"says that upsample_rates\.1 is 0"),
        ({"upsample_rates": []}, "says that upsample_rates is"),
        ({"resblock_dilation_sizes": [1, 3, 5]}, r"says that resblock_dilation_sizes\.0 is 1"),
        ({"num_embeddings": "many"}, "says that num_embeddings is 'many'"),
        ({"num_speakers": [1]}, "says that num_speakers is"),
        ({"dur_predictor_params": {}}, r"does not say dur_predictor_params\.var_pred_hidden_dim"),
        ({"f0": True, "f0_quantizer": {"f0_vq_params": {}}}, r"does not say f0_quantizer\.f0_vq_params\.l_bins"),
        ({"f0": True, "f0_quantizer": "path"}, "says that f0_quantizer is 'path'"),
    ],
)
def test_a_config_that_is_malformed(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "x", oracle.CONFIG)
    (tmp_path / "x/config.json").write_text(json.dumps(oracle.CONFIG | changes))
    with pytest.raises(UserError, match=message):
        load_foreign(path, QUANTIZER)


def test_import_verb(tmp_path: Path) -> None:
    """From the published folder and a quantizer directory to a vocoder that speaks; --config and --force."""
    identity = save_quantizer(tmp_path / "quantizer", 12, 50.0)
    path = save(tmp_path / "theirs", oracle.CONFIG | oracle.DURATIONS)
    (tmp_path / "theirs/config.json").rename(tmp_path / "elsewhere.json")
    arguments = ["import", str(path), str(tmp_path / "ours"), "--quantizer", str(tmp_path / "quantizer")]
    arguments += ["--config", str(tmp_path / "elsewhere.json")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "speaker: none, pitch: none, 0 styles, durations: variance" in " ".join(result.stdout.split())
    vocoder = load_vocoder(tmp_path / "ours", "cpu")
    assert vocoder.quantizer == identity
    h = oracle.CONFIG | oracle.DURATIONS
    state = oracle.random_state(h, OLD)
    units = torch.tensor([3, 0, 7])
    lasting = oracle.durations(state, units)
    expected = oracle.synthesize(state, h, units.repeat_interleave(lasting))
    torch.testing.assert_close(vocoder.synthesize([Units("a", [3, 0, 7])])[0], expected, atol=1e-4, rtol=0)
    with pytest.raises(UserError, match="exists already"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert CliRunner().invoke(app, [*arguments, "--force"], catch_exceptions=False).exit_code == 0


def save_quantizer(directory: Path, k: int, frame_rate: float) -> QuantizerIdentity:
    from units.codebooks import import_quantizer

    torch.save(torch.randn(k, 80), directory.with_suffix(".pt"))
    return import_quantizer(directory.with_suffix(".pt"), directory, f"logmel@{frame_rate:g}").identity
