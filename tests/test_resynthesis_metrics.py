"""Judging a resynthesis: distortion, pitch errors, similarity of voices against literal definitions; the verb."""

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.errors import UserError
from textless.speakers.config import SpeakerEncoderConfig
from textless.speakers.model import SpeakerEncoder
from units.files import Units, write_units
from units.identity import QuantizerIdentity
from zerospeech_eval import resynthesis
from zerospeech_eval.acoustic_comparison import compare, new_tracker
from zerospeech_eval.cli import app
from zerospeech_eval.f0_errors import add, f0_errors
from zerospeech_eval.mel_cepstra import distortions, mel_cepstra, warp
from zerospeech_eval.perceived_quality import Squim
from zerospeech_eval.recognizer import Recognizer, RecognizerConfig, save
from zerospeech_eval.resynthesis import Settings, evaluate
from zerospeech_eval.resynthesis_pairs import find_pairs
from zerospeech_eval.speaker_similarity import Converted, Voice, Voices, similarity, verify

RATE = 16_000


def buzz(pitch: float, seconds: float = 0.6, seed: int = 0) -> np.ndarray:
    """Harmonics that fall with the frequency, a little noise, and silence at either end."""
    t = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * pitch * k * t + k) / k for k in range(1, 20))
    tone *= np.minimum(1, np.minimum(t, t[::-1]) / 0.05)
    return (0.1 * tone + 0.001 * np.random.default_rng(seed).standard_normal(len(t))).astype(np.float32)


def literal_cepstra(waveform: np.ndarray, order: int) -> np.ndarray:
    """The definition, frame by frame, band by band."""

    def mel(f: float) -> float:
        return 2595 * math.log10(1 + f / 700)

    edges = [700 * (10 ** (mel(8000) * i / 41 / 2595) - 1) for i in range(42)]
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / 1024) for n in range(1024)]
    powers = []
    for i in range(len(waveform) // 160):
        first = i * 160 + 80 - 512
        frame = [waveform[first + n] if 0 <= first + n < len(waveform) else 0.0 for n in range(1024)]
        spectrum = np.abs(np.fft.fft(np.array(frame) * window)[:513]) ** 2
        row = []
        for k in range(40):
            total = 0.0
            for b in range(513):
                f = b * 16_000 / 1024
                if edges[k] < f <= edges[k + 1]:
                    total += spectrum[b] * (f - edges[k]) / (edges[k + 1] - edges[k])
                elif edges[k + 1] < f < edges[k + 2]:
                    total += spectrum[b] * (edges[k + 2] - f) / (edges[k + 2] - edges[k + 1])
            row.append(total)
        powers.append(row)
    floor = max(map(max, powers)) * 1e-8
    return np.array(
        [
            [
                sum(math.log(max(p, floor)) * math.cos(math.pi * m * (k + 0.5) / 40) for k, p in enumerate(row)) / 40
                for m in range(1, order + 1)
            ]
            for row in powers
        ]
    )  # fmt: skip


def test_cepstra_and_distortion_are_their_definition() -> None:
    one, other = buzz(140, 0.12), buzz(180, 0.12, seed=1)
    found = [mel_cepstra(torch.from_numpy(w), 13) for w in (one, other)]
    expected = [literal_cepstra(w.astype(float), 13) for w in (one, other)]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
    dbs = [
        10 / math.log(10) * math.sqrt(2 * sum((a - b) ** 2 for a, b in zip(x, y, strict=True)))
        for x, y in zip(*expected, strict=True)
    ]
    np.testing.assert_allclose(distortions(*found), dbs, atol=1e-8)


def test_distortion_is_the_rms_difference_of_log_spectra_in_db() -> None:
    """All 39 cepstra together are the spectrum but for its level: a shaped gain of known size is found again."""
    rng = np.random.default_rng(0)
    bands = rng.normal(size=(7, 40))
    bands -= bands.mean(axis=1, keepdims=True)
    k, m = np.arange(40) + 0.5, np.arange(1, 40)
    cepstra = 2 / 40 * bands @ np.cos(np.pi / 40 * k[:, None] * m)
    rms_db = 20 / math.log(10) * np.sqrt((bands**2).mean(axis=1))
    np.testing.assert_allclose(distortions(cepstra, np.zeros_like(cepstra)), rms_db, rtol=1e-12)


def test_level_changes_no_cepstrum_and_identity_none() -> None:
    waveform = torch.from_numpy(buzz(150))
    np.testing.assert_allclose(mel_cepstra(waveform, 24), mel_cepstra(0.1 * waveform, 24), atol=1e-6)
    same = compare(waveform, waveform, 13, new_tracker())
    assert same.mcd == same.mcd_in_place == 0
    assert (same.f0.ffe, same.f0.gpe, same.f0.vde, same.f0.rmse_hertz) == (0, 0, 0, 0)
    assert same.f0.semitone_share == 1


def literal_warping(costs: np.ndarray) -> tuple[float, int]:
    """Smallest sum over all paths, by recursion, and the length of the path that prefers the diagonal, then up."""
    n, m = costs.shape
    best: dict[tuple[int, int], tuple[float, int]] = {(0, 0): (costs[0, 0], 1)}
    for i in range(n):
        for j in range(m):
            steps = [
                (best[p][0], best[p][1]) for p in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if p in best and p != (i, j)
            ]
            if steps:
                total, length = min(steps, key=lambda step: step[0])
                best[i, j] = total + costs[i, j], length + 1
    return best[n - 1, m - 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 10_000), st.booleans())
def test_warping(n: int, m: int, seed: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    one, other = (
        rng.integers(0, 2, (count, 3)).astype(float) if tied else rng.normal(size=(count, 3)) for count in (n, m)
    )
    costs = np.sqrt(((one[:, None] - other[None]) ** 2).sum(axis=2))
    path = warp(one, other)
    total, length = literal_warping(costs)
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [n - 1, m - 1]
    assert {tuple(step) for step in np.diff(path, axis=0).tolist()} <= {(1, 1), (1, 0), (0, 1)}
    assert costs[path[:, 0], path[:, 1]].sum() == pytest.approx(total)
    assert len(path) == length


def test_a_slower_copy_is_warped_onto_the_original() -> None:
    """Pitch as well: the tone rises by a fourth, later in the copy."""
    one, other = (np.concatenate([buzz(120, a), buzz(160, b)]) for a, b in ((0.3, 0.6), (0.6, 0.3)))
    found = compare(torch.from_numpy(one), torch.from_numpy(np.concatenate([other, other[-4000:]])), 13, new_tracker())
    assert found.mcd_in_place is None
    in_place = compare(torch.from_numpy(one), torch.from_numpy(other), 13, new_tracker())
    assert in_place.mcd_in_place is not None
    assert in_place.mcd < 0.5 * in_place.mcd_in_place
    assert in_place.f0.gpe is not None
    assert in_place.f0.gpe > 0.2  # a fourth is 33 %, and wrong for a third of the time
    assert found.f0.gpe is not None
    assert found.f0.gpe < 0.1


def test_f0_errors_by_hand() -> None:
    original = np.array([0, 100, 100, 100, 100, 200, 0, 100.0])
    resynthesis = np.array([0, 100, 121, 119, 0, 210, 90, 80.0])
    found = f0_errors(original, resynthesis)
    assert (found.frames, found.both_voiced, found.lost_voicing, found.false_voicing, found.gross) == (8, 5, 1, 1, 1)
    assert found.gpe == 1 / 5  # 21 %; exactly 20 % down is no gross error
    assert found.vde == 2 / 8
    assert found.ffe == 3 / 8
    assert found.rmse_hertz == pytest.approx(math.sqrt((0 + 21**2 + 19**2 + 10**2 + 20**2) / 5))
    cents = [0, 1200 * math.log2(1.21), 1200 * math.log2(1.19), 1200 * math.log2(1.05), 1200 * math.log2(0.8)]
    assert found.rmse_cents == pytest.approx(math.sqrt(sum(c * c for c in cents) / 5))
    assert found.semitone_share == 2 / 5
    assert add([found, found]).ffe == 3 / 8
    assert add([found, found]).frames == 16
    silent = f0_errors(np.zeros(3), np.zeros(3))
    assert (silent.gpe, silent.rmse_cents, silent.semitone_share, silent.vde) == (None, None, None, 0)


def test_a_tone_a_semitone_higher() -> None:
    found = compare(torch.from_numpy(buzz(150)), torch.from_numpy(buzz(150 * 2 ** (1 / 12))), 13, new_tracker())
    assert found.f0.rmse_cents == pytest.approx(100, abs=2)
    assert found.f0.gpe == 0


def unit(*values: float) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(values), dim=0)


def test_voices_of_a_conversion() -> None:
    """Two speakers on the axes of a plane; the conversion of x stops at 60 of the 90 degrees to y."""
    originals = [Voice("x1", "x", unit(1, 0.2)), Voice("x2", "x", unit(1, -0.2)), Voice("y1", "y", unit(0.0, 1))]
    sources = Voices(originals)
    turned = unit(math.cos(math.radians(60)), math.sin(math.radians(60)))
    found = similarity(Converted(originals[0], turned, "y"), sources, sources)
    assert found.to_source == pytest.approx(0.5)
    assert found.to_target == pytest.approx(math.cos(math.radians(30)))
    assert found.to_original == pytest.approx(float(turned @ unit(1, 0.2)))
    # y has one recording, which cannot be tried with itself; it serves as the other voice of the others.
    tried = verify(originals, sources)
    assert (tried.eer, tried.trials, tried.untried) == (0, 4, 1)
    assert verify([Voice("x1", "y", turned)], sources).trials == 2
    nameless = [Voice(v.id, None, v.vector) for v in originals]
    assert verify(nameless, Voices(nameless)).eer is None


class Folders:
    """Originals of two speakers, and resyntheses with their manifests."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.originals, self.copies = root / "original", root / "copy"
        rows: dict[str, list[Utterance]] = {"original": [], "copy": []}
        for number in range(6):
            name, speaker = f"{'ab'[number % 2]}/{number}", "ab"[number % 2]
            waveform = buzz(110 + 25 * number, 0.5 + 0.05 * number, seed=number)
            for folder, pitch in (("original", 0.0), ("copy", 3.0)):
                sound = waveform if not pitch else buzz(113 + 25 * number, 0.5 + 0.05 * number, seed=99)
                io.save(root / folder / f"{name}.wav", sound)
                other = speaker if folder == "original" else "ba"[number % 2]
                rows[folder].append(Utterance(name, f"{name}.wav", len(sound), other, f"say {number}"))
        for folder, utterances in rows.items():
            write_manifest(root / f"{folder}.tsv", Manifest(root / folder, tuple(utterances)))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = SpeakerEncoderConfig(width=8, dilations=(1,), pooled=8, attention=4, dim=6)
    folder = tmp_path_factory.mktemp("speaker") / "encoder"
    SpeakerEncoder(config).save(folder, step=0)
    return folder


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("recognizer") / "r"
    save(Recognizer(RecognizerConfig(phones=("p", "q", "r"), dim=16, blocks=1)), folder, {})
    return folder


def run(*arguments: object) -> Result:
    command = ["resynthesis", *(str(argument) for argument in arguments), "--device", "cpu"]
    return CliRunner().invoke(app, command, catch_exceptions=False)


def test_pairs_by_id_and_by_path(folders: Folders, tmp_path: Path) -> None:
    assert len(find_pairs(folders.originals, folders.copies).pairs) == 6
    renamed = [Utterance(f"id{i}", u.path, u.n_samples) for i, u in enumerate(read_manifest(tmp_path / "copy.tsv"))]
    write_manifest(tmp_path / "copy" / "manifest.tsv", Manifest(folders.copies, tuple(renamed[:5])))
    found = find_pairs(tmp_path / "original.tsv", folders.copies)  # the folder's own manifest counts
    assert [(p.id, p.resynthesis.id) for p in found.pairs] == [
        (u.id, f"id{i}") for i, u in enumerate(read_manifest(tmp_path / "original.tsv").utterances[:5])
    ]
    assert (found.only_original, found.only_resynthesis) == (1, 0)


def test_figures_are_those_of_the_parts(folders: Folders) -> None:
    result = evaluate(folders.originals, folders.copies, Settings(device="cpu"))
    parts = [
        compare(io.load(folders.originals / f"{name}.wav"), io.load(folders.copies / f"{name}.wav"), 13, new_tracker())
        for name in result.acoustics
    ]
    assert list(result.acoustics.values()) == parts
    values = [part.mcd for part in parts]
    assert result.mcd() == pytest.approx((np.mean(values), np.std(values, ddof=1) / 6**0.5, 6))
    assert result.f0 == add(part.f0 for part in parts)
    assert result.seconds == pytest.approx(sum(0.5 + 0.05 * n for n in range(6)))


def test_groups_change_nothing(
    folders: Folders, encoder: Path, recognizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = Settings(speaker_encoder=str(encoder), recognizer=str(recognizer), device="cpu")
    whole = evaluate(folders.root / "original.tsv", folders.copies, chosen).summary()
    monkeypatch.setattr(resynthesis, "TOGETHER_SECONDS", 0.7)
    parts = evaluate(folders.root / "original.tsv", folders.copies, chosen).summary()
    for key in ("cosine_to_original", "cosine_to_source"):
        assert parts["speakers"].pop(key) == pytest.approx(whole["speakers"].pop(key), abs=1e-6)
    assert parts == whole


def test_the_verb_with_everything(folders: Folders, encoder: Path, recognizer: Path, tmp_path: Path) -> None:
    identity = QuantizerIdentity(encoder="mfcc@50", k=4, frame_rate=50.0, sha256="0" * 64)
    write_units(
        tmp_path / "units.jsonl",
        identity,
        [Units(u.id, [0, 1], [10, 15]) for u in read_manifest(tmp_path / "copy.tsv")],
    )
    (tmp_path / "text.tsv").write_text("".join(f"{u.id}\tp q r\n" for u in read_manifest(tmp_path / "original.tsv")))
    options = ["--order", 24, "--recognizer", recognizer, "--text", tmp_path / "text.tsv", "--speaker-encoder", encoder]
    options += ["--target-manifest", tmp_path / "original.tsv", "--units", tmp_path / "units.jsonl", "--seed", 1]
    options += ["--details", tmp_path / "d.tsv", "--plot", tmp_path / "p.png"]
    result = run(tmp_path / "original.tsv", tmp_path / "copy.tsv", *options, "--json")
    found = json.loads(result.stdout)
    assert found["recordings"] == 6
    assert found["mel_cepstra"] == 24
    assert found["mcd_warped"]["recordings"] == found["mcd_in_place"]["recordings"] == 6
    assert found["content"]["original"]["reference_phones"] == 18
    assert 0 <= found["speakers"]["nearer_to_target"] <= 1
    assert found["speakers"]["resynthesis"]["trials"] == 12
    assert found["bit_rate"]["bits_per_second"] == pytest.approx(12 / sum(0.5 + 0.05 * n for n in range(6)))
    lines = [line.split("\t") for line in (tmp_path / "d.tsv").read_text().splitlines()]
    assert len(lines) == 7
    column = lines[0].index("mcd_warped_db")
    assert np.mean([float(line[column]) for line in lines[1:]]) == pytest.approx(found["mcd_warped"]["db"])
    assert {"gpe", "semitone_share", "edits", "cosine_to_target"} < set(lines[0])
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    shown = run(tmp_path / "original.tsv", tmp_path / "copy.tsv", *options).stdout
    for words in (
        "mel-cepstral distortion, warped",
        "within a semitone",
        "phone error rate, %",
        "speaker equal error rate",
        "bit rate",
        "nearer to the target",
    ):
        assert words in shown


def test_without_texts_the_originals_are_the_reference(folders: Folders, recognizer: Path, encoder: Path) -> None:
    same = run(
        folders.root / "original.tsv", folders.originals, "--recognizer", recognizer, "--speaker-encoder", encoder
    )
    assert "phone error rate against the originals', %" in same.stdout
    result = evaluate(folders.originals, folders.originals, Settings(recognizer=str(recognizer), device="cpu"))
    assert result.content is not None
    assert result.content.resynthesis.rate == 0
    assert result.content.original is None


def test_text_is_compared_by_characters(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ears_of_resynthesis.py").write_text("def hear(waveform):\n    return 'Say  one!'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    chosen = Settings(recognizer="ears_of_resynthesis:hear", text=tmp_path / "original.tsv", device="cpu")
    content = evaluate(tmp_path / "original.tsv", folders.copies, chosen).content
    assert content is not None
    assert content.resynthesis.token == "character"
    assert content.resynthesis.rate == pytest.approx(3 / 5)  # "say 0" and "say one"


def test_one_target_for_all(folders: Folders, encoder: Path, tmp_path: Path) -> None:
    options = ("--speaker-encoder", encoder, "--target-manifest", tmp_path / "original.tsv")
    found = json.loads(run(tmp_path / "original.tsv", folders.copies, *options, "--target", "b", "--json").stdout)
    assert found["speakers"]["cosine_to_target"] is not None
    with pytest.raises(UserError, match="no recordings of 'c'; it has 'a', 'b'"):
        run(tmp_path / "original.tsv", folders.copies, *options, "--target", "c")
    with pytest.raises(UserError, match="resyntheses have no speaker"):
        run(tmp_path / "original.tsv", folders.copies, *options)


def test_speakers_with_one_recording(folders: Folders, encoder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(tmp_path / "original.tsv")
    write_manifest(tmp_path / "two.tsv", Manifest(manifest.root, manifest.utterances[:2]))
    shown = run(tmp_path / "two.tsv", folders.copies, "--speaker-encoder", encoder).stdout
    assert "2 originals are of a speaker who is not named or has no other recording" in shown
    assert "the equal error rate of the resyntheses is undefined" in shown
    assert "4 resyntheses have no original" in shown


def test_recordings_that_cannot_be_compared(folders: Folders) -> None:
    io.save(folders.copies / "a/0.wav", np.zeros(8000))
    io.save(folders.copies / "b/1.wav", buzz(120)[:1000])
    (folders.copies / "a/2.wav").write_text("no audio")
    wrong_rate = folders.copies / "b/3.wav"
    soundfile.write(wrong_rate, np.repeat(buzz(120), 3), 48_000)
    found = json.loads(run(folders.originals, folders.copies, "--json").stdout)
    assert found["recordings"] == 3
    reasons = " ".join(item["reason"] for item in found["skipped"])
    assert "it is silent" in reasons
    assert "0.062 s are too short" in reasons
    assert "not an audio file" in reasons
    assert "1 resyntheses were resampled from 48000 to 16000 Hz" in " ".join(found["notes"])
    assert "1 originals have no resynthesis: left out" in found["notes"]
    shown = run(folders.originals, folders.copies).stdout
    assert "3 recordings skipped, first" in shown


def test_nothing_to_compare(folders: Folders, tmp_path: Path) -> None:
    io.save(tmp_path / "other/z.wav", buzz(120))
    with pytest.raises(
        UserError, match="no recording in common: the first holds 'a/0', 'a/2' and 4 more, the second 'z'"
    ):
        run(folders.originals, tmp_path / "other")
    with pytest.raises(UserError, match="not found"):
        run(folders.originals, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no audio files"):
        run(folders.originals, tmp_path / "empty")
    for path in folders.copies.rglob("*.wav"):
        io.save(path, np.zeros(8000))
    with pytest.raises(UserError, match="none of 6 pairs can be compared.*silent"):
        run(folders.originals, folders.copies)


def test_a_recording_of_minutes_is_refused(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resynthesis, "LONGEST_SECONDS", 0.7)
    result = evaluate(folders.originals, folders.copies, Settings(device="cpu"))
    assert len(result.skipped) == 1  # of 0.75 s
    assert "cut both into utterances" in result.skipped[0].reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", "t.tsv"], "--recognizer who listens"),
        (["--target", "a"], "need --speaker-encoder"),
        (["--target", "a", "--speaker-encoder", "e"], "give --target-manifest"),
        (["--squim", "none.pth"], "SQUIM weights not found"),
        (["--recognizer", "nothing"], "recogniser not found"),
        (["--speaker-encoder", "nothing"], "no textless-speaker-encoder model"),
    ],
)
def test_options_that_do_not_go_together(folders: Folders, options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(folders.originals, folders.copies, *options)


def test_texts_and_targets_of_another_corpus(folders: Folders, encoder: Path, recognizer: Path, tmp_path: Path) -> None:
    (tmp_path / "text.tsv").write_text("z\tp q\n")
    with pytest.raises(UserError, match="says nothing of the recordings compared"):
        run(folders.originals, folders.copies, "--recognizer", recognizer, "--text", tmp_path / "text.tsv")
    manifest = read_manifest(tmp_path / "original.tsv")
    nameless = tuple(Utterance(u.id, u.path, u.n_samples) for u in manifest)
    write_manifest(tmp_path / "nameless.tsv", Manifest(manifest.root, nameless))
    with pytest.raises(UserError, match="names no speakers"):
        run(
            folders.originals,
            folders.copies,
            "--speaker-encoder",
            encoder,
            "--target-manifest",
            tmp_path / "nameless.tsv",
        )


def test_plots_are_png(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a plot is a \.png"):
        run(folders.originals, folders.copies, "--plot", tmp_path / "p.gif")


def test_squim_reads_torchaudios_weights(folders: Folders, tmp_path: Path) -> None:
    from torchaudio.models import squim_objective_base

    torch.manual_seed(0)
    model = squim_objective_base().eval()
    torch.save(model.state_dict(), tmp_path / "squim.pth")
    waveform = io.load(folders.originals / "a/0.wav")
    with torch.inference_mode():
        expected = [float(value) for value in model(waveform[None])]
    found = Squim(tmp_path / "squim.pth", torch.device("cpu"))(waveform)
    assert [found.stoi, found.pesq, found.si_sdr] == pytest.approx(expected)
    (tmp_path / "bad.pth").write_bytes(struct.pack("<I", 7))
    with pytest.raises(UserError, match="does not hold the weights of SQUIM"):
        Squim(tmp_path / "bad.pth", torch.device("cpu"))
    original, copy = folders.originals / "a", folders.copies / "a"
    shown = run(original, copy, "--squim", tmp_path / "squim.pth").stdout
    assert "SQUIM PESQ" in shown
    assert "no SQUIM" not in shown
    assert "squim_stoi" in _details_of(original, copy, tmp_path)


def _details_of(original: Path, copy: Path, folder: Path) -> str:
    run(original, copy, "--squim", folder / "squim.pth", "--details", folder / "d.tsv")
    return (folder / "d.tsv").read_text().splitlines()[0]


def test_without_weights_squim_is_left_out_and_said(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert "no SQUIM: its weights are not at" in run(folders.originals, folders.copies).stdout
    place = tmp_path / "hub/torchaudio/models/squim_objective_dns2020.pth"
    place.parent.mkdir(parents=True)
    place.write_text("no weights")
    with pytest.raises(UserError, match="does not hold the weights"):
        run(folders.originals, folders.copies)
