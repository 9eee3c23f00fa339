"""A recogniser from nothing but speech and text, without adversaries, in minutes on a CPU.

    1. cluster   frames into as many segments a second as there are phones
    2. match     clusters with phones, by skip-grams (`unsup_asr.matching`)
    3. learn     a network from these phones, and again from its own as the trigrams of text correct them
    4. from the second round on, what is clustered is the hidden layer of the network

Every `learn` gives a recogniser. It is judged by text alone, and the best is kept. A stage is the step of the run: a
job that was killed goes on with the stage it was in. What every frame was taken for after a `match` or a `learn` is
left in stages/, feature stores of the number of the phone: `textless asr diagnose` tells what each was worth.
"""

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from textless.distributed import select_device
from textless.errors import UserError
from textless.features.store import FeatureStore, StoreHeader, write_header, write_shard
from textless.files import remove
from textless.progress import say
from textless.training.best import Best
from textless.training.checkpoint import Stateful
from textless.training.run import Run
from textless.training.seeds import mixed_seed
from unsup_asr.matching import match_clusters
from unsup_asr.phone_text import PhoneText
from unsup_asr.recognizers import EncoderSource
from unsup_asr.selection import DOUBTFUL, Judge, without
from unsup_asr.self_training.clusters import cluster_frames
from unsup_asr.self_training.features import Frames, FrontEnd, principal_components
from unsup_asr.self_training.hmm import Hmm, bonus_for, joined
from unsup_asr.self_training.model import FrameRecognizer, scaled
from unsup_asr.self_training.network import FrameNetwork
from unsup_asr.self_training.train import learn, read
from unsup_asr.train_config import BootstrapConfig, Silence

Stage = Literal["cluster", "match", "learn"]
PROBED = 100  # utterances by which the rate of phones is set
STAGES = "stages"
CRITERION = "alone_weighted_perplexity"  # of what a network hears without n-grams: with them, all look alike


@dataclass(frozen=True)
class Unpaired:
    """What training reads: frames of utterances and phones of text, neither knowing of the other."""

    source: EncoderSource
    front_end: FrontEnd
    header: StoreHeader
    ids: list[str]
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
        strangeness: of the best recogniser so far.
    """

    def __init__(self) -> None:
        nothing = torch.empty(0, dtype=torch.int64)
        self.clusters, self.phones = nothing, nothing
        self.network: dict[str, torch.Tensor] = {}
        self.strangeness = math.inf

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
    if text.silence is None and config.data.silence != "none":
        say(
            f"{config.data.text} has no silences: matching begins better with one at both ends of every sentence, as "
            "`textless asr prepare-text --silence-at-ends` puts them"
        )
    text = with_silences(text, config.data.silence)
    ids = [i for i in store if len(store[i])]
    sequences = [np.asarray(store[i], dtype=np.float32) for i in ids]
    sentences = [sentence for sentence in text.sentences if len(without(sentence, text.silence))]
    if not sequences or not sentences:
        raise UserError(f"nothing to train on: {len(sequences)} utterances, {len(sentences)} sentences")
    if config.phones_per_second >= store.header.frame_rate:
        raise UserError(
            f"{config.data.features} has {store.header.frame_rate:g} frames a second, which is too few for "
            f"phones_per_second = {config.phones_per_second:g}"
        )
    front_end = FrontEnd.fit(sequences, config.normalisation, config.pca)
    source = EncoderSource.of(store.header)
    frames = Frames.of([front_end(sequence) for sequence in sequences])
    return Unpaired(source, front_end, store.header, ids, frames, PhoneText(text.phones, sentences))


def with_silences(text: PhoneText, kept: Silence) -> PhoneText:
    """Text with all of its silences, with one at both ends of every sentence only, or without; if it has any at all."""
    silence = text.silence
    if silence is None or kept == "all":
        return text
    spoken = [without(sentence, silence) for sentence in text.sentences]
    if kept == "none":
        return PhoneText(text.phones[:-1], spoken)
    return PhoneText(text.phones, [np.concatenate([[silence], sentence, [silence]]) for sentence in spoken])


def stages(config: BootstrapConfig) -> list[Stage]:
    """What is done, in order."""
    learning: list[Stage] = ["learn"] * config.network.iterations
    return ["cluster", "match", *learning] * config.rounds


def run_stages(data: Unpaired, config: BootstrapConfig, run: Run, device: torch.device) -> None:
    """Train on what was read; the loop."""
    plan = stages(config)
    progress, best = Progress(), Best()
    parts: dict[str, Stateful] = {"progress": progress, "best": best}
    step = run.resume(parts)
    if step == len(plan):
        say(f"{run.directory} is finished; --force trains it again")
        return
    if step == 0:
        remove(run.directory / STAGES)  # of another configuration
    judge = Judge(data.text)
    stay = 1 - config.phones_per_second / data.source.frame_rate
    hmm = Hmm.of_text(data.text.sentences, len(data.text.phones), stay, config.network.order)
    metrics: dict[str, float]
    while step < len(plan) and not run.stopping():
        seed, begin = mixed_seed(config.seed, step), time.process_time()
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
                outcome = self_trained(data, config, hmm, progress.phones.numpy(), seed, device)
                recognizer = outcome.recognizer
                progress.phones = torch.from_numpy(outcome.phones)
                progress.network = recognizer.network.state_dict()
                quality, alone = (judge(said(data, phones)) for phones in (outcome.phones, outcome.alone))
                metrics = quality.record() | {f"alone_{name}": value for name, value in alone.record().items()}
                metrics["strangeness"] = judge.strangeness(alone)
                if best.improve(step + 1, metrics[CRITERION]):
                    progress.strangeness = metrics["strangeness"]
                    recognizer.save(run.directory, stage=step + 1, **metrics)
        step += 1
        if plan[step - 1] != "cluster":
            keep_stage(run.directory / STAGES / f"{step:02d}-{plan[step - 1]}", data, progress.phones.numpy())
        run.log(step, **metrics, processor_seconds=round(time.process_time() - begin, 2))
        run.save(step, parts)
    say(f"{run.directory}: {step} of {len(plan)} stages; {CRITERION} {best.value:.4g} at best, after stage {best.step}")
    if step == len(plan) and progress.strangeness > DOUBTFUL:
        say(
            f"doubtful: what the network hears by itself is not like the text (strangeness {progress.strangeness:.2f}, "
            f"{DOUBTFUL:g} and less where training succeeds): the text may be of another language, or the features too "
            "far from phones; try other seeds, another encoder, or other text"
        )


@dataclass(frozen=True)
class Outcome:
    """Of one `learn`: a recogniser, what it takes frames `(T,)` for, and what its network does without n-grams."""

    recognizer: FrameRecognizer
    phones: np.ndarray
    alone: np.ndarray


def said(data: Unpaired, phones: np.ndarray) -> list[np.ndarray]:
    """Phones `(T,)` of all frames → `(N,)` of every utterance."""
    return [joined(row) for row in data.frames.split(phones)]


def keep_stage(directory: Path, data: Unpaired, phones: np.ndarray) -> None:
    """Write what every frame `(T,)` is taken for."""
    rows = dict(zip(data.ids, data.frames.split(phones.astype(np.int16)[:, None]), strict=True))
    write_header(directory, replace(data.header, dim=1, n_shards=1))
    write_shard(directory, 0, 1, rows)


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
    data: Unpaired, config: BootstrapConfig, hmm: Hmm, phones: np.ndarray, seed: int, device: torch.device
) -> Outcome:
    """Teach a network phones `(T,)` of all frames, and have it read them with the n-grams of text, and without."""
    network = learn(data.frames, phones, len(data.text.phones), config.network, seed, device)
    log_probs = read(network, data.frames)
    prior = np.exp(log_probs).mean(axis=0)
    scores = data.frames.split(scaled(log_probs, prior, config.network.scale))
    rate = config.phones_per_second / data.source.frame_rate
    probed = scores[:: max(1, len(scores) // PROBED)]
    chains = [hmm, Hmm.without_text(len(data.text.phones), 1 - rate)]
    chains = [chain.with_bonus(bonus_for(chain, probed, rate)) for chain in chains]
    phones, alone = (np.concatenate([chain.viterbi(row) for row in scores]) for chain in chains)
    recognizer = FrameRecognizer(data.source, data.text.phones, data.front_end, network, prior, chains[0])
    return Outcome(recognizer, phones, alone)
