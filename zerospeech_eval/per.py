"""Phone error rate: what a recogniser hears against what was to be said."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from textless.audio.manifest import Manifest, read_manifest
from textless.corpora.alignment import SILENCE, Alignment, read_alignment
from textless.errors import UserError
from textless.progress import say
from zerospeech_eval.token_errors import TokenErrors, token_errors
from zerospeech_eval.transcribers import check_symbols, load_transcriber, require_kind, transcribe_recordings


def evaluate(
    manifest: Path, alignments: Path, recognizer: str | Path, *, seed: int = 0, device: str = "auto"
) -> TokenErrors:
    """Transcribe recordings and compare with their phones, silence left out.

    Args:
        manifest: recordings to judge.
        alignments: `alignments.tsv` with the phones of the same utterance ids; times are not used.
        recognizer: folder that `train-recognizer` wrote, or another transcriber of phones, see `load_transcriber`.
        seed: of the bootstrap.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        UserError: no utterance has reference phones, or the recogniser does not know most of them.
    """
    transcriber = load_transcriber(recognizer, device)
    require_kind(transcriber, ("phones",), "take `textless eval cer`, or a recogniser of phones")
    recordings, alignment = read_manifest(manifest), read_alignment(alignments)
    references = phones_of(alignment, (u.id for u in recordings))
    if not references:
        raise UserError(f"no utterance of {manifest} has phones in {alignments}; are these of the same corpus?")
    left_out = len(recordings) - len(references)
    if left_out:
        say(f"{left_out} of {len(recordings)} utterances have no reference phones: left out")
    check_symbols(references.values(), transcriber, str(alignments))
    judged = Manifest(recordings.root, tuple(u for u in recordings if u.id in references))
    result = token_errors("phone", references, transcribe_recordings(judged, transcriber), seed)
    return replace(result, n_without_reference=left_out)


def phones_of(alignment: Alignment, ids: Iterable[str]) -> dict[str, list[str]]:
    """Phones without silence, of the utterances that have any."""
    found = ((name, [s.label for s in alignment.get(name, ()) if s.label != SILENCE]) for name in ids)
    return {name: phones for name, phones in found if phones}
