"""What resynthesis keeps of speech: timbre, pitch, what is said, who says it, how good it sounds, at how many bits."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import Skipped, read_manifest
from textless.distributed import select_device
from textless.errors import UserError
from textless.progress import track
from textless.speakers.embedder import SpeakerEmbedder, embed_utterances, load_embedder
from units.files import read_units
from zerospeech_eval.acoustic_comparison import Acoustics, compare, new_tracker
from zerospeech_eval.bit_rate import BitRate, bit_rate_of_units
from zerospeech_eval.character_errors import normalise
from zerospeech_eval.names import listed
from zerospeech_eval.perceived_quality import FILE_NAME, URL, Quality, Squim, cached_weights
from zerospeech_eval.resynthesis_pairs import Pair, Pairs, find_pairs
from zerospeech_eval.resynthesis_result import Content, Resynthesis, Speakers
from zerospeech_eval.speaker_similarity import Converted, Voice, Voices, similarity, verify
from zerospeech_eval.texts import read_texts
from zerospeech_eval.token_errors import Token, token_errors
from zerospeech_eval.transcribers import Transcriber, check_symbols, load_transcriber

LONGEST_SECONDS = 180  # of a recording: warping keeps a byte for every pair of frames
TOGETHER_SECONDS = 300  # of originals that are in memory at a time


@dataclass(frozen=True)
class Settings:
    """What to judge with; what is None is left out."""

    order: int = 13  # cepstra
    recognizer: str | None = None  # specification of a transcriber
    text: Path | None = None  # what was said: alignments, transcripts, a manifest; None: what is heard in the originals
    speaker_encoder: str | None = None  # specification of an embedder
    target_manifest: Path | None = None  # recordings of the speakers that the resyntheses should sound like
    target: str | None = None  # one of these, for all resyntheses; None: the one whom their manifest names
    units: Path | None = None  # what the resyntheses were made of
    squim: Path | None = None  # weights; None: those in torchaudio's cache, if it has them
    seed: int = 0  # of bootstrap intervals
    device: str = "auto"


@dataclass(frozen=True)
class Heard:
    """What listeners make of one recording."""

    tokens: list[str] | None
    vector: torch.Tensor | None  # (D,), of the speaker
    quality: Quality | None


@dataclass(frozen=True)
class Listeners:
    """Networks that listen to recordings by themselves."""

    transcriber: Transcriber | None
    embedder: SpeakerEmbedder | None
    squim: Squim | None

    def listen(self, waveforms: Sequence[torch.Tensor]) -> list[Heard]:
        """Judge waveforms `(S,)`; the embedding of one that is too short for it is None."""
        nothing = [None] * len(waveforms)
        tokens = self.transcriber.transcribe(waveforms) if self.transcriber is not None else nothing
        vectors: dict[int, torch.Tensor] = {}
        if self.embedder is not None:
            chosen = [index for index, w in enumerate(waveforms) if len(w) >= self.embedder.min_samples]
            if chosen:
                vectors = dict(zip(chosen, self.embedder.embed([waveforms[index] for index in chosen]), strict=True))
        quality = [self.squim(waveform) for waveform in waveforms] if self.squim is not None else nothing
        return [Heard(t, vectors.get(i), q) for i, (t, q) in enumerate(zip(tokens, quality, strict=True))]


def evaluate(original: Path, resynthesis: Path, settings: Settings) -> Resynthesis:
    """Compare recordings with their resyntheses.

    Args:
        original: a manifest or a folder of recordings.
        resynthesis: a manifest or a folder, with the same ids or relative paths.
        settings: what to judge with.

    Raises:
        UserError: there is nothing in common, nothing that can be compared, or a judge cannot be used.
    """
    _check(settings)
    pairs = find_pairs(original, resynthesis)
    notes = list(_partners(pairs))
    listeners = _load_listeners(settings, notes)
    acoustics: dict[str, Acoustics] = {}
    before: dict[str, Heard] = {}
    after: dict[str, Heard] = {}
    skipped = list(pairs.skipped)
    kept: list[Pair] = []
    for group, waveforms in _load(pairs, skipped):
        acoustics |= {pair.id: found for pair, found in zip(group, _compare(waveforms, settings.order), strict=True)}
        for heard, side in ((before, 0), (after, 1)):
            found = listeners.listen([both[side] for both in waveforms])
            heard |= {pair.id: item for pair, item in zip(group, found, strict=True)}
        kept += group
    if not acoustics:
        raise UserError(
            f"none of {len(pairs.pairs)} pairs can be compared; first: {skipped[0].path}: {skipped[0].reason}"
        )
    notes += _resampled(pairs, kept)
    return Resynthesis(
        order=settings.order,
        acoustics=acoustics,
        skipped=skipped,
        content=_content(before, after, listeners.transcriber, settings),
        speakers=_speakers(kept, before, after, listeners.embedder, settings, notes),
        quality={name: (a.quality, b.quality) for name, a, b in _both(before, after) if a.quality and b.quality},
        bit_rate=_bit_rate(settings.units, acoustics, notes),
        notes=notes,
    )


def _check(settings: Settings) -> None:
    if settings.text is not None and settings.recognizer is None:
        raise UserError("--text says what was said, and --recognizer who listens: give both")
    if settings.speaker_encoder is None and (settings.target_manifest is not None or settings.target is not None):
        raise UserError("--target and --target-manifest need --speaker-encoder, which tells voices")
    if settings.target is not None and settings.target_manifest is None:
        raise UserError("--target needs recordings of that speaker: give --target-manifest")


def _load_listeners(settings: Settings, notes: list[str]) -> Listeners:
    weights = settings.squim or cached_weights()
    if weights is None:
        path = Path(torch.hub.get_dir()) / "torchaudio" / "models" / FILE_NAME
        notes.append(f"no SQUIM: its weights are not at {path}; get them from {URL}, or give --squim FILE")
    device = settings.device
    return Listeners(
        load_transcriber(settings.recognizer, device) if settings.recognizer is not None else None,
        load_embedder(settings.speaker_encoder, device) if settings.speaker_encoder is not None else None,
        Squim(weights, select_device(device)) if weights is not None else None,
    )


def _load(pairs: Pairs, skipped: list[Skipped]) -> Iterator[tuple[list[Pair], list[tuple[torch.Tensor, torch.Tensor]]]]:
    """Groups of pairs with both waveforms, of some minutes each; `skipped` receives what cannot be compared."""
    group: list[Pair] = []
    waveforms: list[tuple[torch.Tensor, torch.Tensor]] = []
    for pair in track(pairs.pairs, "comparing", len(pairs.pairs)):
        loaded = pairs.load(pair)
        if isinstance(loaded, Skipped):
            skipped.append(loaded)
            continue
        longest = max(map(len, loaded)) / SAMPLE_RATE
        if longest > LONGEST_SECONDS:
            reason = f"{longest:.0f} s are more than {LONGEST_SECONDS} s; cut both into utterances"
            skipped.append(Skipped(pair.original.path, reason))
            continue
        group.append(pair)
        waveforms.append(loaded)
        if sum(len(one) for one, _ in waveforms) >= TOGETHER_SECONDS * SAMPLE_RATE:
            yield group, waveforms
            group, waveforms = [], []
    if group:
        yield group, waveforms


def _compare(waveforms: Sequence[tuple[torch.Tensor, torch.Tensor]], order: int) -> list[Acoustics]:
    """Compare in threads: both transforms and warping let others run."""
    tracker = new_tracker()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(lambda both: compare(both[0], both[1], order, tracker), waveforms))


def _both(before: Mapping[str, Heard], after: Mapping[str, Heard]) -> Iterator[tuple[str, Heard, Heard]]:
    return ((name, found, after[name]) for name, found in before.items())


def _partners(pairs: Pairs) -> Iterator[str]:
    for count, side, other in (
        (pairs.only_original, "originals", "resynthesis"),
        (pairs.only_resynthesis, "resyntheses", "original"),
    ):
        if count:
            yield f"{count} {side} have no {other}: left out"


def _resampled(pairs: Pairs, kept: Sequence[Pair]) -> Iterator[str]:
    rates = [pairs.sample_rates(pair) for pair in kept]
    for side, name in enumerate(("originals", "resyntheses")):
        found = sorted({rate[side] for rate in rates} - {SAMPLE_RATE})
        if found:
            count = sum(rate[side] != SAMPLE_RATE for rate in rates)
            yield f"{count} {name} were resampled from {', '.join(map(str, found))} to {SAMPLE_RATE} Hz"


def _content(
    before: Mapping[str, Heard], after: Mapping[str, Heard], transcriber: Transcriber | None, settings: Settings
) -> Content | None:
    """Error rates against what was said, or against what is heard in the originals."""
    if transcriber is None:
        return None
    phones = transcriber.kind == "phones"
    between = " " if transcriber.kind == "words" else ""

    def tokens(heard: Heard) -> list[str]:
        assert heard.tokens is not None
        return heard.tokens if phones else list(normalise(between.join(heard.tokens)))

    originals = {name: tokens(heard) for name, heard in before.items()}
    resyntheses = {name: tokens(heard) for name, heard in after.items()}
    token: Token = "phone" if phones else "character"
    if settings.text is None:
        return Content(transcriber.name, token_errors(token, originals, resyntheses, settings.seed), None)
    texts = read_texts(settings.text)
    said = {name: texts[name].split() if phones else list(normalise(texts[name])) for name in before if name in texts}
    if not said:
        raise UserError(f"{settings.text} says nothing of the recordings compared, such as {listed(before, 2)}")
    if phones:
        check_symbols(said.values(), transcriber, str(settings.text))
    references = {name: said.get(name, []) for name in before}
    errors = (token_errors(token, references, heard, settings.seed) for heard in (resyntheses, originals))
    return Content(transcriber.name, *errors)


def _speakers(
    pairs: Sequence[Pair],
    before: Mapping[str, Heard],
    after: Mapping[str, Heard],
    embedder: SpeakerEmbedder | None,
    settings: Settings,
    notes: list[str],
) -> Speakers | None:
    if embedder is None:
        return None
    originals, converted = [], []
    targets = _target_voices(settings, embedder, notes)
    for pair in pairs:
        one, other = before[pair.id].vector, after[pair.id].vector
        if one is None or other is None:
            continue
        target = None if targets is None else settings.target or pair.resynthesis.speaker
        originals.append(Voice(pair.id, pair.original.speaker, one))
        converted.append(Converted(originals[-1], other, target))
    if len(converted) < len(pairs):
        notes.append(f"{len(pairs) - len(converted)} recordings are too short for a speaker embedding")
    sources = Voices(originals)
    if targets is not None:
        _require_targets([item.target for item in converted], targets, settings)
    similarities = {item.original.id: similarity(item, sources, targets or sources) for item in converted}
    claims = [Voice(c.original.id, c.target or c.original.speaker, c.vector) for c in converted]
    tried = verify(claims, targets or sources), verify(originals, sources)
    for name, found in zip(("resyntheses", "originals"), tried, strict=True):
        if found.untried:
            notes.append(f"{found.untried} {name} are of a speaker who is not named or has no other recording: untried")
        if found.eer is None:
            notes.append(f"the equal error rate of the {name} is undefined: it takes two speakers with two recordings")
    return Speakers(embedder.name, similarities, *tried)


def _target_voices(settings: Settings, embedder: SpeakerEmbedder, notes: list[str]) -> Voices | None:
    if settings.target_manifest is None:
        return None
    skipped: list[Skipped] = []
    found = embed_utterances(read_manifest(settings.target_manifest), embedder, skipped)
    voices = Voices([Voice(utterance.id, utterance.speaker, vector) for utterance, vector in found])
    if skipped:
        notes.append(f"{len(skipped)} recordings of {settings.target_manifest} cannot be used, first {skipped[0].path}")
    if not voices.speakers:
        raise UserError(f"{settings.target_manifest} names no speakers; add a column `speaker`")
    return voices


def _require_targets(targets: Sequence[str | None], voices: Voices, settings: Settings) -> None:
    """Refuse resyntheses of which nobody knows whose voice they should have."""
    if None in targets:
        raise UserError("the resyntheses have no speaker: give a manifest that names them, or --target NAME")
    unknown = sorted({target for target in targets if target is not None} - set(voices.speakers))
    if unknown:
        raise UserError(
            f"{settings.target_manifest} has no recordings of {listed(unknown)}; it has {listed(voices.speakers)}"
        )


def _bit_rate(units: Path | None, acoustics: Mapping[str, Acoustics], notes: list[str]) -> BitRate | None:
    if units is None:
        return None
    found = bit_rate_of_units(
        read_units(units), {name: item.seconds for name, item in acoustics.items()}, skip_missing=True
    )
    if found.n_skipped:
        notes.append(f"{found.n_skipped} recordings have no units in {units}: the bit rate is of the others")
    return found
