"""`textless eval abx` and `make-abx-items`, through their command line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

from textless.audio import io
from textless.audio.manifest import read_manifest, write_manifest
from textless.audio.scan import scan
from textless.corpora.alignment import Segment, write_alignment
from textless.corpora.items import Item, read_items, write_items
from textless.encoders.encoder import load_encoder
from textless.errors import UserError
from textless.features.extract import store_features, write_npy_folder
from textless.features.store import write_npy
from units.encode import SpeechToUnits, encode_corpus
from units.quantizer import Quantizer, load_quantizer, save_quantizer
from zerospeech_eval.abx import abx
from zerospeech_eval.cli import app

FEATURES = {s: np.random.default_rng(i).normal(size=(24, 5)).astype(np.float32) for i, s in enumerate("xy")}
ITEMS = [
    Item(s, f"{t / 50:.2f}", f"{(t + 2) / 50:.2f}", "abc"[t // 2 % 3], "pq"[t > 12], "q", s)
    for s in "xy"
    for t in range(0, 24, 2)
]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def report(*arguments: object) -> dict:
    return json.loads(run("abx", *arguments, "--json").stdout)


@pytest.fixture
def item(tmp_path: Path) -> Path:
    write_items(tmp_path / "test.item", ITEMS)
    return tmp_path / "test.item"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, array in FEATURES.items():
        write_npy(tmp_path / "features", name, array)
    return tmp_path / "features"


def test_conditions(item: Path, folder: Path) -> None:
    expected = {
        ("any-" if context == "any" else "") + mode: 100
        * abx(ITEMS, FEATURES, "50", speaker=mode, context=context).value
        for mode in ("within", "across")
        for context in ("within", "any")
    }
    found = report(item, folder, "--context", "both")
    assert {name: part["error_rate_percent"] for name, part in found["scores"].items()} == expected
    assert (found["tokens"], found["frequency"], found["context"]) == (24, "50", "both")
    assert found["scores"]["any-across"]["across"] == ["speaker"]
    result = run("abx", item, folder, "--speaker", "within")
    assert f"within speakers in the same context, angular: {expected['within']:.3f} %" in result.stdout
    assert "across" not in result.stdout
    only = report(item, folder, "--speaker", "across", "--context", "any")
    assert only["scores"]["across"]["error_rate_percent"] == expected["any-across"]


@pytest.mark.parametrize(
    "options",
    [
        ("--distance", "euclidean"),
        ("--distance", "edit"),
        ("--pooling", "hamming"),
        ("--averaging", "abxpy"),
        ("--frame-slice", "librilight"),
        ("--max-size-group", "2", "--max-x-across", "1", "--seed", "3"),
        ("--frequency", "50.0"),
    ],
)
def test_options_are_reported(item: Path, folder: Path, options: tuple[str, ...]) -> None:
    found = report(item, folder, "--context", "any", *options)
    assert 0 <= found["scores"]["across"]["error_rate_percent"] <= 100
    for name, value in zip(options[::2], options[1::2], strict=True):
        assert str(found[name[2:].replace("-", "_")]) == value


def test_unit_length(item: Path, folder: Path) -> None:
    euclidean, unit, angular = (
        report(item, folder, *options)["scores"]["within"]["error_rate_percent"]
        for options in (("--distance", "euclidean"), ("--distance", "euclidean", "--unit-length"), ("--unit-length",))
    )
    assert euclidean != unit
    assert angular == report(item, folder)["scores"]["within"]["error_rate_percent"]


def test_threads_memory_and_device(item: Path, folder: Path) -> None:
    expected = report(item, folder)["scores"]
    assert report(item, folder, "--threads", "1", "--memory", "0.5", "--device", "cpu")["scores"] == expected
    for options, message in (
        (("--memory", "-1"), "--memory should be"),
        (("--memory", "0.000001"), "cells do not fit"),
        (("--device", "gpu"), "unknown device"),
    ):
        with pytest.raises(UserError, match=message):
            run("abx", item, folder, *options)


@pytest.mark.parametrize("kind", ["pt", "half.pt", "bfloat.pt", "txt", "float64", "float16"])
def test_formats_of_features(item: Path, folder: Path, tmp_path: Path, kind: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name, array in FEATURES.items():
        match kind:
            case "pt" | "half.pt" | "bfloat.pt":
                dtype = {"pt": torch.float64, "half.pt": torch.float16, "bfloat.pt": torch.bfloat16}[kind]
                torch.save(torch.from_numpy(array).to(dtype), other / f"{name}.pt")
            case "txt":
                np.savetxt(other / f"{name}.txt", array, fmt="%.9g")
            case _:
                np.save(other / f"{name}.npy", array.astype(kind))
    expected, found = report(item, folder)["scores"], report(item, other)["scores"]
    for mode, score in expected.items():
        exact = kind in {"pt", "txt", "float64"}
        # Halves have 11 bits and bfloat16 8: some of the triplets of this noise turn around.
        tolerance = 1e-9 if exact else 5
        assert found[mode]["error_rate_percent"] == pytest.approx(score["error_rate_percent"], abs=tolerance)


def test_two_files_of_one_stem(item: Path, folder: Path) -> None:
    write_npy(folder / "again", "x", FEATURES["x"])
    assert run("abx", item, folder).exit_code == 0  # 'x' itself is there
    (folder / "x.npy").rename(folder / "again2.npy")
    write_npy(folder / "third", "x", FEATURES["x"])
    with pytest.raises(UserError, match="'x' fits the features of 'again/x' and of 'third/x'"):
        run("abx", item, folder)


def test_time_column(item: Path, folder: Path, tmp_path: Path) -> None:
    for name, array in FEATURES.items():
        times = (np.arange(len(array)) + 0.5) / 50
        (tmp_path / "timed").mkdir(exist_ok=True)
        np.savetxt(tmp_path / "timed" / f"{name}.txt", np.column_stack([times, array]), fmt="%.9g")
    found = report(item, tmp_path / "timed", "--time-column")
    assert found["scores"] == report(item, folder)["scores"]
    assert found["frequency"] is None
    for options in (("--frequency", "50"), ("--quantizer", tmp_path)):
        with pytest.raises(UserError, match="--time-column is for folders"):
            run("abx", item, tmp_path / "timed", "--time-column", *options)


def test_skips_only_when_told(item: Path, folder: Path) -> None:
    write_items(item, [*ITEMS, Item("gone", "0", "1", "a", "p", "q", "x")])
    with pytest.raises(UserError, match="'gone'.*--skip-missing"):
        run("abx", item, folder)
    result = run("abx", item, folder, "--skip-missing")
    assert "left out 1 tokens without features" in result.stderr
    assert report(item, folder, "--skip-missing")["skipped"]["without_features"] == 1


def test_overlapping_tokens_are_said(item: Path, folder: Path) -> None:
    write_items(item, [*ITEMS, ITEMS[0]])
    assert "1 of 25 tokens share time with another" in run("abx", item, folder).stderr


def test_tables_and_intervals(item: Path, folder: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.csv" for name in ("cells", "phone-pairs", "speakers")}
    options = [argument for name, path in files.items() for argument in (f"--{name}", path)]
    found = report(item, folder, "--context", "both", "--bootstrap", "50", "--bootstrap-over", "speaker", *options)
    for score in found["scores"].values():
        assert score["interval"]["low_percent"] <= score["error_rate_percent"] <= score["interval"]["high_percent"]
        assert score["interval"]["names"] == 2
    for path in files.values():
        with path.open(newline="") as file:
            assert {row["condition"] for row in csv.DictReader(file)} == set(found["scores"])
    line = run("abx", item, folder, "--speaker", "within", "--bootstrap", "50", "--bootstrap-over", "context").stdout
    assert "bootstrap over 2 of context" in line
    with pytest.raises(UserError, match="no 'context' to resample"):
        run("abx", item, folder, "--context", "any", "--bootstrap", "50", "--bootstrap-over", "context")


@pytest.fixture
def speech(noise_corpus: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A manifest of noise, and items that cut it into pieces."""
    manifest, _ = scan(noise_corpus, "parent")
    write_manifest(tmp_path / "manifest.tsv", manifest)
    items = [
        Item(u.id, f"{t / 10}", f"{(t + 1) / 10}", "abc"[t % 3], "p", "q", (u.speaker or "").replace(" ", "-"))
        for u in manifest
        for t in range(u.n_samples // 1600)
    ]
    write_items(tmp_path / "noise.item", items)
    return tmp_path / "noise.item", tmp_path / "manifest.tsv"


@pytest.fixture
def quantizer(tmp_path: Path) -> Path:
    encoder = load_encoder("mfcc@50")
    codebook = 20 * torch.randn(8, encoder.dim, generator=torch.Generator().manual_seed(0))
    save_quantizer(tmp_path / "quantizer", Quantizer(codebook, encoder.spec, encoder.sha256, encoder.frame_rate), {})
    return tmp_path / "quantizer"


def test_straight_from_recordings(speech: tuple[Path, Path], tmp_path: Path) -> None:
    item, manifest = speech
    store_features(read_manifest(manifest), load_encoder("mfcc@50"), tmp_path / "store")
    write_npy_folder(read_manifest(manifest), load_encoder("mfcc@50"), tmp_path / "npy")
    expected = report(item, tmp_path / "store")
    assert expected["frequency"] == "50.0"
    assert report(item, manifest, "--encoder", "mfcc@50") == expected == report(item, tmp_path / "npy")
    in_a_file = report(item, manifest, "--encoder", "mfcc@50", "--memory", "0.0001", "--max-x-across", "1")
    assert in_a_file == report(item, manifest, "--encoder", "mfcc@50", "--max-x-across", "1")
    with pytest.raises(UserError, match=r"holds 50.0 frames a second, but --frequency says 100"):
        run("abx", item, tmp_path / "store", "--frequency", "100")


def test_units(speech: tuple[Path, Path], quantizer: Path, tmp_path: Path) -> None:
    item, manifest = speech
    encode_corpus(read_manifest(manifest), SpeechToUnits(load_quantizer(quantizer)), tmp_path / "units.jsonl")
    store_features(read_manifest(manifest), load_encoder("mfcc@50"), tmp_path / "store")
    found = {}
    for kind, options in {
        "codebook": (),
        "one-hot": ("--as", "one-hot"),
        "units": ("--as", "units", "--distance", "edit"),
    }.items():
        sources = (manifest, tmp_path / "store", tmp_path / "units.jsonl")
        reports = [report(item, source, "--quantizer", quantizer, *options) for source in sources]
        assert reports[0] == reports[1] == reports[2]
        found[kind] = reports[0]["scores"]["within"]["error_rate_percent"]
    assert len(set(found.values())) == 3
    assert report(item, tmp_path / "units.jsonl")["scores"]["within"]["error_rate_percent"] == found["one-hot"]
    identical = report(item, tmp_path / "units.jsonl", "--as", "units", "--distance", "identical")
    assert identical["scores"]["within"]["error_rate_percent"] == found["one-hot"]


def test_sources_that_do_not_fit(
    speech: tuple[Path, Path], quantizer: Path, folder: Path, tmp_path: Path, tone: Callable[..., np.ndarray]
) -> None:
    item, manifest = speech
    mistakes: dict[str, tuple[object, ...]] = {
        "either --encoder SPEC or --quantizer": (manifest,),
        "which .* is not": (folder, "--encoder", "mfcc"),
        "--as says what units become": (folder, "--as", "one-hot"),
        "5 wide, the codebook 39": (folder, "--quantizer", quantizer),
    }
    write_items(tmp_path / "test.item", ITEMS)
    for message, arguments in mistakes.items():
        with pytest.raises(UserError, match=message):
            run("abx", item if arguments[0] == manifest else tmp_path / "test.item", *arguments)
    soundfile.write(tmp_path / "short.wav", tone(440, 0.01), 16000)
    (tmp_path / "short.tsv").write_text(f"path\tn_samples\nshort.wav\t{len(tone(440, 0.01))}\n")
    write_items(tmp_path / "short.item", [Item("short", "0", "0.1", "a", "b", "c", "s")])
    with pytest.raises(UserError, match="1 of the 1 files"):
        run("abx", tmp_path / "short.item", tmp_path / "short.tsv", "--encoder", "mfcc@50")


def test_only_needed_recordings_are_encoded(speech: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    item, manifest = speech
    few = [i for i in read_items(item) if i.file.endswith(("take 4", "take 5"))]
    write_items(item, few)
    loaded: list[str] = []
    load = io.load
    monkeypatch.setattr(io, "load", lambda path, **options: loaded.append(path.stem) or load(path, **options))
    report(item, manifest, "--encoder", "mfcc@50", "--speaker", "within")
    assert sorted(loaded) == ["take 4", "take 5"]


def test_make_abx_items(tmp_path: Path) -> None:
    segments = [Segment(i / 10, (i + 1) / 10, phone) for i, phone in enumerate("kats SIL kat".replace(" SIL ", "_"))]
    segments = [Segment(s.start, s.end, "SIL" if s.label == "_" else s.label) for s in segments]
    write_alignment(tmp_path / "alignments.tsv", {"f3/01": segments, "f4/02": segments}, "phone")
    out = tmp_path / "items"
    result = run("make-abx-items", tmp_path / "alignments.tsv", out, "--speaker-from", "parent")
    assert "6 items of 2 phones in 2 contexts, 2 speakers" in result.stdout
    assert [i.speaker for i in read_items(out / "phoneme.item")] == ["f3"] * 3 + ["f4"] * 3
    assert read_items(out / "triphone.item")[0] == Item("f3/01", "0.0000", "0.3000", "a", "k", "t", "f3")
    (tmp_path / "manifest.tsv").write_text("path\tn_samples\tspeaker\n02.wav\t1\tanna\n")
    with pytest.raises(UserError, match="--force"):
        run("make-abx-items", tmp_path / "alignments.tsv", out, "--manifest", tmp_path / "manifest.tsv")
    (tmp_path / "manifest.tsv").write_text("path\tn_samples\tspeaker\nf4/02.wav\t1\tanna\n")
    options = ("--manifest", tmp_path / "manifest.tsv", "--force", "--json")
    summary = json.loads(run("make-abx-items", tmp_path / "alignments.tsv", out, *options).stdout)
    assert (summary["items"], summary["speakers"], summary["utterances_left_out"]) == (3, 1, 1)
    assert {i.speaker for i in read_items(out / "phoneme.item")} == {"anna"}


def test_make_abx_items_mistakes(tmp_path: Path) -> None:
    write_alignment(tmp_path / "alignments.tsv", {"u": [Segment(0, 1, "a"), Segment(1, 2, "b")]}, "phone")
    (tmp_path / "manifest.tsv").write_text("path\tn_samples\nu.wav\t1\n")
    arguments = ("make-abx-items", tmp_path / "alignments.tsv", tmp_path / "out")
    for options, message in (
        ((), "say who speaks"),
        (("--speaker-from", "id", "--manifest", tmp_path / "manifest.tsv"), "say who speaks"),
        (("--manifest", tmp_path / "manifest.tsv"), "names no speaker of 'u'"),
        (("--speaker-from", "id"), "no phone between two phones"),
    ):
        with pytest.raises(UserError, match=message):
            run(*arguments, *options)
    (tmp_path / "manifest.tsv").write_text("path\tn_samples\nv.wav\t1\n")
    with pytest.raises(UserError, match="has no 'u'"):
        run(*arguments, "--manifest", tmp_path / "manifest.tsv")
    assert not (tmp_path / "out").exists()


def test_a_tier_of_textgrids(tmp_path: Path) -> None:
    rows = "\n".join(f'{i / 10}\n{(i + 1) / 10}\n"{phone}"' for i, phone in enumerate("kats"))
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n0.4\n<exists>\n1\n'
    (tmp_path / "u.TextGrid").write_text(head + '"IntervalTier"\n"segs"\n0\n0.4\n4\n' + rows + "\n")
    options = (tmp_path / "u.TextGrid", tmp_path / "out", "--speaker-from", "id", "--tier", "segs")
    assert run("make-abx-items", *options).exit_code == 0
    assert [i.phone for i in read_items(tmp_path / "out" / "phoneme.item")] == ["a", "t"]
