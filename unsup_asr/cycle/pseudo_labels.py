"""The baseline without a synthesizer: the recogniser learns what its reverse counterpart says of unpaired speech.

With a frozen one this is pseudo-labelling, with an average of the past a mean teacher. What learns hears the speech
with frames and channels hidden; what teaches hears all of it.
"""

import torch

from unsup_asr.cycle.batches import SpeechBatch
from unsup_asr.cycle.hypotheses import transcribe
from unsup_asr.cycle.models import without_dropout
from unsup_asr.cycle.terms import Setting, Term, recognition_loss


def pseudo_label_term(batch: SpeechBatch, setting: Setting) -> Term:
    """The recogniser's loss of speech and its own transcript; in the control, the transcript of a neighbour."""
    teacher, asr = setting.models.reverse_asr, setting.models.asr
    with torch.no_grad(), without_dropout(teacher):
        states = teacher(batch.features, batch.lengths)
        said = transcribe(teacher, states, setting.bounds.longest(batch.target_lengths))
    phones, counts = said.phones, said.counts
    if setting.deranged:
        phones, counts = phones.roll(1, 0), counts.roll(1, 0)
    heard = setting.masks.states(asr, batch.features, batch.lengths)
    loss = recognition_loss(asr, heard, phones, counts, setting.config)
    return Term(loss, loss.detach(), {"runaway": said.n_cut})
