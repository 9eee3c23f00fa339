"""The directory of one training run: where it continues, what it saves, what it logs, how it stops.

    with Run(directory, config, force=force) as run:  # a configuration with `tensorboard = true` gets event files too
        step = run.resume(parts)
        while step < config.steps and not run.stopping():
            ...
            step += 1
            if run.due(step, config.save_every):
                run.save(step, parts)
        run.save(step, parts)

SIGTERM and SIGINT ask the loop to stop at the end of its step; it saves, and the program exits with status 0. A second
SIGINT stops at once.
"""

import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import torch

from textless import distributed
from textless.config import Config
from textless.errors import UserError
from textless.files import remove
from textless.progress import say
from textless.training.board import Board
from textless.training.checkpoint import CONFIG_NAME, RESUME_NAME, WEIGHTS_NAME, Stateful, load_resume, save_resume

METRICS_NAME = "metrics.jsonl"


class Run:
    """One training run in one directory, the same object on every process; only rank 0 writes."""

    def __init__(self, directory: Path, config: Config, *, force: bool = False) -> None:
        self.directory = directory
        self.config = config.model_dump(mode="json")
        self.world = distributed.world()
        self._asked_to_stop = False
        self._board: Board | None = None
        self._started = time.monotonic()
        if self.is_main:
            self._claim(force=force)
        distributed.barrier()

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return self.world.rank == 0

    def _claim(self, *, force: bool) -> None:
        foreign = self.directory.exists() and (
            not self.directory.is_dir()
            or (any(self.directory.iterdir()) and not (self.directory / METRICS_NAME).exists())
        )
        if foreign and not force:
            raise UserError(f"{self.directory} exists and is not a training run; give another output or --force")
        if force:
            for name in (RESUME_NAME, CONFIG_NAME, WEIGHTS_NAME, METRICS_NAME):
                remove(self.directory / name)
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / METRICS_NAME).touch()

    def __enter__(self) -> Self:
        self._handlers = {s: signal.signal(s, self._ask_to_stop) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._board is not None:
            self._board.close()
        if self._asked_to_stop and error is None:
            raise SystemExit(0)  # whoever runs several commands in one process must not go on to the next

    def _ask_to_stop(self, number: int, _frame: FrameType | None) -> None:
        if self._asked_to_stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked_to_stop = True
        say(f"{signal.Signals(number).name}: saving at the end of this step, then stopping")

    def say(self, message: str) -> None:
        """Print one line, on one process."""
        if self.is_main:
            say(message)

    def stopping(self) -> bool:
        """Whether any process was asked to stop; all processes get the same answer."""
        return bool(distributed.total(torch.tensor(int(self._asked_to_stop))) > 0)

    @staticmethod
    def due(step: int, every: int) -> bool:
        """Whether something done every so many steps (0: never) is due after this one."""
        return every > 0 and step % every == 0

    def resume(self, parts: Mapping[str, Stateful]) -> int:
        """Put back the state of an earlier, stopped run of the same configuration; returns the step reached (0: new).

        Metrics logged after that step, by a run that was killed before its next save, are removed: they come again.
        """
        step = load_resume(self.directory, self.config, parts)
        if self.is_main:
            path = self.directory / METRICS_NAME
            kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            path.write_text("".join(f"{line}\n" for line in kept))
            if self.config.get("tensorboard"):
                self._board = Board(self.directory, step)
            if step:
                say(f"continuing {self.directory} from step {step}")
        distributed.barrier()
        return step

    def save(self, step: int, parts: Mapping[str, Stateful]) -> None:
        """Write `resume.pt` (rank 0; the states of the parts are the same on every process)."""
        if self.is_main:
            save_resume(self.directory, step, self.config, parts)
        else:
            for part in parts.values():
                part.state_dict()  # what lies on several processes is gathered by all of them
        distributed.barrier()

    def log(self, step: int, **metrics: float) -> None:
        """Append one line to `metrics.jsonl`, with the seconds since this process began, and say it."""
        if self.is_main:
            row: dict[str, Any] = {"step": step, **metrics, "seconds": round(time.monotonic() - self._started, 2)}
            with (self.directory / METRICS_NAME).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            if self._board is not None:
                self._board.add(step, metrics)
            say(
                "  ".join(
                    f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                    for name, value in row.items()
                )
            )


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return 1 << 62  # a line cut off by a kill


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`, for plotting."""
    path = directory / METRICS_NAME
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
