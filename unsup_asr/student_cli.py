"""`textless asr student`: a recogniser that learns from transcripts, whoever wrote them."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import ConfigFile, Device, Force, Json, Set


def student(
    config: ConfigFile,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Directory of the run, and of the model.")],
    *,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help="Students, each of the transcripts of the one before.")
    ] = None,
    overrides: Set = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train a CTC recogniser on transcripts; the same command goes on where a stopped run was.

    With pseudo labels (of `asr decode`) this is self-training; with references, data.labels = "reference", the
    supervised topline. Paths in CONFIG.toml are relative to its folder, paths given by --set to the current one.
    """
    import json
    from dataclasses import asdict

    from unsup_asr.ctc.config import StudentConfig
    from unsup_asr.ctc.student import train_students

    given = [*(overrides or ()), *([f"rounds={rounds}"] if rounds is not None else [])]
    found = train_students(StudentConfig.load(config, given), output, device_name=device, force=force)
    if as_json:
        rows = [{"round": r.directory.name, "changed": r.changed, **asdict(r.quality)} for r in found]
        typer.echo(json.dumps({"model": str(output), "rounds": rows}))
