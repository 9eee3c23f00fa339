"""CTC recognisers in folders of Hugging Face: wav2vec 2.0, HuBERT, WavLM and their kin (extra `hf`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from textless.audio.batches import bucket, pad
from textless.audio.io import SAMPLE_RATE
from textless.errors import UserError
from textless.files import require
from zerospeech_eval.ctc import CtcLabels, read_labels
from zerospeech_eval.huggingface import load_local

BATCH_SAMPLES = 60 * SAMPLE_RATE


class HuggingFaceTranscriber:
    """Greedy transcripts of a folder with config.json, weights, preprocessor_config.json and vocab.json.

    Models whose first layer normalises over time (wav2vec 2.0 base) hear one recording at a time: padding would change
    what they hear. The others hear batches.
    """

    def __init__(self, directory: Path, device: torch.device) -> None:
        self.name, self.device = f"hf:{directory}", device
        self.model, self.features = _load(directory, device)
        self.labels = _read_labels(directory, self.model.config.vocab_size)
        self.kind, self.symbols = self.labels.kind, self.labels.symbols
        self.batched = getattr(self.model.config, "feat_extract_norm", None) == "layer"

    @torch.inference_mode()
    def transcribe(self, waveforms: Sequence[torch.Tensor]) -> list[list[str]]:
        """See `Transcriber`."""
        lengths = [len(waveform) for waveform in waveforms]
        batches = bucket(lengths, BATCH_SAMPLES) if self.batched else [[index] for index in range(len(waveforms))]
        heard: dict[int, list[str]] = {}
        for batch in batches:
            heard |= zip(batch, self._transcribe([waveforms[index] for index in batch]), strict=True)
        return [heard[index] for index in range(len(waveforms))]

    def _transcribe(self, waveforms: Sequence[torch.Tensor]) -> list[list[str]]:
        normalised = [self._normalise(waveform) for waveform in waveforms]
        padded, lengths = pad(normalised)
        inside = torch.arange(padded.shape[1]) < lengths[:, None]
        attention = inside.long().to(self.device) if self.batched else None
        best = self.model(padded.to(self.device), attention_mask=attention).logits.argmax(dim=-1).cpu()  # (B, T)
        frames = self.model._get_feat_extract_output_lengths(lengths)  # noqa: SLF001 - transformers has no public one
        return [self.labels.decode(path[:count]) for path, count in zip(best, frames.tolist(), strict=True)]

    def _normalise(self, waveform: torch.Tensor) -> torch.Tensor:
        """What the folder's feature extractor makes of a waveform; one shorter than a frame gets zeros after it."""
        found = self.features(waveform.numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values[0]
        return F.pad(found, (0, max(0, self._window() - len(found))))

    def _window(self) -> int:
        """Samples that the first frame sees."""
        window = 1
        config = self.model.config
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            window = (window - 1) * stride + kernel
        return window


def _load(directory: Path, device: torch.device) -> tuple[Any, Any]:
    """Network and feature extractor."""
    hint = ": is it a pretrained model that was never fine-tuned to transcribe?"
    model, features = load_local(directory, "AutoModelForCTC", "AutoFeatureExtractor", "CTC model", hint)
    if features.sampling_rate != SAMPLE_RATE:
        raise UserError(
            f"{directory} hears {features.sampling_rate} Hz; only models for {SAMPLE_RATE} Hz are supported"
        )
    return model.to(device), features


def _read_labels(directory: Path, n_outputs: int) -> CtcLabels:
    from transformers import Wav2Vec2CTCTokenizer

    require(directory / "vocab.json", "vocabulary of the recogniser")
    # Phone models name a tokenizer that wants `phonemizer`, which only encoding needs: this one reads their files too.
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(directory, local_files_only=True)
    by_output = {output: token for token, output in tokenizer.get_vocab().items() if output < n_outputs}
    absent = [output for output in range(n_outputs) if output not in by_output]
    if absent or tokenizer.pad_token not in by_output.values():
        what = f"output {absent[0]}" if absent else f"the blank {tokenizer.pad_token!r}"
        raise UserError(f"{directory}: vocab.json has no token for {what} of the model's {n_outputs} outputs")
    return read_labels(
        [by_output[output] for output in range(n_outputs)],
        blank=tokenizer.pad_token,
        silent=[token for token in tokenizer.all_special_tokens if token != tokenizer.word_delimiter_token],
        delimiter=tokenizer.word_delimiter_token,
    )
