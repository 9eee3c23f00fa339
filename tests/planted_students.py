"""Features of planted phones, their transcripts and text, and configurations of small students of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from textless.features.store import StoreHeader, write_header, write_shard
from unsup_asr.ctc.config import CtcConfig
from unsup_asr.transcripts import write_transcripts

DIM, PHONES = 8, ("a", "b", "c", "d", "e")
SMALL = {"dim": 32, "heads": 2, "ffn": 64, "blocks": 1, "dropout": 0.0}


def plant(folder: Path, n: int = 60, seed: int = 0) -> dict[str, list[str]]:
    """Features in which every phone lasts 3 to 6 frames about a mean of its own; equal neighbours have a gap."""
    random = np.random.default_rng(seed)
    means = 2 * np.random.default_rng(99).standard_normal((len(PHONES) + 1, DIM))  # the last: a gap
    features, transcripts = {}, {}
    for index in range(n):
        spoken = random.integers(len(PHONES), size=random.integers(4, 10))
        frames = [np.repeat(means[[p]], random.integers(3, 7), axis=0) for p in spoken]
        parts = [frames[0]]
        for before, phone, stretch in zip(spoken, spoken[1:], frames[1:], strict=False):
            parts += [means[[-1, -1]], stretch] if before == phone else [stretch]
        clean = np.concatenate(parts)
        features[f"u{index}"] = (clean + 0.3 * random.standard_normal(clean.shape)).astype(np.float32)
        transcripts[f"u{index}"] = [PHONES[p] for p in spoken]
    write_header(folder / "features", StoreHeader("planted", "0" * 64, DIM, 50.0, 1, "0"))
    write_shard(folder / "features", 0, 1, features)
    write_transcripts(folder / "phones.tsv", transcripts)
    return transcripts


def configured(folder: Path, kind: type[CtcConfig] = CtcConfig, **values: Any) -> Any:
    data = {"speech": folder / "features", "transcripts": folder / "phones.tsv", "held_out": 0.2}
    small = {"network": SMALL, "batch_seconds": 12.0, "steps": 12, "valid_every": 4, "save_every": 4, "log_every": 4}
    small |= {"precision": "fp32", "optimizer": {"lr": 4e-3, "schedule": {"warmup_steps": 10}}}
    return kind.model_validate({**small, **values, "data": data | values.get("data", {})})


def text_folder(folder: Path, phones: tuple[str, ...], sentences: list[list[str]]) -> Path:
    """A folder as `asr prepare-text` writes it."""
    from textless.provenance import make_header

    folder.mkdir()
    header = make_header("textless-phone-text", 1, phones=[*phones, "<SIL>"])
    (folder / "text.json").write_text(json.dumps(header))
    (folder / "phones.txt").write_text("".join(" ".join(["<SIL>", *s, "<SIL>"]) + "\n" for s in sentences))
    return folder
