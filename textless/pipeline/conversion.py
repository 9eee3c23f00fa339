"""Voice conversion: what one speaker said, as another would say it; a waveform, or a folder of recordings.

    waveform --encoder, quantizer--> units, durations --\
             --pitch tracker--> intonation ------------ vocoder --> waveform of another voice

The words and their timing are in the units, the melody is that of the recording, at the height of the other voice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from textless.audio import io
from textless.audio.batches import bucket
from textless.audio.manifest import Skipped, Utterance, write_skipped
from textless.audio.scan import scan
from textless.distributed import select_device
from textless.errors import UserError
from textless.files import refuse_overwrite, sha256, sha256_file
from textless.pipeline.bundle import load_bundle
from textless.progress import say, track
from textless.speakers.embedder import SpeakerEmbedder, load_embedder
from units.encode import SpeechToUnits
from units.files import Units
from vocoder.files import SynthesisFolder
from vocoder.intonation import Intonation, level_of
from vocoder.loudness import gain_to
from vocoder.model import weights_sha256
from vocoder.vocoder import Speaker, Vocoder
from vocoder.voices import Voices

BATCH_SECONDS = 60.0  # of recordings that are converted together


@dataclass(frozen=True)
class Manner:
    """How the same words are said.

    Attributes:
        speed: 2 speaks twice as quickly.
        semitones: added to the pitch; only for vocoders with raw pitch.
        source: who speaks in the recording, where the vocoder knows it: intonation is then taken against the usual
            height of that voice, else against the recording's own mean.
        loudness: in LUFS; None: as the vocoder says it.
    """

    speed: float = 1.0
    semitones: float = 0.0
    source: str | None = None
    loudness: float | None = None


@dataclass(frozen=True)
class Target:
    """Who should speak: a name (None: the first speaker), or a recording and what embeds it."""

    speaker: str | None = None
    reference: Path | None = None
    speaker_encoder: str | None = None

    def __post_init__(self) -> None:
        if self.speaker is not None and self.reference is not None:
            raise UserError("give --speaker or --reference, not both")
        if (self.reference is None) != (self.speaker_encoder is None):
            raise UserError("--reference and --speaker-encoder go together")

    @property
    def identity(self) -> str:
        """The same for the same voice."""
        heard = "" if self.reference is None else sha256_file(self.reference)
        return f"{self.speaker} {heard} {self.speaker_encoder}"


class Converter:
    """Encoder, quantizer and vocoder, which belong together."""

    def __init__(self, speech_to_units: SpeechToUnits, vocoder: Vocoder) -> None:
        self.speech_to_units = speech_to_units
        self.vocoder = vocoder
        model = vocoder.model
        listens = model.config.pitch == "raw" or model.f0_quantizer is not None
        self._intonation = Intonation(vocoder.quantizer.frame_rate, None, model.f0_quantizer) if listens else None

    def convert(
        self, waveforms: Sequence[torch.Tensor], voice: Speaker = None, manner: Manner | None = None
    ) -> list[torch.Tensor]:
        """Waveforms `(S_i,)` at 16 kHz → the same words in another voice, `(S'_i,)`; batching changes nothing.

        Raises:
            UserError: an unknown speaker, or a vocoder whose pitch cannot be found from a recording.
        """
        how = manner or Manner()
        units = self.speech_to_units.encode(waveforms, [f"recording {i}" for i in range(len(waveforms))])
        pitch = [self.pitch(w, item, how.source) for w, item in zip(waveforms, units, strict=True)]
        spoken = self.vocoder.synthesize(
            units, [voice] * len(units), speed=how.speed, pitch=pitch, semitones=how.semitones
        )
        return spoken if how.loudness is None else _levelled(spoken, how.loudness)

    def pitch(self, waveform: torch.Tensor, units: Units, source: str | None = None) -> torch.Tensor | None:
        """Pitch of a recording as the vocoder reads it, `(T, 2)` or `(T,)`; None for a vocoder without."""
        if self._intonation is None:
            if self.vocoder.model.config.pitch == "bins":
                raise UserError(
                    "the vocoder reads pitch in bins of a units file, which are not known for a recording: use "
                    "`textless vocoder synthesize` with units that have the stream f0"
                )
            return None
        hertz = self._intonation.hertz(units, waveform)
        assert hertz is not None
        if source is not None and self.vocoder.model.config.pitch == "raw":
            level = float(self.vocoder.model.levels[self.vocoder.speaker_index(source)])
        else:
            level = level_of([hertz]) or 0.0
        return self._intonation.frames(hertz, level, units.n_frames)

    def voice_of(self, reference: torch.Tensor, embedder: SpeakerEmbedder) -> Voices:
        """The voice heard in a recording `(S,)`, for vocoders that read embeddings.

        Raises:
            UserError: the vocoder knows voices by name only, was trained with another speaker encoder, or the recording
                is too short or has no voiced sound.
        """
        model = self.vocoder.model
        if model.config.speaker != "embedding":
            names = ", ".join(self.vocoder.speakers[:10])
            raise UserError(
                f"the vocoder knows voices by name only ({names}): choose one with --speaker; for references, train it "
                'with model.speaker = "embedding"'
            )
        if model.speaker_encoder is not None and model.speaker_encoder != embedder.sha256:
            raise UserError(
                f"the vocoder was trained with embeddings of the speaker encoder {model.speaker_encoder[:12]}, given "
                f"is {embedder.name} ({embedder.sha256[:12]})"
            )
        if len(reference) < embedder.min_samples:
            raise UserError(
                f"the reference lasts {len(reference) / io.SAMPLE_RATE:.2f} s; the speaker encoder needs "
                f"{embedder.min_samples / io.SAMPLE_RATE:.2f} s"
            )
        level = None
        if model.config.pitch == "raw":
            assert self._intonation is not None
            level = level_of([self._intonation.track(reference)])
            if level is None:
                raise UserError("nothing in the reference is voiced, so the height of its voice is not known")
        return self.vocoder.voice(embedding=embedder.embed([reference])[0], level=level)


def _levelled(waveforms: Sequence[torch.Tensor], target: float) -> list[torch.Tensor]:
    """The same waveforms at a loudness; those that have none are left as they are, which is said."""
    gains = [gain_to(waveform, target) for waveform in waveforms]
    if None in gains:
        say(f"{gains.count(None)} of {len(gains)} waveforms are too short or too soft to have a loudness")
    return [waveform if gain is None else waveform * gain for waveform, gain in zip(waveforms, gains, strict=True)]


def convert_path(
    source: Path, out: Path, bundle: Path, target: Target, manner: Manner, *, device: str = "auto", force: bool = False
) -> str:
    """Convert a recording to a file, or a folder of recordings to a folder; returns a line that says what was done.

    Raises:
        UserError: as `Converter.convert`, `Converter.voice_of` and `convert_folder`.
    """
    if not source.exists():
        raise UserError(f"no recording or folder {source}")
    if not source.is_dir():
        refuse_overwrite(out, force=force)
    chosen = select_device(device)
    parts = load_bundle(bundle, chosen)
    converter = Converter(parts.speech_to_units, parts.vocoder)
    voice: Speaker = target.speaker
    if target.reference is not None and target.speaker_encoder is not None:
        voice = converter.voice_of(io.load(target.reference), load_embedder(target.speaker_encoder, device))
    elif target.speaker is not None:
        converter.vocoder.speaker_index(target.speaker)  # refuses an unknown one before any work
    if source.is_dir():
        identity = f"{weights_sha256(bundle / 'vocoder')} {parts.vocoder.quantizer.sha256} {target.identity}"
        return convert_folder(converter, source, out, voice, manner, identity=identity, force=force)
    waveform = io.load(source)
    spoken = converter.convert([waveform], voice, manner)[0]
    io.save(out, spoken)
    return f"{len(waveform) / io.SAMPLE_RATE:.2f} s, spoken in {len(spoken) / io.SAMPLE_RATE:.2f} s -> {out}"


def convert_folder(
    converter: Converter,
    source: Path,
    out: Path,
    voice: Speaker,
    manner: Manner,
    *,
    identity: str,
    force: bool = False,
) -> str:
    """Convert every recording below `source` to `out/<id>.wav`; the same command continues what was stopped.

    What cannot be used is counted, and listed in `out/skipped.tsv`.

    Args:
        converter: what converts.
        source: a folder.
        out: a folder; `vocoder.files` says what lies in it.
        voice: who speaks.
        manner: how.
        identity: of everything that is not in the other arguments: the bundle, the voice.
        force: replace what is there.

    Raises:
        UserError: nothing in `source` can be used, or `out` holds something else.
    """
    manifest, skipped = scan(source)
    files = (f"{item.id}\t{sha256_file(manifest.audio_path(item))}\n".encode() for item in manifest)
    folder = SynthesisFolder(out, n_shards=1)
    recipe = {
        "conversion": identity,
        "recordings": sha256(*files),
        "speed": manner.speed,
        "semitones": manner.semitones,
        "source": manner.source,
        "loudness": manner.loudness,
    }
    folder.claim(recipe, force=force)
    if force:
        folder.forget(0, [item.id for item in manifest])
    if folder.manifest.exists():
        return f"{folder.manifest} is finished; nothing to do (--force makes it again)"
    waiting = [item for item in manifest if not folder.wav(item.id).exists()]
    encoder = converter.speech_to_units.encoder
    clipped = samples = 0
    batches = bucket([item.n_samples for item in waiting], round(BATCH_SECONDS * io.SAMPLE_RATE))
    for batch in track(batches, "converting"):
        usable = []
        for item, waveform in ((waiting[index], manifest.load(waiting[index])) for index in batch):
            if len(waveform) < encoder.min_samples:
                reason = f"{len(waveform)} samples are less than one frame of {encoder.spec}"
                skipped.append(Skipped(item.path, reason))
            else:
                usable.append((item, waveform))
        spoken = converter.convert([waveform for _, waveform in usable], voice, manner)
        for (item, _), waveform in zip(usable, spoken, strict=True):
            io.save(folder.wav(item.id), waveform)
            clipped += int((waveform.abs() > 1).sum())
            samples += len(waveform)
    write_skipped(folder.shard_skipped(0), skipped)
    written = [item.id for item in manifest if folder.wav(item.id).exists()]
    folder.finish(0, [Utterance(i, f"{i}.wav", io.info(folder.wav(i)).n_samples) for i in written])
    return (
        f"{out}: {len(written)} recordings"
        + (f"; {len(manifest) - len(waiting)} were there already" if len(waiting) < len(manifest) else "")
        + (f"; {len(skipped)} skipped, see skipped.tsv" if skipped else "")
        + (f"; {clipped} samples clipped ({100 * clipped / samples:.3f} %)" if clipped else "")
    )
