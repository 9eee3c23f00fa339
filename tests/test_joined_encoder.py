import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from textless.audio.scan import scan
from textless.encoders import fit_gmm
from textless.encoders.cli import app
from textless.encoders.directory import save_encoder
from textless.encoders.encoder import SpeakerAdaptive, load_encoder
from textless.encoders.fit_gmm import GmmConfig
from textless.encoders.logmel_front_end import LogMelConfig
from textless.encoders.speech_transformer import SpeechTransformer, SpeechTransformerConfig
from textless.encoders.transformer import TransformerConfig
from textless.errors import UserError

WAVEFORMS = [0.1 * torch.randn(n, generator=torch.Generator().manual_seed(n)).cumsum(0) for n in (16_000, 5_123, 640)]


@pytest.fixture
def folder(tmp_path, noise_corpus):
    fit_gmm.fit_gmm(scan(noise_corpus, "parent")[0], GmmConfig(components=6, iterations=2), tmp_path / "gmm")
    torch.manual_seed(0)
    transformer = TransformerConfig(dim=32, layers=2, heads=2, ffn_dim=64, position="alibi")
    config = SpeechTransformerConfig(front_end=LogMelConfig(), transformer=transformer)
    save_encoder(tmp_path / "hubert", SpeechTransformer(config).eval())
    return tmp_path


def join(folder, *arguments):
    return CliRunner().invoke(app, ["join", str(folder / "joined"), *map(str, arguments)])


def test_joined_frames_are_the_members_frames_by_weight(folder):
    specs = [f"{folder}/hubert@100:2", f"{folder}/gmm"]
    assert join(folder, *specs, "--weight", 1, "--weight", 0.5).exit_code == 0
    joined, members = load_encoder(f"{folder}/joined"), [load_encoder(spec) for spec in specs]
    assert isinstance(joined.encoder, SpeakerAdaptive)
    assert joined.frame_rate == 100
    state = joined.speaker_state(WAVEFORMS)
    torch.testing.assert_close(state, members[1].speaker_state(WAVEFORMS))
    together = joined.encode(WAVEFORMS, [state] * 3)
    first, second = members[0].encode(WAVEFORMS), members[1].encode(WAVEFORMS, [state] * 3)
    for features, a, b in zip(together, first, second, strict=True):
        n = min(len(a), len(b))
        assert features.shape == (n, joined.dim)
        expected = torch.cat([F.normalize(a[:n], dim=-1), 0.5 * F.normalize(b[:n], dim=-1)], dim=-1)
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)  # batches of other sizes: rounding only


def test_what_cannot_be_joined_is_said(folder):
    for arguments, said in (
        ([f"{folder}/hubert@100:2"], "two or more"),
        ([f"{folder}/hubert@100:2", f"{folder}/gmm", "--weight", 1], "each with a --weight"),
        ([f"{folder}/hubert:2", f"{folder}/gmm"], "50 and 100 Hz"),
        ([f"{folder}/gmm", f"{folder}/gmm:0"], "2 encoders adapt to speakers"),
        (["mfcc", f"{folder}/gmm"], "mfcc cannot be joined"),
    ):
        error = join(folder, *arguments).exception
        assert isinstance(error, UserError)
        assert said in str(error)


def test_weights_belong_to_the_identity(folder):
    specs = [f"{folder}/hubert@100:2", f"{folder}/gmm"]
    hashes = set()
    for weight in (0.5, 1.0):
        assert join(folder, *specs, "--weight", 1, "--weight", weight, "--force").exit_code == 0
        hashes.add(load_encoder(f"{folder}/joined").sha256)
    assert len(hashes) == 2
    assert load_encoder(f"{folder}/joined").encode(WAVEFORMS)[2].isfinite().all()
