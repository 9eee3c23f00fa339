"""MFCC extraction: ours in padded batches against torchaudio's Kaldi-compliant functions, one utterance at a time.

    python benchmarks/encode.py

Prints seconds of speech a second for both, the ratio, and the largest deviation relative to the scale of the features.
"""

import time

import torch
import torch.nn.functional as F
import torchaudio.functional
from torchaudio.compliance import kaldi

from textless.audio.batches import bucket
from textless.encoders.encoder import load_encoder
from textless.features.extract import SAMPLES_PER_BATCH

UTTERANCES = 200


def peer(waveform: torch.Tensor) -> torch.Tensor:
    padded = F.pad(waveform, (120, 400))[None]
    static = kaldi.mfcc(padded, use_energy=False, sample_frequency=16_000, dither=0.0).T[:, : len(waveform) // 160]
    delta = torchaudio.functional.compute_deltas(static)
    return torch.cat([static, delta, torchaudio.functional.compute_deltas(delta)]).T


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(16_000, 160_000, (UTTERANCES,), generator=generator).tolist()
    waveforms = [torch.randn(n, generator=generator).cumsum(0) * 0.01 for n in lengths]
    seconds = sum(lengths) / 16_000
    encoder = load_encoder("mfcc")
    encoder.encode(waveforms[:2])
    peer(waveforms[0])

    start = time.perf_counter()
    ours: dict[int, torch.Tensor] = {}
    for batch in bucket(lengths, SAMPLES_PER_BATCH):
        ours |= zip(batch, encoder.encode([waveforms[i] for i in batch]), strict=True)
    our_time = time.perf_counter() - start
    start = time.perf_counter()
    theirs = [peer(waveform) for waveform in waveforms]
    their_time = time.perf_counter() - start

    scale = max(float(features.abs().max()) for features in theirs)
    deviation = max(float((ours[i] - features).abs().max()) for i, features in enumerate(theirs)) / scale
    print(f"{UTTERANCES} utterances, {seconds:.0f} s of speech, {torch.get_num_threads()} threads")
    print(f"ours       {seconds / our_time:8.0f} x real time")
    print(f"torchaudio {seconds / their_time:8.0f} x real time")
    print(f"ratio {their_time / our_time:.2f}, largest deviation {deviation:.1e} of the scale")


if __name__ == "__main__":
    main()
