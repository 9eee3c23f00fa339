"""Sets of generated speech, one a temperature: where they are, and what they say.

A set is a folder of recordings, a manifest of them, or a file of their transcripts (see `zerospeech_eval.texts`). A
sweep is a list of `TEMPERATURE=PATH`, or a file with the columns `temperature` and `path`, tab-separated.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from textless.audio.manifest import Manifest, read_manifest
from textless.audio.scan import scan
from textless.errors import UserError
from textless.files import require
from textless.progress import say
from zerospeech_eval.character_errors import normalise
from zerospeech_eval.texts import layout_of, read_texts
from zerospeech_eval.transcribers import Kind, Transcriber, transcribe_recordings

SWEEP_HEADER = ["temperature", "path"]
Tokens = Mapping[str, Sequence[str]]  # by utterance id


@dataclass(frozen=True)
class Source:
    """A set; the temperature may be unknown if there is only one."""

    temperature: float | None
    path: Path


def parse_sources(arguments: Sequence[str]) -> list[Source]:
    """Sets in the order of their temperatures.

    Args:
        arguments: `PATH`, `TEMPERATURE=PATH`, or a file that lists temperatures and paths.

    Raises:
        UserError: a temperature is missing, repeated or no number.
    """
    sources: list[Source] = []
    for argument in arguments:
        before, separator, after = argument.partition("=")
        if separator and not Path(argument).exists():
            sources.append(Source(_temperature(before, argument), Path(after)))
        elif (listed := _read_sweep(Path(argument))) is not None:
            sources += listed
        else:
            sources.append(Source(None, Path(argument)))
    temperatures = [source.temperature for source in sources]
    if len(sources) > 1 and None in temperatures:
        nameless = next(source.path for source in sources if source.temperature is None)
        raise UserError(f"of several sets each needs its temperature: write 0.7={nameless}, with the right number")
    repeated = {t for t in temperatures if temperatures.count(t) > 1}
    if repeated:
        raise UserError(f"temperature {min(t for t in repeated if t is not None):g} is given twice")
    return sorted(sources, key=lambda source: source.temperature or 0.0)


def _read_sweep(path: Path) -> list[Source] | None:
    """Sets of a file of temperatures and paths (relative to it); None if the file is something else."""
    if not require(path, "set of continuations").is_file():
        return None
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    if not lines or lines[0].split("\t") != SWEEP_HEADER:
        return None
    sources = []
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if not line.strip():
            continue
        if len(cells) != 2:
            raise UserError(f"{path}:{number} should be temperature<TAB>path, found {line[:80]!r}")
        sources.append(Source(_temperature(cells[0], f"{path}:{number}"), path.parent / cells[1]))
    if not sources:
        raise UserError(f"{path} lists no set of continuations")
    return sources


def _temperature(text: str, place: str) -> float:
    try:
        temperature = float(text)
    except ValueError:
        temperature = math.nan
    if not 0 <= temperature < math.inf:
        raise UserError(f"{place}: a temperature is a number from 0, not {text!r}")
    return temperature


@dataclass(frozen=True)
class Reader:
    """Turns sets into tokens.

    Attributes:
        kind: what the tokens are.
        transcriber: of recordings; None where only transcripts are read.
        verbatim: keep case and punctuation of words and characters, which do not count otherwise.

    Characters are all of a text, the spaces between words among them.
    """

    kind: Kind
    transcriber: Transcriber | None = None
    verbatim: bool = False

    def read(self, path: Path, *, prefer_text: bool = False) -> dict[str, list[str]]:
        """Tokens of every utterance by id, some possibly none.

        Args:
            path: folder or manifest of recordings, or transcripts.
            prefer_text: of a manifest that has texts, take these instead of transcribing its recordings; not for
                phones, which these texts are not of.

        Raises:
            UserError: there are recordings and nothing to transcribe them with, or what is there is of another kind.
        """
        if not require(path, "set of texts or recordings").is_dir():
            layout = layout_of(path)
            if layout == "alignment":
                self._check_alignment(path)
            has_text = layout == "manifest" and any(u.text for u in read_manifest(path))
            if layout != "manifest" or (prefer_text and has_text and self.kind != "phones"):
                return {name: self.split(text) for name, text in read_texts(path).items()}
        if self.transcriber is None:
            raise UserError(f"{path} holds recordings: say with --transcriber what writes them down")
        heard = transcribe_recordings(_recordings(path), self.transcriber)
        return {name: self.split(self.join(tokens)) for name, tokens in heard.items()}

    def split(self, text: str) -> list[str]:
        """Tokens of a text."""
        if self.kind == "phones":
            return text.split()
        kept = text if self.verbatim else normalise(text)
        return kept.split() if self.kind == "words" else list(" ".join(kept.split()))

    def join(self, tokens: Sequence[str]) -> str:
        """The text that a language model reads."""
        return ("" if self.kind == "characters" else " ").join(tokens)

    def _check_alignment(self, path: Path) -> None:
        with path.open(encoding="utf-8") as file:
            of_phones = file.readline().rstrip("\n").split("\t")[3:] == ["phone"]
        if of_phones != (self.kind == "phones"):
            found, take = ("phones", "words.tsv") if of_phones else ("words", "alignments.tsv")
            raise UserError(f"{path} aligns {found}, but {self.kind} are compared: take {take}, or other --tokens")


def _recordings(path: Path) -> Manifest:
    """Those of a manifest, of a folder with manifest.tsv, or found in a folder."""
    manifest = path if path.is_file() else path / "manifest.tsv"
    if manifest.is_file():
        return read_manifest(manifest)
    recordings, skipped = scan(path)
    if skipped:
        say(f"{len(skipped)} files below {path} cannot be used, first {skipped[0].path}: {skipped[0].reason}")
    return recordings


def without_empty(tokens: Tokens, source: str) -> Tokens:
    """Those that say something; how many do not is said.

    Raises:
        UserError: none does.
    """
    kept = {name: found for name, found in tokens.items() if found}
    if not kept:
        raise UserError(f"all {len(tokens)} transcripts of {source} are empty: nothing to judge")
    if len(kept) < len(tokens):
        say(f"{source}: {len(tokens) - len(kept)} of {len(tokens)} transcripts are empty: left out")
    return kept


def draw(tokens: Tokens, limit: int | None, seed: int) -> Tokens:
    """At most `limit` of them at random."""
    if limit is None or len(tokens) <= limit:
        return tokens
    return {name: tokens[name] for name in sorted(random.Random(seed).sample(sorted(tokens), limit))}
