"""One step of self-training: a network learns phones of frames, and says what it now takes the frames for."""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from textless.training.schedule import ScheduleConfig, multiplier, set_learning_rate
from textless.training.seeds import mixed_seed
from unsup_asr.self_training.config import SelfTrainingConfig
from unsup_asr.self_training.features import Frames
from unsup_asr.self_training.network import FrameNetwork

READ_FRAMES = 8192
WARM_UP = 0.1  # share of all steps


def learn(
    frames: Frames, phones: np.ndarray, n_phones: int, config: SelfTrainingConfig, seed: int, device: torch.device
) -> FrameNetwork:
    """Teach a new network.

    Args:
        frames: of all utterances.
        phones: `(T,)` of all frames, as far as is known.
        n_phones: V.
        config: see there.
        seed: of the weights, the order and the dropout.
        device: where to train.
    """
    torch.manual_seed(mixed_seed(seed))
    values = torch.from_numpy(frames.values).to(device)
    neighbours = frames.neighbours(config.context).to(device)
    targets = torch.from_numpy(phones).to(device)
    network = FrameNetwork(values.shape[1], n_phones, config).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=0.01)
    steps = config.epochs * -(-len(frames) // config.batch_size)
    schedule = ScheduleConfig(name="cosine", warmup_steps=round(WARM_UP * steps))
    step = 0
    for _ in range(config.epochs):
        for chosen in torch.randperm(len(frames)).to(device).split(config.batch_size):
            set_learning_rate(optimizer, config.lr * multiplier(schedule, step, steps))
            logits = network(values[neighbours[chosen]])
            loss = F.cross_entropy(logits, targets[chosen], label_smoothing=config.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return network.eval()


@torch.inference_mode()
def read(network: FrameNetwork, frames: Frames, *, hidden: bool = False) -> np.ndarray:
    """Natural logs of the phones of all frames `(T, V)`; with `hidden`, the last hidden layer `(T, H)` instead."""
    device = next(network.parameters()).device
    values = torch.from_numpy(frames.values).to(device)
    neighbours = frames.neighbours(network.config.context).to(device)
    outcome: Callable[[torch.Tensor], torch.Tensor] = (
        network.hidden if hidden else lambda windows: network(windows).log_softmax(-1)
    )
    return torch.cat([outcome(values[rows]).cpu() for rows in neighbours.split(READ_FRAMES)]).numpy()
