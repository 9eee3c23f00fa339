"""Transcripts in words → in phones, to score against and for supervised toplines; unsupervised training reads none."""

from dataclasses import dataclass
from pathlib import Path

from textless.audio.manifest import read_manifest
from textless.errors import UserError
from textless.files import refuse_overwrite, require
from unsup_asr.pronunciations import GIVEN, load_pronouncer, words_of_phones
from unsup_asr.text import words_of
from unsup_asr.transcripts import COLUMNS, read_transcripts, write_transcripts


@dataclass(frozen=True)
class PhonemizeReport:
    """Transcripts written, and those left out: without any word, or with a word that nothing pronounces."""

    written: int
    empty: int
    unpronounced: int

    def __str__(self) -> str:
        left_out = f"{self.empty} without words and {self.unpronounced} with unknown words left out"
        return f"{self.written} transcripts; {left_out}"


def phonemize(source: Path, out: Path, phones: str, *, force: bool = False) -> PhonemizeReport:
    """Write the phones of transcripts, without silences, as the same source of `prepare-text` would have them.

    Args:
        source: a manifest with texts, or transcripts in words.
        out: phones.tsv to write.
        phones: `espeak:LANGUAGE`, `lexicon:FILE`, `letters`, or `phones`.
        force: replace it.

    Raises:
        UserError: the source has no transcripts, or nothing of them is left.
    """
    refuse_overwrite(out, force=force)
    split = words_of_phones if phones == GIVEN else words_of
    sentences = {name: split(text) for name, text in _texts(source).items()}
    known = load_pronouncer(phones).pronounce(sorted({word for words in sentences.values() for word in words}))
    written = {
        name: [phone for word in words for phone in known[word]]
        for name, words in sentences.items()
        if words and all(known.get(word) for word in words)
    }
    empty = sum(not words for words in sentences.values())
    report = PhonemizeReport(len(written), empty, len(sentences) - empty - len(written))
    if not written:
        raise UserError(f"nothing of {source} is left: {report}")
    write_transcripts(out, written)
    return report


def _texts(source: Path) -> dict[str, str]:
    """Texts by utterance id, of transcripts or of a manifest."""
    with require(source, "transcripts").open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline().rstrip("\r\n").split("\t")
    if len(first) == 2 and first[0] == "id" and first[1] in COLUMNS:
        return {name: " ".join(tokens) for name, tokens in read_transcripts(source).items()}
    texts = {u.id: u.text for u in read_manifest(source) if u.text is not None}
    if not texts:
        raise UserError(f"{source} has no texts: give a manifest with a column text, or transcripts")
    return texts
