"""CTC recognisers that torchaudio publishes, by the names of its bundles; it downloads their weights once."""

from collections.abc import Sequence

import torch
import torchaudio.pipelines
from torch.nn import functional as F
from torchaudio.pipelines import Wav2Vec2ASRBundle

from textless.errors import UserError
from zerospeech_eval.ctc import read_labels
from zerospeech_eval.names import listed

WINDOW = 400  # samples that the first frame sees


class TorchaudioTranscriber:
    """Greedy transcripts, one recording at a time: most of these models are changed by padding."""

    def __init__(self, name: str, device: torch.device) -> None:
        self.name, self.device = f"torchaudio:{name}", device
        bundle = _bundles().get(name)
        if bundle is None:
            raise UserError(f"torchaudio has no recogniser {name!r}; there are {listed(_bundles(), 30)}")
        self.model = _load(bundle, name).eval().to(device)
        self.labels = read_labels(bundle.get_labels(blank="-"), blank="-", silent=(), delimiter="|")
        self.kind, self.symbols = self.labels.kind, self.labels.symbols

    @torch.inference_mode()
    def transcribe(self, waveforms: Sequence[torch.Tensor]) -> list[list[str]]:
        """See `Transcriber`."""
        heard = []
        for waveform in waveforms:
            padded = F.pad(waveform, (0, max(0, WINDOW - len(waveform))))
            logits, _ = self.model(padded[None].to(self.device))  # (1, T, outputs)
            heard.append(self.labels.decode(logits[0].argmax(dim=-1).cpu()))
        return heard


def _bundles() -> dict[str, Wav2Vec2ASRBundle]:
    found = {name: getattr(torchaudio.pipelines, name) for name in dir(torchaudio.pipelines)}
    return {name: bundle for name, bundle in found.items() if isinstance(bundle, Wav2Vec2ASRBundle)}


def _load(bundle: Wav2Vec2ASRBundle, name: str) -> torch.nn.Module:
    try:
        return bundle.get_model()
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the weights of {name} are not in {torch.hub.get_dir()}/checkpoints and cannot be downloaded ({error}); "
            "load the bundle once on a machine with internet and copy that folder"
        ) from error
