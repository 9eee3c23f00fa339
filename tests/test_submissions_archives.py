"""Submissions as zip archives: as good as folders, and those that reach outside are refused."""

import stat
import zipfile
from pathlib import Path

import pytest
import small_submissions
from small_submissions import submit, write
from test_zerospeech_cli import run

from textless.errors import UserError

slm = small_submissions.slm
slm_sources = small_submissions.slm_sources


def test_a_zip_archive_is_as_good_as_a_folder(slm: Path, slm_sources: dict[str, Path], tmp_path: Path) -> None:
    out, archive = tmp_path / "out", tmp_path / "out.zip"
    submit("sLM21", out, slm_sources, "--dataset", slm, "--zip", archive)
    assert run("validate", "sLM21", archive, "--dataset", slm).stdout == "valid\n"
    with pytest.raises(UserError, match="--out"):
        run("score", "sLM21", archive, "--dataset", slm)
    run("score", "sLM21", archive, "--dataset", slm, "--out", tmp_path / "scores")
    run("score", "sLM21", out, "--dataset", slm)
    assert (tmp_path / "scores/summary.json").read_bytes() == (out / "scores/summary.json").read_bytes()
    nested = tmp_path / "nested.zip"
    with zipfile.ZipFile(nested, "w") as file:
        for path in sorted(p for p in out.rglob("*") if p.is_file()):
            file.write(path, f"my submission/{path.relative_to(out)}")
    assert run("validate", "sLM21", nested, "--dataset", slm).stdout == "valid\n"


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "a/../../evil", "C:/evil", "..\\evil"])
def test_archives_that_reach_outside_are_refused(name: str, tmp_path: Path) -> None:
    archive = tmp_path / "bad.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("meta.yaml", "username: me\n")
        file.writestr(name, "x")
    with pytest.raises(UserError, match="absolute paths, `..` or links, and is not unpacked"):
        run("validate", "sLM21", archive)
    assert not (tmp_path / "evil").exists()


def test_archives_with_links_and_broken_ones(tmp_path: Path) -> None:
    archive = tmp_path / "link.zip"
    with zipfile.ZipFile(archive, "w") as file:
        entry = zipfile.ZipInfo("lexical")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(entry, "/etc")
    with pytest.raises(UserError, match="links, and is not unpacked: 'lexical'"):
        run("validate", "sLM21", archive)
    write(tmp_path / "text.zip", "no archive")
    with pytest.raises(UserError, match="neither a folder nor a zip archive"):
        run("validate", "sLM21", tmp_path / "text.zip")
