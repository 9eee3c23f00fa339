"""Speech → text → speech with a gradient through the text (Tjandra et al. 2019): one-hot forward, soft backward.

The hypothesis has as many phones as the likeliest (or, with Gumbel noise, a sampled) path; which phone each is has a
gradient, how many there are has none. With `reverse.kind = "current"` the synthesizer learns from the same loss.
"""

import torch

from textless.audio.batches import mask
from unsup_asr.ctc.relaxation import relax
from unsup_asr.cycle.batches import SpeechBatch
from unsup_asr.cycle.models import without_dropout
from unsup_asr.cycle.terms import Setting, Term


def straight_through_term(batch: SpeechBatch, setting: Setting) -> Term:
    """The loss of speech that is made of relaxed hypotheses; in the control, a neighbour's speech."""
    config, network, synthesizer = setting.config.speech, setting.models.asr, setting.models.reverse_tts
    longest = setting.bounds.longest(batch.target_lengths)
    with without_dropout(network):
        relaxed = relax(
            network,
            network(batch.features, batch.lengths),
            config.estimator,
            temperature=config.temperature,
            max_length=max(1, int(longest.max())),
            generator=setting.chance,
        )
    speech = batch.rolled() if setting.deranged else batch
    counts = torch.minimum(relaxed.counts, torch.minimum(longest, setting.bounds.longest(speech.target_lengths)))
    rows = relaxed.rows[:, : int(counts.max())]
    rows = rows * mask(counts, rows.shape[1])[..., None]
    made = synthesizer.reconstruct(rows, counts, speech.voices, speech.target, speech.target_lengths)
    frames = made.frames.sum()
    loss = (made.speech.sum() + made.prior.sum()) / frames
    if config.lm_weight:
        loss = loss - config.lm_weight * setting.prior.relaxed_nats(rows, counts).sum() / frames
    return Term(loss, made.of_utterance().detach().mean(), {"runaway": int((relaxed.counts > longest).sum())})
