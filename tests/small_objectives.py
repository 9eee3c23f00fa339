"""Small objectives of wav2vec 2.0, CPC and data2vec, and batches of a planted source."""

import math

import torch

from textless.encoders.cpc import Cpc, CpcConfig
from textless.encoders.logmel_front_end import LogMelConfig
from textless.encoders.speech_transformer import ConvolutionalConfig, SpeechTransformer, SpeechTransformerConfig
from textless.encoders.transformer import TransformerConfig
from textless.pretraining.cpc import CpcObjective, CpcObjectiveConfig
from textless.pretraining.data2vec import Data2VecConfig, Data2VecObjective
from textless.pretraining.objective import Batch, Outcome
from textless.pretraining.wav2vec2 import Wav2Vec2Config, Wav2Vec2Objective

LOGMEL = LogMelConfig(context=0)
CONVOLUTIONS = {
    norm: ConvolutionalConfig(layers=((16, 10, 5), (16, 8, 8), (24, 8, 8)), norm=norm) for norm in ("group", "layer")
}
FRONT_ENDS = {"logmel": LOGMEL, **CONVOLUTIONS}


def transformer(front_end: ConvolutionalConfig | LogMelConfig = LOGMEL, **values: object) -> SpeechTransformer:
    size = {"dim": 32, "layers": 2, "heads": 4, "ffn_dim": 64, "position": "alibi", "norm_first": True}
    return SpeechTransformer(
        SpeechTransformerConfig(front_end=front_end, transformer=TransformerConfig(**size | values))
    )


def wav2vec2(encoder: SpeechTransformer | None = None, **values: object) -> Wav2Vec2Objective:
    small = {"entries": 12, "code_dim": 32, "projection": 32, "distractors": 20, "mask_span": 5}
    return Wav2Vec2Objective(encoder or transformer(), Wav2Vec2Config(**small | values))


def data2vec(encoder: SpeechTransformer | None = None, **values: object) -> Data2VecObjective:
    return Data2VecObjective(encoder or transformer(), Data2VecConfig(**{"top_blocks": 2, "mask_span": 5} | values))


def cpc(**values: object) -> CpcObjective:
    small = {"steps": 4, "negatives": 20, "heads": 4, "ffn_dim": 64, "dropout": 0.0}
    return CpcObjective(Cpc(CpcConfig(conv_dim=32, dim=48)), CpcObjectiveConfig(**small | values))


def planted(seed: int, size: int = 8, seconds: float = 1.0) -> torch.Tensor:
    """Waveforms `(B, S)`: twelve tones of 60 to 100 ms in a ring; after one comes, nine times in ten, the next."""
    generator = torch.Generator().manual_seed(seed)

    def draw(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    rows = []
    for _ in range(size):
        frequencies: list[float] = []
        tone = draw(12)
        while len(frequencies) < seconds * 16_000:
            frequencies += [200 * 1.3**tone] * (160 * (6 + draw(5)))
            tone = (tone + 1) % 12 if draw(10) else draw(12)
        hertz = torch.tensor(frequencies[: int(seconds * 16_000)], dtype=torch.float64)
        rows.append(0.3 * torch.sin(2 * math.pi * (hertz / 16_000).cumsum(0)).float())
    waveforms = torch.stack(rows)
    return waveforms + 0.005 * torch.randn(waveforms.shape, generator=generator)


def batch(waveforms: torch.Tensor, lengths: list[int] | None = None, seed: int = 0) -> Batch:
    lengths = lengths or [waveforms.shape[1]] * len(waveforms)
    speakers = torch.arange(len(waveforms)) // 2
    return Batch(waveforms, torch.tensor(lengths), speakers, (), torch.Generator().manual_seed(seed))


def means(outcome: Outcome) -> dict[str, float]:
    return {name: float(total / count) for name, (total, count) in outcome.metrics.items()}
