"""Pairs, for both models: what keeps a cycle where it began. Every update has some."""

from unsup_asr.cycle.batches import PairBatch
from unsup_asr.cycle.terms import Setting, Term, recognition_loss


def paired_terms(batch: PairBatch, setting: Setting) -> dict[str, Term]:
    """The recogniser's and the synthesizer's losses of a batch of pairs."""
    speech, text, models = batch.speech, batch.text, setting.models
    states = setting.masks.states(models.asr, speech.features, speech.lengths)
    recognised = recognition_loss(models.asr, states, text.phones, text.sizes, setting.config)
    made = models.tts.reconstruct(text.phones, text.sizes, speech.voices, speech.target, speech.target_lengths).loss()
    return {"paired_asr": Term(recognised, recognised.detach()), "paired_tts": Term(made, made.detach())}
