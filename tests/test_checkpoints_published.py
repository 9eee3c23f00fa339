"""Published encoders by name: downloads that are verified, a cache, and the verbs of the command line."""

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import safetensors.torch
import torch
from foreign_encoders import make, save, torchaudio_model
from typer.testing import CliRunner

from textless.encoders import published
from textless.encoders.checkpoints import load_foreign
from textless.encoders.cli import app
from textless.encoders.encoder import load_encoder
from textless.encoders.published import MODELS, Published
from textless.errors import UserError


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of this machine that stands for those of the table, and an empty cache; yields its folder."""
    folder = tmp_path / "server"
    folder.mkdir()
    handler = type("Handler", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv("TEXTLESS_CACHE", str(tmp_path / "cache"))
    address = f"http://127.0.0.1:{httpd.server_address[1]}/"
    monkeypatch.setattr(published, "_HUGGING_FACE", address + "hf/")
    monkeypatch.setitem(MODELS, "one-file", Published(address + "model.pth", layers=2))
    monkeypatch.setitem(MODELS, "other-file", Published(address + "model.pth", layers=2, sha256="00"))
    monkeypatch.setitem(MODELS, "other-size", Published(address + "model.pth", layers=3))
    monkeypatch.setitem(MODELS, "folder", Published(address + "hf/someone/hubert", layers=3, dim=48))
    yield folder
    httpd.shutdown()
    httpd.server_close()


def test_names_are_downloaded_once_and_verified(server, tmp_path):
    model = torchaudio_model(large=False)
    torch.save(model.state_dict(), server / "model.pth")
    assert not published.is_cached("one-file")
    encoder = load_encoder("one-file:2")
    assert encoder.sha256 == load_foreign(server / "model.pth").encoder.sha256()
    path = published.cached_path("one-file")
    (server / "model.pth").write_bytes(b"another file now")
    assert load_encoder("one-file:1").sha256 == encoder.sha256, "from the cache"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="was removed: its SHA-256 is"):
        load_encoder("one-file:1")
    with pytest.raises(UserError, match="SHA-256"):  # fetched again, but it is not what it was at first
        load_encoder("one-file:1")
    with pytest.raises(UserError, match="but 00 is expected"):
        load_encoder("other-file:1")
    assert not published.is_cached("other-file")
    torch.save(model.state_dict(), server / "model.pth")
    with pytest.raises(UserError, match="'layers': 2.*but other-size has .*'layers': 3"):
        load_encoder("other-size:1")


def test_folders_of_hugging_face_are_downloaded_with_what_they_have(server):
    source = save(make("hubert-base"), server / "hf" / "someone" / "hubert" / "resolve" / "main", normalises=True)
    torch.save(safetensors.torch.load_file(source / "model.safetensors"), source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    encoder = load_encoder("folder:3")
    assert encoder.sha256 == load_foreign(source).encoder.sha256()
    (source / "config.json").unlink()
    assert load_encoder("folder:3").sha256 == encoder.sha256
    for file in published.cached_path("folder").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"folder is not in the cache and http.*config\.json cannot be fetched .*404"):
        load_encoder("folder:3")


def test_without_a_network_the_message_says_what_to_do(server, monkeypatch):
    monkeypatch.setitem(MODELS, "far-away", Published("http://127.0.0.1:9/model.pth"))
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/model.pth cannot be fetched .*textless encoder import"):
        load_encoder("far-away:1")
    with pytest.raises(UserError, match="did you mean hubert-base"):
        load_encoder("hubert-bsae:1")


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_names_every_encoder(server):
    rows = {row["name"]: row for row in json.loads(run("list", "--json"))}
    assert rows["hubert-large"] == {
        "name": "hubert-large",
        "frame_rate": 50.0,
        "layers": 24,
        "dim": 1024,
        "normalises": True,
        "source": "torchaudio hubert_fairseq_large_ll60k.pth",
        "cached": False,
    }
    assert rows["logmel"]["dim"] == 80
    assert rows["folder"]["source"] == "Hugging Face someone/hubert"
    lines = run("list").splitlines()
    assert len(lines) == 1 + len(rows)
    assert all(name in text for name, text in zip(rows, lines[1:], strict=True))


def test_import_and_describe(server, tmp_path):
    folder = save(make("hubert-base", "ForCTC"), tmp_path / "hubert")
    out = tmp_path / "ours"
    imported = json.loads(run("import", folder, out, "--json"))
    assert imported["layout"] == "Hugging Face: hubert"
    assert "lm_head.weight" in imported["ignored"]
    described = json.loads(run("describe", out, "--json"))
    assert described == {key: imported[key] for key in imported if key != "ignored"} | {"checkpoint": "hubert"}
    assert (described["layers"], described["dim"], described["min_samples"]) == (3, 48, 400)
    assert load_encoder(f"{out}:2").sha256 == load_encoder(f"{folder}:2").sha256 == described["sha256"]
    assert f"{'parameters':18} {described['parameters']}" in run("describe", folder)
    assert json.loads(run("describe", "wavlm-large", "--json"))["cached"] is False
    assert "computed" in run("describe", "mfcc")

    again = CliRunner().invoke(app, ["import", str(folder), str(out)])
    assert isinstance(again.exception, UserError)
    assert f"-> {out}" in run("import", folder, out, "--force")
    with pytest.raises(UserError, match="already"):
        CliRunner().invoke(app, ["import", str(out), str(tmp_path / "x")], catch_exceptions=False)


def test_names_can_be_imported_and_described_once_they_are_there(server, tmp_path):
    torch.save(torchaudio_model(large=False).state_dict(), server / "model.pth")
    imported = json.loads(run("import", "one-file", tmp_path / "ours", "--json"))
    assert json.loads(run("describe", "one-file", "--json")) == imported
    with pytest.raises(UserError, match="'nothing-of-the-kind' is no file"):
        CliRunner().invoke(app, ["describe", "nothing-of-the-kind"], catch_exceptions=False)
