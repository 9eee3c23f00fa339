"""Codebooks of other programs: read from whatever holds them, written for those that read theirs.

| what | read | written |
|---|---|---|
| scikit-learn's KMeans and MiniBatchKMeans, pickled (GSLM's `km.bin`, textlesslib) | yes | `.bin`, `.joblib` |
| a tensor or a dictionary by `torch.save` (bshall's, Spirit LM's) | yes | `.pt` |
| a faiss index whose vectors are the codes | yes | `.faiss`, `.index` |
| a matrix by numpy | yes | `.npy` |

Nothing in a file is executed: of a pickle, only the array of codes is taken.
"""

import io
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from textless.encoders.encoder import load_encoder
from textless.errors import UserError
from textless.files import atomic_write, refuse_overwrite, require, sha256_file
from textless.pickles import Inert, read_torch
from textless.progress import say
from units.joblib_pickle import read_joblib
from units.quantizer import Quantizer, save_quantizer

KEYS = ("cluster_centers_", "cluster_centers", "codebook", "centroids")  # names that programs give to their codes
TORCH_MAGIC = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")  # since 1.6, and before
FAISS_MAGIC = (b"IxF2", b"IxFI", b"IxFl", b"IwFl")
UNIT_LENGTH = 1e-3  # how far a norm may be from 1 in an index for inner products


def read_codebook(path: Path) -> np.ndarray:
    """The codes `(K, D)`, float32, in a file of another program.

    Raises:
        UserError: the file wants to run something, is damaged, or holds no matrix of finite codes.
    """
    with require(path, "codebook").open("rb") as file:
        head = file.read(16)
    if head.startswith(b"\x93NUMPY"):
        found: Any = _read_npy(path)
    elif head.startswith(TORCH_MAGIC):
        found = _find(read_torch(path), path)
    elif head.startswith(FAISS_MAGIC):
        found = _read_faiss(path)
    else:
        found = _find(read_joblib(path), path)
    codes = found.detach().float().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    if codes.ndim != 2 or codes.dtype.kind != "f" or codes.size == 0 or not np.isfinite(codes).all():
        raise UserError(f"{path} should hold finite codes of shape (K, D), found {codes.dtype} {codes.shape}")
    return np.ascontiguousarray(codes, dtype=np.float32)


def _find(content: Any, path: Path) -> Any:  # noqa: ANN401
    """The codes in a loaded file: itself, or under one of the names that programs give them."""
    if isinstance(content, np.ndarray | torch.Tensor):
        return content
    state = content.state if isinstance(content, Inert) else content
    if not isinstance(state, dict):
        raise UserError(f"{path} holds no codebook but a {type(content).__name__}")
    for key in KEYS:
        if key in state:
            return state[key]
    raise UserError(f"{path} holds no codebook: none of {', '.join(KEYS)} among {', '.join(map(str, state))[:200]}")


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as a matrix: {' '.join(str(error).split())}") from error


def _read_faiss(path: Path) -> np.ndarray:
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise UserError(f"{path} cannot be read as a faiss index") from error
    # The centroids of an inverted file are what its coarse quantizer holds.
    holder = faiss.downcast_index(index.quantizer) if isinstance(index, faiss.IndexIVF) else index
    codes = holder.reconstruct_n(0, holder.ntotal)
    if (
        index.metric_type == faiss.METRIC_INNER_PRODUCT
        and np.abs(np.linalg.norm(codes, axis=1) - 1).max() > UNIT_LENGTH
    ):
        raise UserError(f"{path} compares inner products of vectors of different lengths, which is no nearest code")
    return codes


def import_quantizer(path: Path, out: Path, encoder_spec: str, *, force: bool = False) -> Quantizer:
    """Make a quantizer directory of a foreign codebook and the encoder whose frames it was fitted to.

    Raises:
        UserError: there is no codebook in the file, its dimension is not the encoder's, or `out` exists.
    """
    refuse_overwrite(out, force=force)
    codes = read_codebook(path)
    encoder = load_encoder(encoder_spec)
    if codes.shape[1] != encoder.dim:
        raise UserError(
            f"{path} holds codes of {codes.shape[1]} dimensions, {encoder_spec} has {encoder.dim}: name the encoder "
            "and layer that the codebook was fitted to"
        )
    quantizer = Quantizer(torch.from_numpy(codes), encoder_spec, encoder.sha256, encoder.frame_rate)
    save_quantizer(out, quantizer, {"imported": path.name, "sha256": sha256_file(path)})
    return quantizer


def export_codebook(quantizer: Quantizer, path: Path, *, force: bool = False) -> None:
    """Write the codes for another program; the file's extension says for which.

    Raises:
        UserError: no such extension, `path` exists, scikit-learn is needed and missing, or the units depend on more
            than the nearest code of a frame as it is.
    """
    refuse_overwrite(path, force=force)
    if quantizer.speaker_normalised:
        raise UserError("this quantizer normalises features by speaker, which a bare codebook cannot do")
    if quantizer.duration_penalty:
        say("the duration penalty stays behind: the other program takes the nearest code of every frame")
    codes = quantizer.codebook.cpu().numpy()
    buffer = io.BytesIO()
    match path.suffix:
        case ".npy":
            np.save(buffer, codes)
        case ".pt":
            state = {"n_features_in_": codes.shape[1], "_n_threads": 1, "cluster_centers_": torch.from_numpy(codes)}
            torch.save(state, buffer)
        case ".faiss" | ".index":
            index = faiss.IndexFlatL2(codes.shape[1])
            index.add(codes)
            buffer.write(faiss.serialize_index(index).tobytes())
        case ".bin" | ".joblib":
            _dump_sklearn(codes, buffer)
        case _:
            raise UserError(
                f"no program reads {path.suffix or 'a file without extension'}: use .npy, .pt, .faiss or .bin"
            )
    with atomic_write(path, "wb") as file:
        file.write(buffer.getbuffer())


def _dump_sklearn(codes: np.ndarray, file: io.BytesIO) -> None:
    try:
        import joblib
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise UserError("a km.bin is a pickle of scikit-learn's: pip install scikit-learn") from error
    model = KMeans(n_clusters=len(codes))
    model.cluster_centers_, model.n_features_in_, model._n_threads = codes, codes.shape[1], 1  # noqa: SLF001
    joblib.dump(model, file)
