"""Verb `transcribe`: recordings → phones or words."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import Device, Force, PrecisionName, PrecisionOption
from unsup_asr.decode_cli import (
    Beam,
    Insertion,
    LexiconFile,
    Lm,
    LmWeight,
    Model,
    Order,
    Search,
    SearchOption,
    SilenceScore,
    SumPaths,
    Threshold,
    WordsLm,
)
from unsup_asr.prepare_cli import Vad


def transcribe(
    audio: Annotated[list[Path], typer.Argument(metavar="AUDIO...", help="Recordings, folders of them, manifests.")],
    model: Model,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write phones.tsv (or words), which `score` and `student` read.")
    ] = None,
    vad: Annotated[Vad, typer.Option("--vad", help="Takes silences away; the same as in `prepare`.")] = Vad.energy,
    lm: Lm = None,
    lexicon: LexiconFile = None,
    words_lm: WordsLm = None,
    order: Order = None,
    lm_weight: LmWeight = 2.0,
    insertion: Insertion = 1.0,
    silence_score: SilenceScore = 0.0,
    beam: Beam = 100,
    threshold: Threshold = 25.0,
    sum_paths: SumPaths = False,
    search: SearchOption = Search.own,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="A line for every phone or word: id, start and end in seconds.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for every recording, with all times.")
    ] = False,
    device: Device = "auto",
    precision: PrecisionOption = PrecisionName.fp32,
    force: Force = False,
) -> None:
    """Say what is said in recordings of any length, from the waveform; silences do not matter."""
    import json
    from dataclasses import asdict

    from textless.files import refuse_overwrite
    from unsup_asr.decoding.build import DecoderSources
    from unsup_asr.decoding.decoder import DecodingOptions
    from unsup_asr.transcribe import Heard, Transcriber
    from unsup_asr.transcribe import transcribe as run
    from unsup_asr.transcripts import write_transcripts

    if out is not None:
        refuse_overwrite(out, force=force)
    options = DecodingOptions(lm_weight, insertion, silence_score, beam, threshold, sum_paths)
    sources = DecoderSources(lm, lexicon, words_lm, order, search.value)
    transcriber = Transcriber(model, sources, options, vad=vad.value, device=device, precision=precision.value)
    heard = Heard()
    written: dict[str, list[str]] = {}
    for found in run(audio, transcriber, heard):
        labels = found.words if lexicon else found.phones
        written[found.id] = [said.label for said in labels]
        if as_json:
            typer.echo(json.dumps(asdict(found), ensure_ascii=False))
        elif timestamps:
            for said in labels:
                typer.echo(f"{found.id}\t{said.start:.3f}\t{said.end:.3f}\t{said.label}")
        else:
            typer.echo(f"{found.id}\t{' '.join(written[found.id])}")
    heard.say()
    if out is not None:
        write_transcripts(out, written, "words" if lexicon else "phones")
