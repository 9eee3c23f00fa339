"""The tasks of ZeroSpeech, and which files a submission to each of them holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from textless.errors import UserError
from zerospeech_eval.submission import params
from zerospeech_eval.submission.meta import META, METADATA_2019, ROOT_METADATA, Field

Kind = Literal["scores", "features", "classes", "embeddings", "recordings", "units"]
FILES: frozenset[Kind] = frozenset(("scores", "classes", "units"))  # the other kinds are folders
LANGUAGES_2017 = ("english", "french", "mandarin", "german", "wolof")
OLD_NAMES = MappingProxyType({"german": "LANG1", "wolof": "LANG2"})
DURATIONS = ("1s", "10s", "120s")
SETS = ("dev", "test")
DISCOPHON = ("deu", "swa", "tam", "tha", "tur", "ukr", "cmn", "eng", "eus", "fra", "jpn", "wol")


@dataclass(frozen=True)
class Part:
    """A file of scores or classes, or a folder of features; `subset` and `items` say what in the dataset it answers."""

    name: str
    kind: Kind
    path: str
    subset: str
    items: tuple[str, ...] = ()
    old_path: str = ""  # accepted as well
    optional: bool = False


@dataclass(frozen=True)
class Task:
    """A benchmark: its parts, and its files of names and parameters."""

    name: str
    parts: tuple[Part, ...]
    params: type[params.Params | params.NoParams]
    meta: Mapping[str, tuple[Field, ...]]  # by file

    def part(self, name: str) -> Part:
        """The part of that name.

        Raises:
            UserError: there is none.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise UserError(f"{self.name} has no part {name!r}; its parts are {', '.join(p.name for p in self.parts)}")


def task_named(name: str) -> Task:
    """The task of that name.

    Raises:
        UserError: there is none.
    """
    if name not in TASKS:
        raise UserError(f"no task {name!r}; the tasks are {', '.join(TASKS)}")
    return TASKS[name]


def _slm21() -> tuple[Part, ...]:
    texts = [
        Part(f"{group}/{name}", "scores", f"{group}/{name}.txt", f"{group}_{name}", ("gold",))
        for group in ("lexical", "syntactic")
        for name in SETS
    ]
    vectors = [
        Part(f"semantic/{name}/{kind}", "features", f"semantic/{name}/{kind}", f"semantic_{name}", ("gold", "pairs"))
        for name in SETS
        for kind in ("synthetic", "librispeech")
    ]
    return (*texts, *vectors)


def _abx_ls() -> tuple[Part, ...]:
    names = [f"{name}-{quality}" for name in SETS for quality in ("clean", "other")]
    items = ("triphone_item_file", "phoneme_item_file")
    return tuple(Part(name, "features", name, name.replace("-", "_"), items) for name in names)


def _abx17() -> tuple[Part, ...]:
    return tuple(
        Part(
            f"{language}/{duration}",
            "features",
            f"{language}/{duration}",
            language,
            (f"abx_{duration}_item",),
            f"{OLD_NAMES[language]}/{duration}" if language in OLD_NAMES else "",
        )
        for language in LANGUAGES_2017
        for duration in DURATIONS
    )


def _tts0() -> tuple[Part, ...]:
    parts = []
    for language in ("english", "surprise"):
        root = f"2019/{language}"
        parts += [
            Part(f"{language}/test", "embeddings", f"{root}/test", language, ("embedding_filelist",)),
            Part(f"{language}/wav", "recordings", f"{root}/test", language, ("recording_filelist",)),
        ]
        parts += [
            Part(f"{language}/{name}", "embeddings", f"{root}/{name}", language, ("embedding_filelist",), optional=True)
            for name in ("auxiliary_embedding1", "auxiliary_embedding2")
        ]
    return tuple(parts)


_TASKS = (
    Task("abxLS", _abx_ls(), params.AbxParams, {"meta.yaml": META}),
    Task("abx17", _abx17(), params.Abx17Params, {"meta.yaml": META}),
    Task("sLM21", _slm21(), params.SlmParams, {"meta.yaml": META}),
    Task(
        "prosAudit",
        tuple(Part(f"english_{name}", "scores", f"english_{name}.txt", f"english_{name}", ("gold",)) for name in SETS),
        params.ProsAuditParams,
        {"meta.yaml": META},
    ),
    Task(
        "tde17",
        tuple(
            Part(name, "classes", f"{name}.txt", name, ("alignment_phones", "alignment_words"))
            for name in LANGUAGES_2017
        ),
        params.TdeParams,
        {"meta.yaml": META},
    ),
    Task(
        "discophon",
        tuple(
            Part(f"{code}-{name}", "units", f"units-{code}-{name}.jsonl", f"{code}-{name}", ("alignment_phones",))
            for code in DISCOPHON
            for name in SETS
        ),
        params.NoParams,
        {},
    ),
    Task("tts0", _tts0(), params.NoParams, {"metadata.yaml": ROOT_METADATA, "2019/metadata.yaml": METADATA_2019}),
)
TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in _TASKS})
