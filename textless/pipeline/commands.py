"""Run verbs of the command line one after the other, and remember which are done.

The demo is a list of commands that anyone could type; they run in this process only to save the start-up of each.
`commands.jsonl` in the working directory records every finished one with its output, so that a stopped list continues
where it stopped, and the report can show exactly what was run.
"""

import io
import json
import shlex
import time
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from textless.cli import build
from textless.files import read_jsonl, write_jsonl
from textless.progress import say


@dataclass(frozen=True)
class Finished:
    """A command that has run: its words after `textless`, what it printed, and how long it took."""

    arguments: list[str]
    output: str
    seconds: float

    @property
    def line(self) -> str:
        """As one would type it."""
        return shlex.join(["textless", *self.arguments])


class Commands:
    """The commands of one working directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "commands.jsonl"
        self.finished = [Finished(**row) for row in read_jsonl(self._path)] if self._path.exists() else []
        self._command = typer.main.get_command(build())

    def run(self, verb: str, *arguments: object, replace: bool = False, **options: object) -> str:
        """Run one command and return its standard output; one that has finished before is not run again.

        Args:
            verb: such as `units fit`.
            arguments: its positional arguments.
            replace: add `--force`, for an output that a stopped run may have left and that does not continue by itself.
            options: `max_frames=5` stands for `--max-frames 5`, and True for a bare option.
        """
        words = [*verb.split(), *map(str, arguments)]
        for name, value in options.items():
            words += [f"--{name.strip('_').replace('_', '-')}", *([] if value is True else [str(value)])]
        for done in self.finished:
            if done.arguments == words:
                return done.output
        say(f"$ {shlex.join(['textless', *words])}")
        captured = io.StringIO()
        start = time.monotonic()
        with redirect_stdout(captured):
            self._command.main(args=[*words, *(["--force"] if replace else [])], standalone_mode=False)
        output = captured.getvalue()
        if "json" not in options and output.strip():
            say(output.rstrip())
        self.finished.append(Finished(words, output, round(time.monotonic() - start, 2)))
        write_jsonl(self._path, (asdict(done) for done in self.finished))
        return output

    def run_json(self, verb: str, *arguments: object, replace: bool = False, **options: object) -> Any:  # noqa: ANN401
        """Run one command with `--json` and return what it answers."""
        return json.loads(self.run(verb, *arguments, replace=replace, **options, json=True))
