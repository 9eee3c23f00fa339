"""Continuing the prompts of a units file, or speaking without one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from textless.distributed import select_device
from textless.errors import UserError
from textless.files import refuse_overwrite
from textless.progress import say
from textless.training.precision import Precision, uses_bf16
from ulm.beams import BeamSearch
from ulm.language_model import TransformerLanguageModel, load_language_model
from ulm.sampling import Sampling
from units.files import Units, read_units, write_units
from units.identity import require_same

UNCONDITIONAL_ID = "sample"


def generate(
    model: Path,
    output: Path,
    plan: Sampling | BeamSearch,
    *,
    prompts: Path | None = None,
    n: int = 1,
    max_seconds: float | None = None,
    prompt_seconds: float | None = None,
    continuation_only: bool = False,
    batch_size: int = 64,
    precision: Precision = "fp32",
    device: str = "auto",
    force: bool = False,
) -> list[Units]:
    """Write `n` continuations of every prompt, with the ids `<prompt id>__<number>`, and return them.

    Without `prompts`, `n` new utterances with the ids `sample__<number>`; an empty prompt stands for one, too. A prompt
    longer than the context is read from its last half context or more on. The output has no durations. `max_seconds`
    bounds a continuation by the mean rate of units in the training data. Beam search writes the `n` best, best first.

    Raises:
        UserError: a file is missing or not what it should be; units and model are of different quantizers; the model
            cannot generate; there are no durations where they are needed; more is asked for than there are beams; the
            output exists.
    """
    refuse_overwrite(output, force=force)
    if isinstance(plan, BeamSearch) and n > plan.beams:
        raise UserError(f"the {n} best were asked for, but {plan.beams} beams were: --beams should be at least --n")
    language_model = load_language_model(model, select_device(device))
    if not isinstance(language_model, TransformerLanguageModel):
        raise UserError(f"{model} is an n-gram model, which scores only; generate with a model of `textless ulm train`")
    if uses_bf16(language_model.network.embedding.weight.device, precision):
        language_model = language_model.in_bfloat16()
    if max_seconds is not None:
        plan = replace(plan, max_units=_units_in(max_seconds, language_model, model))
    items = [Units(UNCONDITIONAL_ID, [])] if prompts is None else _read_prompts(prompts, language_model, model)
    if prompt_seconds is not None:
        frames = prompt_seconds * language_model.quantizer.frame_rate
        items = [cut(item, frames) for item in items]
    _tell(items if prompts is not None else [], language_model)
    units = [item.units for item in items]
    match plan:
        case Sampling():
            ids = [item.id for item in items]
            continuations = language_model.generate(units, plan, n=n, ids=ids, batch_size=batch_size)
        case BeamSearch():
            continuations = language_model.search(units, plan, n=n, batch_size=batch_size)
    results = list(_named(items, continuations, continuation_only=continuation_only))
    write_units(output, language_model.quantizer, results)
    return results


def _tell(prompts: Sequence[Units], language_model: TransformerLanguageModel) -> None:
    """Say what happens to prompts that are not read whole."""
    empty = sum(not item.units for item in prompts)
    long = sum(len(language_model.tokenizer.encode(item.units)) >= language_model.context for item in prompts)
    if empty:
        say(f"{empty} of {len(prompts)} prompts are empty: new utterances take their place")
    if long:
        say(f"{long} of {len(prompts)} prompts exceed the context of {language_model.context}: their ends are read")


def _units_in(seconds: float, language_model: TransformerLanguageModel, model: Path) -> int:
    if language_model.units_per_second is None:
        raise UserError(f"{model} was trained on units without durations: give --max-units, not --max-seconds")
    return max(1, round(seconds * language_model.units_per_second))


def _read_prompts(prompts: Path, language_model: TransformerLanguageModel, model: Path) -> list[Units]:
    file = read_units(prompts)
    require_same(language_model.quantizer, file.quantizer, str(model), str(prompts))
    return file.utterances


def cut(item: Units, frames: float) -> Units:
    """The units that begin in the first `frames` frames of an utterance."""
    if item.durations is None:
        raise UserError(f"the prompt {item.id!r} has no durations: --prompt-seconds cannot be applied")
    begins = np.cumsum([0, *item.durations])[:-1]
    kept = int(np.searchsorted(begins, frames, side="left"))
    return Units(item.id, item.units[:kept], item.durations[:kept])


def _named(
    items: Sequence[Units], continuations: Sequence[Sequence[list[int]]], *, continuation_only: bool
) -> Iterator[Units]:
    for item, samples in zip(items, continuations, strict=True):
        for number, units in enumerate(samples):
            yield Units(f"{item.id}__{number}", units if continuation_only else item.units + units)
