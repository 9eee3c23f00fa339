"""Label-free quality: by hand, and it tells phones of the language from the same phones in disorder.

And nothing that trains or selects can reach a label.
"""

import ast
import importlib.util
import inspect
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_recognizer import PlantedRecognizer, greedy_letters, planted_speech, planted_text
from test_asr_matching import PHONES, Language
from typer.testing import CliRunner

import unsup_asr
from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.files import write_json
from unsup_asr import scoring, select_runs
from unsup_asr.cli import app
from unsup_asr.phone_text import SILENCE, PhoneText
from unsup_asr.select_runs import Candidate, choose_among
from unsup_asr.selection import Judge, Quality, choose, in_text_phones, jensen_shannon, ngram_counts
from unsup_asr.transcripts import write_transcripts

NAMES = tuple(map(str, range(PHONES)))


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(PhoneText(NAMES, Language(0).sentences(2000, seed=1)))


def test_the_language_is_told_from_a_permutation_of_it_and_from_collapse(judge: Judge) -> None:
    spoken = Language(0).sentences(300, seed=2)
    permuted = [np.random.default_rng(0).permutation(PHONES)[sentence] for sentence in spoken]
    constant = [np.zeros_like(sentence) for sentence in spoken]
    right, wrong, collapsed = judge(spoken), judge(permuted), judge(constant)
    assert right.weighted_perplexity < wrong.weighted_perplexity < collapsed.weighted_perplexity
    assert all(ours < theirs for ours, theirs in zip(right.divergence, wrong.divergence, strict=True))
    assert (right.is_collapsed, collapsed.is_collapsed) == (False, True)
    assert right.tokens_per_sentence == pytest.approx(1, abs=0.1)
    assert choose([wrong, collapsed, right]) == 2
    assert judge([np.empty(0, int)]).weighted_perplexity == math.inf


def test_silences_change_nothing() -> None:
    text = PhoneText((*NAMES, SILENCE), Language(0).sentences(200, seed=1))
    spoken = Language(0).sentences(50, seed=2)
    silence = np.array([PHONES])
    padded = [np.concatenate([silence, sentence, silence]) for sentence in spoken]
    assert Judge(text)(padded) == Judge(text)(spoken)


def quality(nats: float, usage: float, tokens: int) -> Quality:
    return Quality(tokens, 0, -nats * tokens, usage, (0.0,), 1.0)


def test_the_papers_criterion_prefers_saying_less_among_equals() -> None:
    anchor = quality(2.00, 1.0, 1000)
    shorter = quality(2.15, 1.0, 900)  # within log 1.2 of the anchor, and its sum is larger: -1935 > -2000
    far = quality(2.20, 1.0, 100)  # 0.20 > log 1.2 = 0.18
    unused = quality(2.00, 0.7, 100)  # log 0.7 + 0.18 < 0
    assert choose([far, anchor, unused, shorter]) == 3
    assert choose([far, anchor, unused]) == 1
    assert shorter.weighted_perplexity == pytest.approx(math.exp(2.15))
    assert replace(unused, usage=0.5).weighted_perplexity == pytest.approx(4 * math.exp(2.0))


def test_ngrams_and_their_divergence_by_hand() -> None:
    assert ngram_counts([np.array([1, 0, 1, 0]), np.array([2])], 2, 3) == {3: 2, 1: 1}
    assert jensen_shannon({0: 1}, {0: 5}) == 0
    assert jensen_shannon({0: 1}, {1: 1}) == 1
    # p = (1, 0), q = (1/2, 1/2), mean (3/4, 1/4)
    expected = (math.log2(4 / 3) + 0.5 * math.log2(2 / 3) + 0.5 * math.log2(2)) / 2
    assert jensen_shannon({0: 1}, {0: 1, 1: 1}) == pytest.approx(expected)


def test_the_choice_is_among_those_that_have_not_collapsed() -> None:
    """A recogniser that says one likely word over and over has the lowest perplexity."""
    sound, worse = quality(2.0, 1.0, 1000), quality(2.6, 0.9, 1000)
    collapsed = quality(0.1, 0.2, 1000)
    found = choose_among([Candidate(Path(name), q) for name, q in zip("abc", (worse, collapsed, sound), strict=True)])
    assert (found.directory, found.kept, found.by_weighted_perplexity) == (Path("c"), (2,), 2)
    assert [line.split()[0] for line in str(found).splitlines()[1:]] != ["*a"] * 3
    assert str(found).splitlines()[3].startswith("*a")
    assert str(found).splitlines()[2].startswith("!")
    assert choose_among([Candidate(Path("a"), collapsed)]).chosen == 0
    with pytest.raises(UserError, match="none of the 1 recognisers"):
        choose_among([Candidate(Path("a"), Quality(0, 0, 0.0, 0.0, (1.0,), 0.0))])


def test_a_record_is_read_again(judge: Judge) -> None:
    found = judge(Language(0).sentences(20, seed=2))
    assert Quality.of_record(found.record()) == found
    assert found.record()["weighted_perplexity"] == found.weighted_perplexity
    assert found.rate_term == pytest.approx(abs(math.log(found.tokens_per_sentence)))


def test_recognisers_may_number_phones_as_they_like() -> None:
    text = PhoneText(("a", "b", SILENCE), [np.array([0, 1])])
    assert in_text_phones([np.array([0, 1, 1])], ("b", "a"), text)[0].tolist() == [1, 0, 0]
    with pytest.raises(
        UserError, match=r"1 of the 2 phones of the recogniser \(x\) are not in the text, which has a b"
    ):
        in_text_phones([], ("a", "x"), text)


PACKAGE = Path(unsup_asr.__file__).parent
LABELS = {
    "textless.corpora.alignment",
    "textless.corpora.alignment_formats",
    "unsup_asr.transcripts",
    "unsup_asr.scoring",
    "unsup_asr.oracle",
    "unsup_asr.diagnostics",
    "zerospeech_eval.texts",
    "zerospeech_eval.per",
}
"""Modules that read labels, or files in which labels can be. A manifest can have texts, among other things."""
BLIND = (
    "gan",
    "self_training",
    "matching",
    "skipgrams",
    "selection",
    "select_runs",
    "bootstrap",
    "recognizers",
    "train",
)
"""What trains on unpaired data and selects."""


def parsed(module: str) -> ast.Module:
    root = PACKAGE.parent / Path(*module.split("."))
    path = root / "__init__.py" if root.is_dir() else root.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(module: str) -> set[str]:
    """Modules of this project that a module imports anywhere, functions included."""
    found = set()
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found.update(name for name in names if importlib.util.find_spec(name.partition(".")[0]) and is_module(name))
    return found


def is_module(name: str) -> bool:
    path = PACKAGE.parent / Path(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def blind_modules() -> list[str]:
    paths = [
        path for name in BLIND for path in (PACKAGE / f"{name}.py", *(PACKAGE / name).glob("*.py")) if path.is_file()
    ]
    return [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]


@pytest.mark.parametrize("module", blind_modules())
def test_what_trains_and_selects_cannot_reach_labels(module: str) -> None:
    waiting, seen = [module], {module}
    while waiting:
        module = waiting.pop()
        imported = imports(module)
        if "textless.audio.manifest" in imported:
            attributes = {node.attr for node in ast.walk(parsed(module)) if isinstance(node, ast.Attribute)}
            assert "text" not in attributes
        waiting += [name for name in imported - seen if name.startswith("unsup_asr")]
        seen |= imported
    assert not seen & LABELS


def test_no_argument_of_what_trains_and_selects_takes_labels() -> None:
    taken = set()
    for module in blind_modules():
        for _, function in inspect.getmembers(importlib.import_module(module), inspect.isroutine):
            if function.__module__ == module and inspect.isfunction(function):
                taken |= set(inspect.signature(function).parameters)
    assert {"text", "candidates"} <= taken
    assert not {"references", "labels", "alignment", "alignments", "manifest"} & taken


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Speech whose features are its letters, text, and three recognisers: of good ears, of bad ones, and deaf."""
    planted_speech(tmp_path / "speech", "train")
    planted_text(tmp_path / "text")
    heard = {"good": PlantedRecognizer(0.02), "bad": PlantedRecognizer(0.6), "deaf": PlantedRecognizer(0.0, deaf=True)}
    monkeypatch.setattr("unsup_asr.select_runs.load_recognizer", lambda directory: heard[directory.name])
    return tmp_path


def test_select_prefers_what_speaks_the_language(runs: Path) -> None:
    arguments = ["select", *(str(runs / name) for name in ("deaf", "bad", "good"))]
    arguments += ["--text", str(runs / "text"), "--speech", str(runs / "speech")]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[-1] == str(runs / "good")
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert found["chosen"] == found["by_weighted_perplexity"] == str(runs / "good")
    assert [row["is_collapsed"] for row in found["candidates"]] == [True, False, False]
    assert "oracle_cost" not in found


def test_references_are_read_after_the_choice_and_change_nothing(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The references say that the bad recogniser is right."""
    bad = PlantedRecognizer(0.6)
    store = FeatureStore(runs / "speech")
    wrong = dict(zip(store, greedy_letters(bad, list(store.values())), strict=True))
    write_transcripts(runs / "references.tsv", wrong)
    events = []
    choosing, reading = select_runs.choose_among, scoring.read_references
    monkeypatch.setattr(select_runs, "choose_among", lambda c: [events.append("chosen"), choosing(c)][1])
    monkeypatch.setattr(scoring, "read_references", lambda *a: [events.append("read"), reading(*a)][1])
    arguments = ["select", str(runs / "bad"), str(runs / "good"), "--text", str(runs / "text")]
    with_speech = [*arguments, "--speech", str(runs / "speech"), "--references", str(runs / "references.tsv")]
    found = json.loads(CliRunner().invoke(app, [*with_speech, "--json"]).stdout)
    assert events == ["chosen", "read"]
    assert (found["chosen"], found["oracle_choice"]) == (str(runs / "good"), str(runs / "bad"))
    assert found["oracle_cost"] > 0.3
    assert "the choice costs" in CliRunner().invoke(app, with_speech).stdout
    without_speech = CliRunner().invoke(app, [*arguments, "--references", str(runs / "references.tsv")])
    assert isinstance(without_speech.exception, UserError)


def test_without_speech_what_training_noted_counts(tmp_path: Path, judge: Judge) -> None:
    planted_text(tmp_path / "text")
    for name, noise in (("a", 0.5), ("b", 0.0)):
        sentences = Language(0).sentences(100, seed=2)
        random = np.random.default_rng(0)
        heard = [np.where(random.random(len(s)) < noise, random.integers(0, PHONES, len(s)), s) for s in sentences]
        write_json(tmp_path / name / "config.json", {"training": judge(heard).record()})
    assert select_runs.select([tmp_path / "a", tmp_path / "b"], tmp_path / "text").chosen == 1
    write_json(tmp_path / "c" / "config.json", {"training": {"update": 3}})
    with pytest.raises(UserError, match="give --speech"):
        select_runs.select([tmp_path / "c"], tmp_path / "text")
