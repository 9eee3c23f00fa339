"""Two kinds of checkpoint: `model.safetensors` + `config.json` for others, `resume.pt` for ourselves.

A model directory is what every other command reads; `resume.pt` holds what training needs to go on as if it had never
stopped: parameters, optimizer, position in the data, random states.
"""

import io
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import safetensors
import safetensors.torch
import torch

from textless.errors import UserError
from textless.files import atomic_write, read_json, sha256, write_json
from textless.provenance import check_header, make_header

WEIGHTS_NAME, CONFIG_NAME, RESUME_NAME = "model.safetensors", "config.json", "resume.pt"


class Stateful(Protocol):
    """Anything whose state can be taken and put back: a module, an optimizer, a sampler."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:  # noqa: ANN401
        """Put the state back."""
        ...


def save_model(
    directory: Path, format_name: str, version: int, state: Mapping[str, torch.Tensor], **identity: object
) -> None:
    """Write a model directory; `identity` (configuration, quantizer, ...) goes into `config.json`.

    The weights are written first and the configuration, with their hash, last: it marks the model as whole.
    """
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in state.items()}
    content = safetensors.torch.save(tensors)
    with atomic_write(directory / WEIGHTS_NAME, "wb") as file:
        file.write(content)
    write_json(directory / CONFIG_NAME, make_header(format_name, version, **identity, weights_sha256=sha256(content)))


def load_model(directory: Path, format_name: str, version: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read a model directory: the header with its identity, and the weights.

    Raises:
        UserError: there is no such model, it is of another kind, or weights and configuration do not belong together.
    """
    if not (directory / CONFIG_NAME).is_file():
        raise UserError(f"no {format_name} model in {directory}: {CONFIG_NAME} is missing")
    header = check_header(read_json(directory / CONFIG_NAME), format_name, version, directory / CONFIG_NAME)
    try:
        content = (directory / WEIGHTS_NAME).read_bytes()
        weights = safetensors.torch.load(content)
    except FileNotFoundError as error:
        raise UserError(f"{directory / WEIGHTS_NAME} is missing") from error
    except safetensors.SafetensorError as error:
        raise UserError(f"{directory / WEIGHTS_NAME} is damaged: {error}") from error
    if header.get("weights_sha256") != sha256(content):
        raise UserError(f"{directory}: {WEIGHTS_NAME} is not the file that {CONFIG_NAME} describes")
    return header, weights


def save_resume(directory: Path, step: int, config: Mapping[str, Any], parts: Mapping[str, Stateful]) -> None:
    """Write `resume.pt`: the step, the configuration it belongs to, every part's state and all random states."""
    state = {
        "step": step,
        "config": json.dumps(config, sort_keys=True),
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "random": _random_states(),
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic_write(directory / RESUME_NAME, "wb") as file:
        file.write(buffer.getbuffer())


def load_resume(directory: Path, config: Mapping[str, Any], parts: Mapping[str, Stateful]) -> int:
    """Put the state of `resume.pt` back into `parts` and return its step; 0 where there is no such file.

    Raises:
        UserError: it belongs to another configuration (naming the keys that differ), or is damaged.
    """
    path = directory / RESUME_NAME
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path} is damaged; --force starts again from the beginning") from error
    before = json.loads(state["config"])
    if before != json.loads(json.dumps(config)):
        names = ", ".join(sorted(_differences(before, json.loads(json.dumps(config)))))
        raise UserError(
            f"{directory} holds a run with another configuration ({names} differ); give another output directory, the "
            "same configuration to go on, or --force to start again"
        )
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    _restore_random_states(state["random"])
    return int(state["step"])


def _differences(before: Any, after: Any, prefix: str = "") -> set[str]:  # noqa: ANN401
    if isinstance(before, dict) and isinstance(after, dict):
        return {
            name
            for key in before.keys() | after.keys()
            for name in _differences(before.get(key), after.get(key), f"{prefix}{key}.")
        }
    return set() if before == after else {prefix.rstrip(".")}


def _random_states() -> dict[str, Any]:
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    version, state, normal = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(state), normal],
    }


def _restore_random_states(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    version, state, normal = states["python"]
    random.setstate((version, tuple(state), normal))
