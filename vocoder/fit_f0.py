"""Fit an F0 quantizer to the pitch of a corpus."""

from pathlib import Path

import numpy as np
import torch

from textless.audio.manifest import read_manifest
from textless.distributed import select_device, world
from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.progress import say
from textless.training.checkpoint import Stateful
from textless.training.run import Run
from textless.training.schedule import multiplier, set_learning_rate
from units.prosody import NormalisedPitch
from vocoder.f0_config import F0Config
from vocoder.f0_quantizer import F0Quantizer, f0_loss
from vocoder.frames import raw_pitch


def fit_f0(
    store: Path,
    out: Path,
    config: F0Config,
    *,
    manifest: Path | None = None,
    device_name: str = "auto",
    force: bool = False,
) -> None:
    """Fit in `out`, continuing a fit that was stopped there.

    Args:
        store: pitch, made by `units prosody pitch`.
        out: directory of the run and of the quantizer.
        config: size and training.
        manifest: names the speakers, whose levels are taken off; without it an utterance is its own speaker.
        device_name: auto, cpu or cuda.
        force: begin again.

    Raises:
        UserError: the store holds no pitch, pitch at another frame rate, or nothing that is voiced.
    """
    if world().size > 1:
        raise UserError("fit-f0 runs in one process: it takes a minute or two; start it without torchrun")
    pitch = NormalisedPitch.of(FeatureStore(store), read_manifest(manifest) if manifest is not None else None)
    header = pitch.store.header
    if header.frame_rate != config.frame_rate:
        raise UserError(
            f"{store} holds pitch at {header.frame_rate:g} Hz, the configuration says {config.frame_rate}: "
            f"`textless units prosody pitch --frame-rate {config.frame_rate}` makes such a store"
        )
    device = select_device(device_name)
    with Run(out, config, force=force) as run:
        torch.manual_seed(config.seed)
        quantizer = F0Quantizer(config.model, header.frame_rate, header.encoder_sha256, config.decay).to(device)
        size = max(1, round(config.segment_seconds * header.frame_rate / quantizer.shrink)) * quantizer.shrink
        contours = _contours(pitch, size)
        # Contours are drawn by how many segments they hold, so that every stretch of speech is as likely as another.
        weights = np.array([len(contour) - size + 1 for contour in contours], dtype=np.float64)
        optimizer = torch.optim.Adam(quantizer.parameters(), lr=config.lr)
        parts: dict[str, Stateful] = {"quantizer": quantizer, "optimizer": optimizer}
        step = run.resume(parts)
        quantizer.train()
        while step < config.steps and not run.stopping():
            generator = np.random.default_rng((config.seed, step))
            drawn = generator.choice(len(contours), size=config.batch_size, p=weights / weights.sum())
            starts = (generator.random(config.batch_size) * weights[drawn]).astype(int)
            batch = torch.stack([contours[i][s : s + size] for i, s in zip(drawn, starts, strict=True)]).to(device)

            found, commitment = quantizer(batch)
            error = f0_loss(found, batch)
            loss = error + config.commitment * commitment
            if not torch.isfinite(loss):
                raise UserError(f"step {step}: the loss is {loss.item()}; {out} keeps what was saved before")
            optimizer.zero_grad()
            loss.backward()
            set_learning_rate(optimizer, config.lr * multiplier(config.schedule, step, config.steps))
            optimizer.step()
            step += 1

            if run.due(step, config.log_every):
                run.log(step, error=error.item(), commitment=commitment.item(), codes=_used(quantizer, batch))
            if run.due(step, config.save_every) or step == config.steps or run.stopping():
                quantizer.save(out, config)
                run.save(step, parts)
        say(f"{out} is finished ({step} steps)" if step >= config.steps else f"{out}: stopped at step {step}")


def _contours(pitch: NormalisedPitch, size: int) -> list[torch.Tensor]:
    """Raw pitch `(T, 2)` of every utterance with any, padded to `size` frames at least."""
    found = []
    for utterance_id in pitch.store:
        contour = raw_pitch(pitch[utterance_id])
        if contour[:, 1].any():
            found.append(torch.nn.functional.pad(contour, (0, 0, 0, max(0, size - len(contour)))))
    skipped = len(pitch.store) - len(found)
    if not found:
        raise UserError(f"{pitch.store.directory}: no utterance has a voiced frame")
    say(f"{len(found)} contours" + (f"; {skipped} without a voiced frame skipped" if skipped else ""))
    return found


@torch.no_grad()
def _used(quantizer: F0Quantizer, batch: torch.Tensor) -> int:
    """How many codes a batch uses."""
    return len(torch.cat([quantizer.encode(row) for row in batch]).unique())
