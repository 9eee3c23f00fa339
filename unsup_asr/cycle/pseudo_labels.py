"""The recogniser learns what its reverse counterpart says of unpaired speech.

With a frozen one this is pseudo-labelling, with an average of the past a mean teacher: baselines without a synthesizer.
With `speech.choose` the synthesizer and the text have a say in what is learnt (`choice.py`). What learns hears the
speech with frames and channels hidden; what teaches hears all of it.
"""

from unsup_asr.cycle.batches import SpeechBatch
from unsup_asr.cycle.hypotheses import Hypotheses
from unsup_asr.cycle.terms import Setting, Term, recognition_loss


def pseudo_label_term(batch: SpeechBatch, said: Hypotheses, setting: Setting) -> Term:
    """The recogniser's loss of speech and what was said of it; in the control, what was said of a neighbour."""
    asr = setting.models.asr
    phones, counts = said.phones, said.counts
    if setting.deranged:
        phones, counts = phones.roll(1, 0), counts.roll(1, 0)
    heard = setting.masks.states(asr, batch.features, batch.lengths)
    loss = recognition_loss(asr, heard, phones, counts, setting.config)
    return Term(loss, loss.detach(), {"runaway": said.n_cut})
