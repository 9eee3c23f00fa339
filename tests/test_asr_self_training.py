"""Matching and self-training find planted phones, say so when they do not, and go on where they were stopped."""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from test_asr_matching import PHONES, Language
from typer.testing import CliRunner

from textless.corpora.alignment import Segment, write_alignment
from textless.errors import UserError
from textless.features.store import FeatureStore, StoreHeader, write_header, write_shard
from textless.files import write_json
from textless.provenance import make_header
from textless.training.run import Run, read_metrics
from units.compare import edit_distance
from unsup_asr import phone_text
from unsup_asr.bootstrap import bootstrap, with_silences
from unsup_asr.cli import app
from unsup_asr.decoding.best_path import greedy
from unsup_asr.diagnostics import shortened
from unsup_asr.phone_text import SILENCE, PhoneText
from unsup_asr.recognizers import load_recognizer
from unsup_asr.select_runs import select
from unsup_asr.selection import DOUBTFUL
from unsup_asr.self_training.hmm import Hmm, bonus_for, joined
from unsup_asr.self_training.model import FrameRecognizer
from unsup_asr.train_config import BootstrapConfig, load_train_config

RATE, DIM, NOISE = 50.0, 16, 1.3
NAMES = (*(f"p{number}" for number in range(PHONES)), SILENCE)
QUICK = ["clusters=40", "pca=16", "rounds=1", "network.context=1", "network.hidden=64", "network.layers=1"]
QUICK += ["network.epochs=4", "network.iterations=1", "matching.restarts=2", "matching.steps=800"]


class Planted:
    """Sentences of a language whose phones are random vectors of 2 to 6 frames in noise, and text of two languages."""

    def __init__(self, folder: Path, utterances: int) -> None:
        self.folder = folder
        random = np.random.default_rng(11)
        vectors = random.standard_normal((PHONES + 1, DIM))
        self.said: dict[str, np.ndarray] = {}
        features, alignment = {}, {}
        for number, sentence in enumerate(Language(0).sentences(utterances, 11)):
            phones = joined(sentence)  # two equal ones are heard as one
            with_ends = np.concatenate([[PHONES], phones, [PHONES]])
            lengths = random.integers(2, 7, len(with_ends))
            rows = np.repeat(with_ends, lengths)
            name = f"u{number:03d}"
            self.said[name] = phones
            features[name] = (vectors[rows] + NOISE * random.standard_normal((len(rows), DIM))).astype(np.float32)
            edges = np.concatenate([[0], np.cumsum(lengths)]) / RATE
            labels = ("SIL", *(NAMES[phone] for phone in phones), "SIL")
            alignment[name] = [Segment(a, b, label) for a, b, label in zip(edges, edges[1:], labels, strict=False)]
        write_header(folder / "features", StoreHeader("planted", "0" * 64, DIM, RATE, 1, "1" * 64))
        write_shard(folder / "features", 0, 1, features)
        write_alignment(folder / "alignments.tsv", alignment, "phone")
        for name, language in (("text", Language(0)), ("other", Language(7))):
            write_text(folder / name, language.sentences(2000, 5))
        self.features = list(features.values())
        n_phones = sum(len(phones) + 2 for phones in self.said.values())
        self.rate = RATE * n_phones / sum(map(len, self.features))
        (folder / "asr.toml").write_text('method = "matching"\n[data]\nfeatures = "features"\ntext = "text"\n')

    def train(self, run: str, *settings: str) -> tuple[Path, str]:
        """`textless asr train`; the directory, and what was said."""
        rates = [f"phones_per_second={self.rate}", f"segments_per_second={1.05 * self.rate}"]
        words = [word for setting in (*QUICK, *rates, *settings) for word in ("--set", setting)]
        out = self.folder / run
        result = CliRunner().invoke(app, ["train", str(self.folder / "asr.toml"), str(out), "--device", "cpu", *words])
        assert result.exit_code == 0, result.output
        return out, result.output

    def errors(self, heard: Sequence[np.ndarray]) -> float:
        """Phone error rate, silences apart."""
        pairs = zip(self.said.values(), heard, strict=True)
        wrong = sum(edit_distance(said, phones[phones != PHONES]) for said, phones in pairs)
        return wrong / sum(map(len, self.said.values()))


def write_text(directory: Path, sentences: Sequence[np.ndarray]) -> None:
    lines = (" ".join((SILENCE, *(NAMES[phone] for phone in sentence), SILENCE)) for sentence in sentences)
    header = make_header(phone_text.FORMAT, phone_text.VERSION, phones=list(NAMES))
    write_json(directory / phone_text.HEADER, header)
    (directory / phone_text.PHONES).write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted"), 250)


@pytest.fixture(scope="module")
def trained(planted: Planted) -> Path:
    return planted.train("run")[0]


def test_planted_phones_are_recognised(planted: Planted, trained: Path) -> None:
    recognizer = FrameRecognizer.load(trained)
    assert planted.errors(recognizer.transcribe(planted.features)) <= 0.10
    # What decoders and ensembles read is as good as the best path.
    rows = recognizer.posteriors(planted.features)
    assert planted.errors([greedy(found.log_probs, "frames") for found in rows]) <= 0.10
    matched = FeatureStore(trained / "stages" / "02-match")
    assert planted.errors([joined(matched[name][:, 0]) for name in planted.said]) > 0.12  # self-training has gained
    assert read_metrics(trained)[-1]["strangeness"] < DOUBTFUL


def test_text_of_another_language_is_noticed(planted: Planted, trained: Path) -> None:
    run, said = planted.train("other-run", f"data.text={planted.folder / 'other'}")
    assert "doubtful: what the network hears by itself is not like the text" in said
    recognizer = FrameRecognizer.load(run)
    assert planted.errors(recognizer.transcribe(planted.features)) > 0.75
    right, wrong = (read_metrics(path)[-1] for path in (trained, run))
    assert wrong["strangeness"] > DOUBTFUL
    assert wrong["weighted_perplexity"] < 2 * right["weighted_perplexity"]  # by its transcripts alone nobody would know
    selection = select([run, trained], planted.folder / "text")
    assert selection.directory == trained
    assert "?" in str(selection).splitlines()[1]


def test_a_recogniser_is_what_was_saved_however_it_is_asked(planted: Planted, trained: Path, tmp_path: Path) -> None:
    recognizer = FrameRecognizer.load(trained)
    recognizer.save(tmp_path / "again")
    again = load_recognizer(tmp_path / "again")
    assert (again.phones, again.silence, again.topology, again.source.frame_rate) == (NAMES, PHONES, "frames", RATE)
    nothing = np.empty((0, DIM), np.float32)
    together = again.posteriors([*planted.features[:3], nothing])
    assert len(together[3].log_probs) == 0
    for found, features in zip(together[:3], planted.features[:3], strict=True):
        (alone,) = recognizer.posteriors([features])
        # Products of matrices of other sizes round differently.
        assert found.log_probs == pytest.approx(alone.log_probs, abs=1e-3)
        assert np.exp(found.log_probs).sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_a_stopped_run_ends_like_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = Planted(tmp_path, 40)
    settings = ["rounds=2", "network.iterations=2", "network.epochs=1", "network.order=2", "matching.steps=20"]
    whole, _ = planted.train("whole", *settings)
    for stops in (3, 2):  # in the middle of learning; in the second round, after a clustering
        with monkeypatch.context() as patch:
            answers = iter([False] * stops + [True])
            patch.setattr(Run, "stopping", lambda _, answers=answers: next(answers))
            planted.train("stopped", *settings)
    stopped, said = planted.train("stopped", *settings)
    assert "from step 5" in said
    for name in ("model.safetensors", "stages/08-learn/shard-00000-of-00001.npy"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()
    kept = [{k: v for k, v in row.items() if "seconds" not in k} for row in read_metrics(stopped)]
    assert kept == [{k: v for k, v in row.items() if "seconds" not in k} for row in read_metrics(whole)]


def test_diagnosis(planted: Planted, trained: Path, tmp_path: Path) -> None:
    given = [str(planted.folder / "features"), "--alignment", str(planted.folder / "alignments.tsv")]
    given += ["--clusters", "40", "--segments-per-second", str(1.05 * planted.rate), "--pca", "16", "--json"]
    result = CliRunner().invoke(app, ["diagnose", *given, "--model", str(trained)])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    counted = sum(map(len, planted.said.values())) / found["seconds"]
    assert found["phones_per_second"] == pytest.approx(counted)
    assert 0.5 < found["purity"] < 1
    assert list(found["stages"]) == ["02-match", "03-learn"]
    heard = FrameRecognizer.load(trained).transcribe(planted.features)
    assert found["stages"]["03-learn"]["percent"] == pytest.approx(100 * planted.errors(heard))
    # Labels go further than matching, a network further than a map, and all of it further than chance.
    assert found["held_out"]["percent"] < found["best_map"]["percent"] < found["stages"]["02-match"]["percent"]
    assert found["taught"]["percent"] <= found["model"]["percent"] + 2 < found["model"]["chance"] - 50

    few = Planted(tmp_path, 12)
    given = [str(few.folder / "features"), "--alignment", str(few.folder / "alignments.tsv"), "--clusters", "40"]
    without = CliRunner().invoke(app, ["diagnose", *given, "--seed", "1"])
    assert without.stdout.startswith("12 utterances")
    assert "network taught by labels" in without.stdout
    assert "stage" not in without.stdout
    (tmp_path / "kept.tsv").write_text("id\tstart_s\tstop_s\nu000\t0.0\t1.0\n")
    refused = CliRunner().invoke(app, ["diagnose", *given, "--kept", str(tmp_path / "kept.tsv")])
    assert "have 1 utterances in common" in str(refused.exception)


def test_labels_of_a_recording_without_its_silences() -> None:
    segments = [Segment(0, 1, "SIL"), Segment(1, 2, "a"), Segment(2, 4, "SIL"), Segment(4, 5, "b")]
    kept = [(0.5, 2.5), (3.5, 5.0)]
    expected = [(0, 0.5, "SIL"), (0.5, 1.5, "a"), (1.5, 2, "SIL"), (2, 2.5, "SIL"), (2.5, 3.5, "b")]
    assert [(s.start, s.end, s.label) for s in shortened(segments, kept)] == expected


@pytest.mark.parametrize("order", [2, 3])
def test_chain_agrees_with_all_paths(order: int) -> None:
    """Every path through 3 phones and 6 frames, scored by hand."""
    random = np.random.default_rng(order)
    paths = list(product(range(3), repeat=6))
    for _ in range(10):
        text = [random.integers(0, 3, random.integers(1, 8)) for _ in range(30)]
        hmm = Hmm.of_text(text, 3, 0.6, order).with_bonus(0.3)
        scores = random.normal(0, 2, (6, 3)).astype(np.float32)
        logs = np.array([literal(hmm, scores, path, order) for path in paths])
        assert hmm.viterbi(scores, np.inf).tolist() == list(paths[int(logs.argmax())])
        shares = np.exp(logs - logs.max())
        expected = np.zeros((6, 3))
        for path, share in zip(paths, shares / shares.sum(), strict=True):
            expected[np.arange(6), path] += share
        assert hmm.posteriors(scores) == pytest.approx(expected, abs=1e-5)  # float32


def literal(hmm: Hmm, scores: np.ndarray, path: Sequence[int], order: int) -> float:
    """Log probability of one path."""
    memory = len(hmm.moves) - 1
    total = float(hmm.initial[path[0]] + scores[0, path[0]])
    for t in range(1, len(path)):
        before, phone = path[t - 1], path[t]
        total += float(hmm.moves[memory, before, phone] + scores[t, phone])
        if phone != before and order == 3:
            memory = before
    return total + float(hmm.final[memory, path[-1]])


def test_trigrams_remember_what_bigrams_forget() -> None:
    """Text of 0 1 2 and 3 1 4: whether 2 or 4 comes after 1 depends on what came before it."""
    text = [np.array([0, 1, 2]), np.array([3, 1, 4])] * 20
    scores = np.full((3, 5), -4, dtype=np.float32)
    scores[[0, 1], [3, 1]] = 0
    scores[2, [2, 4]] = 0.5, 0.0  # heard is rather 2
    heard = {order: Hmm.of_text(text, 5, 0.3, order).viterbi(scores).tolist() for order in (2, 3)}
    assert heard == {2: [3, 1, 2], 3: [3, 1, 4]}


def test_a_bonus_gives_the_wanted_rate() -> None:
    random = np.random.default_rng(0)
    scores = [random.normal(0, 1, (200, 6)).astype(np.float32) for _ in range(5)]
    hmm = Hmm.of_text([random.integers(0, 6, 20) for _ in range(50)], 6, 0.7, 3)
    chain = hmm.with_bonus(bonus_for(hmm, scores, 0.25))
    assert sum(len(joined(chain.viterbi(row))) for row in scores) == pytest.approx(250, abs=3)
    assert len(hmm.viterbi(np.empty((0, 6), np.float32))) == 0


def test_which_silences_are_kept() -> None:
    text = PhoneText(("a", SILENCE), [np.array([0, 1, 0, 1]), np.array([0])])
    assert [s.tolist() for s in with_silences(text, "ends").sentences] == [[1, 0, 0, 1], [1, 0, 1]]
    assert with_silences(text, "none").phones == ("a",)
    assert [s.tolist() for s in with_silences(text, "none").sentences] == [[0, 0], [0]]
    assert with_silences(text, "all") is text
    without_any = PhoneText(("a", "b"), [np.array([0, 1])])
    assert with_silences(without_any, "ends") is without_any


def test_data_that_nothing_can_be_learnt_from(planted: Planted, tmp_path: Path) -> None:
    write_text(tmp_path / "empty", [])
    config = load_train_config(planted.folder / "asr.toml", [f"data.text={tmp_path / 'empty'}"])
    assert isinstance(config, BootstrapConfig)
    with pytest.raises(UserError, match="nothing to train on: 250 utterances, 0 sentences"):
        bootstrap(config, tmp_path / "run")
    config = load_train_config(planted.folder / "asr.toml", ["phones_per_second=50"])
    assert isinstance(config, BootstrapConfig)
    with pytest.raises(UserError, match=r"has 50 frames a second, which is too few for phones_per_second = 50"):
        bootstrap(config, tmp_path / "run")
