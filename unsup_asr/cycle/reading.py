"""Read what a configuration of a cycle names, and refuse what does not fit together before anything is learnt."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.files import read_json
from textless.progress import say
from textless.training.checkpoint import CONFIG_NAME
from units.quantizer import load_quantizer
from unsup_asr.ctc.model import CtcRecognizer
from unsup_asr.cycle.batches import Heard, Paired, PseudoPairs, ReferencePairs
from unsup_asr.cycle.bridge import Bridge, build_bridge
from unsup_asr.cycle.config import CycleConfig
from unsup_asr.cycle.prior import spoken_sentences
from unsup_asr.phone_text import PhoneText
from unsup_asr.recognizers import check_features
from unsup_asr.transcripts import read_transcripts
from unsup_asr.tts.alignment import EDGES
from unsup_asr.tts.model import TtsModel
from unsup_asr.tts.voices import VoiceSource

FEWEST = 2  # sequences of a kind: the control needs a neighbour


@dataclass(frozen=True)
class Material:
    """What a cycle starts from and reads.

    Attributes:
        asr: recogniser of the start.
        tts: synthesizer of the start, with the recogniser's phones.
        bridge: between them.
        pairs: of a human or of a recogniser; the type says of which.
        speech: without text.
        valid: other speech without text.
        sentences: without speech, in the recogniser's numbers.
    """

    asr: CtcRecognizer
    tts: TtsModel
    bridge: Bridge
    pairs: ReferencePairs | PseudoPairs
    speech: list[Heard]
    valid: list[Heard]
    sentences: list[np.ndarray]


def read_material(config: CycleConfig) -> Material:
    """Read it.

    Raises:
        UserError: there are no pairs, a model was taught by references in the zero-label setting, or speech, models and
            text do not fit.
    """
    data = config.data
    if data.paired is None or not data.paired.is_file():
        there_are = "there are none" if data.paired is None else f"{data.paired} is not there"
        raise UserError(
            f"a cycle needs pairs and {there_are}: give data.paired. Without transcripts, run `textless asr train` "
            "and `textless asr decode` first: what an unsupervised recogniser writes are pseudo labels (labels = "
            "pseudo); `textless asr student` and `textless asr train-tts` then make the models that it starts from"
        )
    for folder, verb in ((config.asr, "student"), (config.tts, "train-tts")):
        if not (folder / CONFIG_NAME).is_file():
            raise UserError(f"a cycle starts from a model that is not in {folder}: make it with `textless asr {verb}`")
    store = FeatureStore(data.speech)
    asr, tts, bridge, unseen = _models(config, store)
    sentences, n_left_out = _sentences(data.text, asr, unseen)
    voices = VoiceSource.load(
        tts.config.speaker,
        store.header.dim,
        manifest=data.manifest,
        embeddings=data.embeddings,
        known=tuple(tts.speakers) or None,
    )
    reader = _Reader(bridge, voices, asr)
    transcripts = read_transcripts(data.paired)
    pairs = reader.pairs(transcripts, reader.open(data.paired_speech or data.speech), data.paired.name)
    names = [name for name in store if name not in transcripts]
    if data.valid_speech is None:
        order = np.random.default_rng([config.seed, 11]).permutation(len(names)).tolist()
        n_valid = max(FEWEST, round(data.held_out * len(names)))
        valid = reader.heard(store, [names[place] for place in sorted(order[:n_valid])])
        names = [names[place] for place in sorted(order[n_valid:])]
    else:
        others = reader.open(data.valid_speech)
        valid = reader.heard(others, list(others))
    speech = reader.heard(store, names)
    if min(len(speech), len(valid)) < FEWEST:
        raise UserError(f"{data.speech} has {len(speech) + len(valid)} utterances without a transcript; 4 are needed")
    say(
        f"{len(pairs)} pairs ({data.labels}; {len(transcripts) - len(pairs)} not usable), {len(speech)} utterances and "
        f"{len(sentences)} sentences unpaired ({n_left_out} left out), {len(valid)} to judge by; {tts.kind}"
        + (f"; phones that the synthesizer has never seen: {' '.join(unseen)}" if unseen else "")
    )
    chosen = PseudoPairs(pairs) if data.labels == "pseudo" else ReferencePairs(pairs)
    return Material(asr, tts, bridge, chosen, speech, valid, sentences)


def _models(config: CycleConfig, store: FeatureStore) -> tuple[CtcRecognizer, TtsModel, Bridge, list[str]]:
    """The models of the start, what is between them, and phones that the synthesizer has never seen."""
    asr, tts = CtcRecognizer.load(config.asr), TtsModel.load(config.tts)
    asr_header, tts_header = (read_json(folder / CONFIG_NAME) for folder in (config.asr, config.tts))
    if config.data.labels == "pseudo":
        taught = {config.asr: asr_header["labels"], config.tts: tts_header["training"].get("labels")}
        for folder, labels in taught.items():
            if labels != "pseudo":
                raise UserError(
                    f"{folder} was taught by {labels} labels, but data.labels = pseudo: without labels nothing may be; "
                    "train it on the pseudo labels, or say labels = reference"
                )
    check_features(asr, store.header, store.directory)
    quantizer = None if config.data.quantizer is None else load_quantizer(config.data.quantizer)
    bridge = build_bridge(
        tts.kind, store.header, asr.network, weights_sha256=asr_header["weights_sha256"], quantizer=quantizer
    )
    renumbered, unseen = tts.renumbered(asr.phones)
    return asr, renumbered, bridge, unseen


def _sentences(path: Path, asr: CtcRecognizer, unseen: list[str]) -> tuple[list[np.ndarray], int]:
    """Sentences of the text that both models know all phones of, and how many were left out."""
    text = PhoneText.load(path)
    sentences, n_left_out = spoken_sentences(text, asr.phones, unseen)
    if len(sentences) < max(FEWEST, n_left_out):
        raise UserError(
            f"{path}: {n_left_out} of {len(text.sentences)} sentences have a phone that the models have never seen "
            f"(unseen by the synthesizer: {' '.join(unseen) or 'none'}); prepare the text with the phones of the "
            f"pairs, {' '.join(asr.phones)}"
        )
    return sentences, n_left_out


@dataclass(frozen=True)
class _Reader:
    bridge: Bridge
    voices: VoiceSource
    asr: CtcRecognizer

    def open(self, path: Path) -> FeatureStore:
        """Features that the recogniser reads."""
        store = FeatureStore(path)
        check_features(self.asr, store.header, path)
        return store

    def heard(self, store: FeatureStore, names: list[str]) -> list[Heard]:
        """Utterances that have room for a phone at least."""
        features = {name: store[name] for name in names}
        made = self.bridge.made_of(features)
        return [
            Heard(name, rows, made[name], self.voices.of(name, np.asarray(rows)))
            for name, rows in features.items()
            if len(rows) and len(made[name]) > EDGES
        ]

    def pairs(self, transcripts: Mapping[str, list[str]], store: FeatureStore, where: str) -> list[Paired]:
        """Pairs; transcripts without speech, empty ones and those with more phones than frames make none."""
        numbers = {phone: number for number, phone in enumerate(self.asr.phones)}
        unknown = {phone for said in transcripts.values() for phone in said} - set(numbers)
        if unknown:
            raise UserError(f"{where} has {' '.join(sorted(unknown))}, which the recogniser does not know")
        found = [
            Paired(u, np.array([numbers[phone] for phone in transcripts[u.id]], dtype=np.int64))
            for u in self.heard(store, [name for name in transcripts if name in store])
            if 0 < len(transcripts[u.id]) <= len(u.target) - EDGES
        ]
        if not found:
            raise UserError(f"{where} and {store.directory} have no usable utterance in common: are the ids the same?")
        return found
