"""Files of speaker embeddings. This module owns them; each is one `.safetensors`.

embeddings     (N, D) float32, every row of length 1
metadata       `header`: JSON of format `textless-speaker-embeddings`: `per` (utterance or speaker), the encoder and
               its hash; `ids`: JSON list of the N utterance ids or speakers, in the order of the rows
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import safetensors
import safetensors.torch
import torch
from torch.nn import functional as F

from textless.errors import UserError
from textless.files import atomic_write, require
from textless.provenance import check_header, make_header

FORMAT, VERSION = "textless-speaker-embeddings", 1
TENSOR_NAME = "embeddings"
Per = Literal["utterance", "speaker"]


@dataclass(frozen=True)
class Embeddings:
    """Embeddings by utterance or by speaker, and what made them."""

    ids: tuple[str, ...]
    vectors: torch.Tensor  # (N, D), unit length
    per: Per
    encoder: str  # its name, for messages
    encoder_sha256: str

    @property
    def dim(self) -> int:
        """Size of an embedding."""
        return self.vectors.shape[1]

    def rows(self) -> dict[str, torch.Tensor]:
        """Embedding `(D,)` of every id."""
        return dict(zip(self.ids, self.vectors, strict=True))


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write an embeddings file."""
    identity: dict[str, object] = {
        "per": embeddings.per,
        "encoder": embeddings.encoder,
        "encoder_sha256": embeddings.encoder_sha256,
    }
    metadata = {
        "header": json.dumps(make_header(FORMAT, VERSION, **identity)),
        "ids": json.dumps(embeddings.ids, ensure_ascii=False),
    }
    content = safetensors.torch.save({TENSOR_NAME: embeddings.vectors.float().cpu().contiguous()}, metadata)
    with atomic_write(path, "wb") as file:
        file.write(content)


def read_embeddings(path: Path) -> Embeddings:
    """Read an embeddings file.

    Raises:
        UserError: there is none, it is something else, or its parts disagree.
    """
    if not require(path, "speaker embeddings").is_file():
        raise UserError(
            f"{path} is a directory; speaker embeddings are one file, which `textless speaker embed` writes"
        )
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            vectors = file.get_tensor(TENSOR_NAME) if TENSOR_NAME in file.keys() else None  # noqa: SIM118 - no mapping
    except safetensors.SafetensorError as error:
        raise UserError(f"{path} is damaged, or no file of speaker embeddings: {error}") from error
    header = check_header(_json(metadata.get("header")), FORMAT, VERSION, path)
    ids = _json(metadata.get("ids"))
    if header.get("per") not in get_args(Per) or vectors is None or vectors.dim() != 2 or not isinstance(ids, list):
        raise UserError(f"{path} is no whole file of speaker embeddings; write it again with `textless speaker embed`")
    if len(ids) != len(vectors) or len(set(ids)) != len(ids):
        raise UserError(f"{path} has {len(vectors)} embeddings for {len(set(ids))} different ids")
    return Embeddings(tuple(ids), vectors, header["per"], str(header.get("encoder")), str(header.get("encoder_sha256")))


def _json(text: str | None) -> Any:  # noqa: ANN401
    try:
        return json.loads(text or "")
    except json.JSONDecodeError:
        return None


def mean_embedding(vectors: torch.Tensor) -> torch.Tensor:
    """Direction `(D,)` of the mean of unit vectors `(N, D)`."""
    return F.normalize(vectors.mean(dim=0), dim=0)


def mean_by_speaker(rows: Mapping[str, torch.Tensor], speakers: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """Mean embedding of every speaker, sorted by name.

    Args:
        rows: embedding `(D,)` of every utterance.
        speakers: who speaks in an utterance; those without a speaker are left out.
    """
    of_speaker: dict[str, list[torch.Tensor]] = {}
    for utterance_id, vector in rows.items():
        if utterance_id in speakers:
            of_speaker.setdefault(speakers[utterance_id], []).append(vector)
    return {speaker: mean_embedding(torch.stack(vectors)) for speaker, vectors in sorted(of_speaker.items())}
