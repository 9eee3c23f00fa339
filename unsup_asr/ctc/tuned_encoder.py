"""An encoder that is trained along with what reads it: wav2vec 2.0's fine-tuning (Baevski et al. 2020, section 4.3).

The front end stays as it is. Spans of the projected frames are replaced by one learnt frame, and spans of channels by
zeros. Blocks above the chosen layer are left away.
"""

import torch
from torch import nn

from textless.encoders.encoder import load_encoder
from textless.encoders.speech_transformer import SpeechTransformer
from textless.errors import UserError
from unsup_asr.ctc.config import MaskConfig, TunedEncoderConfig
from unsup_asr.ctc.masking import draw_masks


class TunedEncoder(nn.Module):
    """Waveforms to the features of an encoder's last block, with gradients."""

    def __init__(self, encoder: SpeechTransformer, masking: MaskConfig) -> None:
        super().__init__()
        self.encoder, self.masking = encoder, masking
        self.hidden = nn.Parameter(torch.zeros(encoder.dim))
        encoder.requires_grad_(True)
        encoder.front_end.requires_grad_(False)

    def forward(
        self, waveforms: torch.Tensor, lengths: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, samples `(B,)` → features `(B, T, D)`, frames `(B,)`; masked if a generator is given."""
        with torch.no_grad():
            front, frames = self.encoder.front(waveforms, lengths)
        x = self.encoder.project(front)
        if generator is not None:
            hidden, channels = draw_masks(frames.cpu(), x.shape[2], self.masking, generator)
            hidden = nn.functional.pad(hidden, (0, x.shape[1] - hidden.shape[1]))
            x = torch.where(hidden.to(x.device)[..., None], self.hidden, x)
            x = x.masked_fill(channels.to(x.device)[:, None], 0.0)
        transformer = self.encoder.transformer
        *_, x = transformer.layers(transformer.enter(x, frames), frames)
        return x, frames

    @property
    def last_block(self) -> int:
        """The layer that is read."""
        return self.encoder.blocks


def open_tuned(config: TunedEncoderConfig, masking: MaskConfig) -> TunedEncoder:
    """The encoder that a configuration names, without the blocks above its layer.

    Raises:
        UserError: there is none, or it has no Transformer to train.
    """
    layer = load_encoder(config.spec)
    encoder = layer.encoder
    if not isinstance(encoder, SpeechTransformer) or encoder.passes != 1 or encoder.attention_window is not None:
        raise UserError(f"encoder.spec {config.spec!r} cannot be fine-tuned: give DIR:LAYER of a speech Transformer")
    if not 1 <= layer.layer <= encoder.blocks:
        raise UserError(f"encoder.spec {config.spec!r}: a layer from 1 to {encoder.blocks} can be fine-tuned")
    shape = encoder.config.transformer.model_copy(
        update={"layers": layer.layer, "dropout": config.dropout, "layer_drop": config.layer_drop}
    )
    kept = SpeechTransformer(encoder.config.model_copy(update={"transformer": shape, "heads": ()}))
    names = kept.state_dict().keys()
    kept.load_state_dict({name: w for name, w in encoder.state_dict().items() if name in names})
    return TunedEncoder(kept, masking)
