"""How a cycle goes, without a label: transcripts judged by unpaired text, and the loss of speech → text → speech.

The cycle's loss is measured twice: with each utterance's own transcript, and with that of its neighbour. Only what the
first is below the second is due to what was said; a loss that falls alike in both carries no content.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from unsup_asr.cycle.batches import Heard, collate_speech
from unsup_asr.cycle.hypotheses import Bounds, transcribe
from unsup_asr.cycle.models import Models, without_dropout
from unsup_asr.selection import Judge, Quality
from unsup_asr.tts.pairs import Batches


@dataclass(frozen=True)
class Validation:
    """What is known of a cycle at one step.

    Attributes:
        quality: of transcripts, by unpaired text.
        own: error a frame of speech made of its own transcript.
        deranged: of speech made of a neighbour's transcript.
        text: negative log-probability of the transcripts under the text, in nats a frame of the speech.
        runaway: transcripts that were cut.
    """

    quality: Quality
    own: float
    deranged: float
    text: float
    runaway: int

    @property
    def criterion(self) -> float:
        """What the best checkpoint has least of: less the log of p(x | y) p(y), speech and text together, a frame.

        A code that only the two models share has a text that nobody would write; fluent text that does not belong to
        the speech does not explain it. (The weighted perplexity alone, which tells collapsed models from others, moves
        by 4 % with each rare phone that some dozens of utterances happen to have.)
        """
        return self.own + self.text if self.quality.usage else math.inf

    def metrics(self) -> dict[str, float]:
        """What is logged."""
        return {
            "criterion": self.criterion,
            "cycle_text": self.text,
            "weighted_perplexity": self.quality.weighted_perplexity,
            "usage": self.quality.usage,
            "divergence_4": self.quality.divergence[-1],
            "tokens_per_sentence": self.quality.tokens_per_sentence,
            "cycle_own": self.own,
            "cycle_deranged": self.deranged,
            "runaway": self.runaway,
        }


@torch.inference_mode()
def validate(models: Models, speech: Sequence[Heard], judge: Judge, bounds: Bounds, frames: int) -> Validation:
    """Listen to speech of which nothing is known.

    Args:
        models: their `judged` are.
        speech: unpaired.
        judge: of transcripts, who knows the phones by the recogniser's numbers.
        bounds: of transcripts.
        frames: of a padded batch.
    """
    order = Batches([len(u.features) for u in speech], frames, 0)
    transcripts: list[np.ndarray] = []
    errors, n_frames, runaway = torch.zeros(2, dtype=torch.float64), 0, 0
    asr, tts = models.judged
    with without_dropout(asr, tts):
        for places in (order[step] for step in range(order.per_epoch)):
            batch = collate_speech([speech[place] for place in places], models.device)
            states = asr(batch.features, batch.lengths)
            said = transcribe(asr, states, bounds.longest(batch.target_lengths))
            runaway += said.n_cut
            transcripts += [row[:n].cpu().numpy() for row, n in zip(said.phones, said.counts.tolist(), strict=True)]
            n_frames += int(batch.target_lengths.sum())
            for place, heard in enumerate((batch, batch.rolled())):
                counts = torch.minimum(said.counts, bounds.longest(heard.target_lengths))
                made = tts.reconstruct(said.phones, counts, heard.voices, heard.target, heard.target_lengths)
                errors[place] += float((made.speech + made.prior).sum())
    own, deranged = (errors / n_frames).tolist()
    quality = judge(transcripts)
    return Validation(quality, own, deranged, -quality.log_prob / n_frames, runaway)
