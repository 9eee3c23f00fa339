"""Speakers: an encoder learns planted voices; its loss, its files, its verbs, and models of Hugging Face."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.metrics import roc_curve
from typer.testing import CliRunner, Result

from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.distributed import World
from textless.errors import UserError
from textless.speakers import train as training
from textless.speakers.cli import app
from textless.speakers.config import DataConfig, SpeakerEncoderConfig, SpeakerTrainingConfig
from textless.speakers.data import SpeakerCorpus, load_known
from textless.speakers.embedder import SHORTEST_SECONDS, OwnEmbedder, load_embedder
from textless.speakers.embeddings import Embeddings, mean_by_speaker, read_embeddings, write_embeddings
from textless.speakers.margin import MarginSoftmax
from textless.speakers.model import AttentiveStatistics, SpeakerEncoder
from textless.speakers.train import hide, train
from textless.speakers.verification import equal_error_rate, pair_scores
from textless.training.run import read_metrics

CPU = torch.device("cpu")
RATE = 16_000
VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (490, 1350, 1690))  # Hz
TINY = "{width = 32, dilations = [1, 2], pooled = 48, attention = 16, dim = 24}"


def speak(tract: float, pitch: float, rng: np.random.Generator, seconds: float = 1.2) -> np.ndarray:
    """Random vowels: a train of pulses through three resonances, whose frequencies a short tract raises."""
    pieces = []
    while sum(map(len, pieces)) < seconds * RATE:
        n = int(rng.uniform(0.1, 0.25) * RATE)
        phase = np.cumsum(pitch * (1 + 0.1 * rng.standard_normal()) / RATE * np.ones(n))
        source = np.diff(np.floor(phase), prepend=0.0) + 0.02 * rng.standard_normal(n)
        spectrum = np.fft.rfft(source)
        f = np.fft.rfftfreq(n, 1 / RATE)
        for formant in VOWELS[rng.integers(len(VOWELS))]:
            spectrum *= 1 / (1 + ((f - formant * tract) / 120) ** 2) ** 0.5 + 0.02
        piece = np.fft.irfft(spectrum, n)
        pieces.append(0.3 * piece / np.abs(piece).max())
    return np.concatenate(pieces)[: round(seconds * RATE)].astype(np.float32)


def voices(folder: Path, tracts: list[float], per_speaker: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    utterances = []
    for number, tract in enumerate(tracts):
        for take in range(per_speaker):
            name = f"s{seed}_{number}/{take}"
            waveform = speak(tract, 120 / tract**-1.5, rng)
            io.save(folder / f"{name}.wav", waveform)
            utterances.append(Utterance(name, f"{name}.wav", len(waveform), f"s{seed}_{number}"))
    write_manifest(folder / f"{seed}.tsv", Manifest(folder, tuple(utterances)))
    return folder / f"{seed}.tsv"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Manifests of voices to train on, and of others between them."""
    folder = tmp_path_factory.mktemp("voices")
    return voices(folder, [0.8, 0.87, 0.94, 1.0, 1.07, 1.14, 1.21, 1.28], 5, 1), voices(
        folder, [0.83, 0.97, 1.1, 1.25], 6, 2
    )


def write_toml(path: Path, manifest: Path, valid: Path | None = None, **changes: object) -> Path:
    settings = {"steps": 70, "batch_size": 16, "precision": '"fp32"', "log_every": 10, "save_every": 0} | changes
    lines = [f"{name} = {value}" for name, value in settings.items()]
    data = [f'manifest = "{manifest}"', "seconds = [0.5, 1.0]", "speeds = [1.0]"]
    data += [f'valid_manifest = "{valid}"'] if valid else []
    path.write_text("\n".join([*lines, f"model = {TINY}", "optimizer = {lr = 5e-3}", "[data]", *data]) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(corpus: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(SpeakerTrainingConfig.load(write_toml(folder / "c.toml", *corpus)), folder / "out", device_name="cpu")
    return folder / "out"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


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


def test_resumed_is_uninterrupted(corpus: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SpeakerTrainingConfig.load(write_toml(tmp_path / "c.toml", corpus[0], steps=6, log_every=1))
    train(config, tmp_path / "whole", device_name="cpu")
    stops = iter([False, False, True])
    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "stopping", lambda _: next(stops))
        train(config, tmp_path / "parts", device_name="cpu")
    assert [row["step"] for row in read_metrics(tmp_path / "parts")] == [1, 2, 3]
    train(config, tmp_path / "parts", device_name="cpu")
    whole, parts = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    assert [row["loss"] for row in read_metrics(tmp_path / "whole")] == [
        row["loss"] for row in read_metrics(tmp_path / "parts")
    ]


def test_two_processes_train_what_one_trains(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    """Same crops, and a batch norm over all of them: equal up to the order of sums, magnified by Adam's division."""
    toml = write_toml(tmp_path / "c.toml", corpus[0], steps=3, log_every=1)
    train(SpeakerTrainingConfig.load(toml), tmp_path / "one", device_name="cpu")
    port = str(20_000 + os.getpid() % 20_000)
    environment = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [
        sys.executable,
        "-m",
        "textless",
        "speaker",
        "train",
        str(toml),
        str(tmp_path / "two"),
        "--device",
        "cpu",
    ]
    two = [subprocess.Popen(command, env=environment | {"RANK": str(rank)}) for rank in range(2)]
    assert [process.wait(timeout=300) for process in two] == [0, 0]
    one, shared = (SpeakerEncoder.load(tmp_path / name)[0].state_dict() for name in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(shared[name], weight, atol=2e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
    for a, b in zip(read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


def test_crops_are_balanced_and_shared_out(corpus: tuple[Path, Path]) -> None:
    config = DataConfig(manifest=(corpus[0],), speeds=(1.0, 0.9), seconds=(0.5, 0.8))
    data = SpeakerCorpus(config, seed=3)
    assert data.n_voices == 16
    crops = data.crops(5, 32)
    assert sorted(crop.speaker for crop in crops) == sorted([*range(16), *range(16)])
    assert crops == SpeakerCorpus(config, seed=3).crops(5, 32) != data.crops(6, 32)
    whole = data.batch(5, 32, World())
    shares = [SpeakerCorpus(config, seed=3).batch(5, 32, World(rank, 2)) for rank in range(2)]
    assert torch.equal(torch.cat([share.speakers for share in shares]), whole.speakers)
    for row, (share, index) in zip(whole.waveforms, [(share, i) for share in shares for i in range(16)], strict=True):
        length = int(share.lengths[index])
        assert torch.equal(row[:length], share.waveforms[index, :length])
    # The slower voices last as long once they are resampled, and are lower.
    by_speed = {crop.speed: n for crop, n in zip(crops, whole.lengths.tolist(), strict=True)}
    assert by_speed[0.9] == pytest.approx(by_speed[1.0], abs=2)


def test_noise_has_the_level_asked_for(corpus: tuple[Path, Path]) -> None:
    config = DataConfig(manifest=(corpus[0],), speeds=(1.0,), noise_db=(10.0, 10.0))
    data = SpeakerCorpus(config, seed=0)
    noisy = next(crop for crop in data.crops(0, 48) if crop.noise_db is not None)
    clean = data._waveform(noisy.recording)[noisy.start : noisy.start + noisy.length].float() / 32768
    noise = data._cut(noisy, np.random.default_rng(noisy.seed)) - clean
    ratio = 10 * torch.log10(clean.square().mean() / noise.square().mean())
    assert float(ratio) == pytest.approx(10, abs=0.2)  # of a second of noise


def test_hidden_bands_and_stretches() -> None:
    config = DataConfig(manifest=(Path("m"),), frequency_mask=8, time_mask=12)
    generators = [np.random.default_rng(seed) for seed in range(20)]
    features = torch.ones(20, 60, 80)
    hide(features, torch.full((20,), 60), generators, config)
    bands = (features == 0).all(dim=1).sum(dim=1)
    stretches = (features == 0).all(dim=2).sum(dim=1)
    assert int(bands.max()) == 8
    assert int(stretches.max()) == 12
    assert len(set(bands.tolist())) > 3


def test_margin_softmax_is_its_formula() -> None:
    head = MarginSoftmax(5, 3, scale=7.0)
    vectors = torch.nn.functional.normalize(torch.randn(4, 5), dim=1)
    speakers = torch.tensor([0, 2, 2, 1])
    losses, right = head(vectors, speakers, 0.3)
    for vector, speaker, loss, hit in zip(vectors, speakers.tolist(), losses.tolist(), right, strict=True):
        cosines = [float(vector @ d / d.norm()) for d in head.directions.detach()]
        scores = np.exp([7 * (c - 0.3 * (k == speaker)) for k, c in enumerate(cosines)])
        assert loss == pytest.approx(-np.log(scores[speaker] / scores.sum()), rel=1e-5)
        assert bool(hit) == (int(np.argmax(cosines)) == speaker)


def test_attentive_statistics_are_weighted_moments() -> None:
    pooling = AttentiveStatistics(3, 4)
    hidden = torch.randn(1, 6, 3)
    inside = torch.tensor([True] * 4 + [False] * 2)[None, :, None]
    (found,) = pooling(hidden, inside)
    scores = pooling.score(hidden)[0, :4].detach().double().numpy()
    x = hidden[0, :4].double().numpy()
    for channel in range(3):
        w = np.exp(scores[:, channel]) / np.exp(scores[:, channel]).sum()
        mean = (w * x[:, channel]).sum()
        deviation = np.sqrt((w * (x[:, channel] - mean) ** 2).sum())
        assert float(found[channel]) == pytest.approx(mean, rel=1e-5)
        assert float(found[3 + channel]) == pytest.approx(deviation, rel=1e-5)


def test_equal_error_rate_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for same_size, different_size, digits in ((40, 300, 9), (7, 5, 9), (50, 60, 1)):  # one decimal: many ties
        same = rng.normal(0.6, 1, same_size).round(digits)
        different = rng.normal(-0.3, 1, different_size).round(digits)
        labels = [1] * same_size + [0] * different_size
        accepted, hits, _ = roc_curve(labels, [*same, *different], drop_intermediate=False)
        x = np.linspace(0, 1, 200_001)  # false acceptances at which the curve, joined by lines, meets the diagonal
        expected = x[np.argmin(np.abs(np.interp(x, accepted, 1 - hits) - x))]
        assert equal_error_rate(same, different) == pytest.approx(expected, abs=1e-5)
    assert equal_error_rate(np.array([2.0, 3]), np.array([0.0, 1])) == 0
    assert equal_error_rate(np.array([0.0, 1]), np.array([2.0, 3])) == 1
    assert equal_error_rate(np.ones(3), np.ones(5)) == 0.5
    with pytest.raises(ValueError, match="trials"):
        equal_error_rate(np.ones(3), np.ones(0))


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


def test_train_verb_continues_and_refuses(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    toml = write_toml(tmp_path / "c.toml", corpus[0])
    assert run("train", toml, tmp_path / "out", "--set", "steps=1", "--device", "cpu").exit_code == 0
    assert "nothing to do" in run("train", toml, tmp_path / "out", "--set", "steps=1").stderr
    with pytest.raises(UserError, match="steps differ"):
        run("train", toml, tmp_path / "out", "--set", "steps=2")
    assert run("train", toml, tmp_path / "out", "--set", "steps=2", "--force").exit_code == 0
    assert SpeakerEncoder.load(tmp_path / "out")[1]["step"] == 2
    header = (tmp_path / "out/config.json").read_text()
    assert str(corpus[0]) not in header  # no places of this machine


def test_several_manifests(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    toml = write_toml(tmp_path / "c.toml", corpus[0])
    toml.write_text(toml.read_text().replace(f'manifest = "{corpus[0]}"', f'manifest = ["{corpus[0]}", "{corpus[1]}"]'))
    data = SpeakerTrainingConfig.load(toml).data
    assert len(SpeakerCorpus(data, 0).speakers) == 12


def test_manifests_that_teach_nothing(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    manifest = read_manifest(corpus[0])
    nameless = tuple(Utterance(u.id, u.path, u.n_samples) for u in manifest)
    write_manifest(tmp_path / "none.tsv", Manifest(manifest.root, nameless))
    with pytest.raises(
        UserError, match="0 speakers have usable.*column `speaker`; 40 recordings are without a speaker"
    ):
        SpeakerCorpus(DataConfig(manifest=(tmp_path / "none.tsv",)), 0)
    one_each = tuple(u for u in manifest if u.id.endswith("/0"))
    write_manifest(tmp_path / "one.tsv", Manifest(manifest.root, one_each))
    with pytest.raises(UserError, match="8 usable recordings of 8 speakers.*two recordings"):
        load_known(tmp_path / "one.tsv", 0.3)
    with pytest.raises(UserError, match="lower and an upper end"):
        SpeakerTrainingConfig.load(write_toml(tmp_path / "c.toml", corpus[0]), ["data.seconds=[3, 1]"])
    with pytest.raises(UserError, match="speeds are positive"):
        SpeakerTrainingConfig.load(tmp_path / "c.toml", ["data.speeds=[]"])


def test_a_loss_that_is_not_finite_keeps_the_last_model(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    toml = write_toml(tmp_path / "c.toml", corpus[0], steps=40, save_every=1)
    with pytest.raises(UserError, match=r"the loss is nan at step \d+: lower optimizer.lr"):
        train(SpeakerTrainingConfig.load(toml, ["optimizer.lr=1e30"]), tmp_path / "out", device_name="cpu")
    kept = SpeakerEncoder.load(tmp_path / "out")[0]
    assert all(weight.isfinite().all() for weight in kept.parameters())


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


@pytest.mark.slow
def test_speakers_of_the_embedded_corpus(tmp_path: Path) -> None:
    """Synthetic speakers that were never heard in training; guessing gives 0.5."""
    from textless.corpora.synth import SynthesisConfig, synthesize_corpus

    synthesize_corpus(SynthesisConfig(hours=0.3, speakers=16, pairs=40), tmp_path / "corpus")
    out = tmp_path / "out"
    data = DataConfig(
        manifest=(tmp_path / "corpus/train/manifest.tsv",), valid_manifest=tmp_path / "corpus/test/manifest.tsv"
    )
    train(SpeakerTrainingConfig(data=data, steps=150, batch_size=32), out, device_name="cpu")
    assert [row["valid_eer"] for row in read_metrics(out) if "valid_eer" in row][-1] < 0.15


@pytest.mark.slow
def test_real_speakers(speech_root: Path, tmp_path: Path) -> None:
    manifest = read_manifest(speech_root / "librispeech_multi" / "manifest.tsv")
    names = sorted({str(u.speaker) for u in manifest})
    for name, chosen in (("train", set(names[20:])), ("test", set(names[:20]))):
        utterances = tuple(u for u in manifest if u.speaker in chosen)
        write_manifest(tmp_path / f"{name}.tsv", Manifest(manifest.root, utterances))
    data = DataConfig(manifest=(tmp_path / "train.tsv",), valid_manifest=tmp_path / "test.tsv", speeds=(1.0,))
    train(SpeakerTrainingConfig(data=data, steps=200), tmp_path / "out", device_name="cpu")
    assert [row["valid_eer"] for row in read_metrics(tmp_path / "out") if "valid_eer" in row][-1] < 0.15
