r"""Texts by utterance: transcripts, references, and what a language model of text learns from.

Read are

- `id<TAB>text` lines, with or without that header: what `write_transcripts` writes;
- an alignment, `alignments.tsv` or `words.tsv`: its phones or words, silence left out;
- a manifest with the column `text`;
- lines of text without a tab, whose ids are the numbers of the lines, from 1.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from textless.audio.manifest import read_manifest
from textless.corpora.alignment import SILENCE, read_alignment
from textless.errors import UserError
from textless.files import atomic_write, require

Layout = Literal["alignment", "manifest", "transcripts", "lines"]
HEADER = "id\ttext"


def layout_of(path: Path) -> Layout:
    """Which of them a file is, by its first two lines.

    Raises:
        UserError: it is not there, no text in UTF-8, or empty.
    """
    try:
        with require(path, "text file").open(encoding="utf-8-sig") as file:
            first, second = (file.readline().rstrip("\r\n") for _ in range(2))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file in UTF-8: {error}") from error
    columns = first.split("\t")
    if not first and not second:
        raise UserError(f"{path} is empty")
    if columns[:3] == ["id", "start_s", "end_s"]:
        return "alignment"
    if columns[0] == "#root" or {"path", "n_samples"} <= set(columns) or (len(columns) == 1 and "\t" in second):
        return "manifest"
    return "transcripts" if len(columns) > 1 else "lines"


def read_texts(path: Path) -> dict[str, str]:
    """Texts by id; phones of an alignment are separated by spaces.

    Raises:
        UserError: the file is none of the above, is malformed, or has no text.
    """
    match layout_of(path):
        case "alignment":
            alignment = read_alignment(path)
            texts = {name: " ".join(s.label for s in found if s.label != SILENCE) for name, found in alignment.items()}
        case "manifest":
            texts = {u.id: u.text for u in read_manifest(path) if u.text is not None}
        case "transcripts":
            texts = read_transcripts(path)
        case "lines":
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            texts = {str(number): line.strip() for number, line in enumerate(lines, 1)}
    if not any(text.strip() for text in texts.values()):
        raise UserError(f"{path} has no text: a manifest needs the column text, other files lines of id<TAB>text")
    return texts


def read_transcripts(path: Path) -> dict[str, str]:
    """Texts of a file of `id<TAB>text` lines, some possibly empty.

    Raises:
        UserError: naming the line that has no tab or repeats an id.
    """
    texts: dict[str, str] = {}
    for number, line in enumerate(require(path, "transcripts").read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip() or (number == 1 and line == HEADER):
            continue
        name, separator, text = line.partition("\t")
        if not separator or name in texts:
            raise UserError(f"{path}:{number} should be id<TAB>text, each id once, found {line[:80]!r}")
        texts[name] = text
    return texts


def write_transcripts(path: Path, transcripts: Mapping[str, str]) -> None:
    """Write the text of every utterance atomically; white space becomes single spaces.

    Raises:
        UserError: an id has a tab or a line break.
    """
    with atomic_write(path) as file:
        file.write(HEADER + "\n")
        for name, text in transcripts.items():
            if "\t" in name or "\n" in name:
                raise UserError(f"the id {name!r} has a tab or a line break, which a file of transcripts cannot hold")
            file.write(f"{name}\t{' '.join(text.split())}\n")
