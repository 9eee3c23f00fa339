"""An ABX task: which tokens are compared with which, and in which order their cells are averaged.

A and X share the label ON, and B has another; A, B and X share the labels BY; A and B share the labels ACROSS, and X
has another in every one of them. Without ACROSS, X and A are different tokens of one bucket. A *bucket* is all tokens
of one ON, BY and ACROSS; a *cell* is the buckets (a, b, x), so that (a, b) and (b, a) are two cells.

The ZeroSpeech tasks are ON phone, BY context (unless it is `any`), BY speaker (within) or ACROSS speaker (across).
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from textless.errors import UserError

SpeakerMode = Literal["within", "across"]
ContextMode = Literal["within", "any"]
Averaging = Literal["librilight", "abxpy"]
Levels = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Task:
    """What to compare.

    Args:
        on: column that A and X share and B does not.
        by: columns that all three share.
        across: columns that A and B share, and in all of which X differs.
        levels: columns of cells to average over, level after level; then over what is left of each pair (a, b), then
            over pairs. The columns of cells are `by`, `across`, and `x_` and the name of each of `across`.
        max_size_group: at most so many tokens of a bucket. They are drawn once and serve every cell, whatever its role
            for them. (Libri-light draws A again for every B; the expected score is the same.)
        max_x_across: at most so many buckets of X for A and B of one BY and ACROSS; those drawn first for one phone are
            so for every other, where they have it.
        seed: of both draws. Each depends on names alone, so that adding a speaker or a context changes no other draw.
    """

    on: str
    by: tuple[str, ...] = ()
    across: tuple[str, ...] = ()
    levels: Levels = ()
    max_size_group: int | None = None
    max_x_across: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        columns = (self.on, *self.by, *self.across)
        if len(set(columns)) < len(columns):
            raise ValueError(f"ON, BY and ACROSS should be different columns, found {columns}")
        averaged = [name for level in self.levels for name in level]
        if not set(averaged) <= set(self.cell_columns) or len(set(averaged)) < len(averaged):
            raise ValueError(f"levels should name the columns {self.cell_columns}, each once at most: {self.levels}")
        if self.max_size_group is not None and self.max_size_group < 2:
            raise UserError("--max-size-group should be at least 2, since X and A are two tokens of a phone")
        if self.max_x_across is not None and self.max_x_across < 1:
            raise UserError("--max-x-across should be at least 1")

    @property
    def cell_columns(self) -> tuple[str, ...]:
        """Columns that tell the cells of a pair (a, b) apart."""
        return (*self.by, *self.across, *(f"x_{name}" for name in self.across))


def zerospeech_task(
    speaker: SpeakerMode = "within",
    context: ContextMode = "within",
    *,
    averaging: Averaging = "librilight",
    max_size_group: int | None = None,
    max_x_across: int | None = None,
    seed: int = 0,
) -> Task:
    """A task of the ZeroSpeech benchmarks.

    Args:
        speaker: X from the speaker of A and B, or from another.
        context: compare in the same context (previous and next phone), or in any.
        averaging: `librilight` (and fastabx): over contexts and speakers of X jointly, then over speakers, then over
            pairs. `abxpy` (ZeroSpeech 2015 to 2020): across speakers, over contexts, then over pairs of speakers.
        max_size_group: see `Task`; ZeroSpeech 2021 took 10.
        max_x_across: see `Task`; ZeroSpeech 2021 took 5.
        seed: of the sampling.
    """
    for value, known in ((speaker, SpeakerMode), (context, ContextMode), (averaging, Averaging)):
        if value not in get_args(known):
            raise ValueError(f"unknown mode {value!r}: use one of {get_args(known)}")
    contexts = ("context",) if context == "within" else ()
    if speaker == "within":
        return Task("phone", (*contexts, "speaker"), (), (contexts, ("speaker",)), max_size_group, max_x_across, seed)
    levels: Levels = (
        ((*contexts, "x_speaker"), ("speaker",)) if averaging == "librilight" else (contexts, ("speaker", "x_speaker"))
    )
    return Task("phone", contexts, ("speaker",), levels, max_size_group, max_x_across, seed)


def zerospeech_tasks(
    speaker: SpeakerMode | Literal["both"],
    context: ContextMode | Literal["both"],
    **options: Any,  # noqa: ANN401
) -> dict[str, Task]:
    """Tasks of `zerospeech_task` by name: `within` and `across`, and `any-within` and `any-across` beside them.

    Where only one context is asked for, the speakers alone name the task.
    """
    speakers: tuple[SpeakerMode, ...] = ("within", "across") if speaker == "both" else (speaker,)
    contexts: tuple[ContextMode, ...] = ("within", "any") if context == "both" else (context,)
    return {
        mode if len(contexts) == 1 or where == "within" else f"any-{mode}": zerospeech_task(mode, where, **options)
        for where in contexts
        for mode in speakers
    }
