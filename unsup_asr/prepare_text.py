"""Prepare unpaired text: words, their phones, rare phones and unknown words out, silences in.

As for wav2vec-U (Baevski et al. 2021, section 4.2): a word that occurs once, that nothing pronounces or that has a rare
phone is unknown, and a sentence with an unknown word is left out whole, since what is missing in it would be heard in
speech. A silence stands at both ends of a sentence and, at random, between words.

The text is read twice and never held: first its words are counted, then its sentences written.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from textless.errors import UserError
from textless.files import atomic_directory, atomic_write, refuse_overwrite, require, write_json
from textless.progress import say
from textless.provenance import make_header
from unsup_asr.phone_text import FORMAT, HEADER, LEXICON, PHONES, SILENCE, VERSION, WORDS
from unsup_asr.pronunciations import GIVEN, load_pronouncer, words_of_phones
from unsup_asr.text import main_script, script_of, words_of

SHOWN = 5  # examples in messages


@dataclass(frozen=True)
class TextOptions:
    """How text is prepared.

    Attributes:
        phones: `espeak:LANGUAGE`, `lexicon:FILE`, `letters`, or `phones`: the text is phones, with spaces between, and
            `|` between words if they are known.
        min_word_count: rarer words are unknown; of no account where the text is phones.
        min_phone_count: rarer phones are taken out, with the words that have them (1000 for LibriSpeech's 40 M
            sentences; 0: none).
        silence: probability of a silence between two words (wav2vec-U 1.0: 0.25, 2.0: 0.5).
        silence_at_ends: one silence before and after every sentence. Without either there is no silence at all.
        seed: of the silences.
    """

    phones: str
    min_word_count: int = 2
    min_phone_count: int = 0
    silence: float = 0.25
    silence_at_ends: bool = True
    seed: int = 0


@dataclass(frozen=True)
class TextReport:
    """What became of the text. Counts; `phones_per_sentence` without silences."""

    sentences: int
    kept: int
    empty: int
    words: int
    phones: list[str]
    phones_per_sentence: float
    other_scripts: int = 0
    rare_words: int = 0
    unpronounced_words: int = 0
    words_with_rare_phones: int = 0

    def __str__(self) -> str:
        left = self.sentences - self.empty - self.kept
        return (
            f"{self.kept} of {self.sentences} sentences kept ({self.empty} empty, {left} with unknown words), "
            f"{self.words} words, {len(self.phones)} phones, {self.phones_per_sentence:.1f} phones a sentence; "
            f"unknown: {self.rare_words} rare words, {self.unpronounced_words} without pronunciation, "
            f"{self.other_scripts} in another script, {self.words_with_rare_phones} with rare phones"
        )


def prepare_text(text: Path, out: Path, options: TextOptions, *, force: bool = False) -> TextReport:
    """Write the folder of `unsup_asr.phone_text`.

    Args:
        text: UTF-8, a sentence a line.
        out: folder to write.
        options: see there.
        force: replace it.

    Raises:
        UserError: the text is missing or not UTF-8, nothing of it is left, or `out` exists.
    """
    if not 0 <= options.silence <= 1:
        raise UserError(f"--silence is a probability, not {options.silence:g}")
    refuse_overwrite(out, force=force)
    counts: Counter[str] = Counter()
    for words in _sentences(text, options.phones):
        counts.update(words)
    if not counts:
        raise UserError(f"{text} holds no words")
    is_spelled = options.phones != GIVEN  # phones are of several scripts
    script = main_script(counts.items())
    foreign = {word for word in counts if script_of(word) not in {"", script}} if is_spelled else set()
    fewest = options.min_word_count if is_spelled else 1
    rare = {word for word, count in counts.items() if count < fewest} - foreign
    asked = sorted(counts.keys() - foreign - rare)
    lexicon = load_pronouncer(options.phones).pronounce(asked)
    unpronounced = [word for word in asked if not lexicon.get(word)]
    pruned = _with_rare_phones(lexicon, counts, options.min_phone_count)
    known = {word: phones for word, phones in lexicon.items() if phones and word not in pruned}
    if foreign:
        say(f"{len(foreign)} words are not in {script.title()} script ({_examples(foreign)}): unknown")
    if unpronounced:
        say(f"{len(unpronounced)} words have no pronunciation ({_examples(unpronounced)}): unknown")

    with atomic_directory(out) as temporary:
        report, has_silence = _write(text, temporary, known, options)
        report = replace(
            report,
            other_scripts=len(foreign),
            rare_words=len(rare),
            unpronounced_words=len(unpronounced),
            words_with_rare_phones=len(pruned),
        )
        if not report.kept:
            raise UserError(f"nothing of {text} is left: {report}; lower --min-word-count, or use another lexicon")
        header = {"phones": [*report.phones, *([SILENCE] if has_silence else [])], "options": asdict(options)}
        write_json(temporary / HEADER, make_header(FORMAT, VERSION, **header, report=asdict(report)))
    return report


def _write(
    text: Path, directory: Path, known: dict[str, tuple[str, ...]], options: TextOptions
) -> tuple[TextReport, bool]:
    """Write the sentences whose words are all known, and the lexicon of those that occur.

    Returns:
        Counts, and whether there is any silence in what was written.
    """
    used: set[str] = set()
    sentences = kept = empty = n_phones = n_silences = 0
    with atomic_write(directory / PHONES) as phones_file, atomic_write(directory / WORDS) as words_file:
        for number, words in enumerate(_sentences(text, options.phones)):
            sentences += 1
            empty += not words
            if not words or any(word not in known for word in words):
                continue
            kept += 1
            used.update(words)
            phones = _with_silences([known[word] for word in words], options, number)
            n_silences += phones.count(SILENCE)
            n_phones += len(phones) - phones.count(SILENCE)
            phones_file.write(" ".join(phones) + "\n")
            words_file.write(" ".join(words) + "\n")
    with atomic_write(directory / LEXICON) as file:
        file.writelines(f"{word} {' '.join(known[word])}\n" for word in sorted(used))
    phones_used = sorted({phone for word in used for phone in known[word]} - {SILENCE})
    report = TextReport(sentences, kept, empty, len(used), phones_used, n_phones / max(1, kept))
    return report, n_silences > 0


def _with_silences(words: list[tuple[str, ...]], options: TextOptions, number: int) -> list[str]:
    """Phones of a sentence; the randomness is that of its number in the text."""
    chance = random.Random(f"{options.seed} {number}")
    phones = [SILENCE] if options.silence_at_ends else []
    for place, word in enumerate(words):
        if place and chance.random() < options.silence:
            phones.append(SILENCE)
        phones += word
    return [*phones, SILENCE] if options.silence_at_ends else phones


def _with_rare_phones(lexicon: dict[str, tuple[str, ...]], counts: Counter[str], fewest: int) -> set[str]:
    """Words that have a phone which occurs less than `fewest` times in running text."""
    occurrences: Counter[str] = Counter()
    for word, phones in lexicon.items():
        for phone in phones:
            occurrences[phone] += counts[word]
    return {word for word, phones in lexicon.items() if any(occurrences[phone] < fewest for phone in phones)}


def _sentences(text: Path, phones: str) -> Iterator[list[str]]:
    split = words_of_phones if phones == GIVEN else words_of
    with require(text, "text").open(encoding="utf-8") as file:
        try:
            for line in file:
                yield split(line)
        except UnicodeDecodeError as error:
            raise UserError(f"{text} is not UTF-8: {error.reason} at byte {error.start}") from error


def _examples(words: set[str] | list[str]) -> str:
    return ", ".join(sorted(words)[:SHOWN]) + (", ..." if len(words) > SHOWN else "")
