"""What a recogniser says of unpaired speech: the likeliest, or of several what explains the speech and is language.

Samples y of the recogniser q are proposals for the posterior of a model whose likelihood is the synthesizer and whose
prior is the text, p(y | x) ~ p(x | y) p(y); kept is the one with the highest log p(x | y) + λ log p(y) + log q(y | x).
As a lesson for the recogniser and the synthesizer it is the cycle's reward without the variance of REINFORCE: what one
would learn from reweighted wake-sleep (Bornschein and Bengio 2015) if the best sample had all the weight.
"""

import torch
from torch.nn import functional as F

from unsup_asr.ctc.network import States
from unsup_asr.ctc.sampling import Samples, sample, score
from unsup_asr.cycle.batches import SpeechBatch
from unsup_asr.cycle.hypotheses import Hypotheses, bounded, transcribe
from unsup_asr.cycle.models import without_dropout
from unsup_asr.cycle.reinforce import rewards_of
from unsup_asr.cycle.terms import Setting


@torch.no_grad()
def transcripts_of(batch: SpeechBatch, setting: Setting) -> Hypotheses:
    """What the reverse recogniser says of a batch: the likeliest, or the best of it and `speech.choose` samples.

    What was chosen not long ago (`speech.lasting`) counts as it was.
    """
    if not setting.config.speech.lasting:
        return _made_now(batch, setting)
    missing, n_cut = setting.memory.missing(batch.ids), 0
    if missing:
        rest = batch.only(missing)
        said = _made_now(rest, setting)
        setting.memory.note(rest.ids, said)
        n_cut = said.n_cut
    return setting.memory.recall(batch.ids, batch.features.device, n_cut)


def _made_now(batch: SpeechBatch, setting: Setting) -> Hypotheses:
    teacher = setting.models.reverse_asr
    longest = setting.bounds.longest(batch.target_lengths)
    with without_dropout(teacher):
        states = teacher(batch.features, batch.lengths)
        likeliest = transcribe(teacher, states, longest)
        return _best(batch, states, likeliest, longest, setting) if setting.config.speech.choose else likeliest


def _best(
    batch: SpeechBatch, states: States, likeliest: Hypotheses, longest: torch.Tensor, setting: Setting
) -> Hypotheses:
    """The best of the likeliest and of samples."""
    config, teacher, n = setting.config.speech, setting.models.reverse_asr, setting.config.speech.choose
    drawn = bounded(
        sample(
            teacher,
            states,
            n=n,
            temperature=config.temperature,
            max_length=max(1, int(longest.max())),
            generator=setting.chance,
        ),
        longest.repeat_interleave(n),
    )
    width = max(likeliest.phones.shape[1], drawn.phones.shape[1])
    both = [F.pad(h.phones, (0, width - h.phones.shape[1])).view(len(batch), -1, width) for h in (likeliest, drawn)]
    phones = torch.cat(both, dim=1)  # (B, 1 + n, N)
    counts = torch.cat([likeliest.counts[:, None], drawn.counts.view(-1, n)], dim=1)
    rows, sizes = phones.flatten(0, 1), counts.flatten()
    rewards = rewards_of(Hypotheses(rows, sizes, 0), batch, n + 1, setting)
    whole = Samples(rows, sizes, torch.ones_like(sizes, dtype=torch.bool), torch.zeros_like(rewards))
    totals = rewards * batch.target_lengths.repeat_interleave(n + 1) + score(teacher, states.repeat(n + 1), whole)
    best = totals.view(-1, n + 1).argmax(1)
    places = torch.arange(len(batch), device=best.device)
    found = counts[places, best]
    return Hypotheses(phones[places, best][:, : int(found.max())], found, likeliest.n_cut + drawn.n_cut)
