"""What speaker encoders are trained on: crops, noise, what is hidden, manifests."""

from pathlib import Path

import numpy as np
import planted_voices
import pytest
import torch
from planted_voices import write_toml

from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.distributed import World
from textless.errors import UserError
from textless.speakers.config import DataConfig, SpeakerTrainingConfig
from textless.speakers.data import SpeakerCorpus, load_known
from textless.speakers.train import hide

corpus = planted_voices.corpus


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
