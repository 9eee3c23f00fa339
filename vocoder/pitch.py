"""The pitch of an utterance as its vocoder wants it: in the right form, as long as the units, perhaps shifted."""

import math
from collections.abc import Sequence

import torch

from textless.errors import UserError
from vocoder.frames import retime
from vocoder.model import VocoderModel


def fitted_pitch(
    model: VocoderModel,
    pitch: torch.Tensor | None,
    durations: Sequence[int],
    new: Sequence[int],
    semitones: float,
    utterance_id: str,
) -> torch.Tensor | None:
    """Pitch of units that lasted `durations` and are to last `new`, `(N,)` each.

    Args:
        model: whose `ModelConfig.pitch` says which form it takes; without pitch, none is used.
        pitch: `(sum of durations, 2)` raw or `(sum of durations,)` bins.
        durations: what `pitch` was tracked over.
        new: what is synthesised.
        semitones: added to raw pitch.
        utterance_id: for messages.

    Returns:
        `(sum of new, ...)`; None for models without pitch.

    Raises:
        UserError: the model needs pitch and there is none, it is of another form or length, or a shift is asked for
            where there is no raw pitch.
    """
    form = model.config.pitch
    if semitones and form != "raw":
        raise not_shifted(model)
    if form == "none":
        return None
    if pitch is None:
        raise lacking(model, utterance_id)
    if (pitch.ndim == 2) != (form == "raw") or len(pitch) != sum(durations):
        raise UserError(
            f"{utterance_id} lasts {sum(durations)} frames and has pitch of shape {tuple(pitch.shape)}, but the "
            f"vocoder {_DESCRIBED[form]}: {_REMEDY[form]}"
        )
    if form == "bins" and len(pitch) and not 0 <= int(pitch.min()) <= int(pitch.max()) < model.config.n_pitch_bins:
        raise UserError(
            f"{utterance_id} has pitch bins {int(pitch.min())}..{int(pitch.max())}, the vocoder knows "
            f"0..{model.config.n_pitch_bins - 1}"
        )
    return raised(pitch[torch.from_numpy(retime(durations, new))], semitones)


def raised(pitch: torch.Tensor, semitones: float) -> torch.Tensor:
    """Raw pitch `(T, 2)` so many semitones higher; with none, any pitch as it is."""
    if not semitones:
        return pitch
    return torch.stack([pitch[:, 0] + semitones * math.log(2) / 12 * pitch[:, 1], pitch[:, 1]], dim=1)


def lacking(model: VocoderModel, utterance_id: str) -> UserError:
    """The error of an utterance without the pitch that its vocoder needs."""
    form = model.config.pitch
    return UserError(f"{utterance_id} has no pitch, but the vocoder {_DESCRIBED[form]}: {_REMEDY[form]}")


def not_predicted(utterance_id: str) -> UserError:
    """The error of a vocoder that is to tell the pitch of units and cannot."""
    return UserError(
        f"{utterance_id} has no pitch and the vocoder does not predict it: it has none, or was imported, trained by an "
        "older version or with model.pitch_predictor = false; train it again, or give the pitch"
    )


def not_shifted(model: VocoderModel) -> UserError:
    """The error of a shift that a vocoder cannot follow."""
    return UserError(
        f"pitch cannot be shifted: the vocoder {_DESCRIBED[model.config.pitch]}; it takes one that reads raw pitch, or "
        "has an F0 quantizer and a store to read"
    )


_DESCRIBED = {
    "none": "has no pitch",
    "raw": "reads raw pitch, a value a frame",
    "bins": "reads pitch in bins, one a frame",
}
_REMEDY = {
    "raw": (
        "track it with `textless units prosody pitch` and give the store with --f0; units that nobody spoke have the "
        "pitch that the vocoder predicts, with --pitch-from model"
    ),
    "bins": (
        "put it beside the units with `textless units prosody pitch`, `fit` and `add`; a vocoder with its own F0 "
        "quantizer takes the store of `prosody pitch` with --f0; units that nobody spoke have the pitch that the "
        "vocoder predicts, with --pitch-from model"
    ),
}
