"""A sweep: runs as processes side by side, given up when they are hopeless, the best of all chosen without labels.

    OUT/sweep.json      configuration, and the state of every run: it is rewritten whenever one changes
    OUT/runs/NAME/      a run of `textless asr train`, with its log in NAME.log beside it
    OUT/index.html      curves of all runs on one page, kept up to date
    OUT/best/           the recogniser chosen, once all runs have ended

A run is nothing but a command and a folder with `metrics.jsonl`. A sweep that was stopped (or killed) goes on with the
runs that had not ended; they go on where they stopped. Further seeds or values of the grid add runs.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from textless.errors import UserError
from textless.files import atomic_directory, read_json, sha256_file, write_json
from textless.progress import say
from textless.provenance import check_header, make_header
from textless.training.checkpoint import CONFIG_NAME
from textless.training.run import read_metrics
from unsup_asr.select_runs import Selection, select
from unsup_asr.sweep.hopeless import Patience, hopeless
from unsup_asr.sweep.page import write_page
from unsup_asr.sweep.plan import Variation

FORMAT, VERSION = "textless-asr-sweep", 1
STATE, RUNS, BEST, PAGE = "sweep.json", "runs", "best", "index.html"
POLL_SECONDS = 1.0
PAGE_SECONDS = 30.0
Condition = Literal["waiting", "running", "finished", "given up", "failed"]
ENDED: tuple[Condition, ...] = ("finished", "given up", "failed")
Command = Callable[[Variation, Path], list[str]]


@dataclass(frozen=True)
class SweepOptions:
    """How runs are run.

    Attributes:
        jobs: so many at a time.
        threads: of each; 0: as many as it takes by itself.
        patience: when runs are given up; None: never.
    """

    jobs: int
    threads: int = 1
    patience: Patience | None = None


@dataclass(frozen=True)
class RunState:
    """A run of the sweep, how it stands, and why."""

    variation: Variation
    condition: Condition = "waiting"
    why: str = ""


@dataclass
class Sweep:
    """The runs of one folder.

    Raises:
        UserError: the folder holds something else, or the sweep of another configuration.
    """

    out: Path
    config: Path
    command: Command
    options: SweepOptions
    states: dict[str, RunState] = field(default_factory=dict)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _stop: bool = False

    def run(self, variations: Sequence[Variation]) -> None:
        """Run all that has not ended; SIGTERM and SIGINT stop the runs, which save, and then the sweep."""
        self._claim(variations)
        handlers = {number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        drawn = 0.0
        try:
            while not self._stop and (self._processes or self._next() is not None):
                while len(self._processes) < self.options.jobs and (name := self._next()) is not None:
                    self._start(name)
                time.sleep(POLL_SECONDS)
                self._collect()
                self._give_up()
                if time.monotonic() - drawn > PAGE_SECONDS:
                    self.draw()
                    drawn = time.monotonic()
        finally:
            self._end_processes()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self.draw()
        if self._stop:
            raise SystemExit(0)

    def select(self, text: Path) -> Selection:
        """Choose among what all runs kept, and copy it to `OUT/best`.

        Raises:
            UserError: no run has kept anything.
        """
        kept = [folder for name in self.states if (folder := self.kept(name)) is not None]
        if not kept:
            raise UserError(f"no run of {self.out} has kept a recogniser; see the logs in {self.out / RUNS}")
        selection = select(kept, text)
        with atomic_directory(self.out / BEST) as temporary:
            shutil.copytree(
                selection.directory,
                temporary,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("resume.pt", "metrics.jsonl", "tensorboard"),
            )
        self.draw(chosen=selection.directory.name)
        return selection

    def kept(self, name: str) -> Path | None:
        """The recogniser that a run has kept, if it has."""
        folder = self._folder(name)
        return folder if (folder / CONFIG_NAME).is_file() else None

    def draw(self, chosen: str | None = None) -> None:
        """Write the page."""
        runs = {name: read_metrics(self._folder(name)) for name in self.states}
        notes = {name: f"{s.condition}{': ' if s.why else ''}{s.why}" for name, s in self.states.items()}
        write_page(self.out / PAGE, self.config.name, runs, notes, chosen)

    def _claim(self, variations: Sequence[Variation]) -> None:
        path = self.out / STATE
        known: dict[str, RunState] = {}
        if path.is_file():
            header = check_header(read_json(path), FORMAT, VERSION, path)
            if header["config_sha256"] != sha256_file(self.config):
                raise UserError(f"{self.out} holds a sweep of another configuration than {self.config} is now")
            known = {row["name"]: _state(row) for row in header["runs"]}
            left = sum(state.condition not in ENDED for state in known.values())
            say(f"continuing the sweep in {self.out}: {left} of {len(known)} runs had not ended")
        elif self.out.exists() and any(self.out.iterdir()):
            raise UserError(f"{self.out} exists and is not a sweep; give another output")
        # What was running when the sweep was killed goes on.
        known = {n: s if s.condition in ENDED else replace(s, condition="waiting") for n, s in known.items()}
        self.states = known | {v.name: RunState(v) for v in variations if v.name not in known}
        (self.out / RUNS).mkdir(parents=True, exist_ok=True)
        self._write()

    def _start(self, name: str) -> None:
        folder = self._folder(name)
        words = self.command(self.states[name].variation, folder)
        environment = dict(os.environ)
        if self.options.threads:
            environment["OMP_NUM_THREADS"] = str(self.options.threads)
        with folder.with_name(f"{name}.log").open("ab") as log:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the process inherits it, and outlives a killed sweep
            except BlockingIOError as error:
                raise UserError(
                    f"{folder} is being trained by a process that a killed sweep has left: wait for it, or stop it"
                ) from error
            # A session of its own: the interrupt of a terminal comes from us, once.
            self._processes[name] = subprocess.Popen(  # noqa: S603 - our own command
                words, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        self._set(name, "running")

    def _collect(self) -> None:
        for name, process in list(self._processes.items()):
            code = process.poll()
            if code is None:
                continue
            del self._processes[name]
            if self.states[name].condition == "given up":
                continue
            if code:
                log = self._folder(name).with_name(f"{name}.log")
                last = (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]
                self._set(name, "failed", f"exit status {code}: {last}")
            else:
                self._set(name, "finished")

    def _give_up(self) -> None:
        if self.options.patience is None:
            return
        alive = [name for name, state in self.states.items() if state.condition not in ENDED]
        runs = {name: read_metrics(self._folder(name)) for name in self.states}
        for name, why in hopeless(runs, alive, self.options.patience).items():
            if name in self._processes:
                self._processes[name].send_signal(signal.SIGTERM)
            self._set(name, "given up", why)

    def _end_processes(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for name, process in self._processes.items():
            process.wait()
            if self.states[name].condition == "running":
                self._set(name, "waiting")
        self._processes.clear()

    def _next(self) -> str | None:
        return next((name for name, state in self.states.items() if state.condition == "waiting"), None)

    def _folder(self, name: str) -> Path:
        return self.out / RUNS / name

    def _set(self, name: str, condition: Condition, why: str = "") -> None:
        self.states[name] = replace(self.states[name], condition=condition, why=why)
        ended = sum(state.condition in ENDED for state in self.states.values())
        say(f"{name} {condition}{f' ({why})' if why else ''}; {ended} of {len(self.states)} have ended")
        self._write()

    def _write(self) -> None:
        runs = [
            {"name": name, "changes": list(s.variation.changes), "condition": s.condition, "why": s.why}
            for name, s in self.states.items()
        ]
        options: dict[str, Any] = asdict(self.options)
        write_json(
            self.out / STATE,
            make_header(FORMAT, VERSION, config_sha256=sha256_file(self.config), options=options, runs=runs),
        )

    def _ask_to_stop(self, number: int, _frame: FrameType | None) -> None:
        say(f"{signal.Signals(number).name}: stopping {len(self._processes)} runs, which save")
        self._stop = True


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train_command(config: Path, settings: Sequence[str], device: str) -> Command:
    """`textless asr train` of a variation; `settings` are further ones, which all runs share."""

    def words(variation: Variation, folder: Path) -> list[str]:
        changes = [word for change in (*settings, *variation.changes) for word in ("--set", change)]
        return [
            *(sys.executable, "-m", "textless", "asr", "train", str(config), str(folder), "--device", device),
            *changes,
        ]

    return words


def _state(row: dict[str, Any]) -> RunState:
    return RunState(Variation(row["name"], tuple(row["changes"])), row["condition"], row["why"])
