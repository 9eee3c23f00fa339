"""Names of recordings: which id a name in a list means, and how a message shows many of them."""

from collections.abc import Iterable, Sequence

from textless.errors import UserError

MOST_SHOWN = 8


def find_ids(known: Iterable[str], filenames: Sequence[str]) -> list[str | None]:
    """The id that every file name of a list means, None where there is none.

    A name is an id; a bare one, without folders, may also be the last part of an id that has them.

    Raises:
        UserError: a bare name fits several ids.
    """
    ids = set(known)
    by_stem: dict[str, list[str]] = {}
    for name in ids:
        by_stem.setdefault(name.rpartition("/")[2], []).append(name)
    found: list[str | None] = []
    for filename in filenames:
        candidates = [filename] if filename in ids else [] if "/" in filename else by_stem.get(filename, [])
        if len(candidates) > 1:
            raise UserError(f"{filename!r} of the list fits several ids: {listed(sorted(candidates))}")
        found.append(candidates[0] if candidates else None)
    return found


def listed(names: Iterable[str], most: int = MOST_SHOWN) -> str:
    """`'a', 'b'`; of many the first, and how many more."""
    found = list(names)
    shown = ", ".join(map(repr, found[:most]))
    return shown if len(found) <= most else f"{shown} and {len(found) - most} more"
