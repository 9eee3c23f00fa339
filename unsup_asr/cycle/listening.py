"""What a synthesizer says at the start of a cycle and at its end, as one page to listen to.

A synthesizer of units is heard through a vocoder of its quantizer; one of frames through the units that the quantizer
of the same encoder makes of them.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from textless.audio.batches import pad
from textless.audio.player import player
from textless.errors import UserError
from textless.files import atomic_write
from units.files import Units
from units.identity import require_same
from units.quantizer import Quantizer, load_quantizer
from units.runs import deduplicate
from unsup_asr.cycle.config import CycleConfig
from unsup_asr.tts.model import SpeechKind, TtsModel
from vocoder.vocoder import Vocoder, load_vocoder

PAGE = "listening.html"


@dataclass(frozen=True)
class Listening:
    """How a kind of synthesizer is heard: a vocoder, and for frames what makes units of them."""

    vocoder: Vocoder
    quantizer: Quantizer | None

    @classmethod
    def open(cls, config: CycleConfig, kind: SpeechKind, device: torch.device) -> "Listening | None":
        """As a configuration names it; None without a vocoder.

        Raises:
            UserError: the vocoder cannot speak what the synthesizer says; both are named.
        """
        directory = config.listen.vocoder
        if directory is None:
            return None
        if kind.target == "states":
            raise UserError(f"listen.vocoder speaks units, but the synthesizer says {kind}: there is no page for it")
        vocoder = load_vocoder(directory, device)
        if kind.quantizer is not None:
            require_same(vocoder.quantizer, kind.quantizer, f"the vocoder {directory}", "what the synthesizer says")
            return cls(vocoder, None)
        if config.data.quantizer is None:
            raise UserError(f"the synthesizer says {kind}: give data.quantizer, whose units listen.vocoder speaks")
        quantizer = load_quantizer(config.data.quantizer)
        require_same(vocoder.quantizer, quantizer.identity, f"the vocoder {directory}", "data.quantizer")
        if quantizer.encoder_sha256 != kind.encoder_sha256:
            raise UserError(
                f"data.quantizer reads {quantizer.encoder} ({quantizer.encoder_sha256[:12]}), but the synthesizer says "
                f"{kind}"
            )
        return cls(vocoder, quantizer)

    def waveforms(self, model: TtsModel, sentences: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Sentences, `(N,)` phones each, by the same drawn voices whichever the model → `(S,)` samples each."""
        device = model.mean.device
        phones, sizes = pad([torch.from_numpy(sentence) for sentence in sentences])
        voices = model.sample_voices(len(sentences), torch.Generator(device).manual_seed(0))
        spoken = model.speak(phones.to(device), sizes.to(device), voices)
        rows = [row.cpu().numpy() for row in spoken.rows()]
        coded = rows if self.quantizer is None else [self.quantizer.encode(row) for row in rows]
        items = [Units(str(place), *deduplicate(units)) for place, units in enumerate(coded)]
        return [waveform.clamp(-1, 1) for waveform in self.vocoder.synthesize(items)]


def draw_sentences(sentences: Sequence[np.ndarray], count: int, seed: int) -> list[np.ndarray]:
    """Some of the sentences, at random."""
    order = np.random.default_rng([seed, 13]).permutation(len(sentences))[:count]
    return [sentences[place] for place in order.tolist()]


def write_page(path: Path, listening: Listening, sentences: Sequence[np.ndarray], models: dict[str, TtsModel]) -> None:
    """Write the page: a row for every sentence, a column for every synthesizer, whose phones have the same numbers."""
    said = {title: listening.waveforms(model, sentences) for title, model in models.items()}
    names = next(iter(models.values())).phones
    head = "".join(f"<th>{html.escape(title)}</th>" for title in models)
    rows = []
    for place, sentence in enumerate(sentences):
        phones = html.escape(" ".join(names[phone] for phone in sentence))
        sounds = "".join(f"<td>{player(waveforms[place])}</td>" for waveforms in said.values())
        rows.append(f"<tr><td>{phones}</td>{sounds}</tr>")
    with atomic_write(path) as file:
        file.write(DOCUMENT.format(head=head, rows="\n".join(rows)))


DOCUMENT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Before and after the cycle</title>
<style>body {{ max-width: 70rem; margin: auto; padding: 1rem; font: 15px/1.5 system-ui, sans-serif }}
td, th {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #dde2e8 }}
</style></head><body><h1>Before and after the cycle</h1>
<table><tr><th>phones</th>{head}</tr>
{rows}
</table></body></html>
"""
