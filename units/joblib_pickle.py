"""Reading joblib's pickles without running them and without joblib: what scikit-learn's models are saved as.

joblib writes an array as a small wrapper object inside the pickle, followed by the raw numbers, which a plain
unpickler would take for instructions. Classes of scikit-learn, joblib and numpy's random generators become inert
placeholders (`textless.pickles`); any other name is refused.
"""

import bz2
import gzip
import io
import lzma
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from textless.files import require
from textless.pickles import Inert, refuse, resolve

DECOMPRESS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZ": bz2.decompress,
    b"\xfd7zXZ": lzma.decompress,
    b"]\x00": lzma.decompress,
    b"x": zlib.decompress,
}
ARRAY = "joblib.numpy_pickle.NumpyArrayWrapper"


def read_joblib(path: Path) -> Any:  # noqa: ANN401
    """Content of a file of `joblib.dump`, compressed or not, or of a plain pickle; models come as placeholders.

    Raises:
        UserError: it wants to run something, or is damaged.
    """
    content = require(path, "file").read_bytes()
    try:
        for magic, decompress in DECOMPRESS.items():
            if content.startswith(magic):
                content = decompress(content)
        return _JoblibUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises whatever it pleases
        refuse(path, error)


PythonUnpickler: Any = pickle._Unpickler  # noqa: SLF001 - its instructions can be changed


class _JoblibUnpickler(PythonUnpickler):
    """Knows what follows an array's wrapper."""

    dispatch = dict(PythonUnpickler.dispatch)  # noqa: RUF012

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._content = file

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        """What a GLOBAL instruction means."""
        if module.startswith("numpy.random."):
            return type("Inert", (Inert,), {"name": f"{module}.{name}"})  # a model's random state is not needed
        return resolve(module, name)

    def load_build(self) -> None:
        """BUILD fills an object with its state; an array's numbers follow."""
        super().load_build()
        if isinstance(self.stack[-1], Inert) and self.stack[-1].name == ARRAY:
            self.stack[-1] = _read_array(self.stack[-1].state, self._content)

    dispatch[pickle.BUILD[0]] = load_build


def _read_array(layout: dict[str, Any], file: io.BytesIO) -> np.ndarray:
    """The array whose numbers come next."""
    dtype = np.dtype(layout["dtype"])
    if dtype.hasobject:
        raise ValueError("an array of Python objects, which may be anything")
    if layout.get("numpy_array_alignment_bytes") is not None:  # since joblib 1.1: a byte that counts padding bytes
        file.read(file.read(1)[0])
    count = int(np.prod(layout["shape"], dtype=np.int64))
    numbers = np.frombuffer(file.read(count * dtype.itemsize), dtype=dtype)
    if len(numbers) != count:
        raise ValueError("an array is cut off")
    return numbers.reshape(layout["shape"], order="F" if layout["order"] == "F" else "C")
