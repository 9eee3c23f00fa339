"""The encoder family of wav2vec 2.0: a front end, a projection and a Transformer.

HuBERT, wav2vec 2.0 and XLS-R, WavLM, data2vec, DistilHuBERT and 25 Hz mHuBERT are settings of this one model; the small
models that are pretrained here may read log-mel energies (MelHuBERT) in place of convolutions over the waveform.

Layer 0 is what enters block 1 (positions added, and normalised where the norm stands before the blocks), layer n what
block n gives. A model pretrained here by predicting units has a layer more for each set of them: their posteriors.
Waveform normalisation is the encoder's own business.
"""

from itertools import islice
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from textless.audio.batches import mask
from textless.audio.io import SAMPLE_RATE
from textless.config import Config
from textless.encoders.convolution import ConvolutionalFrontEnd
from textless.encoders.identity import identity
from textless.encoders.logmel_front_end import LogMelConfig, LogMelFrontEnd
from textless.encoders.transformer import Transformer, TransformerConfig
from textless.encoders.unit_head import UnitHead, UnitHeadConfig

WAV2VEC2_LAYERS = ((512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2)


class ConvolutionalConfig(Config):
    """Front end of the published models: `layers` gives channels, kernel and stride of each convolution."""

    kind: Literal["conv"] = "conv"
    layers: tuple[tuple[int, int, int], ...] = WAV2VEC2_LAYERS
    norm: Literal["group", "layer"] = "group"
    bias: bool = False


class SpeechTransformerConfig(Config):
    """All that tells one published model from another, but for its weights."""

    front_end: Annotated[ConvolutionalConfig | LogMelConfig, Field(discriminator="kind")] = ConvolutionalConfig()
    normalise_waveform: bool = False  # to zero mean and unit variance over the utterance
    waveform_epsilon: float = 1e-5  # under that variance: 1e-5 in fairseq and torchaudio, 1e-7 in Hugging Face
    waveform_padding: int = 0  # zeros on either side: 40 in bshall's HuBERT
    projection_norm: bool = True  # a layer norm before the projection
    transformer: TransformerConfig = TransformerConfig()
    heads: tuple[UnitHeadConfig, ...] = ()  # of the units that the model was taught to predict


class SpeechTransformer(nn.Module):
    """Waveforms to features of every layer."""

    sample_rate = SAMPLE_RATE

    def __init__(self, config: SpeechTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.transformer.dim
        self.blocks = config.transformer.layers
        self.num_layers = self.blocks + len(config.heads)
        front = config.front_end
        self.front_end: ConvolutionalFrontEnd | LogMelFrontEnd
        if isinstance(front, LogMelConfig):
            self.front_end, front_dim = LogMelFrontEnd(front), front.dim
        else:
            self.front_end = ConvolutionalFrontEnd(front.layers, front.norm, bias=front.bias)
            front_dim = front.layers[-1][0]
        self.projection_norm = nn.LayerNorm(front_dim) if config.projection_norm else None
        self.projection = nn.Linear(front_dim, self.dim)
        self.transformer = Transformer(config.transformer)
        self.heads = nn.ModuleList(UnitHead(self.dim, head) for head in config.heads)
        self.attention_window: int | None = None  # frames; None: attention sees the whole recording
        self.passes = 1  # over a recording, each shifted by a share of a frame, for a higher frame rate

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return SAMPLE_RATE / self.front_end.hop * self.passes

    @property
    def min_samples(self) -> int:
        """Samples below which there is no frame."""
        shortest = self.front_end.receptive_field - 2 * self.config.waveform_padding
        return max(1, shortest + max(map(abs, self._delays())))

    def layer_dim(self, layer: int) -> int:
        """Size of a frame of a layer."""
        return self.dim if layer <= self.blocks else self.config.heads[layer - self.blocks - 1].k

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, lengths `(B,)` → features `(B, T, D)` of a layer, frame counts `(B,)`.

        With several `passes`, the frames of each lie between those of the others, all evenly spaced.
        """
        shifted = [self._pass(*_delay(waveforms, lengths, samples), layer) for samples in self._delays()]
        frames = torch.stack([counts for _, counts in shifted]).min(dim=0).values
        n_frames = int(frames.max())
        return torch.stack([features[:, :n_frames] for features, _ in shifted], dim=2).flatten(
            1, 2
        ), frames * self.passes

    def _delays(self) -> list[int]:
        """Samples by which each pass is delayed, so that the frames of all interleave evenly."""
        hop = self.front_end.hop
        return [round(hop * (0.5 - (number + 0.5) / self.passes)) for number in range(self.passes)]

    def _pass(self, waveforms: torch.Tensor, lengths: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass over the recordings.

        With an `attention_window`, longer recordings are cut after positions were added: every window overlaps its
        neighbours by a fifth, and gives the frames that lie nearer to its middle than to that of any other.
        """
        x, frames = self.embed(waveforms, lengths)
        x = self.transformer.enter(x, frames)
        window = self.attention_window
        if window is None or x.shape[1] <= window:
            return self._layer(x, frames, layer), frames
        return torch.stack(
            [self._windowed(row, int(n), window, layer) for row, n in zip(x, frames, strict=True)]
        ), frames

    def _layer(self, x: torch.Tensor, frames: torch.Tensor, layer: int) -> torch.Tensor:
        if layer > self.blocks:
            *_, x = self.transformer.layers(x, frames)
            head = self.heads[layer - self.blocks - 1]
            assert isinstance(head, UnitHead)
            return head.root_posteriors(self.transformer.final_norm(x))
        return next(islice(self.transformer.layers(x, frames), layer, None))

    def _windowed(self, x: torch.Tensor, n_frames: int, window: int, layer: int) -> torch.Tensor:
        """Frames `(T, D)` of one utterance, `n_frames` valid → a layer `(T, D)`, attention limited to windows."""
        result = x.new_zeros(len(x), self.layer_dim(layer))
        overlap = window // 5
        begin = 0  # of the frames that are still to be had
        for start in range(0, n_frames, window - overlap):
            end = min(start + window, n_frames)
            features = self._layer(x[None, start:end], torch.tensor([end - start], device=x.device), layer)[0]
            upto = end if end == n_frames else end - overlap // 2
            result[begin:upto] = features[begin - start : upto - start]
            begin = upto
            if end == n_frames:
                break
        return result

    def all_layers(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Waveforms `(B, S)`, lengths `(B,)` → features `(B, T, D)` of layer 0 and all blocks, frame counts `(B,)`."""
        x, frames = self.embed(waveforms, lengths)
        return list(self.transformer.layers(self.transformer.enter(x, frames), frames)), frames

    def use_bfloat16(self) -> None:
        """Keep the weights of matrix products in bfloat16; norms, sums and the first convolution stay in float32."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Conv1d) and name != "front_end.convs.0":
                module.to(torch.bfloat16)

    def embed(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)` → frames `(B, T, D)` as they come out of the projection, frame counts `(B,)`."""
        features, frames = self.front(waveforms, lengths)
        return self.project(features), frames

    def front(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)` → features of the front end `(B, T, C)`, frame counts `(B,)`."""
        if self.config.normalise_waveform:
            waveforms = normalise_waveforms(waveforms, lengths, self.config.waveform_epsilon)
        if self.config.waveform_padding:
            waveforms = F.pad(waveforms * mask(lengths, waveforms.shape[1]), (self.config.waveform_padding,) * 2)
            lengths = lengths + 2 * self.config.waveform_padding
        features, frames = self.front_end(waveforms, lengths)
        return features, frames

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """Features of the front end `(B, T, C)` → frames `(B, T, D)`, float32."""
        if self.projection_norm is not None:
            features = self.projection_norm(features.float())
        return self.projection(features.to(self.projection.weight.dtype)).float()

    def sha256(self) -> str:
        """Identity of configuration and weights."""
        return identity(self.config, self.state_dict())


def _delay(waveforms: torch.Tensor, lengths: torch.Tensor, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Waveforms `(B, S)` with zeros before them, or, for a negative number, without so many of their first samples."""
    return F.pad(waveforms, (samples, 0)) if samples > 0 else waveforms[:, -samples:], lengths + samples


def normalise_waveforms(waveforms: torch.Tensor, lengths: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Zero mean and unit variance of every waveform `(B, S)` over its own samples; padding becomes zero."""
    valid = mask(lengths, waveforms.shape[1])
    count = lengths[:, None]
    mean = (waveforms.double() * valid).sum(dim=1, keepdim=True) / count
    centred = (waveforms.double() - mean) * valid
    variance = centred.square().sum(dim=1, keepdim=True) / count
    return (centred / (variance + epsilon).sqrt()).to(waveforms.dtype)
