import csv
import itertools
import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

pytest.importorskip("espeakng_loader")

from textless.audio import io
from textless.audio.manifest import Manifest, read_manifest
from textless.corpora.alignment import SILENCE, Segment, read_alignment
from textless.corpora.channel import SNR_DB, apply_channel
from textless.corpora.cli import app
from textless.corpora.grammar import Grammar
from textless.corpora.grammatical_pairs import grammatical_pairs, sentences_of
from textless.corpora.items import read_items
from textless.corpora.lexicon import english
from textless.corpora.nonwords import PhoneNgrams, word_pairs
from textless.corpora.phone_events import Event, align
from textless.corpora.rendering import Job, render, renderer
from textless.corpora.synth import SynthesisConfig, synthesize_corpus, transcription
from textless.corpora.synthesizer import Voice, _resample, pronounce, require_language, synthesize, variants
from textless.errors import UserError
from textless.files import read_json

SENTENCE = "the old teacher carried six potatoes past the garden"
CONFIG = SynthesisConfig(hours=0.01, speakers=4, pairs=12, seed=3)
VOWELS = "aeiouæɪʊɛɔəɚɑʌɜ"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "corpus"
    synthesize_corpus(CONFIG, out, processes=1)
    return out


@pytest.fixture(scope="module")
def pronunciations() -> dict[str, tuple[str, ...]]:
    return {word: said.mnemonics for word, said in pronounce(english().words(), "en-us").items()}


def energy(waveform: np.ndarray, segment: Segment) -> float:
    part = waveform[round(segment.start * 16000) : round(segment.end * 16000)]
    return float(np.mean(part**2))


@pytest.mark.parametrize("variant", ["f3", "m6", "adam", "pablo"])  # with echo, plain, Klatt synthesis, much echo
def test_phones_tile_the_waveform_and_fit_the_signal(variant: str) -> None:
    speech = synthesize(f"{SENTENCE}.", Voice("en-us", variant), 1)
    waveform = speech.waveform.numpy()
    assert speech.phones[0].start == 0
    assert speech.phones[-1].end == len(waveform) / 16000
    assert all(a.end == b.start and a.start < a.end for a, b in itertools.pairwise(speech.phones))
    by_label = defaultdict(list)
    for phone in speech.phones:
        by_label[phone.label].append(energy(waveform, phone))
    vowels = [e for label, energies in by_label.items() if label[0] in VOWELS for e in energies]
    assert np.median(vowels) > 100 * max(by_label[SILENCE])
    assert min(vowels) > max(by_label["t"]), "a stop is closure and burst"
    assert [word.label for word in speech.words] == SENTENCE.split()
    boundaries = {phone.start for phone in speech.phones}
    assert all(word.start in boundaries for word in speech.words)


def test_fricatives_are_high_and_vowels_low() -> None:
    speech = synthesize("she sees six sisters.", Voice("en-us", "m6"), 0)

    def centroid(segment: Segment) -> float:
        part = speech.waveform[round(segment.start * 16000) : round(segment.end * 16000)]
        power = torch.fft.rfft(part).abs() ** 2
        return float((power * torch.linspace(0, 8000, len(power))).sum() / power.sum())

    hissing = [centroid(phone) for phone in speech.phones if phone.label == "s"]
    vowels = [centroid(phone) for phone in speech.phones if phone.label[0] in VOWELS]
    assert len(hissing) >= 5
    assert min(hissing) > 1.5 * max(vowels)


def test_alignment_of_planted_events() -> None:
    # 0.1 s vowel, 0.05 s closure, burst announced at 0.15 s, a liquid with no time, 0.2 s of silence.
    rate = 1000
    signal = np.concatenate([np.full(100, 9000), np.zeros(50), np.full(50, 9000), np.zeros(200)]).astype(np.float32)
    events = [
        Event("word", 0, position=0, length=2),
        Event("phone", 0, "a"),
        Event("phone", 100, "l"),
        Event("phone", 150, "t"),
        Event("phone", 200, ""),
    ]
    phones, words = align(signal, rate, events, "alt.", len)
    assert [(p.label, p.start, p.end) for p in phones] == [
        ("a", 0.0, pytest.approx(0.065)), ("l", pytest.approx(0.065), 0.1), ("t", 0.1, 0.2), (SILENCE, 0.2, 0.4)
    ]  # fmt: skip
    assert words == [Segment(0.0, 0.2, "alt")]


def test_same_arguments_same_speech_whatever_was_said_before() -> None:
    for variant in ("grandpa", "f2", "Reed"):  # flutter, breath and echo, Klatt
        voice = Voice("en-us", variant)
        first = synthesize("The dog barked.", voice, 5)
        synthesize("Something else entirely.", Voice("de", "f4"), 6)
        again = synthesize("The dog barked.", voice, 5)
        assert torch.equal(first.waveform, again.waveform)
        assert first.phones == again.phones


@pytest.mark.parametrize("length", [1, 440, 441, 22050, 31007])
def test_resampling_is_that_of_audio_io(length: int) -> None:
    waveform = torch.randn(length, generator=torch.Generator().manual_seed(0))
    # The same filter, but audio.io designs it in float32: 90 dB below white noise.
    torch.testing.assert_close(_resample(waveform, 22050), io.resample(waveform, 22050), atol=1e-4, rtol=0)


def test_voices_languages_and_words_said_as_one() -> None:
    assert len(variants()) >= 40
    assert not {"whisper", "croak", "robosoft"} & set(variants())
    with pytest.raises(UserError, match=r"did you mean .*en-us"):
        require_language("en-uss")
    with pytest.raises(UserError, match="finds nothing to say"):
        synthesize("...", Voice("en-us", "m3"), 0)
    words = synthesize("Il fait beau en France.", Voice("fr-fr", "f4"), 0).words
    assert [word.label for word in words] == ["il", "fait", "beau", "en", "france"]
    joined = synthesize("He sat in the house.", Voice("en-us", "m3"), 0).words  # espeak-ng says "in the" as one word
    assert [word.label for word in joined] == ["he", "sat", "in", "the", "house"]


def test_channel_adds_noise_within_its_range_and_no_silence() -> None:
    time = np.arange(32000) / 16000
    tone = (0.3 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    for seed in range(5):
        recorded = apply_channel(tone, np.random.default_rng(seed))
        assert recorded.shape == tone.shape
        assert np.abs(recorded).max() < 1
        spectrum = np.abs(np.fft.rfft(recorded * np.hanning(len(tone)))) ** 2
        peak = np.argmax(spectrum)
        assert peak == 2000
        noise = spectrum.sum() - spectrum[peak - 40 : peak + 41].sum()  # the tone does not fill its last block
        assert SNR_DB[0] - 6 < 10 * math.log10(spectrum.sum() / noise) < SNR_DB[1] + 6


def test_grammar_is_varied_seeded_and_within_length() -> None:
    draws = [list(itertools.islice(Grammar(english(), random.Random(1)).sentences(set()), 2000)) for _ in range(2)]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 2000
    words = Counter(word for sentence in draws[0] for word in transcription(sentence).split())
    assert len(words) > 800
    assert words["the"] > 20 * words["umbrella"] > 0
    assert all(3 <= len(sentence.split()) <= 12 for sentence in draws[0])
    assert 0.05 < np.mean([sentence.endswith("?") for sentence in draws[0]]) < 0.25


def test_grammatical_pairs_differ_as_their_type_says() -> None:
    pairs = grammatical_pairs(english(), random.Random(0), 300)
    assert set(Counter(pair.type for pair in pairs).values()) == {50}
    assert len({pair.type for pair in pairs}) == 6
    verbs = (*english().transitive.items, *english().intransitive.items)
    numbers = {frozenset((v.base, v.third)) for v in verbs} | {frozenset(("is", "are")), frozenset(("was", "were"))}
    nouns = {frozenset((n.singular, n.plural)) for n in english().thing.items}
    for pair in pairs:
        good, bad = pair.good.split(), pair.bad.split()
        assert len(good) == len(bad)
        if pair.type == "word_order":
            assert sorted(good) == sorted(bad)
            continue
        changed = [{a, b} for a, b in zip(good, bad, strict=True) if a != b]
        assert len(changed) == 1
        match pair.type:
            case "subject_verb_agreement":
                assert changed[0] in numbers
            case "determiner_noun_agreement":
                assert changed[0] in nouns
            case "reflexive_agreement":
                assert changed[0] < {"himself", "herself", "themselves"}
    counts = Counter(
        w
        for s in itertools.islice(Grammar(english(), random.Random(9)).sentences(set()), 4000)
        for w in transcription(s).split()
    )
    wins = defaultdict(list)
    for pair in pairs:
        advantage = sum(math.log(counts[w] + 1) for w in pair.good.split())
        advantage -= sum(math.log(counts[w] + 1) for w in pair.bad.split())
        wins[pair.type].append(0.5 if abs(advantage) < 1e-9 else float(advantage > 0))
    assert all(0.35 <= np.mean(won) <= 0.65 for won in wins.values()), "word frequency must not tell"


def test_nonwords_could_be_words_and_phone_counts_do_not_tell(
    pronunciations: dict[str, tuple[str, ...]], record_property: Callable[[str, object], None]
) -> None:
    sentences = itertools.islice(Grammar(english(), random.Random(4)).sentences(set()), 3000)
    counts = Counter(word for sentence in sentences for word in transcription(sentence).split())
    lexicon = set(pronunciations.values())
    pairs = word_pairs(counts, pronunciations, 150, random.Random(0), lambda phones: phones, lexicon)
    assert len(pairs) == 150
    attested = {b for p in pronunciations.values() for b in itertools.pairwise(("#", *p, "#"))}
    grams = PhoneNgrams(counts, pronunciations)
    advantages = []
    for pair in pairs:
        assert pair.frequency == counts[pair.word] > 0
        assert pronunciations[pair.word] == pair.word_phones
        assert pair.nonword_phones not in lexicon
        assert len(pair.nonword_phones) == len(pair.word_phones)
        assert 1 <= sum(a != b for a, b in zip(pair.word_phones, pair.nonword_phones, strict=True)) <= 2
        assert attested.issuperset(itertools.pairwise(("#", *pair.nonword_phones, "#")))
        advantages.append(
            [
                grams.unigram_log_probability(pair.word_phones) - grams.unigram_log_probability(pair.nonword_phones),
                grams.bigram_log_probability(pair.word_phones) - grams.bigram_log_probability(pair.nonword_phones),
            ]
        )
    unigram, bigram = (np.array(advantages) > 0).mean(axis=0)
    record_property("accuracy of phone unigrams and bigrams", (unigram, bigram))
    assert 0.45 <= unigram <= 0.55
    assert 0.45 <= bigram <= 0.60


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


def test_render_shifts_the_truth_by_the_margin(tmp_path: Path) -> None:
    rendered = render(Job(tmp_path / "a.flac", f"{SENTENCE}.", Voice("en-us", "f4"), (1, 2)))
    waveform, _ = soundfile.read(str(tmp_path / "a.flac"))
    assert len(waveform) == rendered.n_samples
    first, last = rendered.phones[0], rendered.phones[-1]
    assert (first.label, last.label) == (SILENCE, SILENCE)
    speech = [energy(waveform, p) for p in rendered.phones if p.label[0] in VOWELS]
    assert np.median(speech) > 100 * max(energy(waveform, first), energy(waveform, last)) > 0, "noise, not zeros"


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
