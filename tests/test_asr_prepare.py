"""Preparing both sides as one piece of work: the same whatever interrupts or shares it; what does not fit is said."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import unsup_asr.prepare
from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.encoders.encoder import load_encoder
from textless.errors import UserError
from textless.features.store import FeatureStore, StoreHeader, write_header, write_shard
from units.quantizer import load_quantizer
from unsup_asr.auxiliary_targets import AuxiliaryTargets
from unsup_asr.cli import app
from unsup_asr.comparison import agreement_of, compare
from unsup_asr.phone_text import PhoneText
from unsup_asr.prepare import recipe
from unsup_asr.prepare_speech import SpeechOptions, prepare_speech
from unsup_asr.segmentation import Segmentation
from unsup_asr.speech_segments import SpeechSegments

RATE = io.SAMPLE_RATE
TEXT = "ein hund bellt laut\nein haus ist laut\nein hund ist ein hund\n" * 4


def corpus(directory: Path, n_utterances: int, seed: int) -> Path:
    """Recordings of tones that change every 0.1 s, with a second of silence in the middle; one of silence alone."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(n_utterances):
        pitches = random.choice([250.0, 500.0, 1000.0, 2000.0, 4000.0], 24).repeat(RATE // 10)
        tones = 0.2 * np.sin(2 * np.pi * np.cumsum(pitches) / RATE)
        waveform = np.concatenate([tones[: len(tones) // 2], np.zeros(RATE), tones[len(tones) // 2 :]])
        waveform = torch.from_numpy(waveform + 1e-4 * random.standard_normal(len(waveform))).float()
        io.save(directory / f"u{number}.wav", waveform)
        rows.append(Utterance(f"u{number}", f"u{number}.wav", len(waveform)))
    io.save(directory / "silent.wav", torch.zeros(RATE))
    write_manifest(directory / "manifest.tsv", Manifest(directory, (*rows, Utterance("silent", "silent.wav", RATE))))
    return directory / "manifest.tsv"


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Manifests of training and other speech, and a text."""
    (tmp_path / "text.txt").write_text(TEXT)
    return corpus(tmp_path / "train", 6, 0), corpus(tmp_path / "valid", 2, 1), tmp_path / "text.txt"


def arguments_of(inputs: tuple[Path, Path, Path], out: Path) -> list[str]:
    train, valid, text = map(str, inputs)
    arguments = ["prepare", train, text, str(out), "--valid", valid, "--encoder", "mfcc@50", "--phones", "letters"]
    arguments += ["--clusters", "8", "--segments-per-second", "0", "--device", "cpu", "--json", "--no-agreement"]
    return arguments


def prepare(inputs: tuple[Path, Path, Path], out: Path, *options: str) -> dict[str, object]:
    result = CliRunner().invoke(app, [*arguments_of(inputs, out), *options], catch_exceptions=False)
    return json.loads(result.stdout) if result.stdout else {}


def content(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_everything_is_made_at_once_and_other_speech_is_cut_as_the_training_speech(
    inputs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    report = prepare(inputs, tmp_path / "out", "--auxiliary")
    train, valid = (SpeechSegments(tmp_path / "out" / name / "segments") for name in ("train", "valid"))
    assert (len(train), len(valid)) == (6, 2)  # the silent ones are left out
    assert train.header["vad"] == "energy"
    assert report["seconds"] == pytest.approx(6 * 2.4, rel=0.1)  # without the silences, with margins
    kept = load_quantizer(tmp_path / "out" / "train" / "segments" / "quantizer").identity
    assert kept == load_quantizer(tmp_path / "out" / "valid" / "segments" / "quantizer").identity
    model = Segmentation.load(tmp_path / "out" / "train" / "segments")
    frames = FeatureStore(tmp_path / "out" / "valid" / "features")
    np.testing.assert_array_equal(model.cut(frames["u1"]).means, valid["u1"].means)
    assert report["speech"]["tokens"] == len(np.concatenate([train[i].clusters for i in train]))
    sentence, *_ = PhoneText.load(tmp_path / "out" / "text").sentences
    assert (sentence == sentence[0]).nonzero()[0].tolist() == [0, len(sentence) - 1]  # silences at the ends alone
    targets = AuxiliaryTargets(tmp_path / "out" / "train" / "auxiliary")
    frames = FeatureStore(tmp_path / "out" / "train" / "features")
    assert {i: len(targets[i]) for i in targets} == {i: len(frames[i]) for i in frames}
    assert not (tmp_path / "out" / "valid" / "auxiliary").exists()


def test_auxiliary_targets_are_every_second_mfcc_of_an_encoder_at_50_hz(
    inputs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    prepare(inputs, tmp_path / "out", "--recipe", "wav2vec-u-2", "--vad", "none")
    folder = tmp_path / "out" / "train" / "auxiliary"
    targets, quantizer = AuxiliaryTargets(folder), load_quantizer(folder / "quantizer")
    assert targets.n_clusters == 64
    manifest = read_manifest(inputs[0])
    (mfcc,) = load_encoder("mfcc@100").encode([manifest.load(manifest.utterances[0])])
    np.testing.assert_array_equal(targets["u0"], quantizer.encode(mfcc)[::2])


@pytest.mark.parametrize("step", ["remove_silence", "store_features", "prepare_speech", "write_auxiliary_targets"])
def test_what_was_stopped_goes_on_and_ends_the_same(
    inputs: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    options = ("--auxiliary", "--shards", "2")
    prepare(inputs, tmp_path / "whole", *options)
    done = getattr(unsup_asr.prepare, step)

    def killed(*arguments: object, **named: object) -> None:
        done(*arguments, **named)
        raise RuntimeError(step)

    with monkeypatch.context() as patch:
        patch.setattr(unsup_asr.prepare, step, killed)
        with pytest.raises(RuntimeError, match=step):
            prepare(inputs, tmp_path / "stopped", *options)
    prepare(inputs, tmp_path / "stopped", *options)
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")
    assert prepare(inputs, tmp_path / "stopped", *options)  # finished work is reported again


def test_jobs_of_an_array_share_the_work_and_one_ends_it(
    inputs: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    prepare(inputs, whole, "--shards", "2")
    with monkeypatch.context() as patch:
        patch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
        for task in ("0", "1", "0", "1"):  # silences, then features
            patch.setenv("SLURM_ARRAY_TASK_ID", task)
            assert prepare(inputs, out, "--shards", "2") == {}
        with pytest.raises(UserError, match="remove each other's work"):
            prepare(inputs, out, "--shards", "2", "--force")
        with pytest.raises(UserError, match="an array of jobs cannot do it"):
            prepare_speech(out / "train" / "features", tmp_path / "segments")
    prepare(inputs, out, "--shards", "2")
    assert content(out) == content(whole)


def test_two_processes_make_the_same(inputs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    prepare(inputs, tmp_path / "one", "--shards", "2", "--auxiliary")
    script = tmp_path / "prepare.py"
    script.write_text("from unsup_asr.cli import app\n\napp()\n")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    arguments = [*arguments_of(inputs, tmp_path / "two"), "--shards", "2", "--auxiliary"]
    done = subprocess.run([*launch, *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1  # one process reports
    one, two = (SpeechSegments(tmp_path / name / "train" / "segments") for name in ("one", "two"))
    assert list(one) == list(two)
    for utterance_id in one:  # codes are sums in another order, which moves no frame of such speech to another
        np.testing.assert_array_equal(one[utterance_id].clusters, two[utterance_id].clusters)
        np.testing.assert_array_equal(one[utterance_id].frames, two[utterance_id].frames)
        np.testing.assert_allclose(one[utterance_id].means, two[utterance_id].means, atol=1e-3)
    first, second = (AuxiliaryTargets(tmp_path / name / "train" / "auxiliary") for name in ("one", "two"))
    assert all((first[i] == second[i]).mean() > 0.99 for i in first)


def test_another_option_or_folder_is_refused(inputs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    prepare(inputs, tmp_path / "out")
    with pytest.raises(UserError, match="options differ"):
        prepare(inputs, tmp_path / "out", "--silence", "0.5")
    with pytest.raises(UserError, match="not begun by"):
        prepare(inputs, inputs[0].parent)
    assert prepare(inputs, tmp_path / "out", "--silence", "0.5", "--force")
    sentence, *_ = PhoneText.load(tmp_path / "out" / "text").sentences
    assert (sentence == sentence[0]).sum() > 2
    with pytest.raises(UserError, match="no recipe"):
        recipe("wav2vec-v", "mfcc@50", "letters")


def test_recipes_are_those_of_the_papers() -> None:
    first, second, matching = (recipe(name, "e", "letters") for name in ("wav2vec-u", "wav2vec-u-2", "matching"))
    assert (first.text.silence, first.speech.segments_per_second, first.pool, first.auxiliary) == (0.25, None, 2, False)
    assert (second.text.silence, second.auxiliary) == (0.5, True)
    assert (matching.text.silence, matching.speech.segments_per_second, matching.pool) == (0.0, 13.0, 1)


def planted_language(seed: int, n_sentences: int, *, of: int = 0) -> list[np.ndarray]:
    """Sentences of a Markov chain over 20 phones; `of` says which language."""
    chain = np.random.default_rng(of).dirichlet(np.full(20, 0.1), 20)
    steps = chain.cumsum(axis=1)
    random = np.random.default_rng(seed)
    sentences = []
    for _ in range(n_sentences):
        phone, sentence = int(random.integers(20)), []
        for chance in random.random(25):
            phone = min(19, int(np.searchsorted(steps[phone], chance)))
            sentence.append(phone)
        sentences.append(np.array(sentence))
    return sentences


def test_speech_agrees_with_text_of_its_language_and_not_with_another() -> None:
    random = np.random.default_rng(0)
    spoken = planted_language(1, 300)
    clusters = [2 * phones + random.integers(0, 2, len(phones)) for phones in spoken]  # two clusters a phone
    right = agreement_of(clusters, 40, planted_language(2, 600), 20)
    assert right > 0.7
    assert agreement_of(clusters, 40, planted_language(2, 600, of=9), 20) < right - 0.2
    assert agreement_of([], 40, spoken, 20) == 0.0


@pytest.fixture
def segments(tmp_path: Path) -> SpeechSegments:
    """Two utterances of 50 Hz noise, one of which is three frames long."""
    random = np.random.default_rng(0)
    frames = {"long": random.standard_normal((200, 4)), "short": random.standard_normal((3, 4))}
    write_header(tmp_path / "features", StoreHeader("planted", "0" * 64, 4, 50.0, 1, "1" * 64))
    write_shard(tmp_path / "features", 0, 1, {i: x.astype(np.float32) for i, x in frames.items()})
    prepare_speech(tmp_path / "features", tmp_path / "segments", SpeechOptions(pca=2, clusters=8, restarts=1))
    return SpeechSegments(tmp_path / "segments")


def test_rates_short_utterances_and_scarce_text_are_warned_of(segments: SpeechSegments) -> None:
    text = PhoneText(("a", "b"), [np.array([0, 1, 1])])
    found = compare(segments, text, pool=1, match=False)
    assert found.tokens_per_second == found.segments_per_second > 20
    assert found.short_utterances == 1
    assert [warning.split(":")[0].split("(")[0].strip() for warning in found.warnings] == [
        f"{found.tokens_per_second:.1f} tokens a second",
        "there is less text",
        "1 of 2 utterances have less than 6 tokens",
    ]
    assert found.text.entropies[0] == pytest.approx(1 + 1 / (4 * np.log(2)))  # one bit, and the correction: ab
    assert "WARNING" in str(found)


def test_features_of_another_encoder_are_not_cut(segments: SpeechSegments, tmp_path: Path) -> None:
    assert segments.header["utterances"] == 2
    write_header(tmp_path / "others", StoreHeader("others", "2" * 64, 4, 50.0, 1, "1" * 64))
    write_shard(tmp_path / "others", 0, 1, {"u": np.zeros((5, 4), np.float32)})
    arguments = ["prepare-speech", str(tmp_path / "others"), str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--like", str(tmp_path / "segments")])
    assert isinstance(result.exception, UserError)
    assert "use the same encoder" in str(result.exception)
    assert not (tmp_path / "out").exists()
