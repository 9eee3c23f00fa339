"""Units as features: one-hot frames or the vectors of the codebook, for whatever compares features."""

from pathlib import Path
from typing import Literal

import numpy as np

from textless.errors import UserError
from textless.features import store
from textless.files import atomic_directory, refuse_overwrite, sha256
from units.files import UnitsFile
from units.identity import require_same
from units.quantizer import Quantizer
from units.runs import expand

Representation = Literal["one-hot", "codebook"]


def store_unit_features(
    units: UnitsFile, quantizer: Quantizer, representation: Representation, out: Path, *, force: bool = False
) -> None:
    """Write a feature store with a frame `(K,)` (one-hot) or `(D,)` (code) for every frame of every utterance.

    Raises:
        UserError: the units are another quantizer's or have no durations, or `out` exists.
    """
    refuse_overwrite(out, force=force)
    require_same(quantizer.identity, units.quantizer, "the quantizer", "the units file")
    codebook = quantizer.codebook.numpy()
    table = np.eye(len(codebook), dtype=np.float32) if representation == "one-hot" else codebook
    frames = {}
    for item in units.utterances:
        if item.durations is None:
            raise UserError(f"{item.id!r} has units without durations, which cannot be placed in time")
        frames[item.id] = table[expand(item.units, item.durations)]
    identity = sha256(f"{representation} {quantizer.identity.sha256}".encode())
    ids = sha256("\n".join(frames).encode())
    header = store.StoreHeader(
        f"{quantizer.encoder} K={len(table)} {representation}", identity, table.shape[1], quantizer.frame_rate, 1, ids
    )
    with atomic_directory(out) as temporary:
        store.write_header(temporary, header)
        store.write_shard(temporary, 0, 1, frames)
