"""Read pairs of speech and phones to learn synthesis from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from textless.audio.batches import bucket, pad
from textless.corpora.alignment import read_alignment
from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.files import read_json
from textless.progress import say, track
from textless.training.checkpoint import CONFIG_NAME
from units.files import read_units
from unsup_asr.ctc.model import CtcRecognizer
from unsup_asr.ctc.network import RecognitionNetwork
from unsup_asr.recognizers import check_features, load_recognizer
from unsup_asr.transcripts import read_transcripts
from unsup_asr.tts.alignment import EDGES, durations_by_recognizer, durations_of_segments
from unsup_asr.tts.config import DataConfig, Speaker
from unsup_asr.tts.model import SpeechKind
from unsup_asr.tts.pairs import Pair
from unsup_asr.tts.voices import VoiceSource


@dataclass(frozen=True)
class SpeechSource:
    """Speech of one kind by utterance: units `(T,)` or vectors `(T, D)`."""

    kind: SpeechKind
    utterances: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class PairedCorpus:
    """What a synthesizer learns from."""

    phones: tuple[str, ...]
    kind: SpeechKind
    voices: VoiceSource
    pairs: list[Pair]
    held_out: list[Pair]


def load_corpus(config: DataConfig, speaker: Speaker, seed: int) -> PairedCorpus:
    """Read pairs as a configuration names them; what cannot be used is counted and said.

    Raises:
        UserError: nothing in common, or a file that does not fit.
    """
    if speaker == "mean" and config.target == "units":
        raise UserError("speaker = mean is the mean of frames, which units do not have: use embedding, table or none")
    source = load_speech(config)
    transcripts = read_transcripts(config.transcripts)
    voices = VoiceSource.load(speaker, source.kind.size, manifest=config.manifest, embeddings=config.embeddings)
    alignment = None if config.alignment is None else read_alignment(config.alignment)
    aligner = None if config.aligner is None else load_recognizer(config.aligner)
    heard: Mapping[str, np.ndarray] = source.utterances
    if aligner is not None:
        store = FeatureStore(config.aligner_speech or config.speech)
        check_features(aligner, store.header, store.directory)
        heard = store
    phones = tuple(sorted({phone for said in transcripts.values() for phone in said}))
    numbers = {phone: number for number, phone in enumerate(phones)}
    pairs, n_short = [], 0
    for name in track(sorted(transcripts.keys() & source.utterances.keys()), "reading pairs"):
        said, speech = transcripts[name], source.utterances[name]
        if not said or len(speech) < len(said) + EDGES:
            n_short += 1
            continue
        durations = None
        if alignment is not None:
            durations = durations_of_segments(
                alignment.get(name, ()), said, len(speech), source.kind.frame_rate, f"{config.alignment}: {name}"
            )
        elif aligner is not None:
            durations = durations_by_recognizer(aligner, heard[name], said, f"{config.transcripts}: {name}")
            if durations.sum() != len(speech):
                raise UserError(f"{name} has {durations.sum()} frames for the aligner and {len(speech)} of speech")
        voice = voices.of(name, None if source.kind.is_discrete else speech)
        pairs.append(Pair(name, np.array([numbers[p] for p in said], dtype=np.int64), speech, voice, durations))
    n_alone = len(transcripts.keys() ^ source.utterances.keys())
    if len(pairs) < 2:
        raise UserError(
            f"{config.transcripts} and {config.speech} have {len(pairs)} usable utterances in common; at least 2 are "
            "needed: are the ids the same?"
        )
    say(f"{len(pairs)} pairs; left out: {n_alone} with speech or transcript only, {n_short} empty or too short")
    order = np.random.default_rng([seed, 7]).permutation(len(pairs))
    n_held_out = min(len(pairs) - 1, max(1, round(config.held_out * len(pairs))))
    held_out = set(order[:n_held_out].tolist())
    return PairedCorpus(
        phones,
        source.kind,
        voices,
        [pair for place, pair in enumerate(pairs) if place not in held_out],
        [pairs[place] for place in sorted(held_out)],
    )


def load_speech(config: DataConfig) -> SpeechSource:
    """Open the speech of a configuration.

    Raises:
        UserError: it is not of the target's kind, or not what the recogniser of states reads.
    """
    if config.target == "units":
        file = read_units(config.speech)
        if any(item.durations is None for item in file.utterances):
            raise UserError(
                f"{config.speech} has units without durations: encode speech, as continuations have no time"
            )
        identity = file.quantizer
        kind = SpeechKind(
            target="units",
            encoder=identity.encoder,
            encoder_sha256=identity.sha256,
            frame_rate=identity.frame_rate,
            size=identity.k,
            quantizer=identity,
        )
        whole = {i.id: np.repeat(np.array(i.units, np.int64), i.durations or []) for i in file.utterances}
        return SpeechSource(kind, whole)
    store = FeatureStore(config.speech)
    header = store.header
    kind = SpeechKind(
        target="frames",
        encoder=header.encoder,
        encoder_sha256=header.encoder_sha256,
        frame_rate=header.frame_rate,
        size=header.dim,
    )
    if config.recognizer is None:
        return SpeechSource(kind, store)
    recognizer = CtcRecognizer.load(config.recognizer)
    check_features(recognizer, header, config.speech)
    states = states_of(store, recognizer.network)
    of_states = {
        "target": "states",
        "frame_rate": header.frame_rate / recognizer.network.stride,
        "size": recognizer.network.config.dim,
        "recognizer_sha256": read_json(config.recognizer / CONFIG_NAME)["weights_sha256"],
    }
    return SpeechSource(kind.model_copy(update=of_states), states)


def states_of(store: Mapping[str, np.ndarray], network: RecognitionNetwork) -> dict[str, np.ndarray]:
    """States `(T', H)` of a recogniser, in evaluation mode, on features `(T, D)`."""
    names = list(store)
    found: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        for batch in bucket([len(store[name]) for name in names], 10_000):
            present = [names[place] for place in batch if len(store[names[place]])]
            if present:
                features, lengths = pad([torch.from_numpy(np.array(store[name], np.float32)) for name in present])
                states = network(features, lengths)
                for name, row, n in zip(present, states.values.numpy(), states.lengths.tolist(), strict=True):
                    found[name] = row[:n].copy()
    return found
