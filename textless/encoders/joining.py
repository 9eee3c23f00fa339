"""Make one encoder of several that are given by specifications."""

from collections.abc import Sequence

from textless.encoders.directory import kind_of
from textless.encoders.encoder import load_encoder
from textless.encoders.joined import JoinedConfig, JoinedEncoder, MemberConfig, join
from textless.encoders.spectral import SpectralEncoder
from textless.encoders.speech_transformer import SpeechTransformer
from textless.errors import UserError


def join_encoders(specs: Sequence[str], weights: Sequence[float]) -> JoinedEncoder:
    """Join the layers that specifications such as `DIR@100:5` name.

    Args:
        specs: two or more.
        weights: of each; none: all weigh 1.

    Raises:
        UserError: an encoder cannot be joined with the others.
    """
    if len(specs) < 2 or len(weights) not in (0, len(specs)):
        raise UserError(f"join two or more encoders, each with a --weight or none; found {len(specs)}, {len(weights)}")
    loaded = [load_encoder(spec) for spec in specs]
    members = []
    for spec, layer, weight in zip(specs, loaded, weights or [1.0] * len(specs), strict=True):
        encoder = layer.encoder
        if isinstance(encoder, SpectralEncoder | JoinedEncoder):
            raise UserError(f"{spec} cannot be joined: join encoders with weights, each by its own specification")
        member = MemberConfig(
            kind=kind_of(encoder),  # type: ignore[arg-type]
            config=encoder.config.model_dump(mode="json"),  # type: ignore[attr-defined]
            layer=layer.layer,
            weight=weight,
        )
        if isinstance(encoder, SpeechTransformer):
            update = {"passes": encoder.passes, "attention_window": encoder.attention_window}
            member = member.model_copy(update=update)
        members.append(member)
    try:
        return join(JoinedConfig(members=tuple(members)), [layer.encoder for layer in loaded])  # type: ignore[misc]
    except ValueError as error:
        raise UserError(f"{' + '.join(specs)}: {error}") from error
