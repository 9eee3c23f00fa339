"""Synthesis of units, frames and states from phones: alignment, invariance, planted speech that is learnt."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles import planted_speech as planted

from textless.audio.batches import pad
from textless.corpora.alignment import Segment
from textless.errors import UserError
from textless.training.run import Run, read_metrics
from unsup_asr.tts.alignment import at_least_one, best_durations, durations_of_segments, equal_durations
from unsup_asr.tts.config import DataConfig, NetworkConfig, TtsConfig
from unsup_asr.tts.data import load_corpus
from unsup_asr.tts.expansion import expand
from unsup_asr.tts.model import SpeechKind, TtsModel
from unsup_asr.tts.train import train, train_on

FRAMES = SpeechKind(target="frames", encoder="planted", encoder_sha256=planted.SHA, frame_rate=50.0, size=5)
SMALL = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "kernel": 3}


def config_of(corpus: Path, network: dict[str, Any] | None = None, **values: Any) -> TtsConfig:
    data = {"speech": corpus / "features", "transcripts": corpus / "phones.tsv", "labels": "reference"}
    data |= values.pop("data", {})
    run = {"steps": 12, "flat_steps": 3, "batch_seconds": 6.0, "save_every": 4, "valid_every": 4, "log_every": 4}
    return TtsConfig(
        data=DataConfig(**data), network=NetworkConfig(**{**SMALL, **(network or {})}), **{**run, **values}
    )


def test_best_durations_are_those_of_trying_all() -> None:
    random = np.random.default_rng(0)
    scores = torch.from_numpy(random.standard_normal((3, 4, 7)))
    sizes, lengths = torch.tensor([4, 2, 3]), torch.tensor([7, 5, 3])
    found = best_durations(scores, sizes, lengths)
    for table, n, t, durations in zip(scores.numpy(), sizes.tolist(), lengths.tolist(), found.tolist(), strict=True):
        best = max(
            (d for d in itertools.product(range(1, t + 1), repeat=n) if sum(d) == t),
            key=lambda d: sum(table[symbol, frame] for frame, symbol in enumerate(np.repeat(range(n), d))),
        )
        assert durations == [*best, *[0] * (4 - n)]
    with pytest.raises(ValueError, match="fewer frames"):
        best_durations(scores, sizes, torch.tensor([7, 1, 3]))


def test_durations_without_and_with_an_alignment() -> None:
    assert equal_durations(torch.tensor([4, 2]), torch.tensor([10, 6]), 4).tolist() == [[2, 3, 2, 3], [3, 3, 0, 0]]
    segments = [Segment(0, 0.1, "SIL"), Segment(0.1, 0.2, "a"), Segment(0.24, 0.3, "b"), Segment(0.3, 0.4, "SIL")]
    found = durations_of_segments(segments, ["a", "b"], 20, 50.0, "x")
    assert found.tolist() == [5, 7, 3, 5]  # the gap is the phone's before it, silences are the edges'
    assert at_least_one(np.array([0, 3, 0, 2]), "x").tolist() == [1, 1, 1, 2]
    with pytest.raises(UserError, match="should be the same"):
        durations_of_segments(segments, ["a", "c"], 20, 50.0, "x")


def test_frames_know_their_symbol_and_place() -> None:
    expansion = expand(torch.tensor([[2, 1, 0], [1, 1, 2]]))
    assert expansion.symbols.tolist() == [[0, 0, 1, 1], [0, 1, 2, 2]]
    assert expansion.lengths.tolist() == [3, 4]
    torch.testing.assert_close(expansion.places[0, :3, 0], torch.tensor([0.25, 0.75, 0.5]))
    states = torch.arange(6.0).view(2, 3, 1)
    assert expansion(states)[1, :, 0].tolist() == [3, 4, 5, 5]


@pytest.mark.parametrize("target", ["frames", "units"])
def test_padding_and_neighbours_change_nothing_and_one_hot_is_the_number(target: str) -> None:
    kind = FRAMES.model_copy(update={"target": target, "size": 5})
    model = TtsModel(NetworkConfig(**SMALL, speaker="embedding"), "abcd", kind, voice_size=3).eval()
    phones = [torch.tensor([0, 2, 1]), torch.tensor([3]), torch.empty(0, dtype=torch.long)]
    speech = [torch.randint(5, (n,)) if target == "units" else torch.randn(n, 5) for n in (11, 6, 4)]
    voices = torch.randn(3, 3)
    numbers, sizes = pad(phones)
    heard, lengths = pad(speech)
    together = model.reconstruct(numbers, sizes, voices, heard, lengths)
    for place in range(3):
        alone = model.reconstruct(
            phones[place][None], sizes[place : place + 1], voices[place : place + 1], speech[place][None],
            lengths[place : place + 1],
        )  # fmt: skip
        torch.testing.assert_close(together.of_utterance()[place : place + 1], alone.of_utterance())
        assert together.durations[place].sum() == lengths[place]
    soft = torch.nn.functional.one_hot(numbers, 4).float().requires_grad_()
    again = model.reconstruct(soft, sizes, voices, heard, lengths)
    torch.testing.assert_close(again.speech, together.speech)
    (gradient,) = torch.autograd.grad(again.loss(), soft)
    assert gradient[0].abs().sum() > 0
    spoken = model.speak(numbers, sizes, voices)
    for place, row in enumerate(spoken.rows()):
        alone_spoken = model.speak(phones[place][None], sizes[place : place + 1], voices[place : place + 1])
        torch.testing.assert_close(row, alone_spoken.rows()[0])


def test_runaway_durations_are_cut_and_counted() -> None:
    model = TtsModel(NetworkConfig(**SMALL), "ab", FRAMES).eval()
    torch.nn.init.constant_(model.network.duration[2].bias, 9.0)
    spoken = model.speak(torch.tensor([[0, 1]]), torch.tensor([2]))
    assert spoken.n_clipped == 4
    assert spoken.lengths.tolist() == [200]  # a second each
    with pytest.raises(UserError, match=r"has q z, which the synthesizer has never seen; it knows a b"):
        model.numbers(["a", "z", "q"], "text.txt")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("corpus")
    planted.write_corpus(directory, planted.utterances(120, seed=0))
    return directory


def test_planted_speech_is_learnt_from_transcripts_alone(corpus: Path, tmp_path: Path) -> None:
    network = {"width": 32, "speaker": "mean"}
    config = config_of(corpus, network, steps=150, flat_steps=20, batch_seconds=30.0, valid_every=50, save_every=0)
    train(config, tmp_path / "tts", device_name="cpu")
    model = TtsModel.load(tmp_path / "tts")
    new = planted.utterances(30, seed=5)
    numbers = {phone: place for place, phone in enumerate(model.phones)}
    phones, sizes = pad([torch.tensor([numbers[planted.PHONES[p]] for p in u.phones]) for u in new])
    speech, lengths = pad([torch.from_numpy(u.frames) for u in new])
    voices = torch.stack([torch.nn.functional.normalize(torch.from_numpy(u.frames.mean(0)), dim=0) for u in new])
    made = model.reconstruct(phones, sizes, voices, speech, lengths)
    true, _ = pad([torch.from_numpy(u.durations) for u in new])
    off = (made.durations.cumsum(1) - true.cumsum(1)).abs()
    assert (off <= 1).float().mean() > 0.95  # borders, in frames
    # The noise has a standard deviation of 0.4 of about 1.2, and no model can know it.
    floor = 0.4 * (2 / np.pi) ** 0.5 / model.scale.mean() + (0.4 / model.scale).square().mean()
    assert made.speech.sum() / made.frames.sum() < 1.25 * floor
    deranged = model.reconstruct(phones.roll(1, 0), sizes.roll(1, 0), voices, speech, lengths)
    assert (deranged.of_utterance() > made.of_utterance()).float().mean() > 0.9
    spoken = model.speak(phones, sizes, model.sample_voices(len(new)), scatter=1.0)
    assert abs(float(spoken.lengths.sum() / lengths.sum()) - 1) < 0.15
    assert abs(float(model.scatter.mean() * model.scale.mean()) - 0.4) < 0.1


def test_a_resumed_run_is_the_uninterrupted_one(corpus: Path, tmp_path: Path) -> None:
    config = config_of(corpus, {"speaker": "table"}, data={"manifest": corpus / "manifest.tsv"})
    pairs = load_corpus(config.data, "table", 0)

    class Stopping(Run):
        reached = 0

        def due(self, step: int, every: int) -> bool:  # type: ignore[override]
            self.reached = step
            return Run.due(step, every)

        def stopping(self) -> bool:
            return self.reached > 6

    with Run(tmp_path / "whole", config) as run:
        train_on(pairs, config, run, torch.device("cpu"))
    with Stopping(tmp_path / "parts", config) as run:
        train_on(pairs, config, run, torch.device("cpu"))
    assert read_metrics(tmp_path / "parts")[-1]["step"] < 12
    with Run(tmp_path / "parts", config) as run:
        train_on(pairs, config, run, torch.device("cpu"))
    whole, parts = (TtsModel.load(tmp_path / name).state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target": "states"}, "target = states and recognizer come together"),
        ({"alignment": Path("a"), "aligner": Path("b"), "labels": "reference"}, "give one"),
        ({"alignment": Path("a")}, "an alignment is a reference"),
        ({"target": "units", "aligner": Path("b")}, "give aligner_speech"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(speech=Path("s"), transcripts=Path("t"), **values)


def test_data_that_does_not_fit_is_refused(corpus: Path, tmp_path: Path) -> None:
    planted.write_corpus(tmp_path, planted.utterances(5, seed=1), prefix="other")
    with pytest.raises(UserError, match="are the ids the same"):
        load_corpus(config_of(corpus, data={"transcripts": tmp_path / "phones.tsv"}).data, "none", 0)
    with pytest.raises(UserError, match=r"needs data\.manifest"):
        load_corpus(config_of(corpus).data, "table", 0)
    with pytest.raises(UserError, match=r"needs data\.embeddings"):
        load_corpus(config_of(corpus).data, "embedding", 0)
