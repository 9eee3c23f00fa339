"""Model directories of every kind are told apart and read."""

from pathlib import Path

import pytest

from textless.errors import UserError
from textless.files import write_json
from unsup_asr.recognizers import load_recognizer


def test_what_is_no_recogniser_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no recogniser: config.json is missing"):
        load_recognizer(tmp_path)
    write_json(tmp_path / "config.json", {"format": "textless-vocoder"})
    with pytest.raises(UserError, match="is no recogniser but holds textless-vocoder"):
        load_recognizer(tmp_path)
    write_json(tmp_path / "config.json", ["textless-asr-ctc"])
    with pytest.raises(UserError, match="holds something unknown"):
        load_recognizer(tmp_path)
    for name in ("textless-asr-generator", "textless-asr-frames", "textless-asr-ctc"):
        write_json(tmp_path / "config.json", {"format": name, "version": 1})
        with pytest.raises(UserError, match=r"model.safetensors is missing"):
            load_recognizer(tmp_path)
