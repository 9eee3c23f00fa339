"""Published encoders in whatever file they come: the layout is found out from the content, never from a name.

One module knows each layout: `checkpoints_huggingface`, `checkpoints_fairseq`, `checkpoints_bare` (torchaudio, bshall)
and `checkpoints_cpc`. Pickles are read without running them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textless.encoders.checkpoints_bare import BSHALL, TORCHAUDIO, load_bshall, load_torchaudio
from textless.encoders.checkpoints_cpc import LIBRILIGHT, load_cpc
from textless.encoders.checkpoints_fairseq import FAIRSEQ, load_fairseq
from textless.encoders.checkpoints_huggingface import HUGGING_FACE, load_huggingface, read_file, read_weights
from textless.encoders.foreign import Foreign, State, shorten
from textless.errors import UserError
from textless.files import require

LAYOUTS = (TORCHAUDIO, HUGGING_FACE, FAIRSEQ, BSHALL, LIBRILIGHT)
# Where the weights lie in a file that holds other things besides: Spirit-LM, fairseq, bshall, Libri-Light (twice)
WEIGHTS_KEYS = ("model_weight", "model", "hubert", "weights", "gEncoder")


def load_foreign(path: Path) -> Foreign:
    """Read an encoder that another library has written: a checkpoint file, or a folder of Hugging Face.

    Raises:
        UserError: it is damaged, of no layout that is known, wants to run something, or is not what it says it is.
    """
    require(path, "checkpoint")
    content: Any = read_weights(path) if path.is_dir() else read_file(path)
    if path.is_dir():
        return load_huggingface(content, path)
    state = _find_weights(content, path)
    layout = next((layout for layout in LAYOUTS if layout.prefix(state) is not None), None)
    if layout is HUGGING_FACE:
        return load_huggingface(state, path.parent)
    if layout is FAIRSEQ:
        return load_fairseq(state, content, str(path))
    if layout is TORCHAUDIO:
        return load_torchaudio(state, str(path))
    if layout is BSHALL:
        return load_bshall(state, str(path))
    if layout is LIBRILIGHT:
        return load_cpc(state, str(path))
    known = ", ".join(layout.name for layout in LAYOUTS)
    raise UserError(
        f"{path} is no encoder of a known layout ({known}); unexpected: {shorten(sorted(map(str, state)))}; missing: "
        f"one of {', '.join(layout.signature for layout in LAYOUTS)}"
    )


def _find_weights(content: object, path: Path) -> State:
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path} holds a {type(content).__name__}, not the weights of an encoder by name")
    return next((content[key] for key in WEIGHTS_KEYS if isinstance(content.get(key), Mapping)), content)
