"""One directory that holds everything to speak with: encoder specification, quantizer, unit LM and vocoder.

    bundle.json   header: encoder, identity of the quantizer
    encoder/  quantizer/  ulm/  vocoder/

`encoder/` is there where the encoder has weights that lie on this disk; spectral and published ones go by their names.
This module owns `bundle.json`. That the parts belong together is checked when a bundle is made and when it is loaded.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from textless.encoders.directory import save_encoder
from textless.encoders.encoder import EncoderSpec
from textless.errors import UserError
from textless.files import atomic_directory, read_json, refuse_overwrite, write_json
from textless.provenance import check_header, make_header
from textless.training.checkpoint import CONFIG_NAME, WEIGHTS_NAME
from ulm.language_model import BPE_NAME, TransformerLanguageModel, load_language_model
from units.encode import SpeechToUnits
from units.identity import require_same
from units.quantizer import load_quantizer
from vocoder.vocoder import Vocoder, load_vocoder

FORMAT, VERSION = "textless-bundle", 1


@dataclass(frozen=True)
class Parts:
    """Loaded parts of a pipeline, of one quantizer."""

    speech_to_units: SpeechToUnits
    language_model: TransformerLanguageModel
    vocoder: Vocoder


def load_parts(quantizer: Path, ulm: Path, vocoder: Path, device: torch.device, encoder: str | None = None) -> Parts:
    """Load the parts from their directories; `encoder` says where the quantizer's encoder lies, if it was moved.

    Raises:
        UserError: one is missing or damaged, the LM cannot generate, or two were made with different quantizers.
    """
    speech_to_units = SpeechToUnits(load_quantizer(quantizer), device, encoder=encoder)
    language_model = load_language_model(ulm, device)
    if not isinstance(language_model, TransformerLanguageModel):
        raise UserError(f"{ulm} holds an n-gram model, which scores but does not generate; use a Transformer")
    speaker = load_vocoder(vocoder, device)
    identity = speech_to_units.quantizer.identity
    require_same(identity, language_model.quantizer, f"the quantizer {quantizer}", f"the unit LM {ulm}")
    require_same(identity, speaker.quantizer, f"the quantizer {quantizer}", f"the vocoder {vocoder}")
    return Parts(speech_to_units, language_model, speaker)


def write_bundle(out: Path, encoder: str, quantizer: Path, ulm: Path, vocoder: Path, *, force: bool = False) -> Parts:
    """Check that the parts belong together and copy what is needed of them into one directory.

    Raises:
        UserError: they do not, or `out` exists.
    """
    refuse_overwrite(out, force=force)
    parts = load_parts(quantizer, ulm, vocoder, torch.device("cpu"))
    identity = parts.speech_to_units.quantizer.identity
    if encoder != identity.encoder:
        raise UserError(f"--encoder {encoder} was given, but the quantizer {quantizer} reads {identity.encoder}")
    with atomic_directory(out) as temporary:
        for name, source in (("quantizer", quantizer), ("ulm", ulm), ("vocoder", vocoder)):
            (temporary / name).mkdir()
            for file in (CONFIG_NAME, WEIGHTS_NAME):
                shutil.copyfile(source / file, temporary / name / file)
        if (ulm / BPE_NAME).exists():
            shutil.copytree(ulm / BPE_NAME, temporary / "ulm" / BPE_NAME)
        if Path(EncoderSpec.parse(encoder).name).exists():
            save_encoder(temporary / "encoder", parts.speech_to_units.encoder.encoder)  # type: ignore[arg-type]
        header = make_header(FORMAT, VERSION, encoder=encoder, quantizer=identity.model_dump())
        write_json(temporary / "bundle.json", header)
    return parts


def load_bundle(directory: Path, device: torch.device) -> Parts:
    """Load a bundle and check that its parts belong together."""
    path = directory / "bundle.json"
    if not path.is_file():
        raise UserError(f"{directory} is not a bundle (bundle.json is missing); make one with `textless bundle`")
    header = check_header(read_json(path), FORMAT, VERSION, path)
    own = directory / "encoder"
    encoder = str(replace(EncoderSpec.parse(header["encoder"]), name=str(own))) if own.exists() else None
    return load_parts(directory / "quantizer", directory / "ulm", directory / "vocoder", device, encoder)
