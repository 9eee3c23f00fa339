"""Longer units: byte-pair encoding of unit sequences, by sentencepiece. This module owns the `bpe/` directory.

    config.json   header: identity of the quantizer, number of tokens, hash of the model, how it was trained
    bpe.model     sentencepiece's own format

A unit is written as one character, and tokens are frequent strings of them, so that encoding loses nothing. Tokens are
units of another quantizer, that of the units followed by this model: a file of tokens is a units file with that
identity, which a unit LM reads like any other, and which nothing that expects the units themselves accepts.
"""

import heapq
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from textless.errors import UserError
from textless.files import atomic_directory, read_json, refuse_overwrite, sha256, write_json
from textless.provenance import check_header, make_header
from units.files import Units, scan_units, write_units
from units.identity import QuantizerIdentity, require_same

FORMAT, VERSION = "textless-unit-bpe", 1
CONFIG_NAME, MODEL_NAME = "config.json", "bpe.model"
FIRST = 0x4E00  # a run of 20,992 assigned letters without case, spaces or combining marks
MOST_UNITS = 0x9FFF - FIRST + 1
SENTENCE = 4096  # units: sentencepiece counts positions within a sentence in 16 bits
UNKNOWN = 1  # token 0 of sentencepiece, which no unit ever becomes


@dataclass(frozen=True)
class UnitBPE:
    """A trained model and the quantizer of the units it was trained on."""

    quantizer: QuantizerIdentity
    model: bytes

    @cached_property
    def _processor(self) -> Any:  # noqa: ANN401
        return sentencepiece.SentencePieceProcessor(model_proto=self.model)

    @cached_property
    def pieces(self) -> list[list[int]]:
        """Units of every token."""
        texts = map(self._processor.id_to_piece, range(UNKNOWN, self._processor.vocab_size()))
        return [[ord(character) - FIRST for character in text] for text in texts]

    @property
    def tokens(self) -> QuantizerIdentity:
        """Identity of the tokens."""
        return QuantizerIdentity(
            encoder=f"{self.quantizer.encoder} K={self.quantizer.k} BPE",
            k=len(self.pieces),
            frame_rate=self.quantizer.frame_rate,
            sha256=sha256(self.quantizer.sha256.encode(), self.model),
        )

    def encode(self, item: Units) -> Units:
        """Units to tokens; a token lasts as long as its units together."""
        tokens = [token - UNKNOWN for token in self._processor.encode(_text(item.units))]
        if item.durations is None or not tokens:
            return Units(item.id, tokens, item.durations)
        starts = np.cumsum([0] + [len(self.pieces[token]) for token in tokens[:-1]])
        return Units(item.id, tokens, np.add.reduceat(item.durations, starts).tolist())

    def decode(self, item: Units) -> Units:
        """Tokens to units; how long each lasted is not known any more."""
        return Units(item.id, list(chain.from_iterable(self.pieces[token] for token in item.units)))


def _text(units: Sequence[int]) -> str:
    return (np.array(units, dtype="<u2") + FIRST).tobytes().decode("utf-16-le")


def train_bpe(
    path: Path, out: Path, vocabulary: int, *, max_units: int, max_length: int, seed: int = 0, force: bool = False
) -> UnitBPE:
    """Train on a units file and write the `bpe/` directory.

    Args:
        path: the units file; it is read once, utterance by utterance.
        out: directory to write.
        vocabulary: number of tokens, single units included.
        max_units: of a larger file, so many are drawn uniformly, by utterances; training needs about 100 bytes each.
        max_length: units in a token, at most.
        seed: of the draw.
        force: replace `out`.

    Raises:
        UserError: `out` exists, the vocabulary is not larger than K, or the units do not make that many tokens.
    """
    refuse_overwrite(out, force=force)
    head, utterances = scan_units(path)
    k = head.quantizer.k
    if not k < vocabulary or k > MOST_UNITS:
        raise UserError(f"{vocabulary} tokens for {k} units: use more tokens than units, of which {MOST_UNITS} at most")
    texts = _draw(utterances, max_units, seed)
    drawn = sum(map(len, texts))
    if drawn == 0:
        raise UserError(f"{path} holds no units: nothing to train on")
    trained = io.BytesIO()
    # Every unit is a sentence of its own first: one that the sample lacks must be a token all the same.
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=chain(_text(range(k)), _sentences(texts)),
            model_writer=trained,
            model_type="bpe",
            vocab_size=vocabulary + UNKNOWN,
            max_sentencepiece_length=max_length,
            max_sentence_length=8 * SENTENCE,  # bytes
            normalization_rule_name="identity",
            character_coverage=1.0,
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_by_unicode_script=False,
            split_by_number=False,
            split_by_whitespace=False,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(
            f"{path} does not make {vocabulary} tokens: ask for fewer, or give more units (sentencepiece: "
            f"{' '.join(str(error).split())[-120:]})"
        ) from error
    bpe = UnitBPE(head.quantizer, trained.getvalue())
    settings = {"max_units": max_units, "max_length": max_length, "seed": seed, "units": drawn}
    save_bpe(bpe, out, trained=settings)
    return bpe


def _draw(utterances: Iterable[Units], max_units: int, seed: int) -> list[str]:
    """Utterances as text, all or as many as hold `max_units` units together: those with the smallest random keys."""
    generator = np.random.default_rng(seed)
    kept: list[tuple[float, int, str]] = []  # a heap: the largest key comes first
    held, limit = 0, 1.0
    for number, item in enumerate(utterances):
        key = generator.random()
        if key < limit:
            heapq.heappush(kept, (-key, number, _text(item.units)))
            held += len(item.units)
            while held > max_units and len(kept) > 1:
                negative, _, dropped = heapq.heappop(kept)
                held, limit = held - len(dropped), -negative
    return [text for _, _, text in sorted(kept, key=lambda entry: entry[1])]


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    """Parts of bounded length."""
    for text in texts:
        for start in range(0, len(text), SENTENCE):
            yield text[start : start + SENTENCE]


def save_bpe(bpe: UnitBPE, out: Path, **identity: object) -> None:
    """Write a `bpe/` directory, in place of what is there; `identity` (how it was trained) goes into its header."""
    with atomic_directory(out) as temporary:
        (temporary / MODEL_NAME).write_bytes(bpe.model)
        header = make_header(
            FORMAT,
            VERSION,
            quantizer=bpe.quantizer.model_dump(),
            tokens=bpe.tokens.model_dump(),
            model_sha256=sha256(bpe.model),
            **identity,
        )
        write_json(temporary / CONFIG_NAME, header)


def load_bpe(directory: Path) -> UnitBPE:
    """Read a `bpe/` directory.

    Raises:
        UserError: it is not one, or the model is not the one that its header describes.
    """
    path = directory / CONFIG_NAME
    if not path.is_file():
        raise UserError(f"no unit BPE in {directory}: {CONFIG_NAME} is missing")
    header = check_header(read_json(path), FORMAT, VERSION, path)
    model = (directory / MODEL_NAME).read_bytes() if (directory / MODEL_NAME).is_file() else b""
    if sha256(model) != header["model_sha256"]:
        raise UserError(f"{directory}: {MODEL_NAME} is not the file that {CONFIG_NAME} describes")
    return UnitBPE(QuantizerIdentity.parse(header["quantizer"], str(path)), model)


def encode_file(path: Path, out: Path, bpe: UnitBPE, *, force: bool = False) -> None:
    """Units file to tokens file, utterance by utterance; streams stay behind, as they belong to single units."""
    refuse_overwrite(out, force=force)
    head, utterances = scan_units(path)
    require_same(bpe.quantizer, head.quantizer, "the BPE", str(path))
    write_units(out, bpe.tokens, map(bpe.encode, utterances))


def decode_file(path: Path, out: Path, bpe: UnitBPE, *, force: bool = False) -> None:
    """Tokens file to units file, utterance by utterance."""
    refuse_overwrite(out, force=force)
    head, utterances = scan_units(path)
    require_same(bpe.tokens, head.quantizer, "the BPE", str(path))
    write_units(out, bpe.quantizer, map(bpe.decode, utterances))
