"""Encoding speech: ours against other implementations with the same weights, and against the machine's own limit.

    python benchmarks/encode.py mfcc
    python benchmarks/encode.py hubert [--minutes 10] [--layer 6]

`mfcc`: ours in padded batches against torchaudio's Kaldi-compliant functions. `hubert`: HuBERT-base with random
weights, saved by transformers and loaded by ours and by torchaudio, on utterances of 2 to 35 s, in one run; the limit
is the rate of a large matrix product in the same arithmetic, and the products that the model needs. Prints seconds of
speech a second, ratios, deviations relative to the scale of the features, and how many units bfloat16 changes.
Recordings come from the folder `TEXTLESS_SPEECH` where it is set, else they are filtered noise.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import faiss
import torch
import torch.nn.functional as F
import torchaudio.functional
import transformers
from torchaudio.compliance import kaldi
from torchaudio.models.wav2vec2.utils import import_huggingface_model

from textless.audio.batches import bucket, pad
from textless.encoders.encoder import LayerEncoder, load_encoder
from textless.encoders.speech_transformer import WAV2VEC2_LAYERS
from textless.features.extract import samples_per_batch
from textless.pipeline.recordings import collect

SECONDS = (2, 35)
PEER_BATCH = 4
K = 500


def speech(minutes: float) -> list[torch.Tensor]:
    """Waveforms of 2 to 35 s, so many minutes in all."""
    generator = torch.Generator().manual_seed(0)
    folder = os.environ.get("TEXTLESS_SPEECH")
    if folder:
        manifest = collect(Path(folder)).manifest
        material = torch.cat([manifest.load(u) for u in list(manifest)[:: max(1, len(manifest) // 400)]])
    else:
        material = torch.randn(int(minutes * 60 * 16_000), generator=generator).cumsum(0)
        material = torchaudio.functional.highpass_biquad(material, 16_000, 100.0) * 0.05
    waveforms, total = [], 0
    while total < minutes * 60 * 16_000:
        n = int(torch.randint(SECONDS[0] * 16_000, SECONDS[1] * 16_000, (), generator=generator))
        start = int(torch.randint(len(material) - n, (), generator=generator))
        waveforms.append(material[start : start + n].clone())
        total += n
    return waveforms


def timed(run: Callable[[], list[torch.Tensor]]) -> tuple[list[torch.Tensor], float]:
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def in_batches(encoder: LayerEncoder, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    found: dict[int, torch.Tensor] = {}
    for batch in bucket([len(w) for w in waveforms], samples_per_batch(encoder)):
        found |= zip(batch, encoder.encode([waveforms[i] for i in batch]), strict=True)
    return [found[i] for i in range(len(waveforms))]


def deviation(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    scale = max(float(features.abs().max()) for features in theirs)
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) / scale


def mfcc() -> None:
    def peer(waveform: torch.Tensor) -> torch.Tensor:
        padded = F.pad(waveform, (120, 400))[None]
        static = kaldi.mfcc(padded, use_energy=False, sample_frequency=16_000, dither=0.0).T[:, : len(waveform) // 160]
        delta = torchaudio.functional.compute_deltas(static)
        return torch.cat([static, delta, torchaudio.functional.compute_deltas(delta)]).T

    waveforms = [w[: 16_000 * 10] for w in speech(20)]
    seconds = sum(map(len, waveforms)) / 16_000
    encoder = load_encoder("mfcc")
    encoder.encode(waveforms[:2])
    peer(waveforms[0])
    ours, our_time = timed(lambda: in_batches(encoder, waveforms))
    theirs, their_time = timed(lambda: [peer(waveform) for waveform in waveforms])
    print(f"{len(waveforms)} utterances, {seconds:.0f} s of speech, {torch.get_num_threads()} threads")
    print(f"ours       {seconds / our_time:8.0f} x real time")
    print(f"torchaudio {seconds / their_time:8.0f} x real time")
    print(f"ratio {their_time / our_time:.2f}, largest deviation {deviation(ours, theirs):.1e} of the scale")


def operations(waveforms: Sequence[torch.Tensor], layer: int) -> float:
    """Multiplications and additions of all matrix products up to a layer of HuBERT-base."""
    total = 0.0
    for waveform in waveforms:
        frames, channels = len(waveform), 1
        for dim, kernel, stride in WAV2VEC2_LAYERS:
            frames = (frames - kernel) // stride + 1
            total += 2 * frames * dim * channels * kernel
            channels = dim
        total += 2 * frames * (512 * 768 + 768 * 48 * 128)  # projection, positional convolution in 16 groups
        total += layer * (2 * frames * (4 * 768 * 768 + 2 * 768 * 3072) + 4 * frames * frames * 768)
    return total


def matrix_rate(dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product, the best of several."""
    a = torch.randn(2048, 2048).to(dtype)
    best = min(timed(lambda: [a @ a])[1] for _ in range(12))
    return 2 * 2048**3 / best


class Peers:
    """The same weights in other people's code."""

    def __init__(self, reference: transformers.HubertModel, waveforms: Sequence[torch.Tensor], layer: int) -> None:
        self.reference, self.waveforms, self.layer = reference, waveforms, layer
        self.torchaudio_model = import_huggingface_model(reference).eval()

    def torchaudio_alone(self) -> list[torch.Tensor]:
        model, layer = self.torchaudio_model, self.layer
        return [model.extract_features(w[None], num_layers=layer)[0][-1][0].float() for w in self.waveforms]

    def torchaudio_batches(self) -> list[torch.Tensor]:
        found: dict[int, torch.Tensor] = {}
        order = sorted(range(len(self.waveforms)), key=lambda i: len(self.waveforms[i]))
        for start in range(0, len(order), PEER_BATCH):
            batch = order[start : start + PEER_BATCH]
            padded, lengths = pad([self.waveforms[i] for i in batch])
            features, frames = self.torchaudio_model.extract_features(padded, lengths, num_layers=self.layer)
            found |= {i: row[:n].float() for i, row, n in zip(batch, features[-1], frames.tolist(), strict=True)}
        return [found[i] for i in range(len(found))]

    def torchaudio_bf16(self) -> list[torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return self.torchaudio_alone()

    def transformers_alone(self) -> list[torch.Tensor]:
        return [self.reference(w[None], output_hidden_states=True).hidden_states[self.layer][0] for w in self.waveforms]


@torch.inference_mode()
def hubert(minutes: float, layer: int) -> None:
    waveforms = speech(minutes)
    seconds = sum(map(len, waveforms)) / 16_000
    torch.manual_seed(0)
    reference = transformers.HubertModel(transformers.HubertConfig()).eval()
    # Weights at initialisation hardly tell frames apart; larger ones in the Transformer make features that do.
    for name, parameter in reference.named_parameters():
        if "encoder.layers" in name and parameter.dim() == 2:
            parameter.mul_(2.5)
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        exact = load_encoder(f"{folder}:{layer}", precision="fp32")
        fast = load_encoder(f"{folder}:{layer}", precision="bf16")
    for warm in (exact, fast):
        warm.encode(waveforms[:1])
    peers = Peers(reference, waveforms, layer)
    peers.torchaudio_model.extract_features(waveforms[0][None], num_layers=1)
    rates = {dtype: matrix_rate(dtype) for dtype in (torch.float32, torch.bfloat16)}
    flops = operations(waveforms, layer)
    print(
        f"HuBERT-base to layer {layer}: {len(waveforms)} utterances, {seconds:.0f} s, {torch.get_num_threads()} threads"
    )
    limits = {dtype: seconds * rate / flops for dtype, rate in rates.items()}
    for dtype, rate in rates.items():
        print(f"matrix products in {dtype}: {rate / 1e9:.0f} GFLOP/s, which allows {limits[dtype]:.1f} x real time")
    base, base_time = timed(peers.torchaudio_alone)
    rows = [("torchaudio float32, one at a time", base_time, base)]
    for name, run in (
        (f"torchaudio float32, batches of {PEER_BATCH}", peers.torchaudio_batches),
        ("torchaudio bfloat16 autocast, one at a time", peers.torchaudio_bf16),
        ("transformers float32, one at a time", peers.transformers_alone),
        ("ours float32", lambda: in_batches(exact, waveforms)),
        ("ours bfloat16", lambda: in_batches(fast, waveforms)),
    ):
        found, spent = timed(run)
        rows.append((name, spent, found))
    for name, spent, found in rows:
        speed = f"{seconds / spent:7.1f} x real time, {base_time / spent:5.2f} x"
        print(f"{name:45} {speed}, deviation {deviation(found, base):.1e}")
    ours_exact, ours_fast = rows[-2], rows[-1]
    for dtype, (_, spent, _) in ((torch.float32, ours_exact), (torch.bfloat16, ours_fast)):
        print(f"ours in {dtype}: {100 * seconds / spent / limits[dtype]:.0f} % of the matrix products' limit")
    frames, changed = torch.cat(ours_exact[2]), torch.cat(ours_fast[2])
    kmeans = faiss.Kmeans(frames.shape[1], K, niter=10, seed=0, max_points_per_centroid=100)
    kmeans.train(frames.numpy())
    units, again = (kmeans.index.search(x.contiguous().numpy(), 1)[1] for x in (frames, changed))
    print(f"units of K={K} that bfloat16 leaves unchanged: {100 * (units == again).mean():.2f} %")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["mfcc", "hubert"])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--layer", type=int, default=6)
    options = parser.parse_args()
    if options.what == "mfcc":
        mfcc()
    else:
        hubert(options.minutes, options.layer)
