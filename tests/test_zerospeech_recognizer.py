"""The phone recogniser: training on tones that stand for phones, batching, files, and the error rate it reports."""

import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textless.audio.batches import pad
from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.corpora.alignment import SILENCE, Segment, write_alignment
from textless.errors import UserError
from zerospeech_eval import train_recognizer
from zerospeech_eval.per import evaluate
from zerospeech_eval.recognizer import Recognizer, RecognizerConfig, load, log_mel, save
from zerospeech_eval.token_errors import bootstrap_interval, compare, edits, write_details
from zerospeech_eval.train_recognizer import load_examples, spec_augment, train
from zerospeech_eval.transcribers import transcribe_mels

CPU = torch.device("cpu")
PITCH = {"a": 300.0, "b": 700.0, "c": 1500.0, "d": 3100.0}


def tone_corpus(folder: Path, count: int, seed: int) -> tuple[Path, Path]:
    """Utterances of tones of 0.1 to 0.2 s, one pitch a phone, between silences."""
    rng = random.Random(seed)
    utterances, alignment = [], {}
    for index in range(count):
        segments, pieces, clock = [], [], 0.0
        for label in [SILENCE, *rng.choices(list(PITCH), k=rng.randint(4, 9)), SILENCE]:
            seconds = round(rng.uniform(0.1, 0.2), 3)
            t = np.arange(round(16_000 * seconds)) / 16_000
            pieces.append(0.3 * np.sin(2 * math.pi * PITCH[label] * t) if label != SILENCE else 0 * t)
            segments.append(Segment(clock, clock + seconds, label))
            clock += seconds
        samples = np.concatenate(pieces) + 0.003 * np.random.default_rng(index).normal(size=sum(map(len, pieces)))
        name = f"u{seed}_{index}"
        (folder / "audio").mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "audio" / f"{name}.wav", samples, 16_000)
        utterances.append(Utterance(name, f"audio/{name}.wav", len(samples)))
        alignment[name] = segments
    write_manifest(folder / "manifest.tsv", Manifest(folder, tuple(utterances)))
    write_alignment(folder / "alignments.tsv", alignment, "phone")
    return folder / "manifest.tsv", folder / "alignments.tsv"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recognizer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_recognizer, "BATCH_FRAMES", 800)
        train(*tone_corpus(folder / "train", 40, seed=1), folder / "out", steps=80, device="cpu")
    return folder / "out"


def test_learns_tones(trained: Path, tmp_path: Path) -> None:
    # Neighbouring tones of one pitch sound like one longer tone, so a few deletions are right.
    result = evaluate(*tone_corpus(tmp_path, 15, seed=2), trained, device="cpu")
    assert result.rate < 0.3
    assert result.low <= result.rate <= result.high
    assert result.substitutions + result.insertions <= 5
    write_details(tmp_path / "details.tsv", result)
    lines = (tmp_path / "details.tsv").read_text().splitlines()
    assert len(lines) == 16
    assert sum(int(line.split("\t")[1]) for line in lines[1:]) == result.n_reference


def test_padding_changes_nothing(trained: Path, tmp_path: Path) -> None:
    model = load(trained, CPU)
    manifest = read_manifest(tone_corpus(tmp_path, 5, seed=3)[0])
    mels = [log_mel(manifest.load(u)) for u in manifest]
    padded, lengths = pad(mels)
    with torch.inference_mode():
        scores, _, counts = model(padded, lengths)
        for mel, row, count in zip(mels, scores, counts.tolist(), strict=True):
            alone, _, alone_count = model(mel[None], torch.tensor([len(mel)]))
            assert count == alone_count.item() == math.ceil(len(mel) / 2)
            torch.testing.assert_close(alone[0, :count], row[:count], rtol=0, atol=2e-5)
    assert transcribe_mels(model, mels) == [transcribe_mels(model, [mel])[0] for mel in mels]


def test_round_trip_and_damaged_folders(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Recognizer(RecognizerConfig(phones=("a", "b"), dim=32, blocks=1)).eval()
    save(model, tmp_path / "r", {"steps": 0})
    again = load(tmp_path / "r", CPU)
    mels = torch.randn(1, 50, 80)
    torch.testing.assert_close(model(mels, torch.tensor([50]))[0], again(mels, torch.tensor([50]))[0])
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["config.json", "model.safetensors"]
    save(Recognizer(RecognizerConfig(phones=("a", "b"), dim=16, blocks=1)), tmp_path / "s", {})
    (tmp_path / "s" / "model.safetensors").replace(tmp_path / "r" / "model.safetensors")
    with pytest.raises(UserError, match="does not fit"):
        load(tmp_path / "r", CPU)
    with pytest.raises(UserError, match="recognizer not found"):
        load(tmp_path / "nothing", CPU)


def test_equal_seeds_train_equal_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_recognizer, "BATCH_FRAMES", 300)
    corpus = tone_corpus(tmp_path, 6, seed=4)
    one, other = (train(*corpus, tmp_path / str(i), steps=2, seed=7, device="cpu") for i in range(2))
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_refuses_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    with pytest.raises(UserError, match="--force"):
        train(tmp_path / "m", tmp_path / "a", tmp_path / "out")


def test_utterances_without_phones_and_wrong_alignments(tmp_path: Path) -> None:
    path, _ = tone_corpus(tmp_path, 2, seed=5)
    manifest = read_manifest(path)
    silent, spoken = (u.id for u in manifest)
    alignment = {spoken: [Segment(0, 0.1, "a")], silent: [Segment(0, 0.1, SILENCE)]}
    assert len(load_examples(manifest, alignment, ["a"])) == 1
    with pytest.raises(UserError, match="no utterance"):
        load_examples(manifest, {}, ["a"])
    crowded = {spoken: [Segment(i / 1000, i / 1000, "a") for i in range(500)]}
    with pytest.raises(UserError, match="500 phones in"):
        load_examples(manifest, crowded, ["a"])


def test_unknown_phones_are_named(trained: Path, tmp_path: Path) -> None:
    manifest, alignments = tone_corpus(tmp_path, 2, seed=6)
    alignments.write_text(alignments.read_text().replace("\ta\n", "\tzh\n").replace("\tb\n", "\tzh\n"))
    with pytest.raises(UserError, match="1 phones that .* not trained on, the first is 'zh'"):
        evaluate(manifest, alignments, trained, device="cpu")
    with pytest.raises(UserError, match="no utterance"):
        evaluate(manifest, tone_corpus(tmp_path / "b", 1, seed=7)[1], trained, device="cpu")


def test_log_mel_of_a_tone() -> None:
    waveform = torch.sin(2 * math.pi * 1000 * torch.arange(16_000) / 16_000)
    mels = log_mel(waveform + 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(0)))
    assert mels.shape == (101, 80)
    assert log_mel(torch.zeros(100)).isfinite().all()
    torch.testing.assert_close(mels.mean(dim=0), torch.zeros(80), atol=1e-4, rtol=0)


def test_masks_hide_and_leave_the_original(tmp_path: Path) -> None:
    mels = torch.ones(100, 80)
    hidden = [int((spec_augment(mels, random.Random(seed)) == 0).sum()) for seed in range(20)]
    assert mels.all()
    assert 0 < sum(hidden) / len(hidden) < 0.4 * mels.numel()


def naive_edits(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(naive_edits(a[1:], b[1:]) + (a[0] != b[0]), naive_edits(a[1:], b) + 1, naive_edits(a, b[1:]) + 1)


@settings(max_examples=150, deadline=None)
@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_edits(reference: str, heard: str) -> None:
    u = compare("u", list(reference), list(heard))
    assert u.edits == naive_edits(reference, heard)
    assert len(reference) - u.deletions + u.insertions == len(heard)


def test_kinds_of_edits() -> None:
    cases = {
        ("abcd", "abxd"): (1, 0, 0),
        ("abcd", "abd"): (0, 0, 1),
        ("abcd", "abccd"): (0, 1, 0),
        ("", "ab"): (0, 2, 0),
    }
    for (reference, heard), expected in cases.items():
        assert edits(*(np.array([ord(c) for c in text], dtype=np.int64) for text in (reference, heard))) == expected


def test_bootstrap() -> None:
    same = [compare(str(i), list("aaaa"), list("aaab")) for i in range(10)]
    assert bootstrap_interval(same, 0) == (0.25, 0.25)
    mixed = [compare(str(i), list("aaaa"), list("bbbb") if i % 2 else list("aaaa")) for i in range(100)]
    low, high = bootstrap_interval(mixed, 0)
    # Binomial: 0.5 ± 1.96 * 0.05.
    assert low == pytest.approx(0.4, abs=0.02)
    assert high == pytest.approx(0.6, abs=0.02)
    assert bootstrap_interval(mixed, 0) == (low, high)


@pytest.mark.slow
@pytest.mark.skipif("TEXTLESS_SPEECH" not in os.environ, reason="TEXTLESS_SPEECH names no folder of real speech")
def test_real_speech(tmp_path: Path) -> None:
    corpus = Path(os.environ["TEXTLESS_SPEECH"]) / "kathleen_en"
    manifest = read_manifest(corpus / "manifest.tsv")
    utterances = list(manifest)
    random.Random(0).shuffle(utterances)
    write_manifest(tmp_path / "test.tsv", Manifest(manifest.root, tuple(utterances[:60])))
    write_manifest(tmp_path / "train.tsv", Manifest(manifest.root, tuple(utterances[60:])))
    train(tmp_path / "train.tsv", corpus / "alignments.tsv", tmp_path / "out", steps=1000, device="cpu")
    assert evaluate(tmp_path / "test.tsv", corpus / "alignments.tsv", tmp_path / "out", device="cpu").rate < 0.35
