"""Speaker encoders of Hugging Face give their embeddings here."""

import sys
from pathlib import Path

import planted_voices
import pytest
import torch

from textless.audio.manifest import read_manifest
from textless.errors import UserError
from textless.speakers.embedder import load_embedder

corpus = planted_voices.corpus


@pytest.fixture(scope="module")
def xvector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny WavLM with x-vector head, in the layout that Hugging Face writes."""
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = WavLMConfig(**sizes, conv_dim=(8,) * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
                         tdnn_dim=(8, 8, 8, 8, 12), xvector_output_dim=6)  # fmt: skip
    folder = tmp_path_factory.mktemp("xvector")
    WavLMForXVector(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    return folder


def test_hugging_face_xvector(xvector: Path, corpus: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import WavLMForXVector

    manifest = read_manifest(corpus[1])
    embedder = load_embedder(f"hf:{xvector}", "cpu")
    waveforms = [manifest.load(u)[: 8000 + 500 * i] for i, u in enumerate(manifest)][:4]
    peer = WavLMForXVector.from_pretrained(xvector).eval()
    for waveform, vector in zip(waveforms, embedder.embed(waveforms), strict=True):
        normalised = (waveform - waveform.mean()) / (waveform.var(unbiased=False) + 1e-7).sqrt()
        with torch.no_grad():
            expected = peer(normalised[None]).embeddings[0]
        torch.testing.assert_close(vector, expected / expected.norm(), atol=1e-5, rtol=0)
    assert embedder.dim == 6
    shortest = manifest.load(manifest.utterances[0])[: embedder.min_samples]
    assert embedder.embed([shortest]).isfinite().all()
    assert len(embedder.sha256) == 64
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'textless\[hf\]'"):
        load_embedder(f"hf:{xvector}", "cpu")


def test_folders_that_hold_no_xvector_model(xvector: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="x-vector model not found"):
        load_embedder(f"hf:{tmp_path / 'none'}", "cpu")
    with pytest.raises(UserError, match="is no x-vector model"):
        load_embedder(f"hf:{tmp_path}", "cpu")
