"""Submissions of a few recordings: data and sources of sLM21, and the verbs that write and check them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from test_zerospeech_cli import run

from textless.features.store import write_npy
from zerospeech_eval.submission.dataset import Dataset
from zerospeech_eval.submission.layout import TASKS
from zerospeech_eval.submission.validate import validate

META = {
    "username": "me",
    "model_info.system_description": "none",
    "model_info.train_set": "none",
    "publication.authors": "A. B.",
    "publication.institution": "home",
    "publication.publication_year": "2026",
    "open_source": "true",
}
META_2019 = {
    "author": "me",
    "affiliation": "home",
    "open source": "true",
    "abx distance": "dtw_cosine",
    "system description": "none",
    "using parallel train": "false",
    "using external data": "false",
}
WORDS = "filename,id,voice,frequency,word,phones,length,correct\n"
SENTENCES = "filename,id,voice,type,subtype,transcription,correct\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def options(values: Mapping[str, str]) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture
def slm(tmp_path: Path) -> Path:
    """Data of sLM21: dev of every part, in the layout of one's own data."""
    root = tmp_path / "slm-data"
    write(root / "lexical_dev/gold.csv", WORDS + "w1,1,A,7,cat,k a t,3,1\nn1,1,A,7,kot,k o t,3,0\n")
    rows = "".join(
        f"{name},{i},A,t,s,x,{c}\n" for name, i, c in (("g1", 1, 1), ("b1", 1, 0), ("g2", 2, 1), ("b2", 2, 0))
    )
    write(root / "syntactic_dev/gold.csv", SENTENCES + rows)
    gold = [f"{kind},{kind[0]}{i},word{i},A\n" for kind in ("synthetic", "librispeech") for i in range(4)]
    write(root / "semantic_dev/gold.csv", "type,filename,word,voice\n" + "".join(gold))
    pairs = [
        f"{k},mturk,word{i},word{i + 1},{v},{v}\n"
        for k in ("synthetic", "librispeech")
        for i, v in enumerate((1, 5, 3))
    ]
    write(root / "semantic_dev/pairs.csv", "type,dataset,word_1,word_2,similarity,relatedness\n" + "".join(pairs))
    return root


@pytest.fixture
def slm_sources(tmp_path: Path) -> dict[str, Path]:
    """Scores and features with ids in folders, and more of them than asked for."""
    rng = np.random.default_rng(0)
    scores = "id\tlog_prob\tunits\naudio/w1\t-9\t10\naudio/n1\t-8\t2\naudio/other\t-1\t1\n"
    sources = {"lexical/dev": write(tmp_path / "lexical.tsv", scores)}
    sources["syntactic/dev"] = write(tmp_path / "syntactic.txt", "b1 -3\ng1 -2.5\ng2 -4\nb2 -1e0\n")
    for kind in ("synthetic", "librispeech"):
        for i in range(5):
            write_npy(tmp_path / kind, f"audio/{kind[0]}{i}", rng.normal(size=(3 + i, 6)))
        sources[f"semantic/dev/{kind}"] = tmp_path / kind
    return sources


def submit(task: str, out: Path, sources: Mapping[str, Path], *more: object) -> str:
    parts = [part for name, path in sources.items() for part in ("--from", f"{name}={path}")]
    meta = META_2019 if task == "tts0" else META
    result = run("submit", task, out, *parts, *options(meta), *more)
    assert result.exit_code == 0
    return result.stdout


def findings(task: str, root: Path, dataset: Path | None = None) -> list[str]:
    return [str(found) for found in validate(TASKS[task], root, Dataset(dataset) if dataset else None).all]
