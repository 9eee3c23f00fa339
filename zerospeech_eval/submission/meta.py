"""`meta.yaml`: who submits what, as the ZeroSpeech toolbox wants it; `metadata.yaml` for the challenge of 2019.

A value in angle brackets is a placeholder: it is to be replaced before the submission is valid.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from textless.errors import UserError
from zerospeech_eval.names import listed
from zerospeech_eval.submission.findings import Findings

PLACEHOLDER = re.compile(r"<.*>")
KINDS = {str: "text", int: "an integer", bool: "true or false"}
Values = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A value by its path, such as `publication.authors`; optional ones may be absent or empty."""

    path: str
    kind: type
    required: bool = False
    hint: str = ""

    @property
    def placeholder(self) -> str | None:
        """What stands in the place of a required value."""
        return f"<required: {self.hint}>" if self.required else None


META = (
    Field("username", str, required=True, hint="your account on zerospeech.com"),
    Field("submission_id", str),
    Field("benchmark_name", str, required=True),
    Field("model_info.model_id", str),
    Field("model_info.system_description", str, required=True, hint="what the system is, in a few sentences"),
    Field("model_info.train_set", str, required=True, hint="the data it was trained on"),
    Field("model_info.gpu_budget", str),
    Field("publication.author_label", str, hint="a short label, such as Name et al."),
    Field("publication.authors", str, required=True, hint="full names, separated by commas"),
    Field("publication.institution", str, required=True, hint="where they work"),
    Field("publication.publication_year", int, required=True, hint="a year"),
    Field("publication.paper_title", str),
    Field("publication.paper_url", str),
    Field("publication.team", str),
    Field("publication.bib_reference", str),
    Field("publication.DOI", str),
    Field("open_source", bool, required=True, hint="true or false"),
    Field("code_url", str),
)
ROOT_METADATA = (
    Field("author", str, required=True, hint="who submits"),
    Field("affiliation", str, required=True, hint="where they work"),
    Field("open source", bool, required=True, hint="true or false"),
)
METADATA_2019 = (
    Field("abx distance", str, required=True, hint="dtw_cosine, dtw_kl or levenshtein"),
    Field("system description", str, required=True, hint="what the system is, in a few sentences"),
    Field("hyperparameters", str),
    Field("using parallel train", bool, required=True, hint="true or false"),
    Field("using external data", bool, required=True, hint="true or false"),
    Field("auxiliary1 description", str),
    Field("auxiliary2 description", str),
)


def fill(files: Mapping[str, tuple[Field, ...]], given: Mapping[str, str]) -> dict[str, Values]:
    """What each file is to hold: the values given, by their paths, and placeholders for required ones that are not.

    Raises:
        UserError: a value is not known, or not of its type.
    """
    known = [field.path for fields in files.values() for field in fields]
    unknown = [path for path in given if path not in {*known, "benchmark_name"}]
    if unknown:
        raise UserError(f"unknown values {listed(unknown)}; there are {', '.join(known)}")
    trees: dict[str, Values] = {}
    for name, fields in files.items():
        trees[name] = {}
        for field in fields:
            value = _parse(field, given[field.path]) if field.path in given else field.placeholder
            if value is not None:
                group, _, key = field.path.rpartition(".")
                (trees[name].setdefault(group, {}) if group else trees[name])[key] = value
    return trees


def _parse(field: Field, text: str) -> str | int | bool:
    if field.kind is bool and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if field.kind is int and text.isdecimal():
        return int(text)
    if field.kind is not str:
        raise UserError(f"{field.path} should be {KINDS[field.kind]}, found {text!r}")
    return text


def flatten(values: Mapping[str, Any]) -> Values:
    """The tree's values by their paths."""
    flat: Values = {}
    for name, value in values.items():
        flat |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def check(fields: tuple[Field, ...], values: Mapping[str, Any], where: str, findings: Findings) -> None:
    """Find what is missing, of another type, a placeholder, or unknown."""
    found = flatten(values)
    for field in fields:
        value = found.pop(field.path, None)
        if value is None or value == "":
            if field.required:
                findings.error(where, "required values are missing", [field.path])
        elif isinstance(value, str) and PLACEHOLDER.match(value):
            findings.error(where, "placeholders are to be replaced", [field.path])
        elif not isinstance(value, field.kind) or (field.kind is int and isinstance(value, bool)):
            findings.error(where, f"should be {KINDS[field.kind]}", [f"{field.path} = {value!r}"])
    unknown = [name for name, value in found.items() if value is not None]
    if unknown:
        findings.error(where, "unknown values", unknown)
