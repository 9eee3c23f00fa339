"""The verb `speaker embed`: recordings of a manifest to a file of embeddings."""

from pathlib import Path

import torch

from textless.audio.manifest import Manifest, Skipped, read_manifest, write_skipped
from textless.errors import UserError
from textless.files import refuse_overwrite
from textless.speakers.embedder import SpeakerEmbedder, embed_utterances, load_embedder
from textless.speakers.embeddings import Embeddings, Per, mean_by_speaker, write_embeddings


def embed_file(
    manifest: Path, out: Path, model: str, per: Per, *, device: str = "auto", force: bool = False
) -> tuple[Embeddings, list[Skipped]]:
    """Embed a manifest into `out`; the recordings that could not be used are listed in `skipped.tsv` beside it.

    Raises:
        UserError: `out` exists, the model cannot be used, or no recording can.
    """
    refuse_overwrite(out, force=force)
    skipped: list[Skipped] = []
    found = embed(read_manifest(manifest), load_embedder(model, device), per, skipped)
    write_embeddings(out, found)
    write_skipped(out.with_name("skipped.tsv"), skipped)
    return found, skipped


def embed(manifest: Manifest, embedder: SpeakerEmbedder, per: Per, skipped: list[Skipped]) -> Embeddings:
    """Embeddings of a manifest's recordings, or of its speakers: the direction of the mean over their recordings.

    Raises:
        UserError: no recording can be used; per speaker: the manifest names none.
    """
    speakers = {u.id: u.speaker for u in manifest if u.speaker is not None}
    if per == "speaker" and not speakers:
        raise UserError("the manifest names no speakers; add a column `speaker`, or embed per utterance")
    rows = {utterance.id: vector for utterance, vector in embed_utterances(manifest, embedder, skipped)}
    found = (
        mean_by_speaker(rows, speakers) if per == "speaker" else {u.id: rows[u.id] for u in manifest if u.id in rows}
    )
    if not found:
        raise UserError(f"no recording can be embedded; first: {skipped[0].path}: {skipped[0].reason}")
    return Embeddings(tuple(found), torch.stack(list(found.values())), per, embedder.name, embedder.sha256)
