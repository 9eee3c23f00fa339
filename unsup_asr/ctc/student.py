"""Iterated self-training: a student learns the transcripts of its teacher, writes better ones, and teaches the next.

    OUT/round-1/      the run and model of the first student
        phones.tsv    its transcripts of all speech, by beam search with the language model of the text
    OUT/round-2/      the second, trained on these; and so on
    OUT/              the model of the round that the label-free criterion prefers, and its transcripts

What is wrong at random in the labels a network cannot learn, so that its transcripts have fewer errors than they had
(Kahn et al. 2020, Xu et al. 2020). What is wrong always stays: a phone that was mistaken for another has no chance.
"""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from textless.audio.manifest import read_manifest
from textless.distributed import barrier, process_group, select_device, world
from textless.encoders.encoder import load_encoder
from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.files import atomic_directory, atomic_path, remove, write_json
from textless.progress import say, track
from textless.provenance import make_header
from textless.training.checkpoint import CONFIG_NAME, WEIGHTS_NAME
from units.kneser_ney import NgramModel
from unsup_asr.ctc.config import StudentConfig
from unsup_asr.ctc.model import ENCODER, CtcRecognizer
from unsup_asr.ctc.train import train
from unsup_asr.decoding.decoder import BeamDecoder, DecodingOptions
from unsup_asr.decoding.language_model import LanguageModel
from unsup_asr.phone_text import PhoneText
from unsup_asr.selection import Judge, Quality, choose, without
from unsup_asr.transcripts import read_transcripts, write_transcripts

TRANSCRIPTS, REPORT = "phones.tsv", "rounds.json"
FORMAT, VERSION = "textless-asr-rounds", 1
DECODED_AT_ONCE = 32  # utterances


@dataclass(frozen=True)
class Round:
    """What one student came to, judged without labels.

    Attributes:
        directory: its model.
        quality: of its transcripts.
        changed: share of the utterances whose transcript differs from the one before.
    """

    directory: Path
    quality: Quality
    changed: float


def train_students(config: StudentConfig, out: Path, *, device_name: str = "auto", force: bool = False) -> list[Round]:
    """Train in `out`, going on where a stopped run was; with one round, `out` is the run itself and nothing is judged.

    Raises:
        UserError: see `train`; or a student recognises nothing.
    """
    if config.rounds == 1:
        train(config.of_round(config.data.transcripts), out, device_name=device_name, force=force)
        return []
    assert config.data.text is not None
    device = select_device(device_name)
    with process_group(device):
        _claim(out, force=force)
        text = PhoneText.load(config.data.text)
        judge, language_model = Judge(text), phone_model(text, config.relabel.order, config.data.text)
        labels, rounds = config.data.transcripts, []
        for number in range(1, config.rounds + 1):
            directory = out / f"round-{number}"
            say(f"round {number} of {config.rounds}: learning {labels}")
            train(config.of_round(labels), directory, device_name=device_name)
            if world().rank == 0 and not (directory / TRANSCRIPTS).exists():
                relabel(directory, config, language_model, device)
            barrier()
            rounds.append(_judged(directory, labels, text, judge))
            labels = directory / TRANSCRIPTS
        if world().rank == 0:
            _keep_best(rounds, out)
        barrier()
    return rounds


def relabel(directory: Path, config: StudentConfig, language_model: LanguageModel, device: torch.device) -> None:
    """Write the transcripts that a student makes of all its speech into its directory."""
    recognizer = CtcRecognizer.load(directory)
    recognizer.network.to(device)
    settings = config.relabel
    options = DecodingOptions(settings.lm_weight, settings.insertion, beam=settings.beam)
    decode = BeamDecoder(recognizer.phones, None, "ctc", language_model, options=options)
    found: dict[str, list[str]] = {}
    for ids, features in _features(config, recognizer, device):
        for utterance_id, posteriors in zip(ids, recognizer.posteriors(features), strict=True):
            found[utterance_id] = [recognizer.phones[phone] for phone in decode(posteriors).phones.tolist()]
    write_transcripts(directory / TRANSCRIPTS, found)


def phone_model(text: PhoneText, order: int, source: Path) -> LanguageModel:
    """An n-gram model of the phones of text without its silences, which CTC does not write."""
    phones = text.phones if text.silence is None else text.phones[: text.silence]
    sentences = [without(sentence, text.silence) for sentence in text.sentences]
    return LanguageModel(NgramModel.fit(sentences, len(phones), order), phones, str(source))


def _features(
    config: StudentConfig, recognizer: CtcRecognizer, device: torch.device
) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Features of all speech of a configuration, some utterances at a time."""
    if not config.encoder.finetune:
        store = FeatureStore(config.data.speech)
        ids = list(store)
        for start in track(range(0, len(ids), DECODED_AT_ONCE), "relabelling"):
            chosen = ids[start : start + DECODED_AT_ONCE]
            yield chosen, [store[i] for i in chosen]
        return
    encoder = load_encoder(recognizer.source.encoder, device)
    manifest = read_manifest(config.data.speech)
    for utterance in track(manifest, "relabelling", len(manifest)):
        yield [utterance.id], [encoder.encode([manifest.load(utterance)])[0].numpy()]


def _judged(directory: Path, labels: Path, text: PhoneText, judge: Judge) -> Round:
    numbers = {phone: number for number, phone in enumerate(text.phones)}
    before, after = read_transcripts(labels), read_transcripts(directory / TRANSCRIPTS)
    quality = judge([np.array([numbers[phone] for phone in said], dtype=np.int64) for said in after.values()])
    if not quality.tokens:
        raise UserError(f"{directory} recognises nothing: give it more steps, or labels of this speech")
    changed = sum(before.get(name) != said for name, said in after.items()) / len(after)
    say(
        f"{directory}: weighted perplexity {quality.weighted_perplexity:.2f}, divergence {quality.divergence[-1]:.3f}, "
        f"{100 * changed:.0f} % of the transcripts changed"
    )
    return Round(directory, quality, changed)


def _keep_best(rounds: list[Round], out: Path) -> None:
    """Copy the model of the best round to `out`; its configuration last, which marks the model as whole."""
    best = rounds[choose([found.quality for found in rounds])]
    if (best.directory / ENCODER).is_dir():
        with atomic_directory(out / ENCODER) as folder:
            shutil.copytree(best.directory / ENCODER, folder, dirs_exist_ok=True)
    for name in (TRANSCRIPTS, WEIGHTS_NAME, CONFIG_NAME):
        with atomic_path(out / name) as temporary:
            shutil.copyfile(best.directory / name, temporary)
    rows = [{"round": r.directory.name, "changed": r.changed, **asdict(r.quality)} for r in rounds]
    write_json(out / REPORT, make_header(FORMAT, VERSION, kept=best.directory.name, rounds=rows))
    say(f"kept in {out}: {best.directory.name}, by the criterion without labels")


def _claim(out: Path, *, force: bool) -> None:
    """Take an empty folder, one of earlier rounds, or any with `force`."""
    if force and world().rank == 0:
        for name in (ENCODER, TRANSCRIPTS, WEIGHTS_NAME, CONFIG_NAME, REPORT):
            remove(out / name)
        for directory in out.glob("round-*"):
            remove(directory)
    barrier()
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "round-1").is_dir())) and not force:
        raise UserError(f"{out} exists and is no folder of rounds; give another output or --force")
