"""Reading other people's pickles without running them.

A pickle is a program: its GLOBAL and REDUCE instructions import and call what they like. The reader here resolves only
names known to be harmless (tensors, arrays, containers). Classes of the libraries that published checkpoints come from
become inert placeholders that hold whatever the pickle gives them; every other name is refused, so that nothing a file
contains is ever executed.
"""

import builtins
import collections
import pickle
import types
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from textless.errors import UserError
from textless.files import require

# Libraries whose objects are met in published checkpoints; the objects are not needed, only what they hold.
INERT_PACKAGES = frozenset(
    {"argparse", "enum", "examples", "fairseq", "hydra", "joblib", "omegaconf", "pathlib", "sklearn", "typing"}
)
_NUMPY_NAMES = (
    "dtype",
    "ndarray",
    "float16",
    "float32",
    "float64",
    "int8",
    "uint8",
    "int16",
    "int32",
    "int64",
    "bool_",
)
_BUILTINS = (
    "list",
    "dict",
    "set",
    "frozenset",
    "tuple",
    "int",
    "float",
    "bool",
    "str",
    "bytes",
    "bytearray",
    "complex",
)
_TORCH_BUILDERS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
_TORCH_NAMES = (
    *(
        f"{kind}Storage"
        for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
    ),
    *("Size", "device", "float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool"),
)


class Inert:
    """Stands for an object of a library that is not imported; `state` is what the pickle put into it."""

    name = "?"

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.args = args
        self.kwargs = kwargs
        self.state: Any = {}
        self.items: list[Any] = []

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:  # noqa: ANN401
        self.items.append((key, value))

    def append(self, value: Any) -> None:  # noqa: ANN401
        """Items of a pickled list subclass."""
        self.items.append(value)

    def extend(self, values: Any) -> None:  # noqa: ANN401
        """Items of a pickled list subclass, several at once."""
        self.items.extend(values)

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{self.name}, not imported>"


def _inert_class(name: str) -> type[Inert]:
    return type("Inert", (Inert,), {"name": name})


def plain(value: Any) -> Any:  # noqa: ANN401
    """What a placeholder holds as plain dictionaries and lists: namespaces, OmegaConf nodes and containers of them."""
    if isinstance(value, Inert):
        state = value.state if isinstance(value.state, dict) else {}
        if "_content" in state:  # omegaconf: DictConfig, ListConfig
            return plain(state["_content"])
        if "_val" in state:  # omegaconf: a leaf
            return plain(state["_val"])
        return plain(state) if state else plain(value.args[0]) if len(value.args) == 1 else None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """What numpy's old pickles ask `_codecs.encode` for; no other codec is needed."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the codec {encoding!r}")
    return text.encode("latin1")


def _allowed_names() -> dict[tuple[str, str], Any]:
    from numpy._core import multiarray, numeric

    names: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("collections", "defaultdict"): collections.defaultdict,
        ("_codecs", "encode"): _latin1,
        ("torch.nn.parameter", "Parameter"): torch.nn.Parameter,
        ("torch.serialization", "_get_layout"): torch.serialization._get_layout,  # noqa: SLF001
    }
    for module in ("builtins", "__builtin__"):
        names |= {(module, name): getattr(builtins, name) for name in _BUILTINS}
    for core in ("core", "_core"):
        names[f"numpy.{core}.multiarray", "_reconstruct"] = multiarray._reconstruct  # noqa: SLF001
        names[f"numpy.{core}.multiarray", "scalar"] = multiarray.scalar
        names[f"numpy.{core}.numeric", "_frombuffer"] = numeric._frombuffer  # type: ignore[attr-defined]  # noqa: SLF001
    names |= {("__builtin__", "unicode"): str, ("__builtin__", "long"): int}  # Python 2's names, in protocol 2
    # OmegaConf notes types such as List[int], an item of typing.List: a placeholder will do.
    names |= {(module, "getitem"): _inert_class("operator.getitem") for module in ("operator", "_operator")}
    names |= {("numpy", name): getattr(np, name) for name in _NUMPY_NAMES}
    names |= {("torch._utils", name): getattr(torch._utils, name) for name in _TORCH_BUILDERS}  # noqa: SLF001
    names |= {("torch", name): getattr(torch, name) for name in _TORCH_NAMES}
    return names


ALLOWED = _allowed_names()


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that resolves harmless names only, makes placeholders of known libraries, and refuses the rest."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        """What a GLOBAL instruction means."""
        return resolve(module, name)


def resolve(module: str, name: str) -> Any:  # noqa: ANN401
    """The harmless thing that `module.name` stands for in a pickle.

    Raises:
        pickle.UnpicklingError: it is neither known to be harmless nor a class of a library in `INERT_PACKAGES`.
    """
    if (module, name) in ALLOWED:
        return ALLOWED[module, name]
    if module.partition(".")[0] in INERT_PACKAGES:
        return _inert_class(f"{module}.{name}")
    raise pickle.UnpicklingError(f"{module}.{name}")


def read_torch(path: Path) -> Any:  # noqa: ANN401
    """Content of a file of `torch.save`, old or new, on the CPU; placeholders for objects of known libraries.

    Raises:
        UserError: it wants to run something, is a TorchScript program, or is damaged.
    """
    require(path, "checkpoint")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise UserError(f"{path} is a TorchScript program, which would have to be run; give a plain checkpoint")
    reader = types.SimpleNamespace(
        __name__=__name__,
        Unpickler=RestrictedUnpickler,
        UnpicklingError=pickle.UnpicklingError,
        load=lambda file, **options: RestrictedUnpickler(file, **options).load(),
    )
    try:
        return torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
    except Exception as error:  # noqa: BLE001 - a damaged file raises whatever it pleases
        refuse(path, error)


def refuse(path: Path, error: Exception) -> NoReturn:
    """Say why a pickle was not read.

    Raises:
        UserError: always.
    """
    if isinstance(error, pickle.UnpicklingError) and "." in str(error) and " " not in str(error):
        raise UserError(
            f"{path} asks to import {error}, which no checkpoint needs; it was not read, because a pickle can run "
            "any program on loading"
        ) from error
    raise UserError(f"{path} is damaged or not a checkpoint: {' '.join(str(error).split())[:200]}") from error
