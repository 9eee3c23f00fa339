"""The embedded synthetic corpus: speech of many voices with ground truth at every level, in one directory.

    corpus.json                what it is made of, and counts
    train/ dev/ test/          manifest.tsv, audio/SPEAKER/NUMBER.flac, alignments.tsv (phones), words.tsv
    test/                      and triphone.item, phoneme.item
    swuggy/ sblimp/            manifest.tsv, audio/, gold.csv: words and nonwords, right and wrong sentences
    unpaired.txt               sentences that are in no recording

- `train` holds the hours asked for; `dev` about 4 % of them in addition (2 minutes at least), by the same speakers; and
  `test` 8 % (4 minutes at least), by speakers heard nowhere else. No sentence is in two splits.
- `swuggy` and `sblimp` are spoken by four and two of the *training* speakers: they ask whether a model knows words and
  grammar, not whether it copes with new voices, which is what `test` asks. Both members of a pair are recorded with the
  same pitch, rate, noise and level; none of these sentences is in the other texts.
- With sentences from a file there are only the three splits: which words and sentences are right, the grammar knows.
"""

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from textless.audio.io import SAMPLE_RATE
from textless.config import Config
from textless.corpora.alignment import SILENCE
from textless.corpora.grammar import Grammar
from textless.corpora.grammatical_pairs import GrammaticalPair, grammatical_pairs, sentences_of
from textless.corpora.items import items_from_alignment, write_items
from textless.corpora.lexicon import english
from textless.corpora.nonwords import Phones, WordPair, word_pairs
from textless.corpora.pair_recordings import Recordings, record_sentences, record_words
from textless.corpora.phone_events import WORD
from textless.corpora.rendering import Job, Renderer, renderer
from textless.corpora.synthesizer import Voice, pronounce, require_language, synthesize, variants
from textless.errors import UserError
from textless.files import atomic_directory, atomic_write, refuse_overwrite, require, sha256, write_json
from textless.progress import say, track
from textless.provenance import make_header

FORMAT, VERSION = "textless-corpus", 1
SPLITS = ("train", "dev", "test", "swuggy", "sblimp")  # their positions seed their recordings
FEWEST_TEST_SPEAKERS = 4
FEWEST_SENTENCES = 20
LONGEST_SENTENCE = 400  # characters
FEWEST_SPEAKERS = 2
WORD_VOICES, SENTENCE_VOICES = 4, 2  # readers of each pair, if there are as many; words are short


class SynthesisConfig(Config):
    """What to synthesize. `pairs`: word pairs, and half as many sentence pairs (none: 200 an hour, 40 to 500)."""

    hours: float = 2.5
    speakers: int = 24
    language: str = "en-us"
    seed: int = 0
    text: Path | None = None
    pairs: int | None = None

    @property
    def word_pairs(self) -> int:
        """Number of word pairs."""
        return round(min(500, max(40, 200 * self.hours))) if self.pairs is None else self.pairs

    @property
    def sentence_pairs(self) -> int:
        """Number of sentence pairs; sentences are long, so there are half as many."""
        return max(1, self.word_pairs // 2)


def synthesize_corpus(
    config: SynthesisConfig, out: Path, *, processes: int | None = None, force: bool = False
) -> dict[str, Any]:
    """Write the corpus, which appears under `out` only when complete.

    Args:
        config: what to synthesize.
        out: directory to create.
        processes: none means one for every processor; the result does not depend on it.
        force: replace what is there.

    Returns:
        The content of `corpus.json`.

    Raises:
        UserError: a value out of range, an unknown language, too few voices or sentences, or `out` exists.
    """
    refuse_overwrite(out, force=force)
    train_voices, test_voices = _voices(config)
    seconds = {
        "test": max(240.0, 0.08 * config.hours * 3600),
        "dev": max(120.0, 0.04 * config.hours * 3600),
        "train": config.hours * 3600,
    }
    pairs = _sentence_pairs(config) if config.text is None else []
    texts, read = _texts(config, pairs)
    texts["test"] = (text for text in texts["test"] for _ in test_voices)
    with atomic_directory(out) as root, renderer(processes) as pool:
        splits = {
            name: _record_split(
                root / name, texts[name], test_voices if name == "test" else train_voices, length, config.seed, pool
            )
            for name, length in seconds.items()
        }
        _write_test_items(root / "test", splits["test"])
        if config.text is None:
            words = _word_pairs(splits["train"], config)
            seeds = {name: (config.seed, SPLITS.index(name)) for name in ("swuggy", "sblimp")}
            readers = train_voices[:WORD_VOICES], train_voices[:SENTENCE_VOICES]
            splits["swuggy"] = record_words(root / "swuggy", words, readers[0], seeds["swuggy"], pool)
            splits["sblimp"] = record_sentences(root / "sblimp", pairs, readers[1], seeds["sblimp"], pool)
            _write_lines(root / "unpaired.txt", itertools.islice(texts["unpaired"], _n_unpaired(splits["train"])))
        header = make_header(FORMAT, VERSION, **_identity(config, read), **_summary(splits))
        write_json(root / "corpus.json", header)
    return header


def _identity(config: SynthesisConfig, text: bytes | None) -> dict[str, object]:
    """What the corpus is made of; of a text file its content, not its place on this machine."""
    values = config.model_dump(mode="json", exclude={"text"})
    return {"config": values, "text_sha256": sha256(text) if text is not None else None}


def _summary(splits: dict[str, Recordings]) -> dict[str, object]:
    labels = {
        s.label for name in ("train", "dev", "test") for segments in splits[name].phones.values() for s in segments
    }
    counts = {
        name: {
            "utterances": len(split.utterances),
            "hours": round(split.hours, 4),
            "speakers": sorted({u.speaker or "" for u in split.utterances}),
            "words": sum(map(len, split.words.values())),
            "phones": sum(segment.label != SILENCE for segments in split.phones.values() for segment in segments),
        }
        for name, split in splits.items()
    }
    return {"splits": {name: counts[name] for name in SPLITS if name in counts}, "phones": sorted(labels)}


# Speakers and texts


def _voices(config: SynthesisConfig) -> tuple[list[Voice], list[Voice]]:
    """Training and test speakers, drawn from espeak-ng's variants, each with a pitch and a rate of their own."""
    if not math.isfinite(config.hours) or config.hours <= 0:
        raise UserError(f"hours should be a positive number, found {config.hours}")
    if config.seed < 0:
        raise UserError(f"seed should not be negative, found {config.seed}")
    if config.pairs is not None and config.pairs < 1:
        raise UserError(f"pairs should be at least 1, found {config.pairs}")
    require_language(config.language)
    n_test = max(FEWEST_TEST_SPEAKERS, config.speakers // 4)
    available = list(variants())
    most = max(n for n in range(len(available)) if n + max(FEWEST_TEST_SPEAKERS, n // 4) <= len(available))
    if not FEWEST_SPEAKERS <= config.speakers <= most:
        raise UserError(
            f"speakers should be {FEWEST_SPEAKERS} to {most} (with a quarter as many, at least {FEWEST_TEST_SPEAKERS}, "
            f"kept for the test set), found {config.speakers}"
        )
    rng = random.Random(f"{config.seed} voices")
    names = rng.sample(available, config.speakers + n_test)
    voices = [
        Voice(config.language, name, rng.randint(150, 190), rng.randint(38, 62), rng.randint(35, 65)) for name in names
    ]
    return voices[: config.speakers], voices[config.speakers :]


def _sentence_pairs(config: SynthesisConfig) -> list[GrammaticalPair]:
    if config.language.split("-")[0] != "en":
        raise UserError(
            f"the embedded grammar is English; for {config.language!r} give sentences with --text FILE, one a line"
        )
    return grammatical_pairs(english(), random.Random(f"{config.seed} pairs"), config.sentence_pairs)


def _texts(config: SynthesisConfig, pairs: list[GrammaticalPair]) -> tuple[dict[str, Iterator[str]], bytes | None]:
    """Endless sentences of every split, no sentence in two of them; and the text file they come from, if one."""
    if config.text is not None:
        content = require(config.text, "text file").read_bytes() if not config.text.is_dir() else b""
        return _texts_from_file(config.text, content, config.seed), content
    seen = set(sentences_of(pairs))
    splits = ("train", "dev", "test", "unpaired")
    return {name: Grammar(english(), random.Random(f"{config.seed} {name}")).sentences(seen) for name in splits}, None


def _texts_from_file(path: Path, content: bytes, seed: int) -> dict[str, Iterator[str]]:
    try:
        lines = [" ".join(line.split()) for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file in UTF-8: {error}") from error
    filled = list(dict.fromkeys(line for line in lines if line))
    usable = [line for line in filled if any(map(str.isalpha, line)) and len(line) <= LONGEST_SENTENCE]
    if len(usable) < FEWEST_SENTENCES:
        raise UserError(
            f"{path} has {len(usable)} different sentences that can be spoken, one a line, with letters and at most "
            f"{LONGEST_SENTENCE} characters; at least {FEWEST_SENTENCES} are needed"
        )
    if len(usable) < len(filled):
        say(f"{len(filled) - len(usable)} lines of {path} passed over: without letters, or too long")
    random.Random(f"{seed} text").shuffle(usable)
    n_dev, n_test = max(2, len(usable) // 20), max(4, len(usable) // 10)
    parts = {"dev": usable[:n_dev], "test": usable[n_dev : n_dev + n_test], "train": usable[n_dev + n_test :]}
    return {name: _cycled(part, random.Random(f"{seed} {name}")) for name, part in parts.items()}


def _cycled(sentences: list[str], rng: random.Random) -> Iterator[str]:
    while True:
        rng.shuffle(sentences)
        yield from list(sentences)


def _n_unpaired(train: Recordings) -> int:
    return max(500, len(train.utterances))


def _write_lines(path: Path, sentences: Iterable[str]) -> None:
    with atomic_write(path) as file:
        file.writelines(f"{transcription(sentence)}\n" for sentence in sentences)


def transcription(sentence: str) -> str:
    """Words in lower case, without punctuation."""
    return " ".join(WORD.findall(sentence)).lower()


# Recordings


def _record_split(
    root: Path, texts: Iterator[str], voices: Sequence[Voice], seconds: float, seed: int, pool: Renderer
) -> Recordings:
    """Record sentence after sentence, the speakers in turn, until there are so many seconds of speech."""
    split, recorded, mean = Recordings(), 0.0, 2.5
    number = itertools.count()
    while recorded < seconds:
        batch = list(itertools.islice(zip(number, texts, strict=False), math.ceil((seconds - recorded) / mean) + 1))
        utterances = [(f"audio/{voices[i % len(voices)].variant}/{i:06d}", text) for i, text in batch]
        jobs = [
            Job(root / f"{name}.flac", text, voices[i % len(voices)], (seed, SPLITS.index(root.name), i))
            for (i, _), (name, text) in zip(batch, utterances, strict=True)
        ]
        results = track(pool.map(jobs), f"recording {root.name}", total=len(jobs))
        for (name, text), job, result in zip(utterances, jobs, results, strict=True):
            if recorded >= seconds:
                job.path.unlink()
                continue
            split.add(name, job, result, transcription(text))
            recorded += result.n_samples / SAMPLE_RATE
        mean = recorded / len(split.utterances)
    split.write(root)
    return split


def _write_test_items(root: Path, test: Recordings) -> None:
    speakers = {u.id: u.speaker or "" for u in test.utterances}
    write_items(root / "triphone.item", list(items_from_alignment(test.phones, speakers, "triphone")))
    write_items(root / "phoneme.item", list(items_from_alignment(test.phones, speakers, "phoneme")))


# Pairs


def _word_pairs(train: Recordings, config: SynthesisConfig) -> list[WordPair]:
    frequencies = Counter(word for u in train.utterances for word in (u.text or "").split())
    lexicon = pronounce(english().words(), config.language)
    pronunciations = {word: said.mnemonics for word, said in lexicon.items()}
    known = {said.phones for said in lexicon.values()}
    plain = Voice(config.language, "")

    def heard(phones: Phones) -> Phones:
        segments = synthesize("|".join(phones), plain, 0, phonemes=True).phones
        return tuple(segment.label for segment in segments if segment.label != SILENCE)

    rng = random.Random(f"{config.seed} words")
    return word_pairs(frequencies, pronunciations, config.word_pairs, rng, heard, known)
