"""A recogniser from nothing but speech and text, without adversaries, in minutes on a CPU.

    1. cluster   frames into as many segments a second as there are phones
    2. match     clusters with phones, by skip-grams (`unsup_asr.matching`)
    3. learn     a network from these phones, and again from its own as the bigrams of text correct them
    4. from the second round on, what is clustered is the hidden layer of the network

Every `learn` gives a recogniser. It is judged by text alone, and the best is kept. A stage is the step of the run: a
job that was killed goes on with the stage it was in.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from textless.distributed import select_device
from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.progress import say
from textless.training.run import Run
from textless.training.seeds import mixed_seed
from unsup_asr.matching import match_clusters
from unsup_asr.phone_text import PhoneText
from unsup_asr.selection import Judge, without
from unsup_asr.self_training.clusters import cluster_frames
from unsup_asr.self_training.features import Frames, FrontEnd, principal_components
from unsup_asr.self_training.hmm import Hmm, bonus_for, joined
from unsup_asr.self_training.model import FrameRecognizer, Source, scaled
from unsup_asr.self_training.network import FrameNetwork
from unsup_asr.self_training.train import learn, read
from unsup_asr.train_config import BootstrapConfig

Stage = Literal["cluster", "match", "learn"]
PROBED = 100  # utterances by which the rate of phones is set
CRITERION = "weighted_perplexity"


@dataclass(frozen=True)
class Unpaired:
    """What training reads: frames of utterances and phones of text, neither knowing of the other."""

    source: Source
    front_end: FrontEnd
    frames: Frames
    text: PhoneText

    @property
    def seconds(self) -> float:
        """Of all speech."""
        return len(self.frames) / self.source.frame_rate


class Progress:
    """What stages hand on to each other; part of the state of a run.

    Attributes:
        clusters: `(T,)` of all frames.
        phones: `(T,)` of all frames, as far as is known.
        network: weights of the last one that learnt.
        best: lowest criterion so far.
    """

    def __init__(self) -> None:
        nothing = torch.empty(0, dtype=torch.int64)
        self.clusters, self.phones = nothing, nothing
        self.network: dict[str, torch.Tensor] = {}
        self.best = math.inf

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        return vars(self).copy()

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Put it back."""
        vars(self).update(state_dict)


def bootstrap(config: BootstrapConfig, out: Path, *, device_name: str = "auto", force: bool = False) -> None:
    """Train in `out`, continuing a run that was stopped there.

    Raises:
        UserError: the features or the text are not there, or of nothing; `out` is something else.
    """
    data = load_unpaired(config)
    with Run(out, config, force=force) as run:
        run_stages(data, config, run, select_device(device_name))


def load_unpaired(config: BootstrapConfig) -> Unpaired:
    """Read features and text.

    Raises:
        UserError: they are not there, or of nothing.
    """
    store = FeatureStore(config.data.features)
    text = PhoneText.load(config.data.text)
    if not config.data.silence and text.silence is not None:
        text = PhoneText(text.phones[:-1], [without(sentence, text.silence) for sentence in text.sentences])
    sequences = [np.asarray(store[i], dtype=np.float32) for i in store if len(store[i])]
    sentences = [sentence for sentence in text.sentences if len(sentence)]
    if not sequences or not sentences:
        raise UserError(f"nothing to train on: {len(sequences)} utterances, {len(sentences)} sentences")
    front_end = FrontEnd.fit(sequences, config.normalisation, config.pca)
    source = Source(store.header.encoder, store.header.encoder_sha256, store.header.frame_rate)
    frames = Frames.of([front_end(sequence) for sequence in sequences])
    return Unpaired(source, front_end, frames, PhoneText(text.phones, sentences))


def stages(config: BootstrapConfig) -> list[Stage]:
    """What is done, in order."""
    learning: list[Stage] = ["learn"] * config.network.iterations
    return ["cluster", "match", *learning] * config.rounds


def run_stages(data: Unpaired, config: BootstrapConfig, run: Run, device: torch.device) -> None:
    """Train on what was read; the loop."""
    plan = stages(config)
    progress = Progress()
    step = run.resume({"progress": progress})
    if step == len(plan):
        say(f"{run.directory} is finished; --force trains it again")
        return
    judge = Judge(data.text)
    metrics: dict[str, float]
    while step < len(plan) and not run.stopping():
        seed = mixed_seed(config.seed, step)
        match plan[step]:
            case "cluster":
                seen = hidden_frames(data, config, progress.network, device) if progress.network else data.frames
                rate = config.segments_per_second / data.source.frame_rate
                clusters = cluster_frames(seen, config.clusters, rate, seed)
                progress.clusters = torch.from_numpy(np.concatenate(clusters))
                metrics = {"segments_per_second": sum(len(joined(row)) for row in clusters) / data.seconds}
            case "match":
                phones, loss = matched(data, config, progress.clusters.numpy(), seed)
                progress.phones = torch.from_numpy(phones)
                metrics = {"matching_loss": loss}
            case "learn":
                recognizer, phones = self_trained(data, config, progress.phones.numpy(), seed, device)
                progress.phones = torch.from_numpy(phones)
                progress.network = recognizer.network.state_dict()
                quality = judge([joined(row) for row in data.frames.split(phones)])
                metrics = quality.record()
                if metrics[CRITERION] < progress.best:
                    progress.best = metrics[CRITERION]
                    recognizer.save(run.directory, stage=step + 1, **metrics)
        step += 1
        run.log(step, **metrics)
        run.save(step, {"progress": progress})
    say(f"{run.directory}: {step} of {len(plan)} stages; {CRITERION} {progress.best:.4g} at best")


def hidden_frames(
    data: Unpaired, config: BootstrapConfig, weights: dict[str, torch.Tensor], device: torch.device
) -> Frames:
    """What the last network has in its hidden layer, projected."""
    network = FrameNetwork(data.frames.values.shape[1], len(data.text.phones), config.network).to(device)
    network.load_state_dict(weights)
    hidden = read(network.eval(), data.frames, hidden=True)
    mean, components = principal_components(hidden, config.hidden_pca)
    return Frames((hidden - mean) @ components.T, data.frames.edges)


def matched(data: Unpaired, config: BootstrapConfig, clusters: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Phones `(T,)` of all frames by the best table from clusters `(T,)`, and its loss."""
    segments = [joined(row) for row in data.frames.split(clusters)]
    options = config.matching.model_copy(update={"seed": seed})
    found = match_clusters(segments, config.clusters, data.text.sentences, len(data.text.phones), options)
    return found.table.argmax(axis=1)[clusters], float(found.losses[0])


def self_trained(
    data: Unpaired, config: BootstrapConfig, phones: np.ndarray, seed: int, device: torch.device
) -> tuple[FrameRecognizer, np.ndarray]:
    """A network that learns phones `(T,)` of all frames, and the phones that it gives with the bigrams of text."""
    n_phones, frame_rate = len(data.text.phones), data.source.frame_rate
    network = learn(data.frames, phones, n_phones, config.network, seed, device)
    log_probs = read(network, data.frames)
    prior = np.exp(log_probs).mean(axis=0)
    scores = data.frames.split(scaled(log_probs, prior, config.network.scale))
    hmm = Hmm.of_text(data.text.sentences, n_phones, stay=1 - config.phone_rate / frame_rate)
    probed = scores[:: max(1, len(scores) // PROBED)]
    hmm = hmm.with_bonus(bonus_for(hmm, probed, config.phone_rate / frame_rate))
    recognizer = FrameRecognizer(data.source, data.text.phones, data.front_end, network, prior, hmm)
    return recognizer, np.concatenate([hmm.viterbi(row) for row in scores])
