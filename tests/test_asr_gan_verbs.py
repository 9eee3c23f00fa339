"""The adversarial method through its files and verbs: prepared folders in, a recogniser of frames out; sweeps of it."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from textless.errors import UserError
from textless.features.store import FeatureStore, StoreHeader, write_header, write_shard
from textless.files import read_json
from textless.training.run import METRICS_NAME
from unsup_asr.auxiliary_targets import AuxiliaryTargets
from unsup_asr.cli import app
from unsup_asr.gan.config import DataConfig, GanConfig, GeneratorConfig, LossConfig
from unsup_asr.gan.generator import Generator
from unsup_asr.gan.initial import fit
from unsup_asr.gan.model import PhoneRecognizer
from unsup_asr.gan.train import train
from unsup_asr.gan.unpaired import load_unpaired
from unsup_asr.prepare_speech import SpeechOptions, prepare_speech
from unsup_asr.prepare_text import TextOptions, prepare_text
from unsup_asr.recognizers import load_recognizer
from unsup_asr.sweep import driver
from unsup_asr.sweep.driver import train_command
from unsup_asr.sweep.plan import Variation

WORDS = ["abba", "cad", "dab", "bead", "ace", "cede"]
SHA = "0" * 64


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features in which the letters of sentences last two or three frames each, and sentences."""
    root, random = tmp_path_factory.mktemp("prepared"), np.random.default_rng(0)
    sentences = [" ".join(random.choice(WORDS, 4)) for _ in range(80)]
    (root / "text.txt").write_text("\n".join(sentences[30:]))
    prepare_text(root / "text.txt", root / "text", TextOptions("letters", 1))
    means = random.standard_normal((5, 8))
    frames = {"empty": np.empty((0, 8), np.float32)}
    for number, sentence in enumerate(sentences[:30]):
        letters = np.array([ord(letter) - ord("a") for letter in sentence.replace(" ", "")])
        held = np.repeat(letters, random.integers(2, 4, len(letters)))
        frames[f"u{number}"] = (means[held] + 0.05 * random.standard_normal((len(held), 8))).astype(np.float32)
    write_header(root / "features", StoreHeader("planted", SHA, 8, 50.0, 1, "0"))
    write_shard(root / "features", 0, 1, frames)
    prepare_speech(root / "features", root / "segments", SpeechOptions(pca=6, clusters=5))
    (root / "gan.toml").write_text(
        'method = "gan"\nupdates = 6\nbatch_size = 8\nvalid_every = 2\nlog_every = 2\n'
        '[data]\nspeech = "segments"\ntext = "text"\npool = 2\n[discriminator]\ndim = 8\n'
    )
    return root


def invoke(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture(scope="module")
def trained(prepared: Path) -> Path:
    invoke("train", prepared / "gan.toml", prepared / "trained", "--device", "cpu")
    return prepared / "trained"


def test_a_trained_recogniser_reads_frames_whatever_the_batch(prepared: Path, trained: Path) -> None:
    recognizer = load_recognizer(trained)
    assert isinstance(recognizer, PhoneRecognizer)
    assert (recognizer.topology, recognizer.source.encoder, recognizer.source.frame_rate) == ("runs", "planted", 50.0)
    assert recognizer.silence == len(recognizer.phones) - 1
    random = np.random.default_rng(1)
    features = [random.standard_normal((size, 8)).astype(np.float32) for size in (40, 0, 1, 17)]
    together = recognizer.posteriors(features)
    for frames, found in zip(features, together, strict=True):
        alone = recognizer.posteriors([frames])[0]
        np.testing.assert_allclose(found.log_probs, alone.log_probs, atol=1e-5)
        assert found.log_probs.shape[1] == len(recognizer.phones)
        assert found.starts.tolist() == alone.starts.tolist()
        if len(frames):
            assert (found.starts[0], found.ends[-1]) == (0, len(frames))
            assert (found.starts[1:] == found.ends[:-1]).all()
            best = found.log_probs.argmax(1)
            assert (found.ends > found.starts).all()
            assert len(best) == len(found.starts)
    assert not len(together[1].log_probs)

    data = load_unpaired(GanConfig.load(prepared / "gan.toml").data)  # what was cut beforehand is cut alike now
    frames = np.asarray(FeatureStore(prepared / "features")["u0"])
    np.testing.assert_allclose(recognizer.front_end.rows(frames).features, data.speech[0], atol=1e-6)


def test_second_kind_reads_frames_and_learns_clusters(prepared: Path, tmp_path: Path) -> None:
    class Targets(AuxiliaryTargets):
        n_clusters = 4

        def __init__(self, directory: Path) -> None:
            self.directory = directory

        def __iter__(self) -> Iterator[str]:
            return iter([f"u{number}" for number in range(30)])

        def __getitem__(self, utterance_id: str) -> np.ndarray:
            frames = FeatureStore(prepared / "features")[utterance_id]
            return (np.asarray(frames)[:, 0] > 0).astype(np.int64)

    data = DataConfig(speech=prepared / "features", text=prepared / "text", auxiliary=prepared / "auxiliary", pool=1)
    generator = GeneratorConfig.second().model_copy(update={"auxiliary": 4})
    config = GanConfig(data=data, generator=generator, loss=LossConfig.second(), updates=6, batch_size=8, log_every=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unsup_asr.gan.unpaired.AuxiliaryTargets", Targets)
        train(config, tmp_path / "run", device_name="cpu")
        with pytest.raises(UserError, match="data.pool = 1"):
            load_unpaired(data.model_copy(update={"pool": 2}))
    rows = [json.loads(line) for line in (tmp_path / "run" / METRICS_NAME).open()]
    learned = [row["auxiliary"] for row in rows if "auxiliary" in row]
    assert learned == sorted(learned, reverse=True)
    assert learned[-1] < learned[0]
    found = load_recognizer(tmp_path / "run").posteriors([np.zeros((10, 8), np.float32)])[0]
    assert found.ends[-1] == 10


def test_what_cannot_be_trained_on_is_named(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs segments"):
        frames = DataConfig(speech=prepared / "features", text=prepared / "text", pool=1)
        train(GanConfig(data=frames, initial="matching", updates=2), tmp_path / "run", device_name="cpu")
    with pytest.raises(UserError, match=r"loss\.auxiliary needs a head"):
        GanConfig.load(prepared / "gan.toml", ["loss.auxiliary=0.5"])
    other = StoreHeader("another", "1" * 64, 8, 50.0, 1, "0")
    write_header(tmp_path / "other", other)
    write_shard(tmp_path / "other", 0, 1, {"u": np.zeros((9, 8), np.float32)})
    with pytest.raises(UserError, match="made by another"):
        load_unpaired(DataConfig(speech=prepared / "features", text=prepared / "text", valid_speech=tmp_path / "other"))
    silent = load_unpaired(DataConfig(speech=prepared / "segments", text=prepared / "text", silence=False))
    assert silent.text.silence is None
    assert len(silent.speech) == 30  # without the empty one


def test_a_generator_starts_from_what_is_taught() -> None:
    random = np.random.default_rng(0)
    means, phones = random.standard_normal((5, 12)), [random.integers(5, size=20) for _ in range(50)]
    speech = [(means[p] + 0.3 * random.standard_normal((20, 12))).astype(np.float32) for p in phones]
    generator = Generator(GeneratorConfig(), 12, 5)
    fit(generator, speech, [np.eye(5, dtype=np.float32)[p] for p in phones], seed=0, steps=200)
    logits = generator.eval()(torch.from_numpy(np.stack(speech)), torch.full((50,), 20)).logits
    assert (logits.argmax(-1).numpy() == np.stack(phones)).mean() > 0.99


def test_the_initialiser_is_what_matching_finds(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught: list[list[np.ndarray]] = []
    monkeypatch.setattr("unsup_asr.gan.initial.fit", lambda *arguments: taught.append(list(arguments[2])))
    config = GanConfig.load(prepared / "gan.toml", ["initial=matching", "updates=2"])
    train(config, tmp_path / "run", device_name="cpu")
    data = load_unpaired(config.data)
    assert [len(rows) for rows in taught[0]] == [len(rows) for rows in data.speech]
    assert all(np.allclose(rows.sum(1), 1, atol=1e-5) for rows in taught[0])


# A run that another has trained already: what it kept is copied, and the quality noted depends on the folder's name.
COPY = """
import pathlib, shutil, sys
shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)
"""


@pytest.fixture
def copied(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(config: Path, settings: list[str], device: str) -> driver.Command:
        return lambda _, folder: [sys.executable, "-c", COPY, str(trained), str(folder)]

    monkeypatch.setattr(driver, "train_command", command)
    monkeypatch.setattr(driver, "POLL_SECONDS", 0.05)


@pytest.mark.usefixtures("copied")
def test_a_sweep_chooses_and_shows_all_runs(prepared: Path, tmp_path: Path) -> None:
    words = ["sweep", prepared / "gan.toml", tmp_path / "out", "--grid", "loss.diversity=2,4", "--seeds", 2]
    found = json.loads(invoke(*words, "--json", "--no-give-up", "--judge-after", 0.5, "--keep", 1, "--jobs", 4))
    assert len(found["candidates"]) == 4
    assert (tmp_path / "out" / "best" / "config.json").is_file()
    assert load_recognizer(tmp_path / "out" / "best").phones == load_recognizer(prepared / "trained").phones
    assert (tmp_path / "out" / "index.html").read_text().count("finished") == 4
    assert str(tmp_path / "out" / "runs") in invoke(*words, "--give-up")  # finished: only chosen again


@pytest.mark.usefixtures("copied")
def test_an_ablation_ends_in_a_table_with_errors_if_references_are_given(prepared: Path, tmp_path: Path) -> None:
    transcripts = tmp_path / "references.tsv"
    transcripts.write_text("id\tphones\n" + "".join(f"u{n}\ta b c\n" for n in range(30)))
    words = ["ablate", prepared / "gan.toml", tmp_path / "out", "--seeds", 1, "--without", "penalty", "--jobs", 2]
    with pytest.raises(UserError, match="errors need both"):
        invoke(*words, "--references", transcripts)
    rows = json.loads(invoke(*words, "--json"))
    assert [(row["without"], row["runs"], row["error_rate"]) for row in rows] == [
        *(("everything", 1, None), ("penalty", 1, None)),
    ]
    printed = invoke(*words, "--speech", prepared / "features", "--references", transcripts)
    assert "| without penalty | 1 |" in printed
    assert (tmp_path / "out" / "ablation.md").read_text().strip() == printed.strip()


def test_a_run_is_the_verb_that_anyone_could_type(tmp_path: Path) -> None:
    variation = Variation("name", ("loss.diversity=2", "seed=1"))
    words = train_command(tmp_path / "c.toml", ["updates=5"], "cpu")(variation, tmp_path / "run")
    assert words[1:6] == ["-m", "textless", "asr", "train", str(tmp_path / "c.toml")]
    assert words[6:] == [
        *(str(tmp_path / "run"), "--device", "cpu", "--set", "updates=5"),
        *("--set", "loss.diversity=2", "--set", "seed=1"),
    ]


@pytest.mark.slow
def test_a_sweep_of_true_runs(prepared: Path, tmp_path: Path) -> None:
    invoke("sweep", prepared / "gan.toml", tmp_path / "out", "--seeds", 2, "--device", "cpu")
    runs = read_json(tmp_path / "out" / "sweep.json")["runs"]
    assert [run["condition"] for run in runs] == ["finished", "finished"]
    shutil.rmtree(tmp_path / "out" / "best")
    invoke("sweep", prepared / "gan.toml", tmp_path / "out", "--seeds", 3, "--device", "cpu")
    assert len(read_json(tmp_path / "out" / "sweep.json")["runs"]) == 3


@pytest.mark.parametrize("name", ["asr-gan", "asr-gan-2", "asr-gan-warm"])
def test_ready_configurations_are_what_was_published(name: str) -> None:
    config = GanConfig.load(Path(__file__).parents[1] / "examples/configs" / f"{name}.toml")
    second = name == "asr-gan-2"
    assert config.generator == (GeneratorConfig.second() if second else GeneratorConfig())
    assert config.loss == (LossConfig.second() if second else LossConfig())
    assert config.batch_size == 160
    assert config.discriminator.kernel == (8 if second else 6)
