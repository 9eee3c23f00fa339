"""The F0 quantizer inside a checkpoint of speech-resynthesis, as one of ours.

It is a VQ-VAE in the layout of Jukebox. The published one reads one channel, F0 in hertz less the speaker's mean over
the speaker's deviation, 0 where unvoiced (`f0_normalize`). Ours reads log F0 less its mean, which to first order is the
same times deviation / mean, a ratio that hardly differs between readers; the encoder's first layer takes that up, and
ignores voicing. The decoder, which synthesis has no use for, is left empty.
"""

from collections.abc import Iterator

import torch

from textless.errors import UserError
from vocoder.f0_config import F0ModelConfig
from vocoder.f0_quantizer import CHANNELS, SCALE, F0Quantizer
from vocoder.foreign import ForeignWeights
from vocoder.foreign_config import Settings
from vocoder.intonation import tracker_at

PREFIX = "quantizer."
RATE = 200  # Hz, of the pitch that the published quantizer reads (a frame in 5 ms)
MEAN_BY_DEVIATION = 5.0  # of F0 within a speaker: read speech varies by a fifth


def load_f0_quantizer(said: Settings, weights: ForeignWeights) -> F0Quantizer | None:
    """The quantizer, without its decoder; None if the checkpoint does not hold it, or reads F0 in plain hertz.

    Without it the vocoder takes codes that were made elsewhere, as the stream `f0` of the units.

    Raises:
        UserError: the configuration does not fit the weights.
    """
    if not any(name.startswith(PREFIX) for name in weights.state) or not said.f0_normalize:
        weights.drop(PREFIX)
        return None
    assert said.f0_quantizer is not None
    codes, encoder = said.f0_quantizer.f0_vq_params, said.f0_quantizer.f0_encoder_params
    if encoder.strides_t != (2,) or len(encoder.downs_t) != 1 or encoder.m_conv != 1.0:
        raise UserError(
            f"{weights.config}: an F0 quantizer with strides_t {list(encoder.strides_t)}, downs_t "
            f"{list(encoder.downs_t)} and m_conv {encoder.m_conv} is not known; published ones have [2], [4] and 1"
        )
    config = F0ModelConfig.parse(
        {
            "codes": codes.l_bins,
            "dimension": codes.emb_width,
            "width": encoder.width,
            "halvings": encoder.downs_t[0],
            "depth": encoder.depth,
            "dilation_growth": encoder.dilation_growth_rate,
        },
        str(weights.config),
    )
    quantizer = F0Quantizer(config, float(RATE), tracker_at(RATE).sha256())
    state = {name: torch.zeros_like(value) for name, value in quantizer.state_dict().items()}
    quantizer.load_state_dict(state | dict(_translated(quantizer, weights)))
    weights.drop(PREFIX)
    return quantizer.eval().requires_grad_(False)


def _translated(quantizer: F0Quantizer, weights: ForeignWeights) -> Iterator[tuple[str, torch.Tensor]]:
    config = quantizer.config
    for name, expected in quantizer.encoder.state_dict().items():
        shape = tuple(expected.shape)
        if name == "0.0.weight":
            first = weights.take(_foreign_name(name), (shape[0], 1, shape[2]))
            ignored = first.new_zeros(shape[0], CHANNELS - 1, shape[2])
            yield f"encoder.{name}", torch.cat([first * (MEAN_BY_DEVIATION / SCALE), ignored], dim=1)
        else:
            yield f"encoder.{name}", weights.take(_foreign_name(name), shape)
    codes = weights.take(f"{PREFIX}vq.level_blocks.0.k", (config.codes, config.dimension))
    yield "codebook.codes", codes
    yield "codebook.sums", codes
    yield "codebook.counts", codes.new_ones(config.codes)


def _foreign_name(name: str) -> str:
    """Ours are `2.0.weight`, a strided convolution; `2.1.wide.3.weight`, in a residual layer; `4.weight`, the last."""
    parts = name.split(".")
    if len(parts) == 5:
        block, inner, kind, layer, parameter = parts
        parts = [block, inner, "model", layer, "model", {"wide": "1", "narrow": "3"}[kind], parameter]
    return f"{PREFIX}encoder.level_blocks.0.model." + ".".join(parts)
