"""`textless doctor`: what is installed, what this machine can do, and what is missing for what."""

from typing import Any

import typer

from textless.options import Json

EXTRAS = {
    "synth": ("espeakng_loader", "the embedded speech corpus: textless corpus synth, textless demo"),
    "plots": ("matplotlib", "pictures in the demo's report"),
    "hf": ("transformers", "Hugging Face recognisers and text language models"),
}
LIBRARIES = (
    "textless",
    "torch",
    "torchaudio",
    "faiss-gpu",
    "faiss-cpu",
    "numba",
    "numpy",
    "sentencepiece",
    "soundfile",
)


def doctor(*, as_json: Json = False) -> None:
    """Versions, devices, precision, and optional extras with what each enables."""
    import json

    report = _examine()
    if as_json:
        typer.echo(json.dumps(report))
        return
    for name, version in report["versions"].items():
        typer.echo(f"{name:14} {version}")
    typer.echo("")
    for device in report["devices"]:
        typer.echo(f"{device['device']:14} {device['name']}, {device['memory_gib']} GiB, {device['precision']}")
    typer.echo("")
    for name, extra in report["extras"].items():
        state = "installed" if extra["installed"] else f"missing: pip install 'textless[{name}]'"
        typer.echo(f"[{name}]".ljust(15) + f"{state} ({extra['enables']})")


def _examine() -> dict[str, Any]:
    import importlib.util
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import soundfile

    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    versions["libsndfile"] = soundfile.__libsndfile_version__
    extras = {
        name: {"installed": importlib.util.find_spec(module) is not None, "enables": enables}
        for name, (module, enables) in EXTRAS.items()
    }
    return {"versions": versions, "devices": _devices(), "extras": extras}


def _devices() -> list[dict[str, Any]]:
    import os

    import torch

    from textless.training.precision import has_fast_bf16

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = [(torch.device("cpu"), f"{torch.get_num_threads()} threads", memory)]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append((torch.device("cuda", index), properties.name, properties.total_memory))
    return [
        {
            "device": str(device),
            "name": name,
            "memory_gib": round(size / 2**30, 1),
            "precision": "fp32, bf16 in hardware" if has_fast_bf16(device) else "fp32 (bf16 would be emulated)",
        }
        for device, name, size in found
    ]
