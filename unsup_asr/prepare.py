"""Everything that unsupervised recognition needs, from a manifest and a text, as one piece of work that can be stopped.

    OUT/prepare.json          what the folder is made of; another --recipe or text needs another folder
    OUT/train/recordings/     speech without its silences (`textless corpus remove-silence`)
    OUT/train/features/       feature store
    OUT/train/segments/       prepared speech (`unsup_asr.speech_segments`)
    OUT/train/auxiliary/      clusters of MFCC (`unsup_asr.auxiliary_targets`), if asked for
    OUT/valid/...             the same of other speech, cut as the training speech was
    OUT/text/                 prepared text (`unsup_asr.phone_text`)
    OUT/report.json           statistics of both sides (`unsup_asr.comparison`); written last

Whatever is finished is not made again. Several processes of one job share the shards of every step. In an array of
jobs, which cannot wait for each other, each job goes as far as it can without the others.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

from textless import distributed
from textless.audio.manifest import Manifest, read_manifest
from textless.corpora.silence import remove_silence
from textless.encoders.encoder import LayerEncoder, load_encoder
from textless.errors import UserError
from textless.features.extract import store_features
from textless.files import read_json, remove, require, sha256, sha256_file, write_json
from textless.progress import say
from textless.provenance import check_header, make_header
from textless.training.precision import Precision
from unsup_asr.auxiliary_targets import write_auxiliary_targets
from unsup_asr.comparison import Comparison, compare
from unsup_asr.phone_text import HEADER as TEXT_HEADER
from unsup_asr.phone_text import PhoneText
from unsup_asr.prepare_speech import SpeechOptions, prepare_speech
from unsup_asr.prepare_text import TextOptions, prepare_text
from unsup_asr.speech_segments import HEADER as SPEECH_HEADER
from unsup_asr.speech_segments import SpeechSegments

FORMAT, VERSION = "textless-asr-prepared", 1
REPORT_FORMAT, REPORT_VERSION = "textless-asr-comparison", 1
HEADER, REPORT = "prepare.json", "report.json"
TRAIN, VALID, TEXT = "train", "valid", "text"
RECORDINGS, FEATURES, SEGMENTS, AUXILIARY = "recordings", "features", "segments", "auxiliary"

AGAIN = "run the command again when all jobs of the array have come so far, and at last as one job"

RecipeName = Literal["matching", "wav2vec-u", "wav2vec-u-2"]


@dataclass(frozen=True)
class PrepareOptions:
    """What is made of recordings and text.

    Attributes:
        encoder: specification, with its layer.
        text: how text becomes phones.
        speech: how speech is cut.
        vad: what takes the silences away: `energy`, `rvad`, `silero` or `none`.
        pool: neighbouring segments that training will read as one; for the statistics only.
        auxiliary: write the auxiliary targets of wav2vec-U 2.0.
    """

    encoder: str
    text: TextOptions
    speech: SpeechOptions = field(default_factory=SpeechOptions)
    vad: str = "energy"
    pool: int = 2
    auxiliary: bool = False


def recipe(name: str, encoder: str, phones: str) -> PrepareOptions:
    """The options that a method of training wants.

    Args:
        name: `matching`: segments of about the length of phones, and silences at the ends of sentences only, where a
            little is left of those in the speech; `wav2vec-u` (Baevski et al. 2021): every change of a cluster, pairs
            of segments, and a silence between every fourth pair of words, too; `wav2vec-u-2` (Liu et al. 2022):
            auxiliary targets, and a silence between every second pair of words.
        encoder: specification, with its layer.
        phones: how words sound.

    Raises:
        UserError: there is no such recipe.
    """
    match name:
        case "matching":
            return PrepareOptions(
                encoder,
                TextOptions(phones, silence=0.0),
                SpeechOptions(segments_per_second=13.0),
                pool=1,
            )
        case "wav2vec-u":
            return PrepareOptions(encoder, TextOptions(phones, silence=0.25))
        case "wav2vec-u-2":
            return PrepareOptions(encoder, TextOptions(phones, silence=0.5), auxiliary=True)
        case _:
            raise UserError(f"no recipe is named {name!r}: use {', '.join(get_args(RecipeName))}")


def prepare(
    manifest: Path,
    text: Path,
    out: Path,
    options: PrepareOptions,
    *,
    valid: Path | None = None,
    match: bool = True,
    n_shards: int | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    force: bool = False,
) -> Comparison | None:
    """Prepare both sides, or what is left to do.

    Args:
        manifest: recordings to train on.
        text: sentences that have nothing to do with them, one a line.
        out: folder to write.
        options: see there.
        valid: other recordings, which nothing is fitted to.
        match: see whether clusters and phones agree, too, which takes some seconds to a minute.
        n_shards: of recordings and features; by default as many as there are processes.
        device: of the encoder and of k-means.
        precision: of the encoder.
        force: start again.

    Returns:
        The statistics of both sides; None where other jobs of an array have to end first, and on all processes but one.

    Raises:
        UserError: an input is missing or unfit, or `out` holds something else.
    """
    where = distributed.select_device(device)
    if force and distributed.file_world().size > distributed.world().size:
        raise UserError(f"with --force the jobs of an array would remove each other's work: remove {out} first")
    manifests = {TRAIN: read_manifest(manifest), **({VALID: read_manifest(valid)} if valid else {})}
    with distributed.process_group(where) as here:
        if here.rank == 0:
            _claim(out, options, manifests, require(text, "text"), force=force)
        distributed.barrier()
        if here.rank == 0 and distributed.file_world().rank == 0 and not (out / TEXT / TEXT_HEADER).is_file():
            say(f"text: {prepare_text(text, out / TEXT, options.text)}")
        recordings = {}
        for name, found in manifests.items():
            shortened = _without_silence(found, out / name / RECORDINGS, options.vad, n_shards)
            if shortened is None:
                say(f"the silences of {name} are done here; {AGAIN}")
                return None
            recordings[name] = shortened
        _encode(recordings, out, n_shards, load=lambda: load_encoder(options.encoder, where, precision))
        if distributed.file_world().size > here.size:
            say(f"the features are done here; {AGAIN}")
            return None
        distributed.barrier()
        for name in recordings:
            _cut(out, name, options, n_shards, device)
        if options.auxiliary:
            write_auxiliary_targets(recordings[TRAIN], out / TRAIN / FEATURES, out / TRAIN / AUXILIARY)
        if here.rank != 0:
            return None
        speech, prepared_text = SpeechSegments(out / TRAIN / SEGMENTS), PhoneText.load(out / TEXT)
        compared = compare(speech, prepared_text, pool=options.pool, match=match)
        write_json(out / REPORT, make_header(REPORT_FORMAT, REPORT_VERSION, **asdict(compared)))
    return compared


def _claim(out: Path, options: PrepareOptions, manifests: dict[str, Manifest], text: Path, *, force: bool) -> None:
    """Begin the folder, or see that what is there was begun alike."""
    ids = {
        f"{name}_sha256": sha256("".join(f"{u.id}\t{u.n_samples}\n" for u in found).encode())
        for name, found in manifests.items()
    }
    header = make_header(FORMAT, VERSION, options=asdict(options), text_sha256=sha256_file(text), **ids)
    path = out / HEADER
    if force:
        remove(out)
    if not path.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out} exists and was not begun by `textless asr prepare`; give another output or --force")
        write_json(path, header)
        return
    before = check_header(read_json(path), FORMAT, VERSION, path)
    differing = [name for name in header.keys() | before.keys() if header.get(name) != before.get(name)]
    if set(differing) - {"software"}:
        names = ", ".join(sorted(set(differing) - {"software"}))
        raise UserError(f"{out} was begun with other arguments ({names} differ); give another output or --force")


def _without_silence(manifest: Manifest, out: Path, vad: str, n_shards: int | None) -> Manifest | None:
    """The shortened recordings; None while other jobs of an array have not ended theirs."""
    if vad == "none":
        return manifest
    joined = out / "manifest.tsv"
    if not joined.is_file():
        say(f"silences: {remove_silence(manifest, out, vad=vad, n_shards=n_shards, keep=True)}")
    distributed.barrier()
    return read_manifest(joined) if joined.is_file() else None


def _encode(
    recordings: dict[str, Manifest],
    out: Path,
    n_shards: int | None,
    load: Callable[[], LayerEncoder],
) -> None:
    """Write the features of every part that has not come further already."""
    left = {name: found for name, found in recordings.items() if not (out / name / SEGMENTS / SPEECH_HEADER).is_file()}
    encoder = load() if left else None
    for name, manifest in left.items():
        assert encoder is not None
        skipped = store_features(manifest, encoder, out / name / FEATURES, n_shards=n_shards)
        if skipped:
            say(f"{len(skipped)} recordings of {name} have no features: see skipped.tsv in {out / name / FEATURES}")


def _cut(out: Path, name: str, options: PrepareOptions, n_shards: int | None, device: str) -> None:
    """Prepare the segments of one part, after those of the training speech."""
    target = out / name / SEGMENTS
    if (target / SPEECH_HEADER).is_file():
        return
    like = None if name == TRAIN else out / TRAIN / SEGMENTS
    features = out / name / FEATURES
    prepare_speech(features, target, options.speech, like=like, vad=options.vad, n_shards=n_shards, device=device)
