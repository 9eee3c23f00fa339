"""The speech chain (Tjandra et al. 2017): each model makes the other's lessons of what is not paired.

- *transcribed*: speech → the reverse recogniser's text; the synthesizer learns to make the speech of it.
- *spoken*: text → the reverse synthesizer's speech in the voice of somebody; the recogniser learns to hear the text in
  it. With frozen reverse models both are back-translation.

No gradient goes through the text or the speech that was made: in the text's direction the synthesizer learns nothing
(Baskar et al. 2019).
"""

import torch

from unsup_asr.cycle.batches import SpeechBatch, TextBatch
from unsup_asr.cycle.hypotheses import Hypotheses
from unsup_asr.cycle.models import without_dropout
from unsup_asr.cycle.terms import Setting, Term, recognition_loss


def transcribed_term(batch: SpeechBatch, said: Hypotheses, setting: Setting) -> Term:
    """The synthesizer's loss of speech and what was said of it; in the control, what was said of a neighbour."""
    speech = batch.rolled() if setting.deranged else batch
    counts = torch.minimum(said.counts, setting.bounds.longest(speech.target_lengths))
    made = setting.models.tts.reconstruct(said.phones, counts, speech.voices, speech.target, speech.target_lengths)
    return Term(made.loss(), made.of_utterance().detach().mean(), {"runaway": said.n_cut})


def spoken_term(batch: TextBatch, setting: Setting) -> Term:
    """The recogniser's loss of text and the speech made of it; in the control, the speech of another sentence."""
    reverse, asr, config = setting.models.reverse_tts, setting.models.asr, setting.config
    voices = reverse.sample_voices(len(batch.phones), setting.chance)
    with without_dropout(reverse):
        spoken = reverse.speak(batch.phones, batch.sizes, voices, scatter=config.text.scatter, generator=setting.chance)
    states = setting.bridge.hear(asr, spoken, setting.masks)
    text = batch.rolled() if setting.deranged else batch
    loss = recognition_loss(asr, states, text.phones, text.sizes, config)
    return Term(loss, loss.detach(), {"runaway": spoken.n_clipped})
