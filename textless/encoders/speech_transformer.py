"""The encoder family of wav2vec 2.0: a front end, a projection and a Transformer.

HuBERT, wav2vec 2.0 and XLS-R, WavLM, data2vec, DistilHuBERT and 25 Hz mHuBERT are settings of this one model; the small
models that are pretrained here may read log-mel energies (MelHuBERT) in place of convolutions over the waveform.

Layer 0 is what enters block 1 (positions added, and normalised where the norm stands before the blocks), layer n what
block n gives. Waveform normalisation is the encoder's own business.
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
from textless.encoders.logmel_front_end import LogMelConfig, LogMelFrontEnd
from textless.encoders.transformer import Transformer, TransformerConfig
from textless.files import sha256

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


class SpeechTransformer(nn.Module):
    """Waveforms to features of every layer."""

    sample_rate = SAMPLE_RATE

    def __init__(self, config: SpeechTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.transformer.dim
        self.num_layers = config.transformer.layers
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
        self.attention_window: int | None = None  # frames; None: attention sees the whole recording

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return SAMPLE_RATE / self.front_end.hop

    @property
    def min_samples(self) -> int:
        """Samples below which there is no frame."""
        return max(1, self.front_end.receptive_field - 2 * self.config.waveform_padding)

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, lengths `(B,)` → features `(B, T, D)` of a layer, frame counts `(B,)`.

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
        return next(islice(self.transformer.layers(x, frames), layer, None))

    def _windowed(self, x: torch.Tensor, n_frames: int, window: int, layer: int) -> torch.Tensor:
        """Frames `(T, D)` of one utterance, `n_frames` valid → a layer `(T, D)`, attention limited to windows."""
        result = torch.zeros_like(x)
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
        """Waveforms `(B, S)`, lengths `(B,)` → features `(B, T, D)` of layers 0..num_layers, frame counts `(B,)`."""
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
        weights = (
            f"{name} {tuple(tensor.shape)}".encode() + tensor.detach().float().cpu().contiguous().numpy().tobytes()
            for name, tensor in sorted(self.state_dict().items())
        )
        return sha256(self.config.model_dump_json().encode(), *weights)


def normalise_waveforms(waveforms: torch.Tensor, lengths: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Zero mean and unit variance of every waveform `(B, S)` over its own samples; padding becomes zero."""
    valid = mask(lengths, waveforms.shape[1])
    count = lengths[:, None]
    mean = (waveforms.double() * valid).sum(dim=1, keepdim=True) / count
    centred = (waveforms.double() - mean) * valid
    variance = centred.square().sum(dim=1, keepdim=True) / count
    return (centred / (variance + epsilon).sqrt()).to(waveforms.dtype)
