"""Pairs for languages that have none: nonwords, word orders, lists of a linguist, and what must not leak."""

import csv
import itertools
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from test_zerospeech_cli import run

from textless.audio.manifest import read_manifest
from textless.corpora.nonwords import Neighbourhood, kind_by_ipa
from textless.corpora.synthesizer import pronounce
from textless.corpora.word_orders import word_order_pairs
from textless.errors import UserError
from zerospeech_eval.make_sblimp import SblimpConfig, make_sblimp, read_pairs
from zerospeech_eval.make_swuggy import SwuggyConfig, make_swuggy, read_lexicon
from zerospeech_eval.pair_sets import accuracy_of, draw_voices, read_sentences
from zerospeech_eval.sblimp import sblimp
from zerospeech_eval.scores import LogProbs
from zerospeech_eval.swuggy import swuggy

SPANISH = """El perro come la carne en la casa. La niña mira el gato negro. Los hombres trabajan en el campo.
Mi hermana canta una canción bonita. El profesor escribe las palabras en la pizarra. Las mujeres compran pan y leche.
El camino pasa por la montaña. La ventana grande está abierta. Un pájaro blanco vuela sobre el mar.
Nuestra madre prepara la comida. El médico ayuda a los enfermos. Los estudiantes leen muchos libros.
La ciudad tiene calles muy largas. Mi padre toca la guitarra por la noche. El tren llega tarde a la estación.
La camisa verde es de mi primo. Los niños juegan con la pelota en el parque. El barco sale del puerto por la mañana.
La maestra explica la lección con paciencia. Una mariposa amarilla descansa en la flor.""".replace(". ", ".\n")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spanish") / "text.txt"
    path.write_text(SPANISH, encoding="utf-8")
    return path


def gold(root: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((root / "gold.csv").open(encoding="utf-8")))


def test_spanish_words_and_nonwords(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = SwuggyConfig("es", training=(text,), pairs=12, voices=2, seed=1)
    report = make_swuggy(config, out, processes=1)
    rows = gold(out)
    assert [row["filename"] for row in rows] == [u.id for u in read_manifest(out / "manifest.tsv")]
    assert len(rows) == 12 * 2 * 2
    counts = Counter(word for line in read_sentences([text]) for word in line.split())
    sounds = {said.phones for said in pronounce(counts, "es").values()}
    bigrams = {pair for phones in sounds for pair in itertools.pairwise(phones)}
    for word, nonword in zip(rows[::2], rows[1::2], strict=True):
        assert (word["correct"], nonword["correct"], word["id"], word["voice"]) == (
            "1",
            "0",
            nonword["id"],
            nonword["voice"],
        )
        assert int(word["frequency"]) == counts[word["word"]] > 0
        said, other = (tuple(row["phones"].split()) for row in (word, nonword))
        assert said in sounds
        assert other not in sounds, "no nonword sounds like a word of the training text"
        assert len(said) == len(other) == int(word["length"]) == int(nonword["length"])
        assert 1 <= sum(a != b for a, b in zip(said, other, strict=True)) <= 2
        assert bigrams.issuperset(itertools.pairwise(other)), "every pair of phones follows each other in some word"
    accuracies = report["accuracy_of"]
    assert isinstance(accuracies, dict)
    assert set(accuracies) == {"phones", "pairs of phones", "neighbours", "duration"}
    assert all(0.25 <= accuracies[name] <= 0.75 for name in ("phones", "pairs of phones", "neighbours"))
    # Made to be judged: a model that has learnt the words by heart is right.
    scores = LogProbs({row["filename"]: float(row["correct"]) for row in rows}, "sum of log-probabilities")
    overall = swuggy(scores, out / "gold.csv").overall
    assert overall is not None
    assert (overall.value, overall.n) == (1.0, 12)
    make_swuggy(config, tmp_path / "again", processes=1)
    assert (tmp_path / "again/gold.csv").read_bytes() == (out / "gold.csv").read_bytes()
    audio = next((out / "audio").rglob("*.flac")).relative_to(out)
    assert (tmp_path / "again" / audio).read_bytes() == (out / audio).read_bytes()


def test_a_lexicon_with_a_training_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lexicon, few = tmp_path / "lexicon.tsv", tmp_path / "few.txt"
    few.write_text("\n".join(SPANISH.splitlines()[:8]), encoding="utf-8")
    lexicon.write_text("mariposa\t7\r\nventana\nelefante\t3\n", encoding="utf-8")
    assert read_lexicon(lexicon) == {"mariposa": 7, "ventana": 1, "elefante": 3}
    report = make_swuggy(SwuggyConfig("es", lexicon, (few,), pairs=500, voices=1), tmp_path / "out", processes=1)
    assert "pairs of the 500 wanted" in capsys.readouterr().err
    heard = set(" ".join(read_sentences([few])).split())
    assert report["words_known"] == len(heard | {"mariposa", "ventana", "elefante"})
    assert "elefante" not in {row["word"] for row in gold(tmp_path / "out")}, "the training text does not have it"
    for content, message in (("a b\n", ":1 should be word"), ("a\tb\n", ":1 should be word"), ("\n", "no words")):
        lexicon.write_text(content)
        with pytest.raises(UserError, match=message):
            read_lexicon(lexicon)


def test_neighbours_are_those_of_the_definition() -> None:
    rng = random.Random(0)
    words = {tuple(rng.choices("abc", k=rng.randint(1, 4))) for _ in range(60)}
    near = Neighbourhood({tuple(f"'{p}" if i == 0 else p for i, p in enumerate(word)) for word in words})

    def distance_is_one(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
        if len(one) == len(other):
            return sum(a != b for a, b in zip(one, other, strict=True)) == 1
        short, long = sorted((one, other), key=len)
        return any((*long[:i], *long[i + 1 :]) == short for i in range(len(long)))

    for word in [*words, ("a", "a", "c", "b"), ("c",), ("b",) * 5]:
        assert near.size(word) == sum(distance_is_one(word, other) for other in words)


def test_kinds_of_phones_of_any_language() -> None:
    kind = kind_by_ipa({"'E:": "ɛː", "E": "ɛ", "S": "ʃ", "'y": "y"})
    assert kind("'E:") != kind("E") != kind("S") == kind("z")
    assert kind("'y") != kind("'E:")


def test_spoilt_orders_are_new(text: Path) -> None:
    sentences = read_sentences([text])
    pairs = word_order_pairs(sentences, random.Random(0), 15, avoid=sentences[:2])
    assert Counter(pair.subtype for pair in pairs) == dict.fromkeys(
        ("neighbours_exchanged", "word_moved", "three_turned_around"), 5
    )
    met = {pair for sentence in sentences for pair in itertools.pairwise(sentence.split())}
    for pair in pairs:
        assert pair.good in sentences[2:]
        assert sorted(pair.good.split()) == sorted(pair.bad.split())
        new = set(itertools.pairwise(pair.bad.split())) - set(itertools.pairwise(pair.good.split()))
        assert new
        assert not new & met
    assert len({pair.good for pair in pairs}) == 15
    assert word_order_pairs(["no no no no no"], random.Random(0), 5) == []


def test_sentences_of_a_text_and_leaks(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    training = tmp_path / "heard.txt"
    training.write_text("\n".join(SPANISH.splitlines()[:5]).upper(), encoding="utf-8")
    config = SblimpConfig("es", text=text, training=(training,), pairs=6, voices=2)
    report = make_sblimp(config, out, processes=1)
    rows = gold(out)
    assert len(rows) == 6 * 2 * 2
    heard = set(read_sentences([training]))
    assert report["leaked_pairs_left_out"] == len(heard) > 3
    assert not heard & {row["transcription"] for row in rows}
    assert report["accuracy_of"] == {"frequencies of words": 0.5, "duration": report["accuracy_of"]["duration"]}
    scores = LogProbs({row["filename"]: float(row["correct"]) for row in rows}, "sum of log-probabilities")
    overall = sblimp(scores, out / "gold.csv").overall
    assert overall is not None
    assert (overall.value, overall.n) == (1.0, 6)
    with pytest.raises(UserError, match=r"not one pair is left \(\d+ have sentences of the training text\)"):
        make_sblimp(SblimpConfig("es", text=text, training=(text,)), tmp_path / "none", processes=1)
    assert not (tmp_path / "none").exists()


def test_pairs_of_a_linguist(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    rows = [
        ("type", "subtype", "good", "bad"),
        ("number", "verb", "Die Hunde bellen", "Die Hunde bellt"),
        ("case", "article", "Ich sehe den Mann", "Ich sehe der Mann"),
    ]
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    training = tmp_path / "train.txt"
    training.write_text("Ich sehe den Mann!\n")
    config = SblimpConfig("de", sentences=path, training=(training,), voices=1)
    report = make_sblimp(config, tmp_path / "out", processes=1)
    assert (report["pairs"], report["leaked_pairs_left_out"], report["types"]) == (1, 1, {"number/verb": 1})
    assert [row["transcription"] for row in gold(tmp_path / "out")] == ["Die Hunde bellen", "Die Hunde bellt"]
    for content, message in (
        ("good\tbad\n", ":1 should be type<TAB>subtype<TAB>good<TAB>bad"),
        ("type\tsubtype\tgood\tbad\na\tb\tc\n", ":2 should have four filled cells"),
        ("type\tsubtype\tgood\tbad\na\tb\tc\tc\n", ":2 should have four filled cells, and two different"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            read_pairs(path)


def test_english_by_the_command_line(tmp_path: Path) -> None:
    few = ("--pairs", 2, "--voices", 1, "--processes", 1, "--seed", 3)
    result = run("make-swuggy", tmp_path / "words", *few)
    assert result.stdout.startswith("2 pairs in 1 voices\n  phones alone: right in")
    report = json.loads(run("make-sblimp", tmp_path / "sentences", *few, "--json").stdout)
    assert (report["kind"], report["pairs"], report["language"]) == ("sblimp", 2, "en-us")
    manifest = tmp_path / "sentences/manifest.tsv"
    heard = {u.text for u in read_manifest(manifest)}
    again = json.loads(run("make-sblimp", tmp_path / "others", *few, "--training", manifest, "--json").stdout)
    assert again["pairs"] == 2
    assert not heard & {row["transcription"] for row in gold(tmp_path / "others")}
    with pytest.raises(UserError, match="--force"):
        run("make-swuggy", tmp_path / "words", *few)
    run("make-swuggy", tmp_path / "words", *few, "--force")
    assert report["voices"] == [voice.variant for voice in draw_voices("en-us", 1, 3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("make-swuggy", "--language", "es"), "give --lexicon or --training"),
        (("make-swuggy", "--language", "klingonese"), "speaks no language"),
        (("make-swuggy", "--voices", "999"), "voices should be 1 to"),
        (("make-sblimp", "--language", "es"), "grammar is English; .* give --sentences or --text"),
        (("make-sblimp", "--text", "a.txt", "--sentences", "b.tsv"), "not both"),
        (("make-sblimp", "--text", "nowhere.txt"), "text file not found"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        run(arguments[0], tmp_path / "out", *arguments[1:])
    assert not (tmp_path / "out").exists()


def test_measures_that_tell() -> None:
    assert accuracy_of([1.0, 2.0, -1.0, 0.0]) == 0.625
