"""Embeddings of speakers: unheard voices are told apart, padding changes nothing, files, the verb."""

import json
from pathlib import Path

import numpy as np
import planted_voices
import pytest
import safetensors.torch
import torch
from planted_voices import RATE, run, write_toml

from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.errors import UserError
from textless.speakers.config import SpeakerEncoderConfig, SpeakerTrainingConfig
from textless.speakers.data import load_known
from textless.speakers.embedder import SHORTEST_SECONDS, OwnEmbedder, load_embedder
from textless.speakers.embeddings import Embeddings, mean_by_speaker, read_embeddings, write_embeddings
from textless.speakers.model import SpeakerEncoder
from textless.speakers.train import train
from textless.speakers.verification import equal_error_rate, pair_scores
from textless.training.run import read_metrics

CPU = torch.device("cpu")
corpus = planted_voices.corpus


@pytest.fixture(scope="module")
def trained(corpus: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(SpeakerTrainingConfig.load(write_toml(folder / "c.toml", *corpus)), folder / "out", device_name="cpu")
    return folder / "out"


def test_unheard_voices_are_told_apart(trained: Path, corpus: tuple[Path, Path]) -> None:
    """Vocal tracts 12 % apart, between those trained on."""
    metrics = [row["valid_eer"] for row in read_metrics(trained) if "valid_eer" in row]
    assert metrics[-1] < 0.3  # chance is 0.5; 70 steps end between 0.1 and 0.22 by how sums are rounded
    waveforms, speakers = load_known(corpus[1], 0.3)
    vectors = OwnEmbedder(trained, CPU).embed(waveforms)
    assert equal_error_rate(*pair_scores(vectors.numpy(), speakers)) == pytest.approx(metrics[-1])
    shuffled = list(np.random.default_rng(0).permutation(speakers))
    assert equal_error_rate(*pair_scores(vectors.numpy(), shuffled)) > 0.35


def test_neither_padding_nor_batching_changes_an_embedding(trained: Path, corpus: tuple[Path, Path]) -> None:
    embedder = OwnEmbedder(trained, CPU)
    manifest = read_manifest(corpus[1])
    waveforms = [manifest.load(u)[: 1600 + 701 * i] for i, u in enumerate(manifest)]
    together = embedder.embed(waveforms)
    alone = torch.cat([embedder.embed([waveform]) for waveform in waveforms])
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=0)  # float32 sums in another order
    torch.testing.assert_close(together.norm(dim=1), torch.ones(len(waveforms)))
    assert embedder.min_samples == SHORTEST_SECONDS * RATE == 1600


def test_embeddings_file(tmp_path: Path) -> None:
    vectors = torch.nn.functional.normalize(torch.randn(3, 4), dim=1)
    written = Embeddings(("a", "γ/b", "c"), vectors, "utterance", "enc", "f" * 64)
    path = tmp_path / "e.safetensors"
    write_embeddings(path, written)
    found = read_embeddings(path)
    assert (found.ids, found.per, found.encoder, found.encoder_sha256) == (written.ids, "utterance", "enc", "f" * 64)
    assert torch.equal(found.vectors, vectors)
    assert torch.equal(found.rows()["c"], vectors[2])
    means = mean_by_speaker(found.rows(), {"a": "x", "c": "x", "γ/b": "w"})
    assert list(means) == ["w", "x"]
    torch.testing.assert_close(means["x"], (vectors[0] + vectors[2]) / (vectors[0] + vectors[2]).norm())
    with pytest.raises(UserError, match="is a directory"):
        read_embeddings(tmp_path)
    with pytest.raises(UserError, match="not found"):
        read_embeddings(tmp_path / "none")
    for content, message in (
        (b"no tensors", "damaged"),
        (safetensors.torch.save({"embeddings": vectors}), "is not a textless-speaker-embeddings file"),
        (_resaved(path, ids='["a"]'), "3 embeddings for 1 different ids"),
        (_resaved(path, ids="{}"), "no whole file"),
    ):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_embeddings(tmp_path / "bad")


def _resaved(path: Path, **changes: str) -> bytes:
    with safetensors.safe_open(path, framework="pt") as file:
        return safetensors.torch.save({"embeddings": file.get_tensor("embeddings")}, {**file.metadata(), **changes})


def test_embed_verb(trained: Path, corpus: tuple[Path, Path], tmp_path: Path) -> None:
    manifest = read_manifest(corpus[1])
    (tmp_path / "silent.wav").unlink(missing_ok=True)
    io.save(tmp_path / "silent.wav", np.zeros(8000))
    io.save(tmp_path / "short.wav", np.ones(100) / 2)
    extra = [
        Utterance(name, str(tmp_path / f"{name}.wav"), n, "s2_0") for name, n in (("silent", 8000), ("short", 100))
    ]
    extra.append(Utterance("gone", "gone.wav", 5, "s2_0"))
    write_manifest(tmp_path / "m.tsv", Manifest(manifest.root, (*manifest.utterances, *extra)))
    out = tmp_path / "e.safetensors"
    result = run("embed", tmp_path / "m.tsv", out, "--model", trained, "--device", "cpu", "--json")
    assert json.loads(result.stdout) == {
        "per": "utterance",
        "embeddings": 24,
        "dim": 24,
        "skipped": 3,
        "encoder_sha256": OwnEmbedder(trained, CPU).sha256,
    }
    reasons = (tmp_path / "skipped.tsv").read_text()
    assert "it is silent" in reasons
    assert "0.006 s are less than 0.1 s" in reasons
    found = read_embeddings(out)
    assert found.ids == tuple(u.id for u in manifest)
    expected = OwnEmbedder(trained, CPU).embed([manifest.load(u) for u in manifest])
    torch.testing.assert_close(found.vectors, expected, atol=2e-6, rtol=0)
    with pytest.raises(UserError, match="--force"):
        run("embed", tmp_path / "m.tsv", out, "--model", trained)
    shown = run("embed", tmp_path / "m.tsv", out, "--model", trained, "--per", "speaker", "--force").stdout
    assert "4 speakers, 24 dimensions" in shown
    assert "3 recordings skipped" in shown
    by_speaker = read_embeddings(out)
    assert by_speaker.per == "speaker"
    assert by_speaker.ids == ("s2_0", "s2_1", "s2_2", "s2_3")
    torch.testing.assert_close(
        by_speaker.vectors,
        torch.stack(list(mean_by_speaker(found.rows(), {u.id: str(u.speaker) for u in manifest}).values())),
    )


def test_what_is_no_speaker_encoder(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no textless-speaker-encoder model"):
        load_embedder(str(tmp_path), "cpu")
    model = SpeakerEncoder(SpeakerEncoderConfig(width=8, dilations=(1,), pooled=8, attention=4, dim=4))
    model.save(tmp_path / "m", step=0)
    header = json.loads((tmp_path / "m/config.json").read_text())
    header["model"]["dim"] = 5
    (tmp_path / "m/config.json").write_text(json.dumps(header))
    with pytest.raises(UserError, match="weights and configuration disagree"):
        load_embedder(str(tmp_path / "m"), "cpu")
