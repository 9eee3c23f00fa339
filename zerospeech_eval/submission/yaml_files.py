"""YAML of plain values: what a stranger's file says is read, and nothing it names is made or run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from textless.errors import UserError
from textless.files import atomic_write, require

LARGEST = 1 << 20  # bytes


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping of names to plain values.

    Raises:
        UserError: the file is no YAML, asks for Python objects, is no mapping, or is far too large.
    """
    if require(path, "file").stat().st_size > LARGEST:
        raise UserError(f"{path} is larger than a megabyte, which no file of its kind is")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file in UTF-8: {error}") from error
    except yaml.constructor.ConstructorError as error:
        raise UserError(f"{path} asks for more than plain values, and is not read: {_one_line(error)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {_one_line(error)}") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{path} should hold names and their values, found {type(values).__name__}")
    return values


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values, in their order."""
    with atomic_write(path) as file:
        yaml.safe_dump(dict(values), file, sort_keys=False, allow_unicode=True)
