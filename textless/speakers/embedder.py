"""What gives speaker embeddings: our own encoder, or a Hugging Face x-vector model, behind one protocol."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch

from textless.audio.batches import bucket, pad
from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import Manifest, Skipped, Utterance, load_or_skip
from textless.distributed import select_device
from textless.progress import track
from textless.speakers.model import SpeakerEncoder

HUGGING_FACE = "hf:"
SHORTEST_SECONDS = 0.1  # of a recording that an embedding is taken of
BATCH_SAMPLES = 32 * SAMPLE_RATE  # of one padded batch


class SpeakerEmbedder(Protocol):
    """Gives a recording a unit vector; neither batching nor padding changes it."""

    name: str  # for messages and headers
    dim: int
    sha256: str  # identity
    min_samples: int  # shorter waveforms have no embedding

    def embed(self, waveforms: Sequence[torch.Tensor]) -> torch.Tensor:
        """Waveforms `(S_i,)` at 16 kHz, none shorter than `min_samples` → `(B, D)` of length 1, on the CPU."""
        ...


class OwnEmbedder:
    """A speaker encoder that `textless speaker train` wrote."""

    min_samples = round(SHORTEST_SECONDS * SAMPLE_RATE)

    def __init__(self, directory: Path, device: torch.device) -> None:
        model, header = SpeakerEncoder.load(directory)
        self._model = model.to(device)
        self.name = directory.name
        self.dim = model.config.dim
        self.sha256 = str(header["weights_sha256"])

    def embed(self, waveforms: Sequence[torch.Tensor]) -> torch.Tensor:
        """Waveforms `(S_i,)` at 16 kHz → `(B, D)` of length 1, on the CPU."""
        return embed_waveforms(self._model, waveforms)


@torch.inference_mode()
def embed_waveforms(model: SpeakerEncoder, waveforms: Sequence[torch.Tensor]) -> torch.Tensor:
    """Waveforms `(S_i,)` at 16 kHz → `(B, D)` of length 1, on the CPU; those of similar length share a batch."""
    device = model.head.weight.device
    found = torch.empty(len(waveforms), model.config.dim)
    for indices in bucket([len(waveform) for waveform in waveforms], BATCH_SAMPLES):
        padded, lengths = pad([waveforms[index] for index in indices])
        found[indices] = model(padded.to(device), lengths.to(device)).cpu()
    return found


def load_embedder(spec: str, device: str = "auto") -> SpeakerEmbedder:
    """The embedder of a specification: `DIR` of our own encoder, or `hf:DIR` of a Hugging Face x-vector folder.

    Raises:
        UserError: there is no such model, or a package that it needs is missing.
    """
    if spec.startswith(HUGGING_FACE):
        from textless.speakers.xvector import XVectorEmbedder

        return XVectorEmbedder(Path(spec.removeprefix(HUGGING_FACE)), select_device(device))
    return OwnEmbedder(Path(spec), select_device(device))


def embed_utterances(
    manifest: Manifest, embedder: SpeakerEmbedder, skipped: list[Skipped]
) -> Iterator[tuple[Utterance, torch.Tensor]]:
    """Yield every usable recording with its embedding `(D,)`, in an order of the batching's own.

    Args:
        manifest: the recordings.
        embedder: what embeds them.
        skipped: receives the recordings that cannot be used.
    """
    utterances = manifest.utterances
    batches = bucket([u.n_samples for u in utterances], BATCH_SAMPLES)
    for batch in track(batches, "embedding", len(batches)):
        usable: list[tuple[Utterance, torch.Tensor]] = []
        for utterance in (utterances[index] for index in batch):
            waveform = load_or_skip(manifest, utterance)
            if isinstance(waveform, Skipped):
                skipped.append(waveform)
            elif len(waveform) < embedder.min_samples:
                needed = embedder.min_samples / SAMPLE_RATE
                skipped.append(Skipped(utterance.path, f"{len(waveform) / SAMPLE_RATE:.3f} s are less than {needed} s"))
            elif not bool(waveform.any()):
                skipped.append(Skipped(utterance.path, "it is silent"))
            else:
                usable.append((utterance, waveform))
        if usable:
            vectors = embedder.embed([waveform for _, waveform in usable])
            yield from ((utterance, vector) for (utterance, _), vector in zip(usable, vectors, strict=True))
