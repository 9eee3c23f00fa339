"""A recogniser that reads units instead of hearing speech: what a perfect vocoder could leave for the ears.

The network and the losses are those of the judge (`zerospeech_eval/recognizer.py`), whose log-mel is replaced by
embedded units; it is trained on the units of the recordings that the judge was trained on.
"""

import json
import random
from pathlib import Path

import torch
from torch import nn

from textless.audio.batches import bucket, pad
from textless.corpora.alignment import SILENCE, Segment, frame_labels, read_alignment
from textless.progress import say, track
from textless.training.precision import autocast
from units.files import Units, UnitsFile, read_units
from units.runs import expand
from zerospeech_eval.recognizer import BLANK, FRAME_RATE, Recognizer, RecognizerConfig, output_length
from zerospeech_eval.token_errors import token_errors
from zerospeech_eval.train_recognizer import (
    BATCH_FRAMES,
    CLIP,
    FRAME_WEIGHT,
    PEAK_RATE,
    WARM_UP,
    Example,
    ctc_loss,
    frame_loss,
)

HIDDEN = 0  # what stands for a unit that may not be read


class Front(nn.Module):
    """Units at 100 Hz, `(B, 1, M)` numbers from 1 on, 0 being hidden → `(B, D, H)` at 25 Hz."""

    def __init__(self, k: int, dim: int) -> None:
        super().__init__()
        self.unit = nn.Embedding(k + 1, dim, padding_idx=HIDDEN)
        self.convolution = nn.Conv1d(dim, dim, 9, stride=4, padding=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(self.unit(x[:, 0].long()).mT)


def symbols(item: Units, rate: float) -> torch.Tensor:
    """Units of an utterance at 100 Hz, `(M, 1)`."""
    units = torch.from_numpy(expand(item.units, item.durations or [])) + 1
    return units.repeat_interleave(round(100 / rate))[:, None].float()


def examples(file: UnitsFile, alignment: dict[str, list[Segment]], phones: list[str]) -> list[Example]:
    output = {phone: index + 1 for index, phone in enumerate(phones)}
    found = []
    for item in file.utterances:
        segments = alignment[item.id]
        read = symbols(item, file.quantizer.frame_rate)
        count = int(output_length(torch.tensor(len(read))))
        frames = torch.tensor([output.get(label, BLANK) for label in frame_labels(segments, count, FRAME_RATE)])
        spoken = torch.tensor([output[s.label] for s in segments if s.label != SILENCE], dtype=torch.long)
        found.append(Example(read, spoken, frames))
    return found


def hidden(read: torch.Tensor, generator: random.Random) -> torch.Tensor:
    """Hide three stretches of up to 0.12 s."""
    read = read.clone()
    for _ in range(3):
        start = generator.randrange(len(read))
        read[start : start + generator.randrange(13)] = HIDDEN
    return read


def train(file: UnitsFile, alignment: dict[str, list[Segment]], phones: list[str], steps: int) -> Recognizer:
    torch.manual_seed(0)
    generator = random.Random(0)
    model = Recognizer(RecognizerConfig(phones=tuple(phones))).train()
    model.front = Front(file.quantizer.k, model.config.dim)  # type: ignore[assignment]
    data = examples(file, alignment, phones)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=WARM_UP)
    lengths, waiting = [len(example.mels) for example in data], list[list[int]]()
    for _ in track(range(steps), "training the reader"):
        waiting = waiting or list(bucket(lengths, BATCH_FRAMES, seed=generator.randrange(2**32)))
        batch = [data[index] for index in waiting.pop()]
        read, sizes = pad([hidden(example.mels, generator) for example in batch])
        with autocast(torch.device("cpu"), "auto"):
            logits, frame_logits, sizes = model(read, sizes)
        loss = ctc_loss(logits.float(), sizes, batch) + FRAME_WEIGHT * frame_loss(frame_logits.float(), sizes, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
    return model.eval()


def error_rate(units: Path, bench: Path, *, steps: int) -> float:
    """Phone error rate of a reader of `units/train.jsonl`, on `units/test.jsonl`; kept beside them."""
    kept = units / f"reader-{steps}.json"
    if not kept.exists():
        alignment = read_alignment(bench / "alignments.tsv")
        file, test = read_units(units / "train.jsonl"), read_units(units / "test.jsonl")
        phones = sorted({s.label for u in file.utterances for s in alignment[u.id]} - {SILENCE})
        model = train(file, alignment, phones, steps)
        spoken, heard = {}, {}
        for item in test.utterances:
            read = symbols(item, test.quantizer.frame_rate)
            heard[item.id] = model.transcribe(read[None], torch.tensor([len(read)]))[0]
            spoken[item.id] = [s.label for s in alignment[item.id] if s.label != SILENCE]
        rate = token_errors("phone", spoken, heard).rate
        say(f"{units.name}, read directly: phone error rate {100 * rate:.1f} %")
        kept.write_text(json.dumps({"phone_error_rate": rate}))
    return float(json.loads(kept.read_text())["phone_error_rate"])
