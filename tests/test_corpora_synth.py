"""The synthetic corpus as a whole: its splits, items and keys, any number of processes, the verbs."""

import csv
import itertools
import json
import math
import random
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

pytest.importorskip("espeakng_loader")

from textless.audio.manifest import Manifest, read_manifest
from textless.corpora.alignment import SILENCE, read_alignment
from textless.corpora.cli import app
from textless.corpora.grammatical_pairs import grammatical_pairs, sentences_of
from textless.corpora.items import read_items
from textless.corpora.lexicon import english
from textless.corpora.rendering import Job, renderer
from textless.corpora.synth import SynthesisConfig, synthesize_corpus, transcription
from textless.corpora.synthesizer import Voice, synthesize
from textless.errors import UserError
from textless.files import read_json

CONFIG = SynthesisConfig(hours=0.01, speakers=4, pairs=12, seed=3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "corpus"
    synthesize_corpus(CONFIG, out, processes=1)
    return out


def test_corpus_is_what_it_says(corpus: Path) -> None:
    summary = read_json(corpus / "corpus.json")
    manifests = {name: read_manifest(corpus / name / "manifest.tsv") for name in summary["splits"]}
    for name, manifest in manifests.items():
        assert len(manifest) == summary["splits"][name]["utterances"]
        alignment = read_alignment(corpus / name / "alignments.tsv")
        assert list(alignment) == [u.id for u in manifest]
        for u in manifest.utterances[::10]:
            assert soundfile.info(str(manifest.audio_path(u))).samplerate == 16000
            waveform = manifest.load(u)
            phones = alignment[u.id]
            assert phones[0].start == 0
            assert phones[-1].end == pytest.approx(len(waveform) / 16000, abs=1e-4)
            assert all(a.end == b.start for a, b in itertools.pairwise(phones))
        files = {path.relative_to(corpus / name).as_posix() for path in (corpus / name / "audio").rglob("*.*")}
        assert files == {u.path for u in manifest}
    words = read_alignment(corpus / "train" / "words.tsv")
    for u in manifests["train"]:
        assert [word.label for word in words[u.id]] == (u.text or "").split()
    assert not list(corpus.parent.glob(".*")), "nothing half-made is left"


def texts_of(manifest: Manifest) -> set[str]:
    return {u.text or "" for u in manifest}


def test_splits_share_no_sentence_and_test_no_speaker(corpus: Path) -> None:
    manifests = {name: read_manifest(corpus / name / "manifest.tsv") for name in ("train", "dev", "test", "sblimp")}
    sentences = [texts_of(manifest) for manifest in manifests.values()]
    sentences.append(set((corpus / "unpaired.txt").read_text().splitlines()))
    assert all(not a & b for a, b in itertools.combinations(sentences, 2))
    speakers = {name: {u.speaker for u in manifest} for name, manifest in manifests.items()}
    assert len(speakers["test"]) == 4
    assert not speakers["test"] & speakers["train"]
    assert speakers["dev"] == speakers["train"]
    assert speakers["sblimp"] < speakers["train"]
    pairs = grammatical_pairs(english(), random.Random("3 pairs"), 6)
    assert texts_of(manifests["sblimp"]) == {transcription(s) for s in sentences_of(pairs)}


def test_item_files_name_phones_of_the_test_set(corpus: Path) -> None:
    phones = read_alignment(corpus / "test" / "alignments.tsv")
    for span in ("triphone", "phoneme"):
        items = read_items(corpus / "test" / f"{span}.item")
        assert len(items) > 1000
        assert len({item.speaker for item in items}) == 4
        for item in items[::50]:
            starts = {f"{p.start:.4f}": p.label for p in phones[item.file]}
            assert starts[item.onset] == (item.previous if span == "triphone" else item.phone)
    cells = defaultdict(set)
    for item in items:
        cells[item.previous, item.phone, item.next].add(item.speaker)
    assert np.mean([len(speakers) == 4 for speakers in cells.values()]) > 0.7, "contexts that every speaker says"


def test_keys_to_the_pairs(corpus: Path) -> None:
    train = Counter(w for u in read_manifest(corpus / "train" / "manifest.tsv") for w in (u.text or "").split())
    for name, groups_expected in (("swuggy", 12 * 4), ("sblimp", 6 * 2)):
        rows = list(csv.DictReader((corpus / name / "gold.csv").open()))
        manifest = read_manifest(corpus / name / "manifest.tsv")
        assert [row["filename"] for row in rows] == [u.id for u in manifest]
        groups = defaultdict(list)
        for row in rows:
            groups[row["id"], row["voice"]].append(row)
        assert len(groups) == groups_expected, "words in four voices, half as many sentence pairs in two"
        assert all(sorted(row["correct"] for row in group) == ["0", "1"] for group in groups.values())
    rows = list(csv.DictReader((corpus / "swuggy" / "gold.csv").open()))
    alignment = read_alignment(corpus / "swuggy" / "alignments.tsv")
    for good, bad in zip(rows[::2], rows[1::2], strict=True):
        assert good["length"] == bad["length"] == str(len(good["phones"].split()))
        assert int(good["frequency"]) == train[good["word"]] > 0
        for row in (good, bad):
            heard = [p.label for p in alignment[row["filename"]] if p.label != SILENCE]
            assert " ".join(heard) == row["phones"]
    spelled = synthesize(f"{rows[0]['word']}.", Voice("en-us", "m3"), 0).phones
    assert " ".join(p.label for p in spelled if p.label != SILENCE) == rows[0]["phones"]


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_processes_do_not_change_the_result_and_seeds_do(corpus: Path, tmp_path: Path) -> None:
    manifest = read_manifest(corpus / "train" / "manifest.tsv")
    synthesize_corpus(CONFIG, tmp_path / "again", processes=2)
    assert contents(tmp_path / "again") == contents(corpus)
    job = Job(tmp_path / "a.flac", "The dog slept.", Voice("en-us", "m3"), (0, 0, 0))
    other = replace(job, path=tmp_path / "b.flac", seed=(1, 0, 0))
    with renderer(1) as pool:
        list(pool.map([job, other]))
    assert job.path.read_bytes() != other.path.read_bytes()
    assert len(manifest) > 5


def test_sentences_from_a_file(tmp_path: Path) -> None:
    text = tmp_path / "sentences.txt"
    text.write_text("".join(f"Das ist Satz Nummer {i}.\n\n" for i in range(1, 31)) + "1234\n", encoding="utf-8")
    config = SynthesisConfig(hours=0.01, speakers=2, language="de", text=text)
    summary = synthesize_corpus(config, tmp_path / "out", processes=1)
    assert set(summary["splits"]) == {"train", "dev", "test"}
    assert not (tmp_path / "out" / "swuggy").exists()
    splits = [texts_of(read_manifest(tmp_path / "out" / name / "manifest.tsv")) for name in summary["splits"]]
    assert all(not a & b for a, b in itertools.combinations(splits, 2))
    assert str(tmp_path) not in (tmp_path / "out" / "corpus.json").read_text()
    text.write_text("Zu kurz.\n")
    with pytest.raises(UserError, match="has 1 different sentences"):
        synthesize_corpus(config, tmp_path / "out2")
    text.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match="not a text file"):
        synthesize_corpus(config, tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hours": 0.0}, "hours should be a positive number"),
        ({"hours": math.nan}, "hours should be a positive number"),
        ({"speakers": 1}, "speakers should be 2 to"),
        ({"speakers": 500}, "speakers should be 2 to"),
        ({"language": "klingonese"}, "speaks no language 'klingonese'"),
        ({"language": "de"}, r"grammar is English; .* --text"),
        ({"pairs": 0}, "pairs should be at least 1"),
        ({"seed": -1}, "seed should not be negative"),
        ({"text": Path("nowhere.txt")}, "text file not found"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(values: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as raised:
        synthesize_corpus(SynthesisConfig(**values), tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_cli_synth(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    arguments = ["synth", str(out), "--hours", "0.002", "--speakers", "2", "--pairs", "2", "--processes", "1"]
    with pytest.raises(UserError, match="--force"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    result = CliRunner().invoke(app, [*arguments, "--force"], catch_exceptions=False)
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[:5]] == ["train", "dev", "test", "swuggy", "sblimp"]
    assert not (out / "old").exists()
    summary = read_json(corpus / "corpus.json")
    monkeypatch.setattr("textless.corpora.synth.synthesize_corpus", lambda *_, **__: summary)
    assert json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout) == summary


def test_cli_scan(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "recordings" / "anna"
    folder.mkdir(parents=True)
    for u in read_manifest(corpus / "dev" / "manifest.tsv").utterances[:3]:
        (folder / Path(u.path).name).write_bytes((corpus / "dev" / u.path).read_bytes())
    (folder / "broken.wav").write_text("no audio")
    manifest = tmp_path / "manifest.tsv"
    arguments = ["scan", str(folder.parent), str(manifest), "--speaker-from", "parent"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "3 utterances" in result.stdout
    assert "1 speakers" in result.stdout
    assert {u.speaker for u in read_manifest(manifest)} == {"anna"}
    assert "broken.wav" in (tmp_path / "skipped.tsv").read_text()
    with pytest.raises(UserError, match="--force"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    result = CliRunner().invoke(app, [*arguments, "--force", "--json"], catch_exceptions=False)
    assert '"skipped": 1' in result.stdout
    with pytest.raises(UserError, match="not a directory"):
        CliRunner().invoke(app, ["scan", str(tmp_path / "no"), str(manifest), "--force"], catch_exceptions=False)
