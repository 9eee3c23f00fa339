"""Text-only data spoken by many voices: pairs of speech and phones, as `asr student` and `train-tts` read them.

    OUT/phones.tsv      what is said in every utterance
    OUT/features/       feature store, of a synthesizer of frames; with real pairs, those too
    OUT/units.jsonl     of a synthesizer of units
    OUT/audio/          with a vocoder: recordings and their manifest.tsv
    OUT/augment.json    header: synthesizer, options, counts

Speech of a synthesizer alone makes a worse recogniser than little real speech (Hayashi et al. 2018): put the real pairs
beside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textless.audio.batches import bucket, pad
from textless.audio.manifest import Manifest, Utterance, write_manifest
from textless.distributed import select_device
from textless.errors import UserError
from textless.features.store import FeatureStore, StoreHeader, write_header, write_shard
from textless.files import atomic_directory, read_json, refuse_overwrite, sha256, write_json
from textless.progress import track
from textless.provenance import make_header
from textless.training.checkpoint import CONFIG_NAME
from textless.training.seeds import mixed_seed
from units.files import Units, write_units
from units.identity import require_same
from units.runs import deduplicate
from unsup_asr.phone_text import HEADER, SILENCE, PhoneText
from unsup_asr.transcripts import read_transcripts, write_transcripts
from unsup_asr.tts.model import TtsModel
from vocoder.files import write_pieces
from vocoder.vocoder import Vocoder, load_vocoder

FORMAT, VERSION = "textless-asr-augmentation", 1
BATCH_PHONES = 4000


@dataclass(frozen=True)
class AugmentOptions:
    """See `textless asr augment --help`."""

    voices: int = 1
    limit: int | None = None
    scatter: float = 1.0
    seed: int = 0
    skip_unknown: bool = False
    with_speech: Path | None = None
    with_transcripts: Path | None = None
    vocoder: Path | None = None


@dataclass(frozen=True)
class Augmentation:
    """What was made."""

    utterances: int
    seconds: float
    skipped_sentences: int
    runaway_symbols: int
    real_utterances: int

    def __str__(self) -> str:
        return (
            f"{self.utterances} utterances of {self.seconds / 60:.1f} minutes spoken; {self.skipped_sentences} "
            f"sentences left out, {self.runaway_symbols} runaway symbols cut; "
            f"{self.real_utterances} real utterances beside"
        )


def augment(
    text: Path, model_directory: Path, out: Path, options: AugmentOptions, *, device_name: str = "auto", force: bool
) -> Augmentation:
    """Speak the sentences of a prepared text, or of a file of phones, into the folder `out`.

    Raises:
        UserError: sentences with phones that the synthesizer has never seen (all such phones are named), real pairs of
            another encoder, a vocoder of another quantizer, or `out` exists.
    """
    refuse_overwrite(out, force=force)
    device = select_device(device_name)
    model = TtsModel.load(model_directory).to(device)
    real = _real_pairs(model, options)
    vocoder = None if options.vocoder is None else _vocoder(model, options.vocoder, device)
    sentences, n_skipped = _sentences(text, model, options)
    with atomic_directory(out) as folder:
        said = {
            f"{name}/voice-{voice}": phones for name, phones in sentences.items() for voice in range(options.voices)
        }
        spoken, n_clipped = _speak(model, said, options, device)
        n_frames = sum(map(len, spoken.values()))
        if model.kind.is_discrete:
            assert model.kind.quantizer is not None
            items = [Units(name, *deduplicate(rows)) for name, rows in spoken.items()]
            write_units(folder / "units.jsonl", model.kind.quantizer, items)
            if vocoder is not None:
                _record(folder / "audio", items, vocoder, options.seed)
        else:
            _write_store(folder / "features", model, {**real.features, **spoken})
        write_transcripts(folder / "phones.tsv", {**real.transcripts, **said})
        report = Augmentation(
            len(spoken), n_frames / model.kind.frame_rate, n_skipped, n_clipped, len(real.transcripts)
        )
        made_by = {"synthesizer_sha256": read_json(model_directory / CONFIG_NAME)["weights_sha256"]}
        values: dict[str, Any] = vars(options) | vars(report)
        paths = {"with_speech", "with_transcripts", "vocoder"}
        write_json(
            folder / "augment.json",
            make_header(FORMAT, VERSION, **made_by, **{n: v for n, v in values.items() if n not in paths}),
        )
    return report


@dataclass(frozen=True)
class _RealPairs:
    features: Mapping[str, np.ndarray]
    transcripts: Mapping[str, list[str]]


def _real_pairs(model: TtsModel, options: AugmentOptions) -> _RealPairs:
    """Speech and transcripts to put beside, those that both have."""
    if options.with_speech is None and options.with_transcripts is None:
        return _RealPairs({}, {})
    if options.with_speech is None or options.with_transcripts is None:
        raise UserError("--with-speech and --with-transcripts come together")
    if model.kind.is_discrete:
        raise UserError(f"--with-speech is of features, but the synthesizer says {model.kind}: encode its recordings")
    store = FeatureStore(options.with_speech)
    if (store.header.encoder_sha256, store.header.dim) != (model.kind.encoder_sha256, model.kind.size):
        raise UserError(f"{options.with_speech} has {store.header.encoder}, but the synthesizer says {model.kind}")
    transcripts = {name: said for name, said in read_transcripts(options.with_transcripts).items() if name in store}
    return _RealPairs({name: np.asarray(store[name], np.float32) for name in transcripts}, transcripts)


def _vocoder(model: TtsModel, directory: Path, device: torch.device) -> Vocoder:
    """The vocoder of a synthesizer of units."""
    if model.kind.quantizer is None:
        raise UserError(f"a vocoder speaks units, but the synthesizer says {model.kind}")
    vocoder = load_vocoder(directory, device)
    require_same(vocoder.quantizer, model.kind.quantizer, f"the vocoder {directory}", "what the synthesizer says")
    return vocoder


def _sentences(text: Path, model: TtsModel, options: AugmentOptions) -> tuple[dict[str, list[str]], int]:
    """Phones of sentences by name, without the silences that the synthesizer does not know; how many were left out."""
    if (text / HEADER).is_file():
        prepared = PhoneText.load(text)
        written = {f"text-{i}": [prepared.phones[p] for p in s] for i, s in enumerate(prepared.sentences)}
    else:
        written = read_transcripts(text)
    known = set(model.phones)
    spoken = {name: [p for p in phones if p != SILENCE or p in known] for name, phones in written.items()}
    unknown = {phone for phones in spoken.values() for phone in phones} - known
    if unknown and not options.skip_unknown:
        model.numbers(sorted(unknown), str(text))  # refuses them by name
    kept = {name: phones for name, phones in spoken.items() if phones and known.issuperset(phones)}
    n_skipped = len(spoken) - len(kept)
    if not kept:
        raise UserError(f"{text} has no sentence that the synthesizer can say ({n_skipped} left out)")
    if options.limit is not None and options.limit < len(kept):
        names = list(kept)
        drawn = np.random.default_rng(options.seed).permutation(len(names))[: options.limit]
        kept = {names[place]: kept[names[place]] for place in sorted(drawn.tolist())}
    return kept, n_skipped


def _speak(
    model: TtsModel, said: Mapping[str, list[str]], options: AugmentOptions, device: torch.device
) -> tuple[dict[str, np.ndarray], int]:
    """Units `(T,)` or vectors `(T, D)` by name, and how many symbols ran away."""
    names = list(said)
    found: dict[str, np.ndarray] = {}
    n_clipped = 0
    generator = torch.Generator(device)
    batches = bucket([len(said[name]) for name in names], BATCH_PHONES)
    for number, places in enumerate(track(batches, "speaking", len(batches))):
        generator.manual_seed(mixed_seed(options.seed, number))
        present = [names[place] for place in places]
        phones, sizes = pad([model.numbers(said[name], name) for name in present])
        voices = model.sample_voices(len(present), generator)
        spoken = model.speak(phones.to(device), sizes.to(device), voices, scatter=options.scatter, generator=generator)
        n_clipped += spoken.n_clipped
        found |= {name: row.cpu().numpy() for name, row in zip(present, spoken.rows(), strict=True)}
    return {name: found[name] for name in names}, n_clipped


def _write_store(directory: Path, model: TtsModel, features: Mapping[str, np.ndarray]) -> None:
    kind = model.kind
    identity = sha256(*(f"{name}\t{len(rows)}\n".encode() for name, rows in features.items()))
    header = StoreHeader(kind.encoder, kind.encoder_sha256, kind.size, kind.frame_rate, 1, identity)
    write_header(directory, header)
    write_shard(directory, 0, 1, features)


def _record(directory: Path, items: Sequence[Units], vocoder: Vocoder, seed: int) -> None:
    """Recordings and their manifest, each by a speaker drawn from the vocoder's."""
    drawn = np.random.default_rng([seed, 1]).integers(max(1, len(vocoder.speakers)), size=len(items)).tolist()
    rows = []
    for item, speaker, waveform in zip(items, drawn, vocoder.synthesize(items, drawn), strict=True):
        path = f"{item.id}.wav"
        n_samples, _ = write_pieces(directory / path, [waveform])
        name = vocoder.speakers[speaker] if vocoder.speakers else None
        rows.append(Utterance(item.id, path, n_samples, name))
    write_manifest(directory / "manifest.tsv", Manifest(directory, tuple(rows)))
