"""Pretraining: crops and their labels, HuBERT's loss, a run that learns, stops and goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.cli import build
from textless.corpora.alignment import Segment, write_alignment
from textless.corpora.items import items_from_alignment, write_items
from textless.distributed import World
from textless.encoders.directory import load_encoder_directory
from textless.encoders.logmel_front_end import LogMelConfig
from textless.encoders.speech_transformer import SpeechTransformer, SpeechTransformerConfig
from textless.encoders.transformer import TransformerConfig
from textless.errors import UserError
from textless.pipeline.pretraining import DevConfig, IterateConfig, judge
from textless.pretraining.config import DataConfig, OptimizerConfig, PretrainConfig
from textless.pretraining.data import CropConfig, Crops, Targets
from textless.pretraining.hubert import HubertConfig, HubertObjective, heads_for
from textless.pretraining.masking import span_mask
from textless.pretraining.objective import Batch
from textless.pretraining.train import new_objective, pretrain
from textless.training.run import read_metrics
from textless.training.schedule import ScheduleConfig

PHONES = 4
PHONE_FRAMES = 6  # at 50 Hz
TINY = SpeechTransformerConfig(
    front_end=LogMelConfig(bins=20),
    projection_norm=False,
    transformer=TransformerConfig(dim=48, layers=2, heads=4, ffn_dim=96, norm_first=True, position="alibi"),
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> tuple[Path, Targets]:
    """Tones for phones, in an order where each is followed by one of two, so that context tells of what is hidden."""
    root = tmp_path_factory.mktemp("planted")
    random = np.random.default_rng(0)
    utterances, labels = [], {}
    for number in range(24):
        phones = [int(random.integers(PHONES))]
        while len(phones) < 25:
            phones.append((phones[-1] + 1 + int(random.random() < 0.1)) % PHONES)
        time = np.arange(320 * PHONE_FRAMES) / 16_000
        tones = [np.sin(2 * np.pi * (400 + 700 * p) * time) * np.hanning(len(time)) for p in phones]
        waveform = 0.3 * np.concatenate(tones) + 0.01 * random.standard_normal(len(time) * len(tones))
        io.save(root / f"u{number}.wav", torch.from_numpy(waveform).float())
        utterances.append(Utterance(f"u{number}", f"u{number}.wav", len(waveform), f"s{number % 3}"))
        labels[f"u{number}"] = np.repeat(phones, PHONE_FRAMES)
    write_manifest(root / "manifest.tsv", Manifest(root, tuple(utterances)))
    return root / "manifest.tsv", Targets(labels, PHONES, 50.0, "planted phones")


def config(manifest: Path, **changes: object) -> PretrainConfig:
    values = {
        "data": DataConfig(manifest=manifest, seconds=1.28, batch_seconds=12.8),
        "objective": HubertConfig(mask_span=PHONE_FRAMES, mask_probability=0.4, projection=16),
        "encoder": TINY,
        "optimizer": OptimizerConfig(lr=3e-3, schedule=ScheduleConfig(warmup_steps=20)),
        "steps": 40,
        "precision": "fp32",
        "log_every": 10,
        "save_every": 10,
    }
    return PretrainConfig(**{**values, **changes})


def test_crops_cover_the_corpus_and_carry_their_labels(planted) -> None:
    path, targets = planted
    manifest = read_manifest(path)
    ramps = {u.id: np.arange(len(targets.labels[u.id])) for u in manifest}
    crops = Crops(manifest, [Targets(ramps, 10_000, 50.0, "ramp")], CropConfig(seconds=1.0, batch_seconds=4), 320, 0)
    covered = {u.id: set() for u in manifest}
    recordings = {u.id: manifest.load(u) for u in manifest}
    for step in range(6 * crops.n_batches):
        batch = crops.batch(step, World())
        assert batch.lengths.sum() <= 4 * 16_000
        for waveform, length, labels in zip(batch.waveforms, batch.lengths, batch.labels[0], strict=True):
            first, n_frames = int(labels[0]), int(length) // 320
            assert (labels[:n_frames] == torch.arange(first, first + n_frames)).all()
            stretches = {i: recording[first * 320 :][:length] for i, recording in recordings.items()}
            (found,) = (i for i, stretch in stretches.items() if (stretch - waveform[:length]).abs().max() < 1e-4)
            covered[found] |= set(range(first, first + n_frames))
    # Places are drawn anew every epoch: after six, only the very ends may have been missed.
    assert all(set(range(30, 120)) <= seen for seen in covered.values())


def test_shares_of_a_batch_make_the_whole(planted) -> None:
    path, targets = planted
    make = lambda: Crops(read_manifest(path), [targets], CropConfig(seconds=1.0, batch_seconds=8), 320, 5)  # noqa: E731
    whole, again = make().batch(3, World()), make().batch(3, World())
    assert torch.equal(whole.waveforms, again.waveforms)
    shares = [make().batch(3, World(rank, 2)) for rank in range(2)]
    assert torch.equal(torch.cat([share.waveforms for share in shares]), whole.waveforms)
    assert torch.equal(torch.cat([share.labels[0] for share in shares]), whole.labels[0])
    assert make()._batches(0) != make()._batches(1)


def test_bad_labels(planted) -> None:
    path, targets = planted
    manifest, crop = read_manifest(path), CropConfig()
    some = {i: labels for i, labels in targets.labels.items() if i != "u7"}
    for bad, message in (
        (Targets(some, PHONES, 50.0, "units.jsonl"), "no labels for 1 utterances.*'u7'"),
        (Targets(targets.labels, PHONES - 1, 50.0, "units.jsonl"), "has the label 3, but K is 3"),
        (Targets({i: x[:40] for i, x in targets.labels.items()}, PHONES, 50.0, "units.jsonl"), "40 labels.*150"),
    ):
        with pytest.raises(UserError, match=message):
            Crops(manifest, [bad], crop, 320, 0)
    with pytest.raises(UserError, match="at 40 Hz.*multiple"):
        heads_for(HubertConfig(), [Targets({}, 5, 40.0, "units.jsonl")], 50.0)
    with pytest.raises(UserError, match="give data.targets"):
        heads_for(HubertConfig(), [], 50.0)
    with pytest.raises(UserError, match="needs encoder.front_end"):
        HubertObjective(SpeechTransformer(SpeechTransformerConfig()), HubertConfig(augmentation={"warp": 0.1}))


def test_span_mask_shares() -> None:
    frames = torch.tensor([400, 37, 5])
    generator = torch.Generator().manual_seed(0)
    masks = torch.stack([span_mask(frames, 0.65, 10, generator) for _ in range(200)]).float()
    assert not masks[:, 1, 37:].any()
    assert (masks[:, 2, :5].sum(1) == 5).all()  # a span as long as the utterance
    # 26 spans of 10 with distinct starts of 391: a frame in the middle is hidden unless none of 10 starts is drawn.
    expected = 1 - np.prod([(391 - 26 - i) / (391 - i) for i in range(10)])
    spread = masks[:, 0, 50:350].mean(dim=1).std() / 200**0.5
    assert abs(masks[:, 0, 50:350].mean() - expected) < 4 * spread


def test_hubert_loss_is_cross_entropy_of_cosines(planted) -> None:
    """Against the formula written out, frame by frame; and padding does not count."""
    _, targets = planted
    torch.manual_seed(0)
    settings = HubertConfig(projection=8, mask_probability=0.5)
    encoder = SpeechTransformer(TINY.model_copy(update={"heads": heads_for(settings, [targets], 50.0)}))
    objective = HubertObjective(encoder, settings).eval()
    lengths = torch.tensor([12_800, 9_600])
    waveforms = torch.randn(2, 12_800)
    labels = torch.randint(PHONES, (2, 40))
    labels[1, 28:] = -1
    outcomes = []
    for noise in (0, 7):
        padded = waveforms.clone()
        padded[1, 9_600:] = noise
        batch = Batch(padded, lengths, torch.zeros(2), (labels,), torch.Generator().manual_seed(3))
        outcomes.append(objective(batch, 0.0))
    torch.testing.assert_close(outcomes[0].loss, outcomes[1].loss)
    head = encoder.heads[0]
    features, frames = encoder.front(waveforms, lengths)
    hidden = span_mask(frames, 0.5, 10, _after_augmentation(objective, waveforms))
    x = torch.where(hidden[..., None], objective.mask_embedding, encoder.project(features))
    *_, x = encoder.transformer.layers(encoder.transformer.enter(x, frames), frames)
    x = encoder.transformer.final_norm(x)
    loss, count = 0.0, 0
    for b, t in hidden.nonzero().tolist():
        if labels[b, t] >= 0:
            projected = head.projection(x[b, t])
            cosines = torch.stack([F.cosine_similarity(projected, unit, dim=0) for unit in head.units])
            loss -= F.log_softmax(cosines / 0.1, dim=0)[labels[b, t]]
            count += 1
    assert outcomes[0].count == count
    torch.testing.assert_close(outcomes[0].loss, loss)


def _after_augmentation(objective: HubertObjective, waveforms: torch.Tensor) -> torch.Generator:
    generator = torch.Generator().manual_seed(3)
    objective.augmentation(
        objective.encoder.front_end,
        Batch(waveforms, torch.tensor([12_800, 9_600]), torch.zeros(2), (), generator),
    )
    return generator


def test_learns_hidden_phones_from_their_neighbours(planted, tmp_path) -> None:
    path, targets = planted
    pretrain(config(path, steps=150), tmp_path / "run", [targets])
    last = read_metrics(tmp_path / "run")[-1]
    # The source allows 90 % where one phone is hidden between two that are seen; chance is 25 %.
    assert last["masked_accuracy"] > 0.5
    encoder = load_encoder_directory(tmp_path / "run")
    assert encoder.front_end.scale.std() > 0  # statistics of the corpus came along


def test_stopped_and_resumed_is_uninterrupted(planted, tmp_path) -> None:
    path, targets = planted
    encoder = TINY.model_copy(update={"transformer": TINY.transformer.model_copy(update={"dropout": 0.1})})
    whole = config(path, encoder=encoder, tensorboard=True)
    pretrain(whole, tmp_path / "whole", [targets])
    partly = tmp_path / "partly"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textless.training.run.Run.stopping", lambda run: (run.directory / "resume.pt").exists())
        pretrain(whole, partly, [targets])
    assert read_metrics(partly)[-1]["step"] < whole.steps
    pretrain(whole, partly, [targets])
    a, b = load_encoder_directory(tmp_path / "whole"), load_encoder_directory(partly)
    assert a.sha256() == b.sha256()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(partly / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [row["step"] for row in read_metrics(partly)]


def test_two_processes_train_one_model(planted, tmp_path) -> None:
    path, targets = planted
    np.savez(tmp_path / "labels.npz", **targets.labels)
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, numpy as np\n"
        "sys.path.insert(0, sys.argv[3])\n"
        "from pathlib import Path\n"
        "from test_pretraining import config\n"
        "from textless.pretraining.data import Targets\n"
        "from textless.pretraining.train import pretrain\n"
        "labels = dict(np.load(Path(sys.argv[2]) / 'labels.npz'))\n"
        "pretrain(config(Path(sys.argv[1]), steps=20), Path(sys.argv[2]) / 'run', [Targets(labels, 4, 50.0, 'x')])\n"
    )
    arguments = [str(script), str(path), str(tmp_path), str(Path(__file__).parent)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29517", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, check=False, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = read_metrics(tmp_path / "run")
    assert rows[-1]["step"] == 20
    # The audio of both processes is counted: ten batches of nearly 12.8 s since the last row.
    assert rows[-1]["audio_seconds"] > 100
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_pretrain_verb_and_iterations(planted, tmp_path) -> None:
    path, _ = planted
    toml = tmp_path / "iterate.toml"
    toml.write_text(
        f"""
steps = 8
log_every = 4
[data]
manifest = "{path}"
seconds = 1.28
batch_seconds = 6.4
[objective]
kind = "hubert"
projection = 16
[encoder]
projection_norm = false
[encoder.front_end]
kind = "logmel"
[encoder.transformer]
dim = 32
layers = 2
heads = 4
ffn_dim = 64
position = "alibi"
[[iterations]]
targets = ["mfcc", "logmel@50"]
k = [8, 12]
[[iterations]]
targets = ["previous:1"]
k = [8]
warm_start = true
"""
    )
    import typer

    command = typer.main.get_command(build())
    command.main(["encoder", "hubert-iterate", str(toml), str(tmp_path / "out")], standalone_mode=False)
    first, second = (tmp_path / "out" / f"iteration-{n}" / "encoder" for n in (1, 2))
    assert {"nats", "nats_2"} <= read_metrics(first)[-1].keys()
    run = json.loads((second.parent / "pretrain.json").read_text())
    assert run["start"] == str(first)
    assert str(tmp_path) not in (second / "config.json").read_text()  # an encoder tells nothing of where it was made
    units = (tmp_path / "out" / "iteration-2" / "units-1.jsonl").read_text().splitlines()
    assert json.loads(units[0])["quantizer"]["encoder"] == f"{first}:1"
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.safetensors")}
    command.main(["encoder", "hubert-iterate", str(toml), str(tmp_path / "out")], standalone_mode=False)
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.safetensors")}


EXAMPLES = Path(__file__).parents[1] / "examples" / "configs"
READY = [path for kind in ("hubert", "wav2vec2", "cpc", "data2vec") for path in sorted(EXAMPLES.glob(f"{kind}*.toml"))]


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_ready_configurations_build_their_objective(path: Path) -> None:
    """Every ready configuration of an objective is valid, and its encoder can be built (without memory for it)."""
    made = IterateConfig.load(path)
    with torch.device("meta"):
        objective = new_objective(made, [Targets({}, 100, 100.0, "units.jsonl")])
    millions = sum(p.numel() for p in objective.encoder.parameters()) / 1e6
    low, high = (90, 100) if path.stem.endswith("base") else (0.2, 6)
    assert low < millions < high


def test_a_labelled_set_judges_without_teaching(planted, tmp_path) -> None:
    """ABX and PNMI of a set with alignments are logged; the weights are those of a run without it."""
    path, targets = planted
    manifest = read_manifest(path)
    dev = tmp_path / "dev"
    write_manifest(dev / "manifest.tsv", manifest)
    seconds = PHONE_FRAMES / 50
    alignment = {
        i: [Segment(n * seconds, (n + 1) * seconds, f"p{p}") for n, p in enumerate(labels[::PHONE_FRAMES].tolist())]
        for i, labels in targets.labels.items()
    }
    write_alignment(dev / "alignments.tsv", alignment, "phone")
    speakers = {u.id: u.speaker or "" for u in manifest}
    write_items(dev / "phoneme.item", list(items_from_alignment(alignment, speakers, "phoneme")))
    judge_ = judge(DevConfig(directory=dev, k=8), TINY.transformer.layers)
    pretrain(config(path, steps=20), tmp_path / "plain", [targets])
    pretrain(config(path, steps=20, evaluate_every=10), tmp_path / "judged", [targets], evaluate=judge_)
    figures = [row for row in read_metrics(tmp_path / "judged") if "pnmi" in row]
    assert [row["step"] for row in figures] == [10, 20]
    # Four tones are four features: far from chance (50 %, 0) even while little is learned.
    assert figures[-1]["abx_within"] < 25 and figures[-1]["pnmi"] > 0.3  # noqa: PT018
    plain, judged = (load_encoder_directory(tmp_path / name).sha256() for name in ("plain", "judged"))
    assert plain == judged
    with pytest.raises(UserError, match="should hold manifest.tsv"):
        judge(DevConfig(directory=tmp_path), 2)
