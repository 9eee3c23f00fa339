"""The cycle's terms, its loop and its control, on planted speech."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles import planted_speech as planted

from textless.errors import UserError
from textless.files import read_json, write_json
from textless.training.run import Run, read_metrics
from unsup_asr.ctc.config import NetworkConfig as AsrConfig
from unsup_asr.ctc.model import CtcRecognizer
from unsup_asr.ctc.network import RecognitionNetwork
from unsup_asr.ctc.sampling import Samples, sample
from unsup_asr.cycle.batches import PseudoPairs, ReferencePairs, collate_speech
from unsup_asr.cycle.bridge import Masks, UnitBridge
from unsup_asr.cycle.choice import transcripts_of
from unsup_asr.cycle.config import CycleConfig, WeightingConfig
from unsup_asr.cycle.hypotheses import Bounds, Hypotheses, bounded, transcribe
from unsup_asr.cycle.memory import Memory
from unsup_asr.cycle.models import Models
from unsup_asr.cycle.prior import TextPrior
from unsup_asr.cycle.reading import read_material
from unsup_asr.cycle.terms import Setting
from unsup_asr.cycle.train import train, train_on
from unsup_asr.cycle.weighting import Weighting
from unsup_asr.recognizers import EncoderSource
from unsup_asr.tts.config import NetworkConfig as TtsNetworkConfig
from unsup_asr.tts.model import SpeechKind, TtsModel

TERMS = ("reinforce", "straight_through", "transcribed", "spoken", "pseudo_label")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of 44 utterances, transcripts of 4 of them, text, and two models that know nothing."""
    directory = tmp_path_factory.mktemp("cycle")
    spoken = planted.utterances(44, seed=0)
    planted.write_corpus(directory, spoken)
    lines = (directory / "phones.tsv").read_text().splitlines(keepends=True)
    (directory / "paired.tsv").write_text("".join(lines[:5]))
    planted.write_text(directory / "text", 80, seed=3)
    save_models(directory)
    return directory


def save_models(
    directory: Path, labels: str = "pseudo", target: str = "frames", size: int = planted.DIM, decoder: int = 0
) -> None:
    torch.manual_seed(0)
    small = AsrConfig(dim=16, strides=(1,), blocks=1, heads=2, ffn=32, dropout=0.1, decoder_blocks=decoder)
    network = RecognitionNetwork(small, planted.DIM, len(planted.PHONES))
    recognizer = CtcRecognizer(network, planted.PHONES, EncoderSource("planted", planted.SHA, planted.RATE))
    recognizer.save(directory / "asr", labels)  # type: ignore[arg-type]
    hashed = read_json(directory / "asr" / "config.json")["weights_sha256"]
    kind = SpeechKind(
        target=target, encoder="planted", encoder_sha256=planted.SHA, frame_rate=planted.RATE, size=size,
        recognizer_sha256=hashed if target == "states" else None,
    )  # fmt: skip
    shape = TtsNetworkConfig(width=16, encoder_layers=1, decoder_layers=1, kernel=3)
    TtsModel(shape, planted.PHONES, kind).save(directory / "tts", labels=labels)


def config_of(world: Path, **values: Any) -> CycleConfig:
    data = {"speech": world / "features", "text": world / "text", "paired": world / "paired.tsv"}
    data |= values.pop("data", {})
    quick = {"steps": 6, "valid_every": 3, "log_every": 1, "save_every": 2, "batch_seconds": 6.0, "control": False}
    models = {"asr": world / "asr", "tts": world / "tts"}
    return CycleConfig.parse({"data": data, **models, **quick, **values}, "test")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


class Stopping(Run):
    """Stops after so many steps."""

    after = 3
    reached = 0

    def due(self, step: int, every: int) -> bool:  # type: ignore[override]
        self.reached = step
        return Run.due(step, every)

    def stopping(self) -> bool:
        return self.reached >= self.after


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("reverse", ["frozen", "ema", "current"])
def test_each_term_teaches_what_it_should(world: Path, tmp_path: Path, term: str, reverse: str) -> None:
    config = config_of(world, terms={term: 1.0, "paired": 0.0}, reverse={"kind": reverse}, steps=2)
    before = read_material(config)
    train(config, tmp_path / "out", device_name="cpu")
    state = torch.load(tmp_path / "out" / "resume.pt", weights_only=True)["parts"]["models"]
    start = {"asr": before.asr.network.state_dict(), "tts": before.tts.state_dict()}
    changed = {name for name in start if not same(start[name], state[name])}
    taught = {"transcribed": {"tts"}, "straight_through": {"asr", "tts"} if reverse == "current" else {"asr"}}
    # Decay of weights moves what has a gradient of zero; what has none stays.
    assert changed == taught.get(term, {"asr"})
    assert ("reverse_asr" in state) == (reverse != "current")
    if reverse == "frozen":
        assert all(same(start[name], state[f"reverse_{name}"]) for name in start)


def test_a_recogniser_with_a_decoder_is_taught_in_both_halves(world: Path, tmp_path: Path) -> None:
    save_models(tmp_path, decoder=1)
    settings = {"speech": {"choose": 2}, "terms": dict.fromkeys(TERMS, 1.0) | {"paired": 0.0}, "steps": 1}
    train(config_of(world, asr=tmp_path / "asr", **settings), tmp_path / "out", device_name="cpu")
    state = torch.load(tmp_path / "out" / "resume.pt", weights_only=True)["parts"]["models"]["asr"]
    start = CtcRecognizer.load(tmp_path / "asr").network.state_dict()
    assert not torch.equal(state["ctc.weight"], start["ctc.weight"])
    assert not torch.equal(state["decoder.output.weight"], start["decoder.output.weight"])


def test_a_resumed_run_is_the_uninterrupted_one_in_all_terms(world: Path, tmp_path: Path) -> None:
    config = config_of(
        world,
        terms=dict.fromkeys(TERMS, 0.5),
        weighting={"kind": "dynamic"},
        log_every=2,
        speech={"lm_weight": 0.1, "choose": 2, "lasting": 2},
    )
    for name in ("whole", "parts"):
        with (Stopping if name == "parts" else Run)(tmp_path / name, config) as run:
            train_on(read_material(config), config, run, CPU, deranged=False)
    assert max(row["step"] for row in read_metrics(tmp_path / "parts")) == 3
    with Run(tmp_path / "parts", config) as run:
        train_on(read_material(config), config, run, CPU, deranged=False)
    whole, parts = (
        torch.load(tmp_path / name / "resume.pt", weights_only=True)["parts"] for name in ("whole", "parts")
    )
    assert all(same(state, parts["models"][name]) for name, state in whole["models"].items())
    assert whole["best"] == parts["best"]
    logged = [[{n: v for n, v in row.items() if n != "seconds"} for row in read_metrics(tmp_path / name)]
              for name in ("whole", "parts")]  # fmt: skip
    assert logged[0] == logged[1]


def test_the_control_is_run_beside_and_reported(world: Path, tmp_path: Path) -> None:
    config = config_of(world, control=True, steps=4, terms={"reinforce": 0.5, "spoken": 0.5, "transcribed": 0.5})
    report = train(config, tmp_path / "out", device_name="cpu")
    assert report["control"] is not None
    assert json.loads((tmp_path / "out" / "report.json").read_text())["control"]["steps"] == report["control"]["steps"]
    first, control = (read_metrics(tmp_path / "out" / name)[0] for name in ("", "control"))
    assert {n: v for n, v in first.items() if n != "seconds"} == {n: v for n, v in control.items() if n != "seconds"}
    states = [
        torch.load(tmp_path / "out" / name / "resume.pt", weights_only=True)["parts"]["models"]
        for name in ("", "control")
    ]
    assert not same(states[0]["asr"], states[1]["asr"])
    again = train(config, tmp_path / "out", device_name="cpu")  # finished: nothing is trained again
    assert again == report


def test_a_cycle_that_diverges_keeps_the_models_of_the_start_and_says_so(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(world, terms={"spoken": 1.0}, optimizer={"lr": 1e30})
    report = train(config, tmp_path / "out", device_name="cpu")
    assert "it has diverged" in report["cycle"]["stopped"]
    assert "it has diverged" in " ".join(capsys.readouterr().err.split())
    kept = CtcRecognizer.load(tmp_path / "out" / "asr").network.state_dict()
    start = CtcRecognizer.load(world / "asr").network.state_dict()
    assert same(start, kept)
    assert TtsModel.load(tmp_path / "out" / "tts").phones == planted.PHONES


def test_hypotheses_that_run_away_are_cut_and_counted() -> None:
    bounds = Bounds(phones_per_second=25.0, frame_rate=50.0)
    assert bounds.longest(torch.tensor([10, 100, 1])).tolist() == [5, 50, 0]
    drawn = Samples(
        torch.arange(1, 7).repeat(3, 1), torch.tensor([6, 3, 6]), torch.tensor([True, True, False]), torch.zeros(3)
    )
    found = bounded(drawn, torch.tensor([4, 4, 9]))
    assert found.counts.tolist() == [4, 3, 6]
    assert found.phones[0].tolist() == [1, 2, 3, 4, 0, 0]
    assert found.n_cut == 2  # one too long for its speech, one that never ended


def test_what_is_chosen_explains_the_speech_best(world: Path) -> None:
    config = config_of(world, terms={"transcribed": 1.0}, speech={"choose": 6, "lm_weight": 0.1})
    material = read_material(config)
    with torch.no_grad():  # all that can be said is about as likely
        for parameter in material.asr.network.ctc.parameters():
            parameter.mul_(0.1)
    models = Models(material.asr.network, material.tts, config.reverse, CPU)
    prior = TextPrior(material.sentences, len(planted.PHONES))
    masks = Masks(config.mask, torch.Generator())
    bounds, memory = Bounds(30.0, planted.RATE), Memory(0)
    setting = Setting(models, material.bridge, config, bounds, prior, torch.Generator(), masks, memory, deranged=False)
    batch = collate_speech(material.speech[:4], CPU)
    setting.seed(0)
    found = transcripts_of(batch, setting)

    # One by one: the same draws, each scored on its own.
    states = models.reverse_asr(batch.features, batch.lengths)
    longest = setting.bounds.longest(batch.target_lengths)
    likeliest = transcribe(models.reverse_asr, states, longest)
    setting.seed(0)
    drawn = sample(models.reverse_asr, states, n=6, max_length=1000, generator=setting.chance)
    chose_a_sample = 0
    for place in range(4):
        said = [likeliest.phones[place, : likeliest.counts[place]]]
        counts = torch.minimum(drawn.counts, longest.repeat_interleave(6))
        said += [drawn.symbols[row, : counts[row]] for row in range(6 * place, 6 * place + 6)]
        own = collate_speech(material.speech[place : place + 1], CPU)
        totals = []
        for phones in said:
            row, size = phones[None], torch.tensor([len(phones)])
            nats = models.reverse_asr.ctc_nats(models.reverse_asr(own.features, own.lengths), row, size)
            made = models.reverse_tts.reconstruct(row, size, own.voices, own.target, own.target_lengths)
            totals.append(float(-made.speech - made.prior + 0.1 * prior.nats(row, size) - nats))
        best = int(np.argmax(totals))
        assert found.phones[place, : found.counts[place]].tolist() == said[best].tolist()
        chose_a_sample += best > 0
    assert chose_a_sample


def test_what_was_chosen_lasts_for_some_updates() -> None:
    memory = Memory(5)
    assert memory.missing(["a", "b"]) == [0, 1]
    memory.note(["a", "b"], Hypotheses(torch.tensor([[3, 4, 0], [1, 2, 5]]), torch.tensor([2, 3]), 0))
    memory.now = 4
    assert memory.missing(["b", "c"]) == [1]
    restored = Memory(5)
    restored.load_state_dict(memory.state_dict())
    restored.now = 4
    found = restored.recall(["b", "a"], CPU, 0)
    assert found.phones.tolist() == [[1, 2, 5], [3, 4, 0]]
    assert found.counts.tolist() == [3, 2]
    memory.now = 5
    assert memory.missing(["a", "b"]) == [0, 1]


def test_an_average_is_judged_and_kept(world: Path, tmp_path: Path) -> None:
    for kind in ("ema", "current"):
        config = config_of(world, terms={"spoken": 1.0}, reverse={"kind": kind}, steps=1, valid_every=1, patience=9)
        train(config, tmp_path / kind, device_name="cpu")
        models = torch.load(tmp_path / kind / "resume.pt", weights_only=True)["parts"]["models"]
        step = read_json(tmp_path / kind / "asr" / "config.json")["training"]["step"]
        kept = CtcRecognizer.load(tmp_path / kind / "asr").network.state_dict()
        start = CtcRecognizer.load(world / "asr").network.state_dict()
        learnt = models["reverse_asr" if kind == "ema" else "asr"]
        assert same(kept, learnt if step else start)
        assert not same(kept, models["asr"]) or kind == "current"


def test_the_prior_of_relaxed_phones_is_that_of_bigrams_and_differentiable() -> None:
    random = np.random.default_rng(0)
    prior = TextPrior([planted.sentence(random) for _ in range(100)], len(planted.PHONES))
    phones, counts = torch.tensor([[0, 1, 2], [4, 0, 0], [0, 0, 0]]), torch.tensor([3, 1, 0])
    rows = torch.nn.functional.one_hot(phones, 6).float() * (torch.arange(3) < counts[:, None])[..., None]
    rows.requires_grad_()
    found = prior.relaxed_nats(rows, counts)
    said = [prior.first[0] + prior.after[0, 1] + prior.after[1, 2] + prior.after[2, 6]]
    said += [prior.first[4] + prior.after[4, 6], prior.first[6]]
    torch.testing.assert_close(found.detach(), torch.stack(said))
    (gradient,) = torch.autograd.grad(found.sum(), rows)
    assert gradient[0].abs().sum() > 0
    likely, unlikely = prior.nats(torch.tensor([[0, 1, 2, 3], [0, 5, 4, 1]]), torch.tensor([4, 4])).tolist()
    assert likely > unlikely + 3


def test_dynamic_weights_favour_what_falls_slowly() -> None:
    weighting = Weighting(WeightingConfig(kind="dynamic"))
    assert weighting.factors(["a", "b"]) == {"a": 1.0, "b": 1.0}
    weighting.note({"a": 2.0, "b": 2.0})
    weighting.note({"a": 1.0, "b": 2.0})
    powers = np.exp(np.array([0.5, 1.0]) / 2)
    assert list(weighting.factors(["a", "b"]).values()) == pytest.approx((2 * powers / powers.sum()).tolist())
    fixed = Weighting(WeightingConfig())
    fixed.load_state_dict(weighting.state_dict())
    assert fixed.factors(["a", "b"]) == {"a": 1.0, "b": 1.0}


def test_without_labels_the_types_say_so_and_taught_models_are_refused(world: Path, tmp_path: Path) -> None:
    assert isinstance(read_material(config_of(world)).pairs, PseudoPairs)
    assert isinstance(read_material(config_of(world, data={"labels": "reference"})).pairs, ReferencePairs)
    save_models(tmp_path, labels="reference")
    with pytest.raises(UserError, match="was taught by reference labels, but data.labels = pseudo"):
        read_material(config_of(world, asr=tmp_path / "asr"))


def test_pairs_are_missing(world: Path) -> None:
    with pytest.raises(UserError, match=r"`textless asr train` and `textless asr decode` first") as caught:
        read_material(config_of(world, data={"paired": None}))
    assert "`textless asr student` and `textless asr train-tts`" in str(caught.value)
    with pytest.raises(UserError, match=r"nothing.tsv is not there: give data.paired"):
        read_material(config_of(world, data={"paired": world / "nothing.tsv"}))
    with pytest.raises(UserError, match=r"is not in .*nowhere: make it with `textless asr train-tts`"):
        read_material(config_of(world, tts=world / "nowhere"))


def test_speech_of_another_kind_is_refused(world: Path, tmp_path: Path) -> None:
    save_models(tmp_path, target="states", size=16)
    with pytest.raises(UserError, match="says states of the recogniser"):
        other = tmp_path / "other" / "asr"
        torch.manual_seed(1)
        network = RecognitionNetwork(AsrConfig(dim=16, strides=(1,), blocks=0), planted.DIM, 6)
        CtcRecognizer(network, planted.PHONES, EncoderSource("planted", planted.SHA, planted.RATE)).save(
            other, "pseudo"
        )
        read_material(config_of(world, tts=tmp_path / "tts", asr=other))
    header = read_json(world / "features" / "store.json") | {"encoder_sha256": "1" * 64}
    features = tmp_path / "features"
    features.mkdir()
    for path in (world / "features").iterdir():
        (features / path.name).write_bytes(path.read_bytes())
    write_json(features / "store.json", header)
    with pytest.raises(UserError, match="encode the speech with that one"):
        read_material(config_of(world, data={"speech": features}))


def test_states_and_units_are_heard(world: Path, tmp_path: Path) -> None:
    from units.quantizer import Quantizer, save_quantizer

    save_models(tmp_path / "states", target="states", size=16)
    models = {"asr": tmp_path / "states" / "asr", "tts": tmp_path / "states" / "tts"}
    train(config_of(world, **models, steps=2, terms={"spoken": 1, "reinforce": 1}), tmp_path / "a", device_name="cpu")

    quantizer = Quantizer(torch.randn(9, planted.DIM), "planted", planted.SHA, planted.RATE)
    save_quantizer(tmp_path / "quantizer", quantizer, {})
    other = replace(quantizer, codebook=quantizer.codebook + 1)
    save_quantizer(tmp_path / "other", other, {})
    kind = SpeechKind(
        target="units", encoder="planted", encoder_sha256=quantizer.identity.sha256, frame_rate=planted.RATE, size=9,
        quantizer=quantizer.identity,
    )  # fmt: skip
    shape = TtsNetworkConfig(width=16, encoder_layers=1, decoder_layers=1, kernel=3)
    TtsModel(shape, planted.PHONES, kind).save(tmp_path / "tts", labels="pseudo")
    config = config_of(
        world, tts=tmp_path / "tts", data={"quantizer": tmp_path / "quantizer"}, steps=2,
        terms={"spoken": 1, "straight_through": 1, "transcribed": 1}, speech={"estimator": "gumbel"},
    )  # fmt: skip
    material = read_material(config)
    assert isinstance(material.bridge, UnitBridge)
    assert all(np.array_equal(u.target, quantizer.encode(u.features)) for u in material.speech)
    train(config, tmp_path / "b", device_name="cpu")
    with pytest.raises(UserError, match="give data.quantizer"):
        read_material(config_of(world, tts=tmp_path / "tts"))
    with pytest.raises(UserError, match="the synthesizer was made with the quantizer"):
        read_material(config_of(world, tts=tmp_path / "tts", data={"quantizer": tmp_path / "other"}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"terms": {"paired": 1}}, "at least one of reinforce"),
        ({"terms": {"reinforce": 1}, "speech": {"samples": 1}}, "needs speech.samples of at least 2"),
        ({"terms": {"transcribed": 1}, "optimizer": {"tts_factor": 0}}, "tts_factor = 0 freezes it"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(world: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config_of(world, **values)


def test_the_start_and_the_end_are_heard_on_one_page(world: Path, tmp_path: Path) -> None:
    from units.quantizer import Quantizer, save_quantizer
    from vocoder.config import ModelConfig
    from vocoder.model import VocoderModel

    quantizers = [Quantizer(torch.randn(n, planted.DIM), "planted", planted.SHA, planted.RATE) for n in (9, 8)]
    for place, quantizer in enumerate(quantizers):
        save_quantizer(tmp_path / f"q{place}", quantizer, {})
        config = ModelConfig(width=16, hidden=16, dilations=(1,), duration_width=8, duration_layers=1)
        VocoderModel(config, quantizer.identity, ["f"]).write(tmp_path / f"v{place}")
    heard = {"listen": {"vocoder": tmp_path / "v0", "sentences": 3}, "steps": 2, "terms": {"transcribed": 1}}
    data = {"quantizer": tmp_path / "q0"}
    train(config_of(world, **heard, data=data), tmp_path / "out", device_name="cpu")
    page = (tmp_path / "out" / "listening.html").read_text()
    assert page.count("<audio") == 2 * 3
    assert "<th>start</th><th>step " in page
    with pytest.raises(UserError, match=r"the vocoder .*v1 was made with the quantizer"):
        other = heard | {"listen": {"vocoder": tmp_path / "v1"}}
        train(config_of(world, **other, data=data), tmp_path / "other", device_name="cpu")
    with pytest.raises(UserError, match=r"give data.quantizer, whose units listen.vocoder speaks"):
        train(config_of(world, **heard), tmp_path / "none", device_name="cpu")
    save_models(tmp_path / "states", target="states", size=16)
    models = {"asr": tmp_path / "states" / "asr", "tts": tmp_path / "states" / "tts"}
    with pytest.raises(UserError, match="there is no page for it"):
        train(config_of(world, **models, **heard), tmp_path / "of_states", device_name="cpu")
