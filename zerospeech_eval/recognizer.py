"""A phone recogniser: log-mel, convolutions, CTC. It judges whether speech still says what it should.

    waveform (S,) at 16 kHz -> log-mel (M, 80) at 100 Hz -> hidden (H, D) at 25 Hz -> outputs (2 H, ...) at 50 Hz

An output is a phone or the blank.
The blocks run at 25 Hz, where they cost half, and the heads write two frames of 50 Hz for each of theirs: CTC needs the
room, since fast speech has more than 12 phones a second and equal neighbours need a blank between them.

A folder holds `model.safetensors` and `config.json`.
"""

import functools
from pathlib import Path

import torch
import torchaudio
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from textless.audio.batches import mask
from textless.config import Config
from textless.errors import UserError
from textless.files import atomic_directory, read_json, require, write_json
from textless.provenance import check_header, make_header

FORMAT, VERSION = "textless-recognizer", 1
SAMPLE_RATE, HOP, N_MELS = 16_000, 160, 80
FRAME_RATE = 50.0
BLANK = 0


class RecognizerConfig(Config):
    """Shape of the network, and its phones; output 0 is the blank, output i + 1 is `phones[i]`."""

    phones: tuple[str, ...]
    dim: int = 256
    blocks: int = 6
    kernel: int = 9


class Block(nn.Module):
    """Residual: a convolution of every channel by itself, then a perceptron of every frame by itself."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.along_time = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.perceptron = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, hidden: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """`(B, H, D)` to the same; `inside` `(B, H, 1)` is 0 on padding, which the convolution must not see."""
        update = self.along_time((hidden * inside).mT).mT  # (B, H, D) -> (B, D, H) -> (B, H, D)
        return hidden + self.perceptron(self.norm(update))


class Recognizer(nn.Module):
    """Scores of phones at 50 Hz; padding changes nothing."""

    def __init__(self, config: RecognizerConfig) -> None:
        super().__init__()
        self.config = config
        self.front = nn.Conv1d(N_MELS, config.dim, 9, stride=4, padding=4)
        self.blocks = nn.ModuleList(Block(config.dim, config.kernel) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim)
        outputs = 2 * (1 + len(config.phones))
        self.head = nn.Linear(config.dim, outputs)
        self.frame_head = nn.Linear(config.dim, outputs)  # for training alone, see `train_recognizer`

    def forward(self, mels: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Score frames.

        Args:
            mels: `(B, M, 80)` log-mel at 100 Hz, padded with zeros.
            lengths: `(B,)` frames of each.

        Returns:
            CTC logits `(B, T, 1 + phones)` at 50 Hz, logits of the phone that sounds, likewise, and lengths `(B,)`.
        """
        hidden = F.gelu(self.front(mels.mT).mT)  # (B, M, 80) -> (B, H, D)
        inside = mask((lengths + 3) // 4, hidden.shape[1])[..., None]
        for block in self.blocks:
            hidden = block(hidden, inside)
        hidden = self.norm(hidden)
        scores, frame_scores = (
            head(hidden).unflatten(-1, (2, -1)).flatten(1, 2)  # (B, H, 2 outputs) -> (B, 2 H, outputs)
            for head in (self.head, self.frame_head)
        )
        return scores, frame_scores, output_length(lengths)

    @torch.inference_mode()
    def transcribe(self, mels: torch.Tensor, lengths: torch.Tensor) -> list[list[str]]:
        """Phones of every utterance: the best output of each frame, repeats merged, blanks removed."""
        logits, _, lengths = self(mels, lengths)
        best = logits.argmax(dim=-1).cpu()
        paths = [path[:length].unique_consecutive() for path, length in zip(best, lengths.tolist(), strict=True)]
        return [[self.config.phones[output - 1] for output in path.tolist() if output != BLANK] for path in paths]


def output_length(n_mels: torch.Tensor) -> torch.Tensor:
    """Frames at 50 Hz for frames at 100 Hz."""
    return (n_mels + 1) // 2


@functools.cache
def _mel_transform() -> torchaudio.transforms.MelSpectrogram:
    return torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, n_fft=512, win_length=400, hop_length=HOP, n_mels=N_MELS)


@torch.no_grad()
def log_mel(waveform: torch.Tensor) -> torch.Tensor:
    """Log-mel `(M, 80)` of a waveform `(S,)` at 16 kHz, each channel with mean 0 and variance 1 over the utterance."""
    padded = F.pad(waveform, (0, max(0, 512 - len(waveform))))  # the window reflects its neighbourhood
    mels = _mel_transform()(padded).clamp_min(1e-6).log().T  # (80, M) -> (M, 80)
    return (mels - mels.mean(dim=0)) / mels.std(dim=0).clamp_min(0.1)


def save(model: Recognizer, directory: Path, training: dict[str, object]) -> None:
    """Write the folder; `training` says what the recogniser was trained on."""
    with atomic_directory(directory) as temporary:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, temporary / "model.safetensors")
        header = make_header(FORMAT, VERSION, config=model.config.model_dump(mode="json"), training=training)
        write_json(temporary / "config.json", header)


def load(directory: Path, device: torch.device) -> Recognizer:
    """Read what `save` wrote, ready to transcribe.

    Raises:
        UserError: it is no recogniser, or its weights do not fit its configuration.
    """
    path = require(directory, "recognizer") / "config.json"
    header = check_header(read_json(path), FORMAT, VERSION, path)
    model = Recognizer(RecognizerConfig.parse(header.get("config", {}), str(path)))
    try:
        model.load_state_dict(load_file(require(directory / "model.safetensors", "weights")))
    except RuntimeError as error:
        raise UserError(f"{directory}/model.safetensors does not fit {path}: {error}") from error
    return model.eval().to(device)
