"""Pairs, for both models: what keeps a cycle where it began. Every update has some."""

from unsup_asr.cycle.batches import PairBatch
from unsup_asr.cycle.terms import Setting, Term, recognition_loss


def paired_terms(batch: PairBatch, setting: Setting) -> dict[str, Term]:
    """The recogniser's and, unless it is frozen, the synthesizer's loss of a batch of pairs."""
    speech, text, models = batch.speech, batch.text, setting.models
    states = setting.masks.states(models.asr, speech.features, speech.lengths)
    recognised = recognition_loss(models.asr, states, text.phones, text.sizes, setting.config)
    terms = {"paired_asr": Term(recognised, recognised.detach())}
    if not setting.config.optimizer.tts_factor:
        return terms
    made = models.tts.reconstruct(text.phones, text.sizes, speech.voices, speech.target, speech.target_lengths).loss()
    return terms | {"paired_tts": Term(made, made.detach())}
