"""Configuration: a frozen model of typed fields, a TOML file that states only differences, and `--set key=value`."""

import difflib
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from textless.errors import UserError


class Config(BaseModel):
    """Base of every configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls, values: dict[str, Any], source: str) -> Self:
        """Validate `values`; every mistake becomes one clause of a one-line `UserError` with the key's path."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            mistakes = "; ".join(_explain(cls, mistake) for mistake in error.errors())
            raise UserError(f"{source}: {mistakes}") from error

    @classmethod
    def load(cls, path: Path | None, overrides: Iterable[str] = ()) -> Self:
        """Read a TOML file (none: the defaults) and apply overrides of the form `optimizer.lr=3e-4`.

        A relative value of a `Path` field means, in the TOML, relative to the TOML's own folder, and in an override
        relative to the working directory; either comes out absolute.
        """
        values: dict[str, Any] = {}
        if path is not None:
            if not path.is_file():
                raise UserError(f"configuration not found: {path}")
            try:
                values = tomllib.loads(path.read_text(encoding="utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise UserError(f"{path} is not valid TOML: {error}") from error
            _anchor_paths(cls, values, path.parent)
        changes: dict[str, Any] = {}
        for override in overrides:
            _apply(changes, override)
        _anchor_paths(cls, changes, Path.cwd())
        return cls.parse(_merge(values, changes), str(path) if path is not None else "--set")


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set takes key=value (for example optimizer.lr=3e-4), not {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *groups, name = key.strip().split(".")
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):
            raise UserError(f"--set {key}: {group} is a value, not a group of keys")
    values[name] = value


def _merge(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both_groups = {k for k, v in changes.items() if isinstance(v, dict) and isinstance(values.get(k), dict)}
    return {**values, **{k: _merge(values[k], v) if k in both_groups else v for k, v in changes.items()}}


def _anchor_paths(cls: type[BaseModel], values: dict[str, Any], base: Path) -> None:
    """Make the values of `Path` fields absolute, in place, in every group."""
    for name, field in cls.model_fields.items():
        kinds = get_args(field.annotation) or (field.annotation,)
        value = values.get(name)
        if Path in kinds and isinstance(value, str):
            values[name] = os.path.normpath(base.absolute() / value)
        if Path in kinds and isinstance(value, list):
            values[name] = [
                os.path.normpath(base.absolute() / item) if isinstance(item, str) else item for item in value
            ]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(values.get(name), dict):
                _anchor_paths(kind, values[name], base)


def _explain(cls: type[BaseModel], mistake: Any) -> str:  # noqa: ANN401
    location = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] != "extra_forbidden":
        return f"{location}: {mistake['msg'].lower()} (found {mistake['input']!r})" if location else mistake["msg"]
    group: Any = cls
    for part in mistake["loc"][:-1]:
        field = getattr(group, "model_fields", {}).get(part)
        group = field.annotation if field is not None else None
    known = list(getattr(group, "model_fields", {}))
    close = difflib.get_close_matches(str(mistake["loc"][-1]), known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}" if known else ""
    return f"unknown key {location}" + (f" ({hint})" if hint else "")
