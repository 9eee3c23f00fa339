"""What limits unsupervised recognition: purity of clusters, what labels would reach with these features, what runs did.

It reads labels, for reports only; nothing that trains or selects imports it.

- *purity*: the share of frames that have the most frequent label of their cluster, of clusters made as training makes
  them (`unsup_asr.self_training.clusters`);
- *map*: phone errors if every cluster were named by its most frequent label: what the best matching could reach;
- *network*: phone errors of the network of self-training, taught by labels of three quarters of the utterances, on
  these and on the others: what the best self-training could reach;
- *stages*: phone errors of what a run took the frames for, stage by stage (`unsup_asr.bootstrap`);
- *model*: phone errors of what a recogniser makes of the features, greedily;
- *chance*: the same transcripts with the phones renamed at random.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textless.corpora.alignment import SILENCE as ALIGNED_SILENCE
from textless.corpora.alignment import Alignment, Segment, frame_labels
from textless.errors import UserError
from textless.features.store import FeatureStore
from units.phones import Cooccurrence
from unsup_asr.bootstrap import STAGES
from unsup_asr.decoding.best_path import greedy
from unsup_asr.recognizers import check_features, load_recognizer
from unsup_asr.scoring import ScoringOptions, score
from unsup_asr.self_training.clusters import cluster_frames
from unsup_asr.self_training.config import SelfTrainingConfig
from unsup_asr.self_training.features import Frames, FrontEnd, Normalisation
from unsup_asr.self_training.hmm import Hmm, bonus_for, joined
from unsup_asr.self_training.model import scaled
from unsup_asr.self_training.train import learn, read

HELD_OUT = 4  # one utterance in so many
PROBED = 100  # utterances by which the rate of phones is set


@dataclass(frozen=True)
class DiagnosisOptions:
    """How features are looked at; the defaults are those of training.

    Attributes:
        normalisation: of every utterance.
        pca: numbers of a frame that are kept.
        clusters: K.
        segments_per_second: of clusters.
        network: that is taught by labels.
        seed: of the clusters, the network and the renamings of chance.
    """

    normalisation: Normalisation = "none"
    pca: int = 64
    clusters: int = 128
    segments_per_second: float = 13.0
    network: SelfTrainingConfig = field(default_factory=SelfTrainingConfig)
    seed: int = 0


@dataclass(frozen=True)
class Errors:
    """Phone errors of transcripts, and those of the same with the phones renamed at random, in percent."""

    percent: float
    chance: float
    substitutions: int
    insertions: int
    deletions: int


@dataclass(frozen=True)
class Diagnosis:
    """The outcome; error rates as `Errors`.

    Attributes:
        utterances: that have features and labels.
        seconds: of all.
        phones_per_second: of the labels, silences apart.
        purity: of clusters.
        best_map: with every cluster named by its most frequent label.
        taught: of the network, on what it was taught.
        held_out: of the network, on the others.
        stages: of a run, by name.
        model: of a recogniser.
    """

    utterances: int
    seconds: float
    phones_per_second: float
    purity: float
    best_map: Errors
    taught: Errors
    held_out: Errors
    stages: dict[str, Errors]
    model: Errors | None

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        rows = {
            "clusters, named by labels": self.best_map,
            "network taught by labels, there": self.taught,
            "the same, elsewhere": self.held_out,
            **{f"stage {name}": errors for name, errors in self.stages.items()},
            **({"model, greedily": self.model} if self.model else {}),
        }
        width = max(map(len, rows))
        size = f"{self.utterances} utterances, {self.seconds / 3600:.3f} h, {self.phones_per_second:.1f} phones/s"
        return "\n".join(
            [
                f"{size}; purity of clusters {self.purity:.3f}",
                f"{'phone errors, %':{width}} {'PER':>6} {'chance':>7} {'sub':>7} {'ins':>7} {'del':>7}",
                *(
                    f"{name:{width}} {e.percent:6.1f} {e.chance:7.1f} {e.substitutions:7d} {e.insertions:7d} "
                    f"{e.deletions:7d}"
                    for name, e in rows.items()
                ),
            ]
        )


def diagnose(
    features: FeatureStore,
    alignment: Alignment,
    *,
    kept: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    model: Path | None = None,
    options: DiagnosisOptions | None = None,
) -> Diagnosis:
    """Compare features, and what a recogniser makes of them, with labels.

    Args:
        features: of an encoder.
        alignment: phones of the recordings.
        kept: of recordings that were shortened before they were encoded, what was kept (`kept.tsv`).
        model: a recogniser, or a run of `bootstrap` with its stages.
        options: see there.

    Raises:
        UserError: features and labels have no utterance in common, or the model reads other features.
    """
    options = options or DiagnosisOptions()
    labelled = Labelled.of(features, alignment, kept, options)
    chosen = labelled.clusters(options)
    counts = np.zeros((len(labelled.names), options.clusters), dtype=np.int64)
    np.add.at(counts, (np.concatenate(labelled.labels), np.concatenate(chosen)), 1)
    named = counts.argmax(axis=0)
    taught, held_out = labelled.taught_network(options)
    return Diagnosis(
        utterances=len(labelled.ids),
        seconds=labelled.seconds,
        phones_per_second=sum(map(len, labelled.references.values())) / labelled.seconds,
        purity=Cooccurrence(labelled.names, counts).phone_purity,
        best_map=labelled.errors([joined(named[row]) for row in chosen], labelled.names),
        taught=taught,
        held_out=held_out,
        stages=stages_of(model, labelled) if model else {},
        model=model_errors(model, features, labelled) if model else None,
    )


@dataclass(frozen=True)
class Labelled:
    """Utterances with features and labels.

    Attributes:
        ids: of the utterances.
        frames: of all of them.
        frame_rate: Hz.
        names: of the labels, silence among them.
        labels: `(T,)` number of the label of every frame, an utterance each.
        references: phones of every utterance, without silences.
        seed: of the renamings of chance.
    """

    ids: list[str]
    frames: Frames
    frame_rate: float
    names: list[str]
    labels: list[np.ndarray]
    references: dict[str, list[str]]
    seed: int

    @classmethod
    def of(
        cls,
        features: FeatureStore,
        alignment: Alignment,
        kept: Mapping[str, Sequence[tuple[float, float]]] | None,
        options: DiagnosisOptions,
    ) -> "Labelled":
        """Bring both together."""
        ids = [i for i in features if i in alignment and (kept is None or i in kept) and len(features[i])]
        if len(ids) < HELD_OUT:
            raise UserError(f"{features.directory} and the alignment have {len(ids)} utterances in common")
        rate = features.header.frame_rate
        sequences = [np.asarray(features[i], dtype=np.float32) for i in ids]
        front_end = FrontEnd.fit(sequences, options.normalisation, options.pca)
        heard = {i: shortened(alignment[i], kept[i]) if kept else alignment[i] for i in ids}
        labels = [frame_labels(heard[i], len(rows), rate) for i, rows in zip(ids, sequences, strict=True)]
        names, numbers = np.unique(np.concatenate(labels), return_inverse=True)
        frames = Frames.of([front_end(rows) for rows in sequences])
        references = {i: [s.label for s in alignment[i] if s.label != ALIGNED_SILENCE] for i in ids}
        return cls(ids, frames, rate, names.tolist(), frames.split(numbers), references, options.seed)

    @property
    def seconds(self) -> float:
        """Of all utterances."""
        return len(self.frames) / self.frame_rate

    def errors(self, phones: Sequence[np.ndarray], names: Sequence[str], ids: Sequence[str] | None = None) -> Errors:
        """Of phones `(N,)` of every utterance, or of every one of `ids`."""
        ids = self.ids if ids is None else ids
        heard = {i: [names[number] for number in row.tolist()] for i, row in zip(ids, phones, strict=True)}
        found = score(heard, {i: self.references[i] for i in ids}, ScoringOptions(permutations=5, seed=self.seed))
        assert found.chance is not None
        e = found.errors
        return Errors(100 * e.rate, 100 * found.chance, e.substitutions, e.insertions, e.deletions)

    def clusters(self, options: DiagnosisOptions) -> list[np.ndarray]:
        """Cluster `(T,)` of every frame, as training makes them."""
        rate = options.segments_per_second / self.frame_rate
        return cluster_frames(self.frames, options.clusters, rate, options.seed)

    def taught_network(self, options: DiagnosisOptions) -> tuple[Errors, Errors]:
        """Teach a network labels; its errors on the utterances that it was taught, and on the others."""
        all_frames = self.frames.split(self.frames.values)
        is_held_out = np.arange(len(self.ids)) % HELD_OUT == HELD_OUT - 1
        parts = [np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)]
        teaching = [self.labels[i] for i in parts[0]]
        n_labels = len(self.names)
        frames = [Frames.of([all_frames[i] for i in part]) for part in parts]
        network = learn(
            frames[0], np.concatenate(teaching), n_labels, options.network, options.seed, torch.device("cpu")
        )
        log_probs = [read(network, part) for part in frames]
        prior = np.exp(log_probs[0]).mean(axis=0)
        scores = [
            part.split(scaled(logs, prior, options.network.scale)) for part, logs in zip(frames, log_probs, strict=True)
        ]
        rate = sum(len(joined(row)) for row in teaching) / len(frames[0])
        hmm = Hmm.of_text(teaching, n_labels, 1 - rate, options.network.order)
        hmm = hmm.with_bonus(bonus_for(hmm, scores[0][:: max(1, len(scores[0]) // PROBED)], rate))
        first, second = (
            self.errors([joined(hmm.viterbi(row)) for row in rows], self.names, [self.ids[i] for i in part])
            for part, rows in zip(parts, scores, strict=True)
        )
        return first, second


def shortened(segments: Sequence[Segment], kept: Sequence[tuple[float, float]]) -> list[Segment]:
    """Labels of a recording → those of what is left of it, in its own time."""
    found, gone = [], 0.0
    end = 0.0
    for start, stop in kept:
        gone += start - end
        end = stop
        for segment in segments:
            first, last = max(segment.start, start), min(segment.end, stop)
            if first < last:
                found.append(Segment(first - gone, last - gone, segment.label))
    return found


def stages_of(run: Path, labelled: Labelled) -> dict[str, Errors]:
    """Errors of every stage that a run has left; nothing if the model was not made in stages."""
    found = {}
    for directory in sorted((run / STAGES).glob("*")):
        store, names = FeatureStore(directory), load_recognizer(run).phones
        ids = [i for i in labelled.ids if i in store]
        found[directory.name] = labelled.errors([joined(store[i][:, 0]) for i in ids], names, ids)
    return found


def model_errors(model: Path, features: FeatureStore, labelled: Labelled) -> Errors:
    """Errors of what a recogniser says of the features."""
    recognizer = load_recognizer(model)
    check_features(recognizer, features.header, features.directory)
    posteriors = recognizer.posteriors([np.asarray(features[i], dtype=np.float32) for i in labelled.ids])
    heard = [greedy(found.log_probs, recognizer.topology) for found in posteriors]
    return labelled.errors(heard, recognizer.phones)
