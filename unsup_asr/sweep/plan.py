"""What a sweep runs: every combination of the grid's values, with every seed."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from textless.errors import UserError


@dataclass(frozen=True)
class Variation:
    """One run: what is set beside the configuration, and the name of its folder."""

    name: str
    changes: tuple[str, ...]  # key=value, as `--set` takes them


def plan(grids: Sequence[str], seeds: int, first_seed: int = 0) -> list[Variation]:
    """All combinations of `key=value,value,...`, seed by seed, so that each combination is tried early.

    Raises:
        UserError: a grid is not of that form, or names a key twice.
    """
    axes = [_axis(grid) for grid in grids]
    keys = [key for key, _ in axes]
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        raise UserError(f"--grid has {', '.join(repeated)} twice: give all of its values at once, key=1,2,3")
    if "seed" in keys:
        raise UserError("the seeds are not of the grid: use --seeds N")
    found = []
    for seed in range(first_seed, first_seed + seeds):
        for values in itertools.product(*(values for _, values in axes)):
            changes = [f"{key}={value}" for key, value in zip(keys, values, strict=True)]
            words = [change.rpartition(".")[2].replace("=", "-") for change in changes]
            found.append(Variation("_".join([*words, f"seed-{seed}"]), (*changes, f"seed={seed}")))
    names = [variation.name for variation in found]
    if len(set(names)) < len(names):  # keys of two groups with the same last word, or values told by nothing
        raise UserError(f"the grid {' '.join(grids)} gives two runs the same name")
    return found


def _axis(grid: str) -> tuple[str, list[str]]:
    key, equals, values = grid.partition("=")
    listed = [value.strip() for value in values.split(",")]
    if not equals or not key.strip() or not all(re.fullmatch(r"[\w.+-]+", value) for value in listed):
        raise UserError(f"--grid takes key=value,value (for example loss.diversity=2,4), not {grid!r}")
    return key.strip(), listed
