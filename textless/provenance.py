"""The header of every artefact: what it is, in which version of its format, and what made it.

Headers hold no times and no paths of this machine, so that the same work gives the same bytes.
"""

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import textless
from textless.errors import UserError


def make_header(format_name: str, version: int, **identity: object) -> dict[str, Any]:
    """Header of a new artefact: `format`, `version`, the identity of what made it, and software versions."""
    software = {
        "textless": textless.__version__,
        "torch": importlib.metadata.version("torch"),
        "python": platform.python_version(),
    }
    return {"format": format_name, "version": version, **identity, "software": software}


def check_header(header: object, format_name: str, version: int, path: Path) -> dict[str, Any]:
    """Return `header` if it is that of a `format_name` artefact that this version can read.

    Raises:
        UserError: it is something else, or was written by a newer version.
    """
    if not isinstance(header, dict) or header.get("format") != format_name:
        found = header.get("format") if isinstance(header, dict) else None
        raise UserError(f"{path} is not a {format_name} file" + (f" but a {found} file" if found else ""))
    if not isinstance(header.get("version"), int) or header["version"] > version:
        raise UserError(
            f"{path} is {format_name} version {header.get('version')}; this textless reads up to {version}: upgrade it"
        )
    return header
