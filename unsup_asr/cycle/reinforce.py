"""Speech → text → speech by REINFORCE: the synthesizer scores what the recogniser says (Hori et al. 2019).

N hypotheses are sampled of every utterance; the reward of one is how well the synthesizer makes the speech of it, less
a baseline, and the log-probability of a hypothesis is raised or lowered by that. The synthesizer is a scorer only: its
own hypotheses as labels would be pseudo-labelling, which needs more care (`pseudo_labels.py`).
"""

import torch

from unsup_asr.ctc.sampling import sample, score
from unsup_asr.cycle.batches import SpeechBatch
from unsup_asr.cycle.estimators import reinforce
from unsup_asr.cycle.hypotheses import Hypotheses, bounded
from unsup_asr.cycle.models import without_dropout
from unsup_asr.cycle.terms import DivergedError, Setting, Term


def reinforce_term(batch: SpeechBatch, setting: Setting) -> Term:
    """The recogniser's loss; in the control the speech to be made is that of a neighbour."""
    config, network = setting.config.speech, setting.models.asr
    n = config.samples
    with without_dropout(network):
        states = network(batch.features, batch.lengths)
        if not bool(states.values.isfinite().all()):
            raise DivergedError("the recogniser's states are not finite")
        longest = setting.bounds.longest(batch.target_lengths).repeat_interleave(n)
        drawn = sample(
            network,
            states,
            n=n,
            temperature=config.temperature,
            max_length=max(1, int(longest.max())),
            generator=setting.chance,
        )
        log_probs = score(network, states.repeat(n), drawn, temperature=config.temperature)
    hypotheses = bounded(drawn, longest)
    rewards = rewards_of(hypotheses, batch.rolled() if setting.deranged else batch, n, setting)
    rewards = rewards.view(-1, n).T  # (B n,) -> (n, B)
    per_phone = log_probs.view(-1, n).T / drawn.counts.float().mean().clamp(min=1)  # as the other terms are
    loss = reinforce(per_phone, rewards, config.baseline, standardise=config.standardise)
    return Term(loss, -rewards.mean(), {"runaway": hypotheses.n_cut})


@torch.no_grad()
def rewards_of(hypotheses: Hypotheses, speech: SpeechBatch, n: int, setting: Setting) -> torch.Tensor:
    """Rewards `(B n,)`: less the error of the speech made of each hypothesis, plus what the text's prior says of it."""
    voices = None if speech.voices is None else speech.voices.repeat_interleave(n, 0)
    lengths = speech.target_lengths.repeat_interleave(n)
    counts = torch.minimum(hypotheses.counts, setting.bounds.longest(lengths))  # a neighbour may be shorter
    scorer = setting.models.reverse_tts
    with without_dropout(scorer):
        made = scorer.reconstruct(hypotheses.phones, counts, voices, speech.target.repeat_interleave(n, 0), lengths)
    reward = -made.of_utterance()
    if setting.config.speech.lm_weight:
        nats = setting.prior.nats(hypotheses.phones, counts)
        reward = reward + setting.config.speech.lm_weight * nats / lengths
    return reward
