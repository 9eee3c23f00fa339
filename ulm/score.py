"""Scoring units files: one TSV line an utterance, and the bits of the whole."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from textless.distributed import file_world, my_shards, select_device, shard_slice
from textless.errors import UserError
from textless.files import refuse_overwrite, shard_path
from textless.progress import say, track
from textless.training.precision import Precision, uses_bf16
from ulm.files import Score, read_scores, write_scores
from ulm.language_model import TransformerLanguageModel, load_language_model
from units.files import Units, read_units
from units.identity import require_same

UTTERANCES_AT_ONCE = 10_000  # scored before the progress bar moves


@dataclass(frozen=True)
class Summary:
    """The scores of this process's utterances, together."""

    utterances: int
    empty: int  # utterances, of no units
    units: int
    log_prob: float  # natural, the sum over all
    bits_per_unit: float | None
    bits_per_second: float | None  # of speech; None where durations are not known
    eos: bool

    def __str__(self) -> str:
        if self.bits_per_unit is None:
            return "no units"
        speech = "" if self.bits_per_second is None else f", {self.bits_per_second:.2f} bits per second"
        empty = f", {self.empty} of them empty" if self.empty else ""
        size = f"{self.units} units, {self.utterances} utterances{empty}"
        return f"{self.bits_per_unit:.4f} bits per unit{speech}, log probability {self.log_prob:.2f} ({size})"

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
    stride: int | None = None,
    precision: Precision = "fp32",
    shards: int | None = None,
    device: str = "auto",
    force: bool = False,
) -> Summary:
    """Write the scores of every utterance; with several shards, of those that are this process's and not finished.

    Args:
        units: what to score.
        output: scores file to write.
        model: directory of a unit LM of either kind.
        eos: count the end of the utterance too.
        batch_tokens: a memory limit; changes no result.
        stride: see `ulm.likelihood`.
        precision: of the Transformer; an n-gram model has one only.
        shards: of the output; None: one a process.
        device: "auto", "cpu", "cuda", ...
        force: replace the output.

    Raises:
        UserError: a file is missing or not what it should be; units and model are of different quantizers; the
            output exists; a stride that the context does not allow.
    """
    count = shards or file_world().size
    if count == 1:
        refuse_overwrite(output, force=force)
    file = read_units(units)
    language_model = load_language_model(model, select_device(device))
    if isinstance(language_model, TransformerLanguageModel):
        language_model = _reading(language_model, precision, stride)
    elif stride is not None:
        raise UserError(f"--stride is of windows, which {model}, an n-gram model, does not read: leave it out")
    require_same(language_model.quantizer, file.quantizer, str(model), str(units))
    rate = file.quantizer.frame_rate
    scores: list[Score] = []
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
                done += [_score(u, float(v), rate) for u, v in zip(part, values, strict=True)]
            write_scores(path, done)
        scores += done
    return summarize(scores, eos=eos)


def _reading(
    language_model: TransformerLanguageModel, precision: Precision, stride: int | None
) -> TransformerLanguageModel:
    if stride is not None and not 1 <= stride <= language_model.context:
        raise UserError(f"--stride {stride} should lie in 1..{language_model.context}, the context of the model")
    if uses_bf16(language_model.network.embedding.weight.device, precision):
        language_model = language_model.in_bfloat16()
    language_model.stride = stride
    return language_model


def _score(item: Units, log_prob: float, frame_rate: float) -> Score:
    return Score(item.id, log_prob, len(item.units), None if item.durations is None else item.n_frames / frame_rate)


def summarize(scores: Sequence[Score], *, eos: bool) -> Summary:
    """Bits per unit, and per second of speech where every utterance has durations."""
    bits = -sum(item.log_prob for item in scores) / math.log(2)
    n_units = sum(item.units for item in scores)
    durations = [item.seconds for item in scores if item.seconds is not None]
    seconds = sum(durations) if len(durations) == len(scores) else 0.0
    return Summary(
        utterances=len(scores),
        empty=sum(item.units == 0 for item in scores),
        units=n_units,
        log_prob=sum(item.log_prob for item in scores),
        bits_per_unit=bits / n_units if n_units else None,
        bits_per_second=bits / seconds if seconds else None,
        eos=eos,
    )
