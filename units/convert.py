"""Units between our files and those of other programs, with ids that keep their characters."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from textless.audio.manifest import Manifest, Utterance, id_of, read_manifest, write_manifest
from textless.errors import UserError
from textless.files import refuse_overwrite
from textless.progress import say
from units.files import Units, UnitsFile, checked, first_repeated, read_units, write_units
from units.foreign import Format, Line, read_foreign, write_foreign
from units.identity import QuantizerIdentity
from units.runs import deduplicate, expand

Layout = Format | Literal["textless"]
OURS: Literal["textless"] = "textless"
ENOUGH = 100  # units; if none of so many is ever repeated, they are hardly one a frame
TIMED = ("slamkit", "textlesslib")  # layouts that have durations


def convert(
    source: Path,
    target: Path,
    layout: Layout,
    new_layout: Layout,
    *,
    identity: QuantizerIdentity | None = None,
    manifest: Manifest | None = None,
    deduplicated: bool = False,
    key: str | None = None,
    force: bool = False,
) -> int:
    """Write the units of `source`, in one layout, to `target`, in another.

    Args:
        source: file to read.
        target: file to write.
        layout: of `source`.
        new_layout: of `target`.
        identity: quantizer of foreign units; needed to write ours.
        manifest: turns foreign names into utterance ids and back into paths. Without it names are taken as they are.
        deduplicated: a foreign line without durations holds, or shall hold, one unit a run instead of one a frame.
        key: under which a dictionary's units lie.
        force: replace `target`.

    Returns:
        How many utterances were written.

    Raises:
        UserError: a line is not of its layout, a name cannot be told or held, or the quantizer is not known.
    """
    refuse_overwrite(target, force=force)
    if layout == OURS:
        file = read_units(source)
        identity, items = file.quantizer, file.utterances
    else:
        if layout == "km" and manifest is None and source.with_suffix(".tsv").exists():
            manifest = read_manifest(source.with_suffix(".tsv"))
        lines = read_foreign(source, layout, key)
        ids = utterance_ids([line.name for line in lines], manifest, source)
        runs = deduplicated or layout == "slamkit-tokens"
        items = [_from_line(line, i, deduplicated=runs) for line, i in zip(lines, ids, strict=True)]
        if not runs and layout not in TIMED and _never_repeats(items):
            say(f"no unit in {source} is ever repeated: if it holds one unit a run, give --deduplicated")
    if new_layout == OURS:
        if identity is None:
            raise UserError(f"{source} does not say which quantizer made its units: give --quantizer, or state it")
        write_units(target, identity, list(checked(items, UnitsFile(identity, []), source)))
        return len(items)
    if new_layout == "km":
        _write_tsv(target.with_suffix(".tsv"), items, manifest, force=force)
    if new_layout == "textlesslib":
        refuse_overwrite(target.with_suffix(".durations"), force=force)
    names = _names(items, manifest) if new_layout in {"slamkit", "slamkit-tokens", "dict"} else [i.id for i in items]
    lines = [_to_line(i, n, new_layout, deduplicated=deduplicated) for i, n in zip(items, names, strict=True)]
    write_foreign(target, new_layout, lines, key, identity)
    return len(items)


def utterance_ids(names: Sequence[str | None], manifest: Manifest | None, source: Path) -> list[str]:
    """Utterance ids of the names in a foreign file, in order.

    With a manifest, a name may be an id, a path below any root, or either without its extension or folders, also as
    GSLM cuts it: `rstrip(".flac")`, which takes letters off the name as well. Lines without names are its utterances
    in order. Without a manifest, names are ids.

    Raises:
        UserError: a name is missing, is not in the manifest, stands for several utterances, or occurs twice.
    """
    if any(name is None for name in names):
        if manifest is None or len(manifest) != len(names):
            found = "there is no manifest" if manifest is None else f"the manifest has {len(manifest)} utterances"
            raise UserError(f"{source} has {len(names)} lines without names, and {found}: give --manifest")
        return [utterance.id for utterance in manifest]
    known = [name for name in names if name is not None]
    ids = known if manifest is None else _resolve(known, manifest, source)
    repeated = first_repeated(ids)
    if repeated is not None:
        raise UserError(f"{source} has two lines for the utterance {repeated!r}")
    return ids


def _resolve(names: Sequence[str], manifest: Manifest, source: Path) -> list[str]:
    ids = {utterance.id for utterance in manifest}
    by_form: dict[str, set[str]] = {}
    for utterance in manifest:
        for form in _forms(utterance):
            by_form.setdefault(form, set()).add(utterance.id)
    resolved: list[str] = []
    for name in names:
        parts = name.split("/")
        shorter = ("/".join(parts[start:]) for start in range(len(parts)))
        found = {name} if name in ids else next((by_form[form] for form in shorter if form in by_form), set())
        if len(found) != 1:
            reason = f"stands for {sorted(found)[:2]} in" if found else "is not in"
            raise UserError(f"{source} names {name!r}, which {reason} the manifest")
        resolved.extend(found)
    absent = len(ids.difference(resolved))
    if absent:
        say(f"{absent} of {len(ids)} utterances in the manifest have no line in {source}")
    return resolved


def _forms(utterance: Utterance) -> set[str]:
    """The ways in which programs write the name of an utterance."""
    forms = {utterance.id}
    for path in (utterance.path, PurePosixPath(utterance.path).name):
        suffix = PurePosixPath(path).suffix
        forms |= {path, path.removesuffix(suffix), path.rstrip(suffix)}
    return forms


def _names(items: Sequence[Units], manifest: Manifest | None) -> list[str]:
    """Paths of utterances, where a manifest tells them; else their ids."""
    if manifest is None:
        return [item.id for item in items]
    return [str(manifest.audio_path(utterance)) for utterance in _recordings(items, manifest)]


def _recordings(items: Sequence[Units], manifest: Manifest) -> list[Utterance]:
    by_id = {utterance.id: utterance for utterance in manifest}
    missing = [item.id for item in items if item.id not in by_id]
    if missing:
        raise UserError(f"{len(missing)} utterances are not in the manifest, first {missing[0]!r}")
    return [by_id[item.id] for item in items]


def _write_tsv(path: Path, items: Sequence[Units], manifest: Manifest | None, *, force: bool) -> None:
    """The manifest that says which line of a `.km` is whose, in fairseq's form; one that says so already is kept."""
    if manifest is None:
        raise UserError("a .km names its utterances in a .tsv of recordings: give --manifest")
    bare = tuple(Utterance(id_of(u.path), u.path, u.n_samples) for u in _recordings(items, manifest))
    if path.exists() and [u.path for u in read_manifest(path)] == [u.path for u in bare]:
        return
    refuse_overwrite(path, force=force)
    write_manifest(path, Manifest(manifest.root, bare))


def _from_line(line: Line, utterance_id: str, *, deduplicated: bool) -> Units:
    if line.durations is not None:
        return Units(utterance_id, *deduplicate(expand(line.units, line.durations)))
    return Units(utterance_id, line.units) if deduplicated else Units(utterance_id, *deduplicate(line.units))


def _to_line(item: Units, name: str, layout: Format, *, deduplicated: bool) -> Line:
    if layout in TIMED:
        return Line(name, item.units, item.durations)
    if deduplicated or layout == "slamkit-tokens" or item.durations is None:
        return Line(name, item.units)
    return Line(name, expand(item.units, item.durations).tolist())


def _never_repeats(items: Sequence[Units]) -> bool:
    return sum(len(item.units) for item in items) >= ENOUGH and all(
        duration == 1 for item in items for duration in item.durations or ()
    )
