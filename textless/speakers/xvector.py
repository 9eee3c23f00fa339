"""Speaker embeddings of Hugging Face x-vector models (WavLMForXVector and its kin), behind the extra `hf`."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional as F

from textless.audio.io import SAMPLE_RATE
from textless.errors import UserError
from textless.files import require, sha256, sha256_file

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


class XVectorEmbedder:
    """A folder with `config.json`, weights and `preprocessor_config.json`, read from the disk alone.

    Utterances pass one at a time: group norms of the convolutions in front would see the padding of a batch.
    """

    def __init__(self, directory: Path, device: torch.device) -> None:
        try:
            from transformers import AutoFeatureExtractor, AutoModelForAudioXVector
        except ImportError as error:
            raise UserError("an x-vector model needs transformers: pip install 'textless[hf]'") from error
        if not require(directory, "x-vector model").is_dir():
            raise UserError(f"{directory} is no folder of a Hugging Face model")
        files = sorted(path for pattern in WEIGHTS for path in directory.glob(pattern))
        try:
            extractor = AutoFeatureExtractor.from_pretrained(directory, local_files_only=True)
            model = AutoModelForAudioXVector.from_pretrained(directory, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{directory} is no x-vector model: {' '.join(str(error).split())}") from error
        if extractor.sampling_rate != SAMPLE_RATE:
            raise UserError(f"{directory} wants {extractor.sampling_rate} Hz; only models of {SAMPLE_RATE} Hz are used")
        self._extractor, self._model, self._device = extractor, model.eval().to(device), device
        self.name = directory.name
        self.dim = int(model.config.xvector_output_dim)
        self.sha256 = sha256(*(sha256_file(path).encode() for path in files))
        self.min_samples = _min_samples(model.config)

    @torch.inference_mode()
    def embed(self, waveforms: Sequence[torch.Tensor]) -> torch.Tensor:
        """Waveforms `(S_i,)` at 16 kHz → `(B, D)` of length 1, on the CPU."""
        rows = []
        for waveform in waveforms:
            inputs = self._extractor(waveform.numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
            rows.append(self._model(**inputs.to(self._device)).embeddings[0].float().cpu())
        return F.normalize(torch.stack(rows), dim=1)


def _min_samples(config: object) -> int:
    """Samples that leave two frames after the time-delay layers, whose standard deviation is taken."""
    frames = 2 + sum((k - 1) * d for k, d in zip(config.tdnn_kernel, config.tdnn_dilation, strict=True))  # type: ignore[attr-defined]
    samples = frames
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):  # type: ignore[attr-defined]
        samples = (samples - 1) * stride + kernel
    return int(samples)
