import math
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from torchaudio.compliance import kaldi

from textless.audio.manifest import Manifest, Utterance, read_manifest
from textless.audio.scan import scan
from textless.config import Config
from textless.corpora.items import items_from_alignment
from textless.encoders import fit_gmm, mixture, vtln
from textless.encoders.directory import load_encoder_directory, save_encoder
from textless.encoders.dirichlet_mixture import fit_dirichlet_mixture
from textless.encoders.encoder import LayerEncoder, SpeakerAdaptive, load_encoder
from textless.encoders.fit_gmm import GmmConfig
from textless.encoders.gmm_posteriors import GmmPosteriors, GmmPosteriorsConfig
from textless.encoders.mixture import Gaussians, fit_mixture
from textless.encoders.spectral import povey_window, power_spectra
from textless.errors import AudioError, UserError
from textless.features import extract
from textless.pipeline.recordings import collect
from zerospeech_eval.abx import abx

COVARIANCES = ["diagonal", "full"]


def some_gaussians(covariance, components=5, dim=4):
    weights = torch.rand(components, dtype=torch.float64) + 0.1
    means = 3 * torch.randn(components, dim, dtype=torch.float64)
    if covariance == "diagonal":
        covariances = (0.2 + torch.rand(components, dim, dtype=torch.float64))[..., None, None]
    else:
        roots = torch.randn(components, 1, dim, dim, dtype=torch.float64)
        covariances = roots @ roots.mT + 0.2 * torch.eye(dim)
    return Gaussians(weights / weights.sum(), means, covariances)


def draw(gaussians, count):
    """Frames `(count, D)` of a mixture, float64, and the component of each."""
    labels = torch.multinomial(gaussians.weights, count, replacement=True)
    joined = gaussians.full().covariances[:, 0]
    noise = torch.linalg.cholesky(joined)[labels] @ torch.randn(count, joined.shape[-1], 1, dtype=torch.float64)
    return gaussians.means[labels] + noise[..., 0], labels


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_posteriors_are_those_of_a_loop(covariance):
    gaussians = some_gaussians(covariance)
    frames, _ = draw(gaussians, 20)
    joined = gaussians.full().covariances[:, 0]
    densities = torch.zeros(20, 5, dtype=torch.float64)
    for n, x in enumerate(frames):
        for k in range(5):
            away = x - gaussians.means[k]
            exponent = away @ joined[k].inverse() @ away
            densities[n, k] = gaussians.weights[k] * math.exp(-exponent / 2) / joined[k].det().sqrt()
    densities /= (2 * math.pi) ** 2  # 4 dimensions
    powers = densities**0.3
    exact = gaussians.mixture(torch.float64)
    torch.testing.assert_close(exact.log_likelihood(frames), densities.sum(dim=1).log())
    torch.testing.assert_close(exact.posteriors(frames), densities / densities.sum(dim=1, keepdim=True))
    torch.testing.assert_close(exact.posteriors(frames, 0.3), powers / powers.sum(dim=1, keepdim=True))
    # float32: exponents of a few hundred keep three digits behind the point
    torch.testing.assert_close(
        gaussians.mixture().posteriors(frames.float(), 0.3).double(), exact.posteriors(frames, 0.3), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_em_finds_planted_clusters_and_the_likelihood_never_falls(covariance, monkeypatch):
    planted = some_gaussians(covariance)
    planted = replace(planted, means=4 * planted.means)
    frames, labels = draw(planted, 5000)
    fit = fit_mixture(frames, 5, covariance=covariance, iterations=10)
    assert (np.diff(fit.bounds) > -1e-9).all()
    found = fit.gaussians
    order = torch.cdist(planted.means, found.means).argmin(dim=1)
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4]
    counts = torch.bincount(labels).double()
    # a mean of n frames strays by σ / √n: five of those
    error = (found.means[order] - planted.means).abs()
    assert (error < 5 * (planted.full().covariances[:, 0].diagonal(dim1=1, dim2=2) / counts[:, None]).sqrt()).all()
    torch.testing.assert_close(found.weights[order], counts / 5000, rtol=0, atol=0.01)
    monkeypatch.setattr(mixture, "FRAMES_PER_BLOCK", 7)
    again = fit_mixture(frames, 5, covariance=covariance, iterations=10)
    torch.testing.assert_close(again.gaussians.covariances, found.covariances)


def test_variances_keep_above_the_floor():
    frames = torch.randn(400, 6)
    frames[:, 3:5] = 0.7  # constant
    frames[:, 5] = frames[:, 0]  # repeated: singular
    frames[200:] = frames[0]  # one point, many times
    for covariance in COVARIANCES:
        fit = fit_mixture(frames, 8, covariance=covariance)
        assert np.isfinite(fit.bounds).all()
        assert torch.isfinite(fit.gaussians.mixture().posteriors(frames)).all()
        floor = mixture.FLOOR * frames.double().var(dim=0, correction=0)
        variances = fit.gaussians.full().covariances[:, 0].diagonal(dim1=1, dim2=2)
        assert (variances >= floor * (1 - 1e-6)).all()
    assert len(fit_dirichlet_mixture(frames, 8).gaussians.weights) < 8
    with pytest.raises(UserError, match="8 components needs at least as many frames, found 7"):
        fit_mixture(frames[:7], 8)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_dirichlet_process_finds_how_many_clusters_there_are(covariance):
    planted = some_gaussians(covariance)
    planted = replace(planted, means=8 * planted.means)
    frames, _ = draw(planted, 3000)
    fit = fit_dirichlet_mixture(frames, 20, covariance=covariance, iterations=60)
    assert (np.diff(fit.bounds) > -1e-9).all()
    assert len(fit.gaussians.weights) == 5
    assert torch.cdist(planted.means, fit.gaussians.means).min(dim=1).values.max() < 0.5
    torch.testing.assert_close(fit.gaussians.weights.sum().item(), 1.0)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_bound_of_one_component_is_the_evidence(covariance):
    """With one component the variational posterior is exact, and the evidence of a Normal-Wishart model is known."""
    frames = torch.randn(50, 3, dtype=torch.float64) @ torch.randn(3, 3, dtype=torch.float64)
    bound = fit_dirichlet_mixture(frames, 1, covariance=covariance, iterations=1).bounds[-1]
    start = mixture.start(frames, 1, torch.Generator().manual_seed(0))
    columns = frames.T[..., None] if covariance == "diagonal" else frames[None]  # (G, N, P)
    evidence = 0.0
    for group in columns:
        n, p = group.shape
        before = (p + 1) * start.covariances[0, 0, 0, 0] * torch.eye(p, dtype=torch.float64)
        # the prior's mean is the frames': it pulls at nothing
        after = before + (group - group.mean(dim=0)).T @ (group - group.mean(dim=0))
        halves = torch.tensor([(p + 1 + n) / 2, (p + 1) / 2], dtype=torch.float64)
        gammas = torch.special.multigammaln(halves, p)
        evidence += gammas[0] - gammas[1] - n * p / 2 * math.log(math.pi) - p / 2 * math.log(1 + n)
        evidence += halves[1] * torch.logdet(before) - halves[0] * torch.logdet(after)
    torch.testing.assert_close(bound, float(evidence) / 50)


@pytest.mark.parametrize("warp", [0.84, 1.0, 1.14])
def test_warped_features_are_kaldis(warp):
    waveform = torch.randn(8000).cumsum(0) * 0.01
    power = power_spectra(waveform[None], 160, povey_window())
    found = vtln.warped_mfcc(power, torch.tensor([50]), [warp])[0]
    padded = F.pad(waveform, (120, 400))[None]
    expected = kaldi.mfcc(padded, sample_frequency=16_000, dither=0.0, use_energy=False, vtln_warp=warp)[:50]
    # float32 rounding, which the logarithm magnifies in nearly empty filters, relative to the scale of the features
    assert (found[:, :13] - expected).abs().max() / expected.abs().max() < 1e-4
    if warp == 1.0:
        torch.testing.assert_close(found, load_encoder("mfcc").encode([waveform])[0], rtol=1e-4, atol=1e-4)


def vowels(scale, n_frames, generator):
    """Power spectra `(n_frames, 257)` of wandering vowels by a vocal tract whose formants lie at F · scale."""
    formants = torch.tensor(
        [[300, 2300, 3000], [600, 1800, 2500], [750, 1200, 2400], [350, 800, 2300], [500, 1500, 2600]]
    )
    stays = formants[torch.randint(5, (n_frames // 20 + 2,), generator=generator)].float()
    path = F.interpolate(stays.T[None], size=n_frames, mode="linear")[0].T  # (n_frames, 3)
    path = scale * path * (1 + 0.02 * torch.randn(path.shape, generator=generator))
    frequencies = torch.arange(257) * 16_000 / 512
    peaks = torch.exp(-(((frequencies - path[..., None]) / 150) ** 2) / 2)  # (n_frames, 3, 257)
    level = 0.05 * torch.rand(n_frames, 257, generator=generator)
    return 1e6 * (peaks.sum(dim=1) + level) / (1 + frequencies / 1000)


def test_warps_tell_the_lengths_of_vocal_tracts(monkeypatch):
    monkeypatch.setattr(vtln, "COMPONENTS", 16)  # so few speakers would be known one by one to more
    generator = torch.Generator().manual_seed(0)
    scales = np.linspace(0.89, 1.12, 9)
    speakers = [[vowels(s, 150, generator), vowels(s, 250, generator)] for s in scales]
    model = vtln.fit_warp_model([vtln.candidates(power) for power in speakers], seed=0)
    assert abs(np.mean(model.warps) - 1) <= 0.01  # half a step
    expected = 1 / scales + 1 - np.mean(1 / scales)
    assert np.abs(np.array(model.warps) - expected).max() <= 0.04  # two steps
    short, long = (vtln.estimate_warp(model.mixture, [vowels(s, 400, generator)]) for s in (1.1, 0.9))
    assert long - short == pytest.approx(1 / 0.9 - 1 / 1.1, abs=0.08)


def a_corpus(noise_corpus, *, speakers=True):
    manifest = scan(noise_corpus, "parent")[0]
    if not speakers:
        manifest = Manifest(manifest.root, tuple(replace(u, speaker=None) for u in manifest))
    return manifest


@pytest.fixture
def fitted(tmp_path, noise_corpus):
    config = GmmConfig(components=12, iterations=3)
    return fit_gmm.fit_gmm(a_corpus(noise_corpus), config, tmp_path / "model"), tmp_path / "model"


def test_batching_and_padding_never_change_a_feature(fitted):
    encoder = LayerEncoder("gmm", fitted[0].encoder, 1, torch.device("cpu"))
    waveforms = [0.1 * torch.randn(n).cumsum(0) for n in (16_000, 170, 8001, 640)]
    states = [encoder.speaker_state([w, waveforms[0]]) for w in waveforms]
    for known in (None, states):
        together = encoder.encode(waveforms, known)
        for index, waveform in enumerate(waveforms):
            alone = encoder.encode([waveform], None if known is None else [known[index]])[0]
            assert alone.shape == (len(waveform) // 160, 12)
            # matrix products may be blocked differently for another batch size: rounding only
            torch.testing.assert_close(alone, together[index], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(alone.norm(dim=1), torch.ones(len(alone)))
    own = encoder.encode(waveforms[:1], [encoder.speaker_state(waveforms[:1])])[0]
    torch.testing.assert_close(own, encoder.encode(waveforms[:1])[0], rtol=1e-4, atol=1e-4)
    with pytest.raises(AudioError, match="no recording of the speaker has a frame"):
        encoder.speaker_state([torch.zeros(100)])


def test_a_saved_encoder_is_the_same_encoder(fitted, tmp_path):
    fit, path = fitted
    assert isinstance(fit.encoder, SpeakerAdaptive)
    waveform = torch.randn(5000)
    expected = fit.encoder(waveform[None], torch.tensor([5000]))[0]
    loaded = load_encoder_directory(path)
    assert loaded.sha256() == fit.encoder.sha256() == load_encoder(str(path)).sha256
    assert torch.equal(loaded(waveform[None], torch.tensor([5000]))[0], expected)
    assert torch.equal(load_encoder(str(path)).encode([waveform])[0], expected[0])
    flatter = GmmPosteriors(loaded.config.model_copy(update={"temperature": 0.1}))
    flatter.load_state_dict(loaded.state_dict())
    assert flatter.sha256() != loaded.sha256()
    save_encoder(tmp_path / "flatter", flatter)
    assert load_encoder_directory(tmp_path / "flatter").sha256() == flatter.sha256()


def test_directories_say_what_is_wrong(fitted, tmp_path):
    _, path = fitted
    config = path / "config.json"
    text = config.read_text()
    for old, new, message in [
        ('"temperature": 0.3', '"temperature": 0', "temperature: input should be greater than 0"),
        (
            '"components": 12,\n    "covariance"',
            '"components": 13,\n    "covariance"',
            "weights and configuration disagree",
        ),
    ]:
        assert old in text
        config.write_text(text.replace(old, new, 1))
        with pytest.raises(UserError, match=message):
            load_encoder_directory(path)
    with pytest.raises(UserError, match="must divide 16000"):
        GmmPosteriors(GmmPosteriorsConfig(components=2, frame_rate=33))


def test_fitting_is_reproducible_and_refuses_to_overwrite(fitted, tmp_path, noise_corpus):
    fit, path = fitted
    manifest, config = a_corpus(noise_corpus), GmmConfig(components=12, iterations=3)
    assert (fit.speakers, fit.skipped) == (2, [])
    assert fit.frames == sum(u.n_samples // 160 for u in manifest)
    with pytest.raises(UserError, match="exists already"):
        fit_gmm.fit_gmm(manifest, config, path)
    assert fit_gmm.fit_gmm(manifest, config, path, force=True).encoder.sha256() == fit.encoder.sha256()
    other = fit_gmm.fit_gmm(manifest, config.model_copy(update={"seed": 1}), tmp_path / "other")
    assert other.encoder.sha256() != fit.encoder.sha256()


@pytest.mark.parametrize(
    "changes",
    [{"vtln": False}, {"covariance": "full"}, {"dirichlet": True}, {"dirichlet": True, "covariance": "full"}],
    ids="-".join,
)
def test_every_option_gives_an_encoder(changes, tmp_path, noise_corpus):
    config = GmmConfig.model_validate(
        {"components": 4, "iterations": 2, "frame_rate": 50, "max_frames": 150, **changes}
    )
    fit = fit_gmm.fit_gmm(a_corpus(noise_corpus), config, tmp_path / "model")
    assert fit.frames == 150
    loaded = load_encoder_directory(tmp_path / "model")
    assert loaded.config == fit.encoder.config
    assert (loaded.frame_rate, loaded.min_samples) == (50, 320)
    assert loaded.config.vtln is changes.get("vtln", True)
    assert loaded.config.covariance == changes.get("covariance", "diagonal")
    features, frames = loaded(torch.randn(2, 4000), torch.tensor([4000, 2000]))
    assert features.shape == (2, 12, fit.encoder.layer_dim(1))
    assert frames.tolist() == [12, 6]
    assert fit.encoder.layer_dim(1) <= 4


def test_utterances_without_a_speaker_speak_for_themselves(tmp_path, noise_corpus, capsys):
    manifest = a_corpus(noise_corpus, speakers=False)
    fit = fit_gmm.fit_gmm(manifest, GmmConfig(components=4, iterations=1), tmp_path / "model")
    assert fit.speakers == 6
    assert "6 utterances name no speaker" in capsys.readouterr().err
    encoder = LayerEncoder("gmm", fit.encoder, 1, torch.device("cpu"))
    encoded = {u.id: features for u, features in extract.encode_utterances(manifest, manifest.utterances, encoder, [])}
    for utterance in manifest:
        alone = encoder.encode([manifest.load(utterance)])[0]
        torch.testing.assert_close(encoded[utterance.id], alone, rtol=1e-4, atol=1e-4)


def test_unusable_recordings_are_listed_once(tmp_path, noise_corpus):
    manifest = a_corpus(noise_corpus)
    (noise_corpus / "γλώσσα" / "take 0.wav").write_text("text")
    soundfile.write(noise_corpus / "short.wav", np.zeros(100), 16_000)
    with_short = Manifest(manifest.root, (*manifest, Utterance("short", "short.wav", 100, "sprecher eins")))
    fit = fit_gmm.fit_gmm(with_short, GmmConfig(components=4, iterations=1), tmp_path / "model")
    assert sorted(s.path for s in fit.skipped) == ["short.wav", "γλώσσα/take 0.wav"]
    assert "not an audio file" in (tmp_path / "model" / "skipped.tsv").read_text()
    for vtln_ in (True, False):
        with pytest.raises(UserError, match="no usable recording"):
            nothing = Manifest(manifest.root, (with_short.utterances[-1],))
            fit_gmm.fit_gmm(nothing, GmmConfig(vtln=vtln_), tmp_path / "none")


def test_a_large_corpus_is_thinned_to_all_of_its_speakers():
    utterances = (Utterance(str(i), f"{i}.wav", 16_000 * 36, str(i % 4)) for i in range(1000))  # they take turns
    manifest = Manifest(".", tuple(utterances))  # type: ignore[arg-type]
    kept = fit_gmm._thinned(manifest, 2.5, seed=0)
    assert len(kept) == 250
    assert {u.speaker for u in kept} == {"0", "1", "2", "3"}
    assert kept == sorted(kept, key=lambda u: int(u.id))
    assert len(fit_gmm._thinned(manifest, 100, seed=0)) == 1000
    assert len(fit_gmm._thinned(manifest, 1e-9, seed=0)) == 1
    sample = fit_gmm._UniformSample(100, seed=0)
    for block in torch.arange(10_000).float()[:, None].split(37):
        sample.add(block)
    frames = sample.frames()[:, 0]
    assert len(frames) == len(frames.unique()) == 100
    assert bool((frames.diff() > 0).all())
    # the mean of 100 draws from 0..9999 strays by 289: five of those
    assert abs(frames.mean() - 5000) < 5 * 289


def test_configurations_reject_what_makes_no_sense():
    assert issubclass(GmmConfig, Config)
    assert GmmConfig.load(None, ["dirichlet=true", "covariance=full"]).covariance == "full"
    for override in ("components=0", "covariance=round", "temperature=0", "component=3"):
        with pytest.raises(UserError):
            GmmConfig.load(None, [override])


def test_warps_of_real_voices_tell_women_from_men(speech_root):
    folder = speech_root / "librispeech_multi"
    sex = dict(line.split("\t") for line in (folder / "speakers.tsv").read_text().splitlines()[1:])
    manifest = read_manifest(folder / "manifest.tsv")
    one_each = {u.speaker: u for u in manifest.utterances[::2]}
    power = [power_spectra(manifest.load(u)[None], 160, povey_window()) for u in one_each.values()]
    model = vtln.fit_warp_model([vtln.candidates(p) for p in power], seed=0)
    men = [warp for speaker, warp in zip(one_each, model.warps, strict=True) if sex[speaker] == "M"]
    women = [warp for speaker, warp in zip(one_each, model.warps, strict=True) if sex[speaker] == "F"]
    pairs = [(m > w) + 0.5 * (m == w) for m in men for w in women]
    assert np.mean(pairs) > 0.9


@pytest.mark.slow
def test_posteriors_discriminate_real_phones_better_than_mfcc(speech_root, tmp_path):
    corpus = collect(speech_root / "librispeech_multi")
    manifest, speakers = corpus.manifest, {u.id: u.speaker for u in corpus.manifest}
    fit_gmm.fit_gmm(manifest, GmmConfig(max_frames=100_000), tmp_path / "model")
    gmm = LayerEncoder("gmm", load_encoder_directory(tmp_path / "model"), 1, torch.device("cpu"))
    items = list(items_from_alignment(corpus.alignment, speakers, "phoneme"))
    aligned = [u for u in manifest if u.id in corpus.alignment]

    def score(encoder, speaker):
        features = {u.id: x.numpy() for u, x in extract.encode_utterances(manifest, aligned, encoder, [])}
        return abx(items, features, 100, speaker=speaker, context="any", max_size_group=5, max_x_across=3).value

    assert score(gmm, "within") < 0.9 * score(load_encoder("mfcc-cmvn"), "within")
    assert score(gmm, "across") < 0.8 * score(load_encoder("mfcc-cmvn"), "across")
