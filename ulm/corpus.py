"""What a unit LM is trained or validated on: a units file, or a folder that `textless ulm prepare` made of one."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textless.errors import UserError
from ulm.data import Documents, DocumentsInMemory
from ulm.shards import HEADER_NAME, Counts, TokenShards, tokenize
from ulm.tokens import Tokenizer
from units.bpe import UnitBPE, load_bpe
from units.files import scan_units
from units.identity import require_same


@dataclass(frozen=True)
class Corpus:
    """Documents of tokens, how they were made, and how many units and frames they stand for."""

    documents: Documents
    tokenizer: Tokenizer
    counts: Counts

    @property
    def units_per_second(self) -> float | None:
        """Mean rate of deduplicated units, from the durations; None where there are none."""
        counts = self.counts
        return counts.timed_units * self.tokenizer.quantizer.frame_rate / counts.frames if counts.frames else None

    def bits(self, nats: float) -> dict[str, float]:
        """Bits per unit, and per second of speech where durations are known, of `nats` for all units."""
        per_unit = nats / self.counts.units / math.log(2)
        rate = self.units_per_second
        return {"bits_per_unit": per_unit} | ({} if rate is None else {"bits_per_second": per_unit * rate})


def read_corpora(train: Path, valid: Path | None, bpe: Path | None) -> tuple[Corpus, Corpus | None]:
    """Training and validation data, of the same tokens.

    Args:
        train: a units file, held in memory, or a prepared folder, read as it is needed.
        valid: the same; None: there are none.
        bpe: directory of a BPE, for units files; a prepared folder has its own.

    Raises:
        UserError: a file is missing or not what it should be, holds nothing, or is of another quantizer or BPE.
    """
    training = _read_corpus(train, None if bpe is None else load_bpe(bpe))
    if bpe is not None:
        require_same(load_bpe(bpe).tokens, training.tokenizer.identity, str(bpe), str(train))
    if valid is None:
        return training, None
    validation = _read_corpus(valid, training.tokenizer.bpe)
    require_same(training.tokenizer.identity, validation.tokenizer.identity, str(train), str(valid))
    return training, validation


def _read_corpus(path: Path, bpe: UnitBPE | None) -> Corpus:
    if (path / HEADER_NAME).exists():
        shards = TokenShards(path)
        return Corpus(shards, shards.tokenizer, shards.counts)
    if path.is_dir():
        raise UserError(f"{path} is a folder without {HEADER_NAME}; give a units file, or what `ulm prepare` wrote")
    head, utterances = scan_units(path)
    tokenizer = Tokenizer(head.quantizer, bpe)
    if bpe is not None:
        require_same(bpe.quantizer, head.quantizer, "the BPE", str(path))
    counts = Counts()
    dtype = np.min_scalar_type(tokenizer.vocabulary.boundary)
    sequences = [tokens.astype(dtype) for tokens in tokenize(utterances, tokenizer, counts)]
    return Corpus(DocumentsInMemory(sequences, tokenizer.vocabulary), tokenizer, counts)
