"""Scoring units files: one TSV line an utterance, and the bits of the whole."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from textless.distributed import file_world, my_shards, select_device, shard_slice
from textless.errors import UserError
from textless.files import refuse_overwrite, shard_path
from textless.progress import say, track
from ulm.files import Score, read_scores, write_scores
from ulm.language_model import load_language_model
from units.files import Units, UnitsFile, read_units
from units.identity import require_same

UTTERANCES_AT_ONCE = 10_000  # scored before the progress bar moves


@dataclass(frozen=True)
class Summary:
    """The scores of this process's utterances, together."""

    utterances: int
    units: int
    bits_per_unit: float | None
    bits_per_second: float | None  # of speech; None where durations are not known
    eos: bool

    def __str__(self) -> str:
        if self.bits_per_unit is None:
            return "no units"
        speech = "" if self.bits_per_second is None else f", {self.bits_per_second:.2f} bits per second"
        return f"{self.bits_per_unit:.4f} bits per unit{speech} ({self.units} units, {self.utterances} utterances)"

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self)


def score(
    units: Path,
    output: Path,
    model: Path,
    *,
    eos: bool = False,
    batch_tokens: int = 8192,
    shards: int | None = None,
    device: str = "auto",
    force: bool = False,
) -> Summary:
    """Write the scores of every utterance; with several shards, of those that are this process's and not finished.

    Raises:
        UserError: a file is missing or not what it should be; units and model are of different quantizers; the
            output exists.
    """
    count = shards or file_world().size
    if count == 1:
        refuse_overwrite(output, force=force)
    file = read_units(units)
    language_model = load_language_model(model, select_device(device))
    require_same(language_model.quantizer, file.quantizer, str(model), str(units))
    scores: list[Score] = []
    utterances: list[Units] = []
    for index in my_shards(count):
        path, share = shard_path(output, index, count), shard_slice(file.utterances, index, count)
        if path.exists() and not force:
            say(f"{path} is finished")
            done = read_scores(path)
            if [item.id for item in done] != [item.id for item in share]:
                raise UserError(f"{path} has scores of other utterances than {units}; --force replaces it")
        else:
            done = []
            starts = range(0, len(share), UTTERANCES_AT_ONCE)
            for start in track(starts, "scoring"):
                part = share[start : start + UTTERANCES_AT_ONCE]
                values = language_model.score([u.units for u in part], eos=eos, batch_tokens=batch_tokens)
                done += [Score(u.id, float(v), len(u.units)) for u, v in zip(part, values, strict=True)]
            write_scores(path, done)
        scores += done
        utterances += share
    return summarize(scores, utterances, file, eos=eos)


def summarize(scores: Sequence[Score], utterances: Sequence[Units], file: UnitsFile, *, eos: bool) -> Summary:
    """Bits per unit, and per second of speech where every utterance has durations."""
    bits = -sum(item.log_prob for item in scores) / math.log(2)
    n_units = sum(item.units for item in scores)
    timed = all(item.durations is not None for item in utterances)
    seconds = sum(item.n_frames for item in utterances) / file.quantizer.frame_rate if timed else 0.0
    return Summary(
        utterances=len(scores),
        units=n_units,
        bits_per_unit=bits / n_units if n_units else None,
        bits_per_second=bits / seconds if seconds else None,
        eos=eos,
    )
