"""Many utterances to audio files, in several processes; every file depends on its own job and seed alone."""

import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import torch

from textless.audio.io import SAMPLE_RATE
from textless.corpora.alignment import SILENCE, Segment
from textless.corpora.channel import apply_channel
from textless.corpora.synthesizer import Voice, synthesize
from textless.errors import UserError

MARGIN = (0.05, 0.15)  # seconds of background before and after the speech
CHUNK = 16


@dataclass(frozen=True)
class Job:
    """What to say, by whom, into which file; equal seeds give equal speaking rate, pitch, noise and level."""

    path: Path
    text: str
    voice: Voice
    seed: tuple[int, ...]
    phonemes: bool = False


@dataclass(frozen=True)
class Rendered:
    """Length in samples at 16 kHz, and what is in the file when."""

    n_samples: int
    phones: list[Segment]
    words: list[Segment]


class Renderer:
    """Renders jobs in `processes` processes; with one, in this process."""

    def __init__(self, pool: ProcessPoolExecutor | None) -> None:
        self._pool = pool

    def map(self, jobs: Sequence[Job]) -> Iterator[Rendered]:
        """Results in the order of the jobs."""
        for directory in sorted({job.path.parent for job in jobs}):
            directory.mkdir(parents=True, exist_ok=True)
        if self._pool is None:
            yield from map(render, jobs)
            return
        try:
            yield from self._pool.map(render, jobs, chunksize=CHUNK)
        except BrokenProcessPool as error:
            raise UserError(
                "a synthesis process was killed (out of memory?); try again with fewer processes"
            ) from error


@contextmanager
def renderer(processes: int | None = None) -> Iterator[Renderer]:
    """A `Renderer` with that many processes (none: one for every processor)."""
    count = processes or os.cpu_count() or 1
    if count == 1:
        threads = torch.get_num_threads()
        _one_thread()
        try:
            yield Renderer(None)
        finally:
            torch.set_num_threads(threads)
        return
    # Not `fork`: torch's thread pools do not survive it.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield Renderer(pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    torch.set_num_threads(1)


def _start_worker() -> None:
    """Ctrl-C is the parent's business; and when the parent is gone, however it went, so is the worker."""
    _one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def render(job: Job) -> Rendered:
    """Say it, record it, write it as 16-bit FLAC."""
    rng = np.random.default_rng(job.seed)
    voice = replace(
        job.voice,
        rate=job.voice.rate + int(rng.integers(-8, 9)),
        pitch=job.voice.pitch + int(rng.integers(-3, 4)),
    )
    speech = synthesize(job.text, voice, int(rng.integers(2**31)), phonemes=job.phonemes)
    before, after = (round(seconds * SAMPLE_RATE) for seconds in rng.uniform(*MARGIN, 2))
    waveform = apply_channel(np.pad(speech.waveform.numpy(), (before, after)), rng)
    # Not `audio.io.save`: the whole corpus appears at once, so its thousands of files need no fsync each.
    encoded = io.BytesIO()
    soundfile.write(encoded, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    job.path.write_bytes(encoded.getvalue())
    shift, end = before / SAMPLE_RATE, len(waveform) / SAMPLE_RATE
    return Rendered(len(waveform), _shift_phones(speech.phones, shift, end), _shift(speech.words, shift))


def _shift(segments: list[Segment], seconds: float) -> list[Segment]:
    return [Segment(s.start + seconds, s.end + seconds, s.label) for s in segments]


def _shift_phones(phones: list[Segment], seconds: float, end: float) -> list[Segment]:
    """The phones, and the margins as silence around them."""
    first, *_ = shifted = _shift(phones, seconds)
    if first.label == SILENCE:
        shifted[0] = Segment(0.0, first.end, SILENCE)
    else:
        shifted.insert(0, Segment(0.0, first.start, SILENCE))
    last = shifted[-1]
    if last.label == SILENCE:
        shifted[-1] = Segment(last.start, end, SILENCE)
    else:
        shifted.append(Segment(last.end, end, SILENCE))
    return shifted
