"""What makes two sequences of units comparable: the encoder, the layer and the codebook that made them.

The identity travels in every units file, unit LM and vocoder, and is compared wherever units meet a model.
"""

from textless.config import Config
from textless.errors import UserError
from textless.files import sha256


class QuantizerIdentity(Config):
    """Encoder specification, codebook size, frame rate, and a hash of the codebook and the encoder behind it."""

    encoder: str
    k: int
    frame_rate: float
    sha256: str

    def __str__(self) -> str:
        return f"{self.encoder} K={self.k} {self.frame_rate:g} Hz ({self.sha256[:12]})"


def require_same(expected: QuantizerIdentity, found: QuantizerIdentity, expected_by: str, found_in: str) -> None:
    """Raise `UserError` naming both quantizers unless they are one and the same."""
    if expected.sha256 != found.sha256 or expected.k != found.k:
        raise UserError(
            f"{expected_by} was made with the quantizer {expected}, but {found_in} holds units of {found}: "
            "encode the speech again with the first, or use a model of the second"
        )


def stated_identity(encoder: str, k: int, frame_rate: float) -> QuantizerIdentity:
    """Identity of units whose quantizer is not at hand: equal statements make equal identities, and no quantizer's."""
    return QuantizerIdentity(
        encoder=encoder, k=k, frame_rate=frame_rate, sha256=sha256(f"stated {encoder} {k} {frame_rate!r}".encode())
    )
