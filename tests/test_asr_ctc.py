"""CTC students: loss, padding, sampling, relaxation, learning, resuming, rounds, fine-tuning, the model directory."""

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from textless.distributed import World
from textless.encoders.directory import save_encoder
from textless.encoders.encoder import load_encoder
from textless.encoders.logmel_front_end import LogMelConfig
from textless.encoders.speech_transformer import SpeechTransformer, SpeechTransformerConfig
from textless.encoders.transformer import TransformerConfig
from textless.errors import UserError
from textless.features.store import StoreHeader, write_header, write_shard
from textless.training.run import Run, read_metrics
from textless.training.schedule import ScheduleConfig, multiplier
from unsup_asr.cli import app
from unsup_asr.ctc.config import CtcConfig, MaskConfig, NetworkConfig, StudentConfig, TunedEncoderConfig
from unsup_asr.ctc.data import PairedSpeech
from unsup_asr.ctc.masking import draw_masks
from unsup_asr.ctc.model import CtcRecognizer
from unsup_asr.ctc.network import RecognitionNetwork, States, needed_states
from unsup_asr.ctc.relaxation import relax
from unsup_asr.ctc.sampling import Samples, sample, score
from unsup_asr.ctc.train import read_task, train, train_on
from unsup_asr.ctc.tuned_encoder import open_tuned
from unsup_asr.decoding.decoder import GreedyDecoder
from unsup_asr.recognizers import load_recognizer
from unsup_asr.transcripts import read_transcripts, write_transcripts
from zerospeech_eval.token_errors import token_errors

DIM, PHONES = 8, ("a", "b", "c", "d", "e")
SMALL = {"dim": 32, "heads": 2, "ffn": 64, "blocks": 1, "dropout": 0.0}
EXAMPLES = Path(__file__).parents[1] / "examples/configs"


def plant(folder: Path, n: int = 60, seed: int = 0) -> dict[str, list[str]]:
    """Features in which every phone lasts 3 to 6 frames about a mean of its own; equal neighbours have a gap."""
    random = np.random.default_rng(seed)
    means = 2 * np.random.default_rng(99).standard_normal((len(PHONES) + 1, DIM))  # the last: a gap
    features, transcripts = {}, {}
    for index in range(n):
        spoken = random.integers(len(PHONES), size=random.integers(4, 10))
        frames = [np.repeat(means[[p]], random.integers(3, 7), axis=0) for p in spoken]
        parts = [frames[0]]
        for before, phone, stretch in zip(spoken, spoken[1:], frames[1:], strict=False):
            parts += [means[[-1, -1]], stretch] if before == phone else [stretch]
        clean = np.concatenate(parts)
        features[f"u{index}"] = (clean + 0.3 * random.standard_normal(clean.shape)).astype(np.float32)
        transcripts[f"u{index}"] = [PHONES[p] for p in spoken]
    write_header(folder / "features", StoreHeader("planted", "0" * 64, DIM, 50.0, 1, "0"))
    write_shard(folder / "features", 0, 1, features)
    write_transcripts(folder / "phones.tsv", transcripts)
    return transcripts


def configured(folder: Path, kind: type[CtcConfig] = CtcConfig, **values: Any) -> Any:
    data = {"speech": folder / "features", "transcripts": folder / "phones.tsv", "held_out": 0.2}
    small = {"network": SMALL, "batch_seconds": 12.0, "steps": 12, "valid_every": 4, "save_every": 4, "log_every": 4}
    small |= {"precision": "fp32", "optimizer": {"lr": 4e-3, "schedule": {"warmup_steps": 10}}}
    return kind.model_validate({**small, **values, "data": data | values.get("data", {})})


def network_of(**values: Any) -> RecognitionNetwork:
    return RecognitionNetwork(NetworkConfig(**{**SMALL, **values}), DIM, 3).eval()


def forward_algorithm(log_probs: np.ndarray, symbols: list[int]) -> float:
    """Nats of symbols under CTC with the blank last, state by state (Graves et al. 2006, section 4.1), in float64."""
    blank = log_probs.shape[1] - 1
    extended = [blank, *itertools.chain.from_iterable((s, blank) for s in symbols)]
    alpha = np.zeros(len(extended))
    alpha[:2] = np.exp(log_probs[0, extended[:2]])
    for row in np.exp(log_probs[1:]):
        before = alpha.copy()
        for s, label in enumerate(extended):
            reached = before[s] + (before[s - 1] if s >= 1 else 0.0)
            if s >= 2 and label != blank and label != extended[s - 2]:
                reached += before[s - 2]
            alpha[s] = reached * row[label]
    return -math.log(alpha[-2:].sum())


def test_the_ctc_loss_is_the_forward_algorithms() -> None:
    network = network_of()
    states = network(torch.randn(2, 20, DIM), torch.tensor([20, 15]))
    symbols, counts = torch.tensor([[0, 0, 2, 1], [1, 2, 0, 0]]), torch.tensor([4, 2])
    nats = network.ctc_nats(states, symbols, counts)
    logs = network.ctc_log_probs(states).detach().double().numpy()
    for row in range(2):
        expected = forward_algorithm(logs[row, : states.lengths[row]], symbols[row, : counts[row]].tolist())
        assert float(nats[row].detach()) == pytest.approx(expected, rel=1e-5)  # float32 against float64
    assert [needed_states(torch.tensor(s)) for s in ([0, 0, 2], [1, 1, 1], [2])] == [4, 5, 1]


@pytest.mark.parametrize("values", [{}, {"strides": (1, 2, 3), "kernel": 3, "decoder_blocks": 1}, {"blocks": 0}])
def test_padding_and_batches_change_nothing(values: dict[str, Any]) -> None:
    network = network_of(**values)
    lengths = torch.tensor([31, 17, 8])
    features = torch.randn(3, 37, DIM)  # more padding than the longest needs, and not zero
    symbols, counts = torch.tensor([[0, 1, 0], [2, 0, 0], [1, 2, 2]]), torch.tensor([3, 1, 2])
    together = network(features, lengths)
    for row in range(3):
        alone = network(features[row : row + 1, : lengths[row]], lengths[row : row + 1])
        n = int(together.lengths[row])
        assert n == int(alone.lengths[0]) == -(-int(lengths[row]) // network.stride)
        # Products of other shapes round differently; the tolerance is a few of the last bits.
        assert torch.allclose(together.values[row, :n], alone.values[0, :n], atol=2e-5)
        own = symbols[row : row + 1, : counts[row]]
        if network.decoder is not None:
            one = network.attention_nats(alone, own, counts[row : row + 1])
            assert network.attention_nats(together, symbols, counts)[row].item() == pytest.approx(one.item(), rel=1e-4)


def test_the_decoder_reads_step_by_step_what_it_reads_at_once() -> None:
    network = network_of(decoder_blocks=2)
    states = network(torch.randn(3, 20, DIM), torch.tensor([20, 15, 7]))
    drawn = sample(network, states, n=4, max_length=6, generator=torch.Generator().manual_seed(1))
    # Drawn with kept keys and values, scored at once; greedy decoding follows the largest logit of the latter.
    greedy = sample(network, states, temperature=0, max_length=6)
    assert network.decoder is not None
    logits = network.decoder(states.values, states.lengths, greedy.symbols)
    for row, count in enumerate(greedy.counts.tolist()):
        chosen = [*greedy.symbols[row, :count].tolist(), *([3] if greedy.ended[row] else [])]
        assert logits[row, : len(chosen)].argmax(-1).tolist() == chosen
    assert drawn.symbols.shape[0] == 12
    assert (drawn.counts <= 6).all()
    assert drawn.n_cut == int((drawn.counts == 6).sum())
    smooth = network.attention_nats(states, greedy.symbols, greedy.counts, smoothing=0.1)
    assert torch.isfinite(smooth).all()


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_probabilities_of_all_that_can_be_drawn_sum_to_one(attention: bool, temperature: float) -> None:
    network = network_of(decoder_blocks=1, strides=(2,))
    one = network(torch.randn(1, 7, DIM), torch.tensor([7]))  # 4 states
    longest = 4
    all_sequences = [s for n in range(longest + 1) for s in itertools.product(range(3), repeat=n)]
    if not attention:
        all_sequences = [s for s in all_sequences if needed_states(torch.tensor(s, dtype=torch.long)) <= 4]
    states = States(one.values.expand(len(all_sequences), -1, -1), one.lengths.expand(len(all_sequences)))
    symbols = torch.tensor([[*s, *[0] * (longest - len(s))] for s in all_sequences])
    counts = torch.tensor([len(s) for s in all_sequences])
    generator = torch.Generator().manual_seed(0)
    drawn = sample(
        network, one, n=4000, max_length=longest, temperature=temperature, attention=attention, generator=generator
    )
    # The decoder cuts at the bound, so that its longest sequences stand for all that would go on.
    ended = counts < longest if attention else torch.ones_like(counts, dtype=torch.bool)
    listed = Samples(symbols, counts, ended, torch.zeros(len(counts)))
    probabilities = score(network, states, listed, temperature=temperature, attention=attention).exp().detach()
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-5)
    rows = [tuple(s[:n].tolist()) for s, n in zip(drawn.symbols, drawn.counts, strict=True)]
    for sequence, probability in zip(all_sequences, probabilities.tolist(), strict=True):
        share = rows.count(sequence) / 4000
        assert abs(share - probability) < 4.5 * math.sqrt(probability * (1 - probability) / 4000) + 1e-3
    place = {sequence: index for index, sequence in enumerate(all_sequences)}
    assert torch.allclose(drawn.log_probs.exp(), probabilities[[place[row] for row in rows]], atol=1e-5)


@pytest.mark.parametrize("attention", [False, True])
def test_relaxed_transcripts_say_what_hard_ones_do_and_have_gradients(attention: bool) -> None:
    network = network_of(decoder_blocks=1)
    features, lengths = torch.randn(3, 40, DIM), torch.tensor([40, 30, 9])
    states = network(features, lengths)
    hard = sample(network, states, temperature=0, max_length=8, attention=attention)
    rows = relax(network, states, "argmax", max_length=8, attention=attention)
    assert torch.equal(rows.counts, hard.counts)
    for row, count in enumerate(hard.counts.tolist()):
        assert rows.rows[row, :count].argmax(-1).tolist() == hard.symbols[row, :count].tolist()
        assert torch.allclose(rows.rows[row, :count].sum(-1), torch.ones(count))
        assert not rows.rows[row, count:].any()
    assert torch.allclose(rows.rows, rows.rows.round(), atol=1e-6)
    soft = relax(network, states, "expected", max_length=8, attention=attention)  # the decoder reads other rows back
    inside = torch.arange(soft.rows.shape[1]) < soft.counts[:, None]
    assert torch.allclose(soft.rows.sum(-1), inside.float(), atol=1e-5)
    assert (soft.rows[inside].amax(-1) < 0.999).all()
    gumbel = [
        relax(network, states, "gumbel", max_length=8, attention=attention, generator=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    ]
    assert torch.equal(gumbel[0].rows, gumbel[1].rows)
    assert gumbel[0].rows.shape != gumbel[2].rows.shape or not torch.equal(gumbel[0].rows, gumbel[2].rows)
    (rows.rows * torch.randn(rows.rows.shape)).sum().backward()
    assert network.trunk.project.weight.grad is not None
    assert network.trunk.project.weight.grad.abs().sum() > 0


def test_masks_hide_the_shares_asked_for() -> None:
    frames = torch.tensor([200, 120, 3])
    hidden, channels = draw_masks(frames, 64, MaskConfig(time=0.3, channel=0.25), torch.Generator().manual_seed(0))
    assert hidden.shape == (3, 200)
    assert channels.shape == (3, 64)
    assert not hidden[1, 120:].any()
    assert 40 <= hidden[0].sum() <= 60  # six spans of ten, which may overlap
    nothing = draw_masks(frames, 64, MaskConfig(time=0, channel=0), torch.Generator().manual_seed(0))
    assert not any(mask.any() for mask in nothing)
    network = network_of()
    features = torch.randn(1, 20, DIM)
    changed = features.clone()
    changed[:, 5:10] = 9
    masks = torch.zeros(1, 20, dtype=torch.bool), torch.zeros(1, DIM, dtype=torch.bool)
    masks[0][:, 5:10] = True
    lengths = torch.tensor([20])
    assert torch.equal(network(features, lengths, masks).values, network(changed, lengths, masks).values)


def test_every_utterance_comes_once_an_epoch_and_processes_share_a_batch(tmp_path: Path) -> None:
    plant(tmp_path, n=23)
    paired = read_task(configured(tmp_path)).training
    seen, step = [], 0
    while len(seen) < len(paired.ids):
        batch, weight = paired.batch(step, 3.0, 7, World())
        assert weight == 1 / int(batch.counts.sum())
        assert batch.rows.shape[0] * batch.rows.shape[1] <= 3.0 * 50 or len(batch.rows) == 1
        parts = [paired.batch(step, 3.0, 7, World(rank, 2)) for rank in range(2)]
        assert sum(float(w) * int(b.counts.sum()) for b, w in parts) == pytest.approx(1)
        seen += batch.counts.tolist()
        step += 1
    assert sorted(seen) == sorted(len(paired.symbols[i]) for i in paired.ids)
    again, _ = PairedSpeech(paired.speech, paired.symbols, paired.left_out).batch(step + 1, 3.0, 7, World())
    assert torch.equal(again.rows, paired.batch(step + 1, 3.0, 7, World())[0].rows)


def test_it_learns_planted_phones_by_ctc_and_by_attention(tmp_path: Path) -> None:
    transcripts = plant(tmp_path, n=200)
    config = configured(
        tmp_path, network={**SMALL, "decoder_blocks": 1}, steps=160, valid_every=80, save_every=0, log_every=80
    )
    train(config, tmp_path / "run")
    # Chance, the most frequent phone everywhere, is 0.8; 0.05 is what noise and short training leave at most.
    assert min(row["valid_disagreement"] for row in read_metrics(tmp_path / "run") if "valid_nats" in row) < 0.05
    recognizer = load_recognizer(tmp_path / "run")
    assert isinstance(recognizer, CtcRecognizer)
    assert (recognizer.phones, recognizer.silence, recognizer.topology) == (PHONES, None, "ctc")
    assert (recognizer.source.encoder, recognizer.source.frame_rate) == ("planted", 50.0)
    task = read_task(config)
    features = [task.held_out.speech.load(i).numpy() for i in task.held_out.ids]
    found = recognizer.posteriors([*features, np.empty((0, DIM), np.float32)])
    assert found[-1].log_probs.shape == (0, len(PHONES) + 1)
    decode = GreedyDecoder("ctc")
    right = [
        [PHONES[p] for p in decode(rows).phones] == transcripts[i]
        for i, rows in zip(task.held_out.ids, found, strict=False)
    ]
    assert np.mean(right) > 0.8
    for rows, frames in zip(found, features, strict=False):
        assert rows.starts[0] == 0
        assert rows.ends[-1] == len(frames)
        assert (rows.starts[1:] == rows.ends[:-1]).all()
    alone = recognizer.posteriors(features[:1])[0]
    assert np.allclose(alone.log_probs, found[0].log_probs, atol=1e-4)
    # What the attention decoder says of the next symbol: ln 6 nats would be chance.
    batch = task.held_out.collate(range(len(task.held_out.ids)))
    with torch.no_grad():
        states = recognizer.network(batch.rows, batch.lengths)
        nats = recognizer.network.attention_nats(states, batch.symbols, batch.counts)
    assert nats.sum() / (batch.counts + 1).sum() < 0.6 * math.log(6)
    header = json.loads((tmp_path / "run" / "config.json").read_text())
    assert header["labels"] == "pseudo"


def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    """Each takes its share of a batch; weights differ only by the order of sums, magnified by Adam's division."""
    plant(tmp_path, n=30)
    toml = tmp_path / "student.toml"
    toml.write_text(
        'steps = 3\nlog_every = 1\nbatch_seconds = 6.0\nprecision = "fp32"\n'
        '[data]\nspeech = "features"\ntranscripts = "phones.tsv"\nheld_out = 0.2\n'
        "[network]\ndim = 16\nheads = 2\nffn = 32\nblocks = 1\ndropout = 0.0\ndecoder_blocks = 1\n"
        "[mask]\ntime = 0.0\nchannel = 0.0\n"
    )
    train(StudentConfig.load(toml).of_round(tmp_path / "phones.tsv"), tmp_path / "one")
    port = str(20_000 + os.getpid() % 20_000)
    environment = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "textless", "asr", "student", str(toml), str(tmp_path / "two"), "--device", "cpu"]
    two = [subprocess.Popen(command, env=environment | {"RANK": str(rank)}) for rank in range(2)]
    assert [process.wait(timeout=300) for process in two] == [0, 0]
    one, shared = (CtcRecognizer.load(tmp_path / name).network.state_dict() for name in ("one", "two"))
    for name, weight in one.items():
        assert torch.allclose(weight, shared[name], atol=1e-4)
    losses = [[row["loss_nats"] for row in read_metrics(tmp_path / n) if "loss_nats" in row] for n in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    plant(tmp_path)
    config = configured(tmp_path, network={**SMALL, "decoder_blocks": 1, "dropout": 0.1})
    task = read_task(config)
    with Run(tmp_path / "whole", config) as run:
        train_on(task, config, run, torch.device("cpu"))

    class Stopping(Run):
        asked = 0

        def stopping(self) -> bool:
            return self.asked > 6

        def due(self, step: int, every: int) -> bool:  # type: ignore[override]
            self.asked = step
            return Run.due(step, every)

    with Stopping(tmp_path / "parts", config) as run:
        train_on(read_task(config), config, run, torch.device("cpu"))
    assert read_metrics(tmp_path / "parts")[-1]["step"] < 12
    with Run(tmp_path / "parts", config) as run:
        train_on(read_task(config), config, run, torch.device("cpu"))
    one, other = (torch.load(tmp_path / name / "resume.pt", weights_only=True)["parts"] for name in ("whole", "parts"))
    for name, value in one["learner"].items():
        assert torch.equal(value, other["learner"][name])
    assert one["best"] == other["best"]
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]
    train(config, tmp_path / "parts")  # a finished run is left alone


def text_folder(folder: Path, phones: tuple[str, ...], sentences: list[list[str]]) -> Path:
    """A folder as `asr prepare-text` writes it."""
    from textless.provenance import make_header

    folder.mkdir()
    header = make_header("textless-phone-text", 1, phones=[*phones, "<SIL>"])
    (folder / "text.json").write_text(json.dumps(header))
    (folder / "phones.txt").write_text("".join(" ".join(["<SIL>", *s, "<SIL>"]) + "\n" for s in sentences))
    return folder


def test_rounds_relabel_and_keep_one_by_text_alone(tmp_path: Path) -> None:
    truth = plant(tmp_path, n=60)
    random = np.random.default_rng(5)
    noisy = {i: [str(random.choice(PHONES)) if random.random() < 0.15 else p for p in s] for i, s in truth.items()}
    write_transcripts(tmp_path / "phones.tsv", noisy)
    text = text_folder(tmp_path / "text", PHONES, list(truth.values()))
    values = {"data": {"text": text}, "rounds": 2, "steps": 60, "valid_every": 30, "save_every": 0, "log_every": 30}
    config = configured(tmp_path, StudentConfig, **values)
    toml = tmp_path / "student.toml"
    toml.write_text(
        'steps = 60\nvalid_every = 30\nsave_every = 0\nlog_every = 30\nbatch_seconds = 12.0\nprecision = "fp32"\n'
        '[data]\nspeech = "features"\ntranscripts = "phones.tsv"\nheld_out = 0.2\ntext = "text"\n'
        "[network]\ndim = 32\nheads = 2\nffn = 64\nblocks = 1\ndropout = 0.0\n"
        "[optimizer]\nlr = 4e-3\n[optimizer.schedule]\nwarmup_steps = 10\n"
    )
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["student", str(toml), str(out), "--rounds", "2", "--json"])
    assert done.exit_code == 0, done.output
    assert StudentConfig.load(toml, ["rounds=2"]).model_dump() == StudentConfig.model_validate(config).model_dump() | {
        "optimizer": config.optimizer.model_dump()
    }
    rows = json.loads(done.stdout.splitlines()[-1])["rounds"]
    assert [row["round"] for row in rows] == ["round-1", "round-2"]
    kept = json.loads((out / "rounds.json").read_text())["kept"]
    assert (out / "model.safetensors").read_bytes() == (out / kept / "model.safetensors").read_bytes()
    written = read_transcripts(out / "phones.tsv")
    assert written.keys() == truth.keys()
    # 12 % of the labels are wrong; what is random cannot be learnt.
    before, after = (token_errors("phone", truth, labels).rate for labels in (noisy, written))
    assert after < 0.5 * before
    logged = (out / "round-1" / "metrics.jsonl").read_bytes()
    again = CliRunner().invoke(app, ["student", str(toml), str(out), "--rounds", "2"])
    assert again.exit_code == 0
    assert (out / "round-1" / "metrics.jsonl").read_bytes() == logged
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    refused = CliRunner().invoke(app, ["student", str(toml), str(tmp_path / "other"), "--rounds", "2"])
    assert isinstance(refused.exception, UserError)
    forced = CliRunner().invoke(
        app,
        [
            "student",
            str(toml),
            str(tmp_path / "other"),
            "--set",
            "steps=2",
            "--force",
            "--set",
            "data.labels=reference",
        ],
    )
    assert forced.exit_code == 0, forced.output
    assert json.loads((tmp_path / "other" / "config.json").read_text())["labels"] == "reference"


def test_an_encoder_is_trained_along_and_travels_with_the_model(tmp_path: Path) -> None:
    torch.manual_seed(1)
    shape = TransformerConfig(dim=16, layers=3, heads=2, ffn_dim=32, position="alibi", norm_first=True)
    encoder = SpeechTransformer(SpeechTransformerConfig(front_end=LogMelConfig(), transformer=shape)).eval()
    save_encoder(tmp_path / "encoder", encoder)
    random = np.random.default_rng(0)
    lines, transcripts = ["#root\t.", "path\tn_samples"], {}
    for index in range(6):
        n = 8000 + 700 * index
        soundfile.write(tmp_path / f"{index}.wav", 0.1 * random.standard_normal(n), 16_000)
        lines.append(f"{index}.wav\t{n}")
        transcripts[str(index)] = ["a", "b"]
    (tmp_path / "manifest.tsv").write_text("\n".join(lines) + "\n")
    write_transcripts(tmp_path / "phones.tsv", transcripts)
    spec = f"{tmp_path / 'encoder'}:2"
    config = configured(
        tmp_path,
        StudentConfig,
        data={"speech": tmp_path / "manifest.tsv", "transcripts": tmp_path / "phones.tsv"},
        network={"dim": 16, "heads": 2, "strides": (), "blocks": 0},
        encoder={"finetune": True, "spec": spec, "freeze_steps": 4, "layer_drop": 0.0},
        steps=8,
    )
    tuned = open_tuned(config.encoder, config.mask).eval()
    waveforms, lengths = torch.randn(2, 6000), torch.tensor([6000, 5000])
    given, frames = encoder(waveforms, lengths, 2)
    mine, counts = tuned(waveforms, lengths)
    assert torch.equal(frames, counts)
    assert torch.allclose(given, mine, atol=1e-6)  # two blocks of the three
    train(config.of_round(config.data.transcripts), tmp_path / "run")
    recognizer = load_recognizer(tmp_path / "run")
    layer = load_encoder(recognizer.source.encoder)
    assert layer.sha256 == recognizer.source.encoder_sha256
    assert isinstance(layer.encoder, SpeechTransformer)
    moved = layer.encoder.state_dict()
    for name, value in encoder.state_dict().items():
        if name.startswith("front_end."):
            assert torch.equal(value, moved[name])
    assert not torch.equal(encoder.transformer.blocks[0].qkv.weight, moved["transformer.blocks.0.qkv.weight"])
    features = layer.encode([torch.randn(6000)])[0].numpy()
    assert recognizer.posteriors([features])[0].log_probs.shape == (len(features), 3)
    still = configured(tmp_path, **{**config.of_round(config.data.transcripts).model_dump(), "steps": 4})
    train(still, tmp_path / "still")
    unmoved = load_encoder(load_recognizer(tmp_path / "still").source.encoder).encoder
    assert isinstance(unmoved, SpeechTransformer)
    assert torch.equal(encoder.transformer.blocks[0].qkv.weight, unmoved.transformer.blocks[0].qkv.weight)


def test_what_cannot_be_learnt_from_is_counted_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transcripts = plant(tmp_path, n=20)
    transcripts["stranger"] = ["a"]
    transcripts["u0"] = []
    transcripts["u1"] = ["a"] * 200
    del transcripts["u2"]
    write_transcripts(tmp_path / "phones.tsv", transcripts)
    config = configured(tmp_path, steps=1)
    left_out = read_task(config).training.left_out
    assert (left_out.no_speech, left_out.no_transcript, left_out.empty, left_out.too_long) == (1, 1, 1, 1)
    train(config, tmp_path / "run")
    assert "left out: 1 without speech, 1 without transcript, 1 with an empty" in " ".join(
        capsys.readouterr().err.split()
    )

    text = text_folder(tmp_path / "text", ("a", "b"), [["a", "b"]])
    with pytest.raises(UserError, match="3 phones that the text has not: c d e"):
        read_task(configured(tmp_path, data={"text": text}))
    write_transcripts(tmp_path / "none.tsv", {"x": ["a"]})
    with pytest.raises(UserError, match=r"none of 1 transcripts can be learnt from; left out: 1 without speech"):
        read_task(configured(tmp_path, data={"transcripts": tmp_path / "none.tsv"}))
    with pytest.raises(UserError, match=r"(?s)gradient is (nan|inf) at step"):
        train(configured(tmp_path, steps=9, optimizer={"lr": 1e30, "clip": 0}), tmp_path / "nan")
    with pytest.raises(UserError, match="cannot be fine-tuned"):
        open_tuned(TunedEncoderConfig(finetune=True, spec="mfcc"), MaskConfig())
    with pytest.raises(UserError, match="rounds need data.text"):
        StudentConfig.parse({"data": {"speech": "x", "transcripts": "y"}, "rounds": 2}, "t")
    with pytest.raises(UserError, match="references are not to be relabelled"):
        data = {"speech": "x", "transcripts": "y", "text": "z", "labels": "reference"}
        StudentConfig.parse({"data": data, "rounds": 2}, "t")


def test_the_three_stages_of_fine_tuning() -> None:
    schedule = ScheduleConfig(name="exponential", warmup_steps=10, plateau=0.5, final=0.05)
    assert [multiplier(schedule, step, 100) for step in (9, 30, 50)] == [1, 1, 1]
    assert multiplier(schedule, 75, 100) == pytest.approx(math.sqrt(0.05))
    assert multiplier(schedule, 100, 100) == pytest.approx(0.05)


@pytest.mark.parametrize("name", ["asr-student", "asr-student-hybrid", "asr-student-wav2vec2"])
def test_examples_load(name: str) -> None:
    config = StudentConfig.load(EXAMPLES / f"{name}.toml")
    assert config.data.transcripts == EXAMPLES / "phones.tsv"
    if config.encoder.finetune:  # wav2vec-U's second self-training
        assert (config.steps, config.optimizer.lr) == (80_000, 3e-5)
        assert config.optimizer.schedule == ScheduleConfig(
            name="exponential", warmup_steps=8000, plateau=0.5, final=0.05
        )
        assert (config.mask.time, config.mask.channel, config.mask.channel_span) == (0.25, 0.1, 64)
        assert config.encoder.layer_drop == 0.1
