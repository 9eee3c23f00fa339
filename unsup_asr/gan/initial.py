"""A generator that begins where skip-gram matching ends, instead of anywhere.

Matching (`unsup_asr.matching`) finds in seconds what each cluster of segments sounds as. The generator's convolution is
fitted to say so: a row of features is taught the mean of what its segments' clusters sound as. Adversarial training
from there wants small rates (5e-5): at 3e-4 it loses what was found.
"""

from collections.abc import Sequence

import numpy as np
import torch

from textless.errors import UserError
from textless.progress import say
from unsup_asr.gan.config import GanConfig
from unsup_asr.gan.data import Crops
from unsup_asr.gan.front_end import pooled
from unsup_asr.gan.generator import Generator
from unsup_asr.gan.unpaired import Unpaired
from unsup_asr.matching import MatchingOptions, match_clusters
from unsup_asr.speech_segments import HEADER, SpeechSegments

STEPS, BATCH, RATE = 600, 64, 3e-3
SMOOTHING = 0.02  # of what is taught, so that nothing is impossible


def start_from_matching(generator: Generator, data: Unpaired, config: GanConfig) -> None:
    """Match the clusters of `data.speech` with its text, and fit the generator to the outcome.

    Raises:
        UserError: the speech is not cut into segments, which have clusters.
    """
    if not (config.data.speech / HEADER).is_file():
        raise UserError(f'initial = "matching" needs segments, and {config.data.speech} has none: asr prepare-speech')
    prepared = SpeechSegments(config.data.speech)
    clusters = [prepared[i].clusters for i in prepared if len(prepared[i].clusters)]
    options = MatchingOptions(seed=config.seed)
    found = match_clusters(clusters, prepared.n_clusters, data.text.sentences, len(data.text.phones), options)
    say(f"matching ends at {found.losses[0]:.4g}; the generator starts from there")
    taught = [pooled(found.table[sequence].astype(np.float32), config.data.pool) for sequence in clusters]
    fit(generator, data.speech, taught, config.seed)


def fit(
    generator: Generator, speech: Sequence[np.ndarray], taught: Sequence[np.ndarray], seed: int, steps: int = STEPS
) -> float:
    """Fit a generator of stride 1 to probabilities `(N, V)` of the rows `(N, d)`; returns the last cross-entropy."""
    features, targets = (Crops(sequences, BATCH, None, seed) for sequences in (speech, taught))
    device = next(generator.parameters()).device
    optimizer = torch.optim.Adam(generator.parameters(), lr=RATE)
    torch.manual_seed(seed)
    entropy = torch.zeros(())
    for step in range(steps):
        rows, lengths = (tensor.to(device) for tensor in features.batch(step))
        wanted = targets.batch(step)[0].to(device)
        inside = wanted.sum(-1) > 0
        smooth = (1 - SMOOTHING) * wanted[inside] + SMOOTHING / wanted.shape[-1]
        entropy = -(smooth * generator(rows, lengths).logits[inside].log_softmax(-1)).sum(-1).mean()
        optimizer.zero_grad()
        entropy.backward()
        optimizer.step()
    return float(entropy.detach())
