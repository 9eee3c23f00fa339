"""Judging a folder of resyntheses: pairs, figures, content, voices, the verb with everything."""

import json
from pathlib import Path

import numpy as np
import planted_resynthesis
import pytest
from planted_resynthesis import Folders, run

from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.errors import UserError
from units.files import Units, write_units
from units.identity import QuantizerIdentity
from zerospeech_eval import resynthesis
from zerospeech_eval.acoustic_comparison import compare, new_tracker
from zerospeech_eval.f0_errors import add
from zerospeech_eval.resynthesis import Settings, evaluate
from zerospeech_eval.resynthesis_pairs import find_pairs

folders = planted_resynthesis.folders
encoder = planted_resynthesis.encoder
recognizer = planted_resynthesis.recognizer


def test_pairs_by_id_and_by_path(folders: Folders, tmp_path: Path) -> None:
    assert len(find_pairs(folders.originals, folders.copies).pairs) == 6
    renamed = [Utterance(f"id{i}", u.path, u.n_samples) for i, u in enumerate(read_manifest(tmp_path / "copy.tsv"))]
    write_manifest(tmp_path / "copy" / "manifest.tsv", Manifest(folders.copies, tuple(renamed[:5])))
    found = find_pairs(tmp_path / "original.tsv", folders.copies)  # the folder's own manifest counts
    assert [(p.id, p.resynthesis.id) for p in found.pairs] == [
        (u.id, f"id{i}") for i, u in enumerate(read_manifest(tmp_path / "original.tsv").utterances[:5])
    ]
    assert (found.only_original, found.only_resynthesis) == (1, 0)


def test_figures_are_those_of_the_parts(folders: Folders) -> None:
    result = evaluate(folders.originals, folders.copies, Settings(device="cpu"))
    parts = [
        compare(io.load(folders.originals / f"{name}.wav"), io.load(folders.copies / f"{name}.wav"), 13, new_tracker())
        for name in result.acoustics
    ]
    assert list(result.acoustics.values()) == parts
    values = [part.mcd for part in parts]
    assert result.mcd() == pytest.approx((np.mean(values), np.std(values, ddof=1) / 6**0.5, 6))
    assert result.f0 == add(part.f0 for part in parts)
    assert result.seconds == pytest.approx(sum(0.5 + 0.05 * n for n in range(6)))


def test_groups_change_nothing(
    folders: Folders, encoder: Path, recognizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = Settings(speaker_encoder=str(encoder), recognizer=str(recognizer), device="cpu")
    whole = evaluate(folders.root / "original.tsv", folders.copies, chosen).summary()
    monkeypatch.setattr(resynthesis, "TOGETHER_SECONDS", 0.7)
    parts = evaluate(folders.root / "original.tsv", folders.copies, chosen).summary()
    for key in ("cosine_to_original", "cosine_to_source"):
        assert parts["speakers"].pop(key) == pytest.approx(whole["speakers"].pop(key), abs=1e-6)
    assert parts == whole


def test_the_verb_with_everything(folders: Folders, encoder: Path, recognizer: Path, tmp_path: Path) -> None:
    identity = QuantizerIdentity(encoder="mfcc@50", k=4, frame_rate=50.0, sha256="0" * 64)
    write_units(
        tmp_path / "units.jsonl",
        identity,
        [Units(u.id, [0, 1], [10, 15]) for u in read_manifest(tmp_path / "copy.tsv")],
    )
    (tmp_path / "text.tsv").write_text("".join(f"{u.id}\tp q r\n" for u in read_manifest(tmp_path / "original.tsv")))
    options = ["--order", 24, "--recognizer", recognizer, "--text", tmp_path / "text.tsv", "--speaker-encoder", encoder]
    options += ["--target-manifest", tmp_path / "original.tsv", "--units", tmp_path / "units.jsonl", "--seed", 1]
    options += ["--details", tmp_path / "d.tsv", "--plot", tmp_path / "p.png"]
    result = run(tmp_path / "original.tsv", tmp_path / "copy.tsv", *options, "--json")
    found = json.loads(result.stdout)
    assert found["recordings"] == 6
    assert found["mel_cepstra"] == 24
    assert found["mcd_warped"]["recordings"] == found["mcd_in_place"]["recordings"] == 6
    assert found["content"]["original"]["reference_phones"] == 18
    assert 0 <= found["speakers"]["nearer_to_target"] <= 1
    assert found["speakers"]["resynthesis"]["trials"] == 12
    assert found["bit_rate"]["bits_per_second"] == pytest.approx(12 / sum(0.5 + 0.05 * n for n in range(6)))
    lines = [line.split("\t") for line in (tmp_path / "d.tsv").read_text().splitlines()]
    assert len(lines) == 7
    column = lines[0].index("mcd_warped_db")
    assert np.mean([float(line[column]) for line in lines[1:]]) == pytest.approx(found["mcd_warped"]["db"])
    assert {"gpe", "semitone_share", "edits", "cosine_to_target"} < set(lines[0])
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    shown = run(tmp_path / "original.tsv", tmp_path / "copy.tsv", *options).stdout
    for words in (
        "mel-cepstral distortion, warped",
        "within a semitone",
        "phone error rate, %",
        "speaker equal error rate",
        "bit rate",
        "nearer to the target",
    ):
        assert words in shown


def test_without_texts_the_originals_are_the_reference(folders: Folders, recognizer: Path, encoder: Path) -> None:
    same = run(
        folders.root / "original.tsv", folders.originals, "--recognizer", recognizer, "--speaker-encoder", encoder
    )
    assert "phone error rate against the originals', %" in same.stdout
    result = evaluate(folders.originals, folders.originals, Settings(recognizer=str(recognizer), device="cpu"))
    assert result.content is not None
    assert result.content.resynthesis.rate == 0
    assert result.content.original is None


def test_text_is_compared_by_characters(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ears_of_resynthesis.py").write_text("def hear(waveform):\n    return 'Say  one!'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    chosen = Settings(recognizer="ears_of_resynthesis:hear", text=tmp_path / "original.tsv", device="cpu")
    content = evaluate(tmp_path / "original.tsv", folders.copies, chosen).content
    assert content is not None
    assert content.resynthesis.token == "character"
    assert content.resynthesis.rate == pytest.approx(3 / 5)  # "say 0" and "say one"


def test_one_target_for_all(folders: Folders, encoder: Path, tmp_path: Path) -> None:
    options = ("--speaker-encoder", encoder, "--target-manifest", tmp_path / "original.tsv")
    found = json.loads(run(tmp_path / "original.tsv", folders.copies, *options, "--target", "b", "--json").stdout)
    assert found["speakers"]["cosine_to_target"] is not None
    with pytest.raises(UserError, match="no recordings of 'c'; it has 'a', 'b'"):
        run(tmp_path / "original.tsv", folders.copies, *options, "--target", "c")
    with pytest.raises(UserError, match="resyntheses have no speaker"):
        run(tmp_path / "original.tsv", folders.copies, *options)
