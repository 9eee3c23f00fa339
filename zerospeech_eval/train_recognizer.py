"""Train the phone recogniser on recordings with aligned phones."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from textless.audio.batches import bucket, mask, pad
from textless.audio.manifest import Manifest, read_manifest
from textless.corpora.alignment import SILENCE, Alignment, frame_labels, read_alignment
from textless.distributed import select_device
from textless.errors import UserError
from textless.files import refuse_overwrite
from textless.progress import say, track
from textless.training.precision import autocast
from zerospeech_eval.recognizer import BLANK, FRAME_RATE, Recognizer, RecognizerConfig, log_mel, output_length, save

BATCH_FRAMES = 1_500  # of log-mel, 15 s of speech
PEAK_RATE = 4e-3
WARM_UP = 0.15
FRAME_WEIGHT = 0.5
CLIP = 5.0


@dataclass(frozen=True)
class Example:
    """An utterance ready to train on: log-mel `(M, 80)`, outputs of its phones `(N,)` and of its frames `(T,)`."""

    mels: torch.Tensor
    phones: torch.Tensor
    frames: torch.Tensor


def train(
    manifest: Path,
    alignments: Path,
    out: Path,
    *,
    steps: int = 1000,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
) -> Recognizer:
    """Train and write a recogniser.

    The loss is CTC, and at half its weight the cross-entropy of the phone that sounds in each frame: since the
    alignment is known, the network need not first discover it, which is most of what CTC spends its time on. The second
    head is not used afterwards.

    Args:
        manifest: recordings.
        alignments: their phones, `alignments.tsv`; silence is left out of what the recogniser writes.
        out: folder to write.
        steps: batches of about 15 s of speech.
        seed: of weights, batches and masks.
        device: auto, cpu, cuda or cuda:N.
        force: replace `out`.
    """
    refuse_overwrite(out, force=force)
    where = select_device(device)
    recordings, alignment = read_manifest(manifest), read_alignment(alignments)
    phones = sorted({s.label for u in recordings for s in alignment.get(u.id, ())} - {SILENCE})
    examples = load_examples(recordings, alignment, phones)
    torch.manual_seed(seed)
    generator = random.Random(seed)
    model = Recognizer(RecognizerConfig(phones=tuple(phones))).to(where).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=WARM_UP)
    begin, losses = time.perf_counter(), []
    for batch in track(_batches(examples, steps, generator), "training the recogniser", steps):
        mels, lengths = pad([spec_augment(example.mels, generator) for example in batch])
        with autocast(where, "auto"):
            logits, frame_logits, lengths = model(mels.to(where), lengths.to(where))
        loss = ctc_loss(logits.float(), lengths, batch) + FRAME_WEIGHT * frame_loss(
            frame_logits.float(), lengths, batch
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    last = losses[-20:]
    say(f"{steps} steps in {time.perf_counter() - begin:.0f} s, loss {losses[0]:.2f} -> {sum(last) / len(last):.2f}")
    save(model, out, {"utterances": len(examples), "steps": steps, "seed": seed})
    return model.eval()


def load_examples(recordings: Manifest, alignment: Alignment, phones: Sequence[str]) -> list[Example]:
    """Utterances that have phones; says how many have not.

    Raises:
        UserError: none has, or one has more phones than its frames can hold.
    """
    output = {phone: index + 1 for index, phone in enumerate(phones)}
    examples = []
    for utterance in track(recordings.utterances, "log-mel"):
        segments = alignment.get(utterance.id, [])
        spoken = torch.tensor([output[s.label] for s in segments if s.label != SILENCE], dtype=torch.long)
        if not len(spoken):
            continue
        mels = log_mel(recordings.load(utterance))
        count = int(output_length(torch.tensor(len(mels))))
        if count < 2 * len(spoken):
            # CTC needs a frame a phone and another between equal ones; half of that is no speech.
            raise UserError(
                f"{utterance.id!r} has {len(spoken)} phones in {count / FRAME_RATE:.2f} s; wrong alignment?"
            )
        frames = torch.tensor([output.get(label, BLANK) for label in frame_labels(segments, count, FRAME_RATE)])
        examples.append(Example(mels, spoken, frames))
    if not examples:
        raise UserError("no utterance of the manifest has phones in the alignment; are these of the same corpus?")
    if len(examples) < len(recordings):
        say(f"{len(recordings) - len(examples)} of {len(recordings)} utterances have no phones: left out")
    return examples


def _batches(examples: Sequence[Example], steps: int, generator: random.Random) -> Iterator[list[Example]]:
    lengths = [len(example.mels) for example in examples]
    done = 0
    while done < steps:
        for indices in bucket(lengths, BATCH_FRAMES, seed=generator.randrange(2**32))[: steps - done]:
            done += 1
            yield [examples[index] for index in indices]


def spec_augment(mels: torch.Tensor, generator: random.Random) -> torch.Tensor:
    """Hide two bands of up to 12 channels, and two stretches of up to 12 frames (0.12 s)."""
    mels = mels.clone()
    for _ in range(2):
        low = generator.randrange(mels.shape[1])
        mels[:, low : low + generator.randrange(13)] = 0
        start = generator.randrange(len(mels))
        mels[start : start + generator.randrange(13)] = 0
    return mels


def ctc_loss(logits: torch.Tensor, lengths: torch.Tensor, batch: Sequence[Example]) -> torch.Tensor:
    """CTC per phone; logits are `(B, T, outputs)`."""
    targets = torch.cat([example.phones for example in batch])
    target_lengths = torch.tensor([len(example.phones) for example in batch])
    log_probs = logits.log_softmax(dim=-1).transpose(0, 1)  # (B, T, outputs) -> (T, B, outputs)
    total = F.ctc_loss(
        log_probs,
        targets.to(logits.device),
        lengths,
        target_lengths.to(logits.device),
        BLANK,
        "sum",
        zero_infinity=True,
    )
    return total / len(targets)


def frame_loss(logits: torch.Tensor, lengths: torch.Tensor, batch: Sequence[Example]) -> torch.Tensor:
    """Cross-entropy per frame of the phone that sounds, output 0 being silence."""
    inside = mask(lengths, logits.shape[1])
    return F.cross_entropy(logits[inside], torch.cat([example.frames for example in batch]).to(logits.device))
