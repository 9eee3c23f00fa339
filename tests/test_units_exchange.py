import json
import os
import pickle
import zlib
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.encoders.encoder import load_encoder
from textless.errors import UserError
from units.cli import app
from units.codebooks import export_codebook, read_codebook
from units.convert import convert, utterance_ids
from units.files import Units, read_units, write_units
from units.foreign import read_foreign
from units.identity import stated_identity
from units.joblib_pickle import PythonUnpickler
from units.quantizer import Quantizer, load_quantizer, save_quantizer

CODES = np.random.default_rng(0).standard_normal((7, 39)).astype(np.float32)
IDENTITY = stated_identity("hubert-base:6", 100, 50.0)
ITEMS = [
    Units("84/x|y z/0001.take", [5, 99, 5], [3, 1, 2]),
    Units("γλώσσα\u2028 '\"{}\\", [7], [4]),
    Units(" leer ", [], []),
    Units("flac.calf", [1, 2, 3], [1, 1, 1]),
]


def run(*arguments, ok=True):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if ok:
        assert result.exit_code == 0, (result.output, result.exception)
    return result


class JoblibPickler(pickle._Pickler):
    """Writes as joblib does: a wrapper for every array, and its numbers, aligned or not, after it."""

    def __init__(self, file, protocol, alignment, wrapper):
        super().__init__(file, protocol)
        self.file, self.alignment, self.wrapper = file, alignment, wrapper

    def save_global(self, obj, name=None):
        if obj.__module__.partition(".")[0] not in {"sklearn", "joblib"}:
            return super().save_global(obj, name)
        self.write(pickle.GLOBAL + f"{obj.__module__}\n{obj.__name__}\n".encode())  # they need not be installed
        self.memoize(obj)
        return None

    def save(self, obj, save_persistent_id=True):
        if type(obj) is not np.ndarray:
            return super().save(obj, save_persistent_id)
        stand_in = self.wrapper()
        order = "F" if obj.flags.f_contiguous and not obj.flags.c_contiguous else "C"
        stand_in.subclass, stand_in.shape, stand_in.order, stand_in.dtype = np.ndarray, obj.shape, order, obj.dtype
        if self.alignment:
            stand_in.numpy_array_alignment_bytes = self.alignment
        super().save(stand_in)
        self.framer.commit_frame(force=True)
        if self.alignment:
            padding = self.alignment - (self.file.tell() + 1) % self.alignment
            self.file.write(bytes([padding]) + b"\xff" * padding)
        self.file.write(obj.tobytes(order))
        return None


def dump_model(path, module="sklearn.cluster._kmeans", protocol=4, alignment=16, **state):
    """Write a MiniBatchKMeans as joblib would, from stand-ins for both libraries' classes."""
    kmeans = type("MiniBatchKMeans", (), {"__module__": module})
    wrapper = type("NumpyArrayWrapper", (), {"__module__": "joblib.numpy_pickle"})
    model = kmeans()
    vars(model).update({"cluster_centers_": CODES, "n_clusters": 7, "random_state_": np.random.RandomState(0), **state})
    with path.open("wb") as file:
        JoblibPickler(file, protocol, alignment, wrapper).dump(model)
    return path


@pytest.mark.parametrize("module", ["sklearn.cluster._kmeans", "sklearn.cluster.k_means_"])
@pytest.mark.parametrize(("protocol", "alignment"), [(4, 16), (3, None), (2, None)])
def test_codes_of_scikit_learn_old_and_new(module, protocol, alignment, tmp_path):
    path = dump_model(tmp_path / "km.bin", module, protocol, alignment, counts_=np.arange(7))
    assert np.array_equal(read_codebook(path), CODES)
    path.write_bytes(zlib.compress(path.read_bytes()))
    assert np.array_equal(read_codebook(path), CODES)
    columns = np.asfortranarray(CODES.astype(np.float64))
    path = dump_model(path, module, protocol, alignment, cluster_centers_=columns)
    assert np.array_equal(read_codebook(path), CODES)


class Payload:
    def __init__(self, function, argument):
        self.call = function, (argument,)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval])
def test_a_payload_is_refused_and_not_run(function, tmp_path):
    victim = tmp_path / "victim"
    program = f"touch '{victim}'" if function is os.system else f"open({str(victim)!r}, 'w')"
    path = dump_model(tmp_path / "km.bin", extra=Payload(function, program))
    with pytest.raises(UserError, match="a pickle can run any program"):
        read_codebook(path)
    objects = np.empty(1, dtype=object)
    objects[0] = 1
    with pytest.raises(UserError, match="array of Python objects"):
        read_codebook(dump_model(tmp_path / "o.bin", cluster_centers_=objects))
    assert not victim.exists()
    assert PythonUnpickler.dispatch[pickle.BUILD[0]] is PythonUnpickler.load_build  # the library's is left alone


def test_real_joblib_files_are_read(tmp_path):
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is not installed")
    model = cluster.MiniBatchKMeans(5, n_init=1, random_state=np.random.RandomState(0)).fit(np.tile(CODES, (20, 1)))
    for compress in (0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)):
        joblib.dump(model, tmp_path / "km.bin", compress=compress)
        assert np.array_equal(read_codebook(tmp_path / "km.bin"), model.cluster_centers_.astype(np.float32))
    quantizer = Quantizer(torch.from_numpy(CODES), "mfcc@50", "", 50.0)
    export_codebook(quantizer, tmp_path / "ours.bin")
    theirs = joblib.load(tmp_path / "ours.bin")
    frames = np.random.default_rng(1).standard_normal((50, 39)).astype(np.float32)
    assert np.array_equal(theirs.predict(frames), quantizer.encode(frames))
    assert np.array_equal(read_codebook(tmp_path / "ours.bin"), CODES)


def test_codes_of_other_files(tmp_path):
    tensor = torch.from_numpy(CODES)
    np.save(tmp_path / "a.npy", CODES.astype(np.float64))
    torch.save({"n_features_in_": 39, "_n_threads": 4, "cluster_centers_": tensor}, tmp_path / "bshall.pt")
    torch.save({"cluster_centers": CODES, "n_clusters": 7}, tmp_path / "spiritlm.pt")
    torch.save(tensor, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    flat = faiss.IndexFlatL2(39)
    flat.add(CODES)
    faiss.write_index(flat, str(tmp_path / "flat.faiss"))
    inverted = faiss.IndexIVFFlat(flat, 39, 7)
    faiss.write_index(inverted, str(tmp_path / "ivf.index"))
    for path in tmp_path.iterdir():
        assert np.array_equal(read_codebook(path), CODES), path
    inner = faiss.IndexFlatIP(39)
    inner.add(CODES)
    faiss.write_index(inner, str(tmp_path / "inner.faiss"))
    torch.save({"weights": tensor}, tmp_path / "no.pt")
    np.save(tmp_path / "nan.npy", np.full((3, 39), np.nan))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:200])
    (tmp_path / "text.bin").write_text("hello")
    for name, message in {
        "inner.faiss": "vectors of different lengths",
        "no.pt": "none of cluster_centers_.* among weights",
        "nan.npy": r"finite codes of shape \(K, D\)",
        "cut.npy": "cannot be read as a matrix",
        "text.bin": "damaged or not a checkpoint",
        "missing.npy": "codebook not found",
    }.items():
        with pytest.raises(UserError, match=message):
            read_codebook(tmp_path / name)


def test_a_quantizer_is_imported_and_exported_by_command(tmp_path):
    np.save(tmp_path / "codes.npy", CODES)
    run("import-quantizer", tmp_path / "codes.npy", tmp_path / "q", "--encoder", "mfcc@50")
    quantizer = load_quantizer(tmp_path / "q")
    assert np.array_equal(quantizer.codebook.numpy(), CODES)
    assert (quantizer.encoder, quantizer.encoder_sha256) == ("mfcc@50", load_encoder("mfcc@50").sha256)
    again = run("import-quantizer", tmp_path / "codes.npy", tmp_path / "q", "--encoder", "mfcc@50", ok=False)
    assert "exists already" in str(again.exception)
    forced = run(
        "import-quantizer", tmp_path / "codes.npy", tmp_path / "q", "--encoder", "mfcc@50", "--force", "--json"
    )
    assert json.loads(forced.stdout) == quantizer.identity.model_dump()
    wrong = run("import-quantizer", tmp_path / "codes.npy", tmp_path / "r", "--encoder", "logmel", ok=False)
    assert "39 dimensions, logmel has 80" in str(wrong.exception)
    for name in ("codes.pt", "codes.faiss", "out.npy"):
        run("export-quantizer", tmp_path / "q", tmp_path / name)
        assert np.array_equal(read_codebook(tmp_path / name), CODES)
    assert "exists already" in str(run("export-quantizer", tmp_path / "q", tmp_path / "out.npy", ok=False).exception)
    run("export-quantizer", tmp_path / "q", tmp_path / "out.npy", "--force")
    assert "no program reads .txt" in str(
        run("export-quantizer", tmp_path / "q", tmp_path / "c.txt", ok=False).exception
    )
    save_quantizer(tmp_path / "n", Quantizer(torch.from_numpy(CODES), "mfcc", "", 50.0, speaker_normalised=True), {})
    bare = run("export-quantizer", tmp_path / "n", tmp_path / "n.npy", ok=False)
    assert "normalises features by speaker" in str(bare.exception)


@pytest.mark.parametrize("layout", ["gslm", "textlesslib", "slamkit", "dict"])
def test_units_go_out_and_come_back(layout, tmp_path):
    write_units(tmp_path / "u.jsonl", IDENTITY, ITEMS)
    convert(tmp_path / "u.jsonl", tmp_path / "x.units", "textless", layout)
    convert(tmp_path / "x.units", tmp_path / "v.jsonl", layout, "textless", identity=IDENTITY)
    assert read_units(tmp_path / "v.jsonl") == read_units(tmp_path / "u.jsonl")


@pytest.mark.parametrize("layout", ["gslm", "slamkit-tokens", "dict"])
def test_deduplicated_units_go_out_and_come_back_without_durations(layout, tmp_path):
    untimed = [Units(item.id, item.units) for item in ITEMS]
    write_units(tmp_path / "u.jsonl", IDENTITY, ITEMS)
    convert(tmp_path / "u.jsonl", tmp_path / "x", "textless", layout, deduplicated=True)
    convert(tmp_path / "x", tmp_path / "v.jsonl", layout, "textless", identity=IDENTITY, deduplicated=True)
    assert read_units(tmp_path / "v.jsonl").utterances == untimed


names = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1).filter(lambda name: "\n" not in name)


@settings(deadline=None)
@given(name=names, units=st.lists(st.integers(0, 99), max_size=8), layout=st.sampled_from(["gslm", "slamkit", "dict"]))
def test_ids_keep_every_character(name, units, layout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    item = Units(name, *([list(x) for x in (units, [1] * len(units))] if len(set(units)) == len(units) else ([], [])))
    write_units(folder / "u.jsonl", IDENTITY, [item])
    convert(folder / "u.jsonl", folder / "x", "textless", layout)
    convert(folder / "x", folder / "v.jsonl", layout, "textless", identity=IDENTITY)
    assert read_units(folder / "v.jsonl").utterances == [item]


def test_durations_of_an_earlier_file_do_not_stay(tmp_path):
    write_units(tmp_path / "timed.jsonl", IDENTITY, [Units("a", [1], [2])])
    write_units(tmp_path / "untimed.jsonl", IDENTITY, [Units("a", [1])])
    convert(tmp_path / "timed.jsonl", tmp_path / "x.units", "textless", "textlesslib")
    (tmp_path / "x.units").unlink()
    with pytest.raises(UserError, match=r"x\.durations exists already"):
        convert(tmp_path / "untimed.jsonl", tmp_path / "x.units", "textless", "textlesslib")
    convert(tmp_path / "untimed.jsonl", tmp_path / "x.units", "textless", "textlesslib", force=True)
    assert read_foreign(tmp_path / "x.units", "textlesslib")[0].durations is None


def test_layouts_that_cannot_hold_a_name_say_so(tmp_path):
    write_units(tmp_path / "n.jsonl", IDENTITY, [Units("a\nb", [1], [1])])
    write_units(tmp_path / "t.jsonl", IDENTITY, [Units("a\tb", [1])])
    with pytest.raises(UserError, match="does not fit on a line of gslm"):
        convert(tmp_path / "n.jsonl", tmp_path / "x", "textless", "gslm")
    with pytest.raises(UserError, match="does not fit on a line of textlesslib"):
        convert(tmp_path / "t.jsonl", tmp_path / "x", "textless", "textlesslib")
    with pytest.raises(UserError, match="has no durations, which slamkit's files have"):
        convert(tmp_path / "t.jsonl", tmp_path / "x", "textless", "slamkit")


def write_corpus(folder):
    paths = ["a/leaf.flac", "a/0001.flac", "b/0001.flac"]
    manifest = Manifest(folder, tuple(Utterance(p.removesuffix(".flac"), p, 16000) for p in paths))
    write_manifest(folder / "m.tsv", manifest)
    return read_manifest(folder / "m.tsv")


def test_names_are_found_in_a_manifest_as_programs_write_them(tmp_path, capsys):
    manifest = write_corpus(tmp_path)

    def resolve(*found):
        return utterance_ids(found, manifest, Path("x"))

    assert resolve("/data/old/a/leaf.flac", "b/0001", "a/0001.flac") == ["a/leaf", "b/0001", "a/0001"]
    assert "leaf.flac".rstrip(".flac") == "le"
    assert resolve("le") == ["a/leaf"]
    assert "2 of 3 utterances in the manifest have no line" in capsys.readouterr().err
    assert resolve(None, None, None) == ["a/leaf", "a/0001", "b/0001"]
    for found, message in {
        ("0001",): "stands for .*a/0001.*b/0001",
        ("c/0001x",): "is not in the manifest",
        ("a/leaf", "le"): "two lines for the utterance 'a/leaf'",
        (None,): "1 lines without names, and the manifest has 3 utterances",
    }.items():
        with pytest.raises(UserError, match=message):
            resolve(*found)


def test_km_files_lie_beside_their_manifest(tmp_path):
    manifest = write_corpus(tmp_path)
    items = [Units(u.id, [1, 2 + n], [2, 1]) for n, u in enumerate(manifest)]
    write_units(tmp_path / "u.jsonl", IDENTITY, items)
    with pytest.raises(UserError, match="give --manifest"):
        convert(tmp_path / "u.jsonl", tmp_path / "train.km", "textless", "km")
    arguments = ["convert", tmp_path / "u.jsonl", tmp_path / "train.km", "--from", "textless", "--to", "km"]
    run(*arguments, "--manifest", tmp_path / "m.tsv")
    assert (tmp_path / "train.km").read_text() == "1 1 2\n1 1 3\n1 1 4\n"
    assert (tmp_path / "train.tsv").read_text().splitlines()[1:] == [f"{u.path}\t16000" for u in manifest]
    assert (tmp_path / "dict.km.txt").read_text().splitlines() == [f"{unit} 1" for unit in range(100)]
    convert(tmp_path / "u.jsonl", tmp_path / "m.km", "textless", "km", manifest=manifest)  # m.tsv says it already
    assert read_manifest(tmp_path / "m.tsv") == manifest
    write_units(tmp_path / "some.jsonl", IDENTITY, items[1:])
    with pytest.raises(UserError, match=r"m\.tsv exists already"):
        (tmp_path / "m.km").unlink()
        convert(tmp_path / "some.jsonl", tmp_path / "m.km", "textless", "km", manifest=manifest)
    back = ["convert", tmp_path / "train.km", tmp_path / "v.jsonl", "--from", "km", "--to", "textless"]
    assert "does not say which quantizer" in str(run(*back, ok=False).exception)
    run(*back, "--encoder", "hubert-base:6", "--k", 100, "--frame-rate", 50)
    assert read_units(tmp_path / "v.jsonl") == read_units(tmp_path / "u.jsonl")
    assert "together" in str(run(*back, "--encoder", "x", ok=False).exception)
    assert "exists already" in str(run(*back, "--encoder", "x", "--k", 9, "--frame-rate", 50, ok=False).exception)
    small = run(*back, "--encoder", "x", "--k", 3, "--frame-rate", 50, "--force", ok=False)
    assert "units should lie in 0..2" in str(small.exception)
    assert read_units(tmp_path / "v.jsonl").quantizer == IDENTITY  # what was there is not lost


def test_dictionaries_are_read_and_never_evaluated(tmp_path):
    manifest = write_corpus(tmp_path)
    path = tmp_path / "d.txt"
    lines = [
        "{'audio': 'x/a/leaf.flac', 'hubert': '1 1 2', 'duration': 0.06, 'spk': '103'}",
        '{"audio": "b/0001.flac", "hubert": "3", "duration": 1}',
    ]
    path.write_text("\n".join(lines) + "\n")
    assert [line.units for line in read_foreign(path, "dict")] == [[1, 1, 2], [3]]
    save_quantizer(tmp_path / "q", Quantizer(torch.from_numpy(CODES), "mfcc@50", "", 50.0), {})
    arguments = ["--from", "dict", "--to", "textless", "--quantizer", tmp_path / "q", "--manifest", tmp_path / "m.tsv"]
    run("convert", path, tmp_path / "u.jsonl", *arguments)
    assert read_units(tmp_path / "u.jsonl").utterances == [Units("a/leaf", [1, 2], [2, 1]), Units("b/0001", [3], [1])]
    run("convert", path, tmp_path / "w.jsonl", *arguments, "--deduplicated")
    assert read_units(tmp_path / "w.jsonl").utterances[0] == Units("a/leaf", [1, 1, 2])
    out = tmp_path / "o.txt"
    run("convert", tmp_path / "u.jsonl", out, "--from", "textless", "--to", "dict", "--key", "codes", *arguments[-2:])
    row = {"audio": str(manifest.audio_path(manifest.utterances[0])), "codes": "1 1 2", "duration": 0.06}
    assert out.read_text().splitlines()[0] == repr(row)

    path.write_text("{'audio': 'a', 'unitA': '1 2', 'unitB': '3 4'}\n")
    assert read_foreign(path, "dict", "unitB")[0].units == [3, 4]
    victim = tmp_path / "victim"
    for line, message in {
        "{'audio': 'a', 'unitA': '1 2', 'unitB': '3 4'}": "say which with --key",
        f"{{'audio': __import__('pathlib').Path('{victim}').touch(), 'hubert': '1'}}": "should be a dictionary",
        "{'audio': 'a', 'hubert': '1 x'}": "under no key",
        "[1, 2]": "should be a dictionary",
        "(" * 5000: "should be a dictionary",
    }.items():
        path.write_text(line + "\n")
        with pytest.raises(UserError, match=message):
            read_foreign(path, "dict")
    assert not victim.exists()


def test_lines_that_are_not_of_their_layout_are_named(tmp_path):
    path = tmp_path / "x.units"
    for layout, line, message in (
        ("gslm", "name|1 two", ":1 should hold units"),
        ("gslm", "name|1 -2", ":1 should hold units"),
        ("slamkit", '{"units":[1],"file_name":"a"}', ":1 should be an object with file_name, units and duration"),
        ("slamkit-tokens", '{"audio_repr":"<Un1>hello","file_name":"a"}', "units such as <Un7> only"),
        ("slamkit-tokens", '{"audio_repr":"<Un1>"}', "object with file_name and audio_repr"),
    ):
        path.write_text(line + "\n")
        with pytest.raises(UserError, match=message):
            read_foreign(path, layout)
    path.write_text("a\t1 2\nb\t3\n")
    (tmp_path / "x.durations").write_text("a\t1 2\nb\t3 4\n")
    with pytest.raises(UserError, match=r":2 .* do not belong together"):
        read_foreign(path, "textlesslib")
    (tmp_path / "x.durations").write_text("a\t1 2\n")
    with pytest.raises(UserError, match="has 2 lines, .* 1"):
        read_foreign(path, "textlesslib")
    path.write_text("1 1 2\n")
    (tmp_path / "x.durations").unlink()
    with pytest.raises(UserError, match="1 lines without names, and there is no manifest"):
        convert(path, tmp_path / "v.jsonl", "gslm", "textless", identity=IDENTITY)


def test_units_that_are_never_repeated_are_remarked(tmp_path, capsys):
    (tmp_path / "x.txt").write_text("a|" + " ".join(str(n % 7) for n in range(200)) + "\n")
    convert(tmp_path / "x.txt", tmp_path / "v.jsonl", "gslm", "textless", identity=IDENTITY)
    assert "give --deduplicated" in capsys.readouterr().err
    convert(tmp_path / "x.txt", tmp_path / "w.jsonl", "gslm", "textless", identity=IDENTITY, deduplicated=True)
    assert "give --deduplicated" not in capsys.readouterr().err
