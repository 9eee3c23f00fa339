"""A pipeline that speaks while it finds the units says what it would say at once."""

from types import SimpleNamespace

import pytest
import torch
from test_ulm_model import lively
from test_vocoder_streaming import CONFIGS, QUANTIZER, TOLERANCE, make

from textless.pipeline.speech import SpeechPipeline
from ulm.language_model import TransformerLanguageModel
from ulm.sampling import Sampling
from units.files import Units

PROMPT = Units("speech", [3, 1, 4, 0, 5], [2, 3, 1, 2, 4])


@pytest.fixture
def pipeline() -> SpeechPipeline:
    """A unit LM and a vocoder of random weights; whatever is heard has the units of PROMPT."""
    encoder = SimpleNamespace(encode=lambda waveforms, _ids: [PROMPT] * len(waveforms))
    model = TransformerLanguageModel(lively(k=7), QUANTIZER, 64, units_per_second=20.0)
    vocoder = make(CONFIGS["istft"])
    return SpeechPipeline(SimpleNamespace(speech_to_units=encoder, language_model=model, vocoder=vocoder))


def test_a_stream_says_what_is_said_at_once(pipeline: SpeechPipeline) -> None:
    whole = pipeline.continue_(
        torch.zeros(16_000), n=2, seconds=2.0, temperature=1.0, top_k=6, min_p=0.01, seed=3, speaker="b"
    )[0]
    sampling = Sampling(temperature=1.0, top_k=6, min_p=0.01, seed=3)
    pieces = list(pipeline.stream_continue(torch.zeros(16_000), sampling, seconds=2.0, speaker="b"))
    assert len(whole.units.units) > len(PROMPT.units) + 8
    assert sum(map(bool, map(len, pieces))) > 5  # it does not wait for the end
    torch.testing.assert_close(torch.cat(pieces), whole.waveform, **TOLERANCE)
