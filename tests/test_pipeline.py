"""The whole chain end to end, small: what `textless demo` does, and the verbs and Python it rests on."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from test_foundation import run_textless

from textless.audio import io
from textless.audio.manifest import read_manifest
from textless.errors import UserError
from textless.pipeline.bundle import load_bundle, write_bundle
from textless.pipeline.recordings import collect
from textless.pipeline.speech import SpeechPipeline

pytest.importorskip("espeakng_loader")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    result = run_textless("demo", out, "--hours", 0.05, "--scale", 0.01, timeout=900)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout == f"report: {out / 'report.html'}\n"
    return out


def test_the_demo_ends_with_a_report_of_everything(demo):
    page = (demo / "report.html").read_text()
    assert page.count("<audio") == 3 * 6  # original, resynthesis, another voice, three continuations
    assert "http" not in re.sub(r"data:[^\"]+", "", page)  # readable offline
    for content in re.findall(r"data:image/png;base64,([^\"]+)", page):
        assert base64.b64decode(content).startswith(b"\x89PNG")
    metrics = json.loads((demo / "metrics.json").read_text())
    assert 0 < metrics["units"]["phones"]["pnmi"] < 1
    assert set(metrics["abx"]["features"]["scores"]) == {"within", "across"}
    assert set(metrics["lm"]) == {"1-gram", "3-gram", "5-gram", "transformer"}
    assert metrics["per"]["dev"]["original"]["reference_phones"] > 0
    lines = [json.loads(line)["arguments"] for line in (demo / "commands.jsonl").read_text().splitlines()]
    assert lines[0][:2] == ["corpus", "synth"]
    assert lines[-1][0] == "continue"


def test_a_demo_that_was_stopped_does_only_what_is_left(demo):
    commands = demo / "commands.jsonl"
    rows = commands.read_text().splitlines()
    commands.write_text("\n".join(rows[:-1]) + "\n")
    weights = (demo / "ulm" / "model.safetensors").stat().st_mtime_ns
    result = run_textless("demo", demo, "--hours", 0.05, "--scale", 0.01)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("$ textless") == 1
    assert (demo / "ulm" / "model.safetensors").stat().st_mtime_ns == weights
    other = run_textless("demo", demo, "--hours", 0.06)
    assert other.returncode == 2
    assert "demo of other settings" in other.stderr


def test_a_report_opens_in_a_browser(demo, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed")
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    options = [f"--user-data-dir={tmp_path}", "--virtual-time-budget=5000", "--dump-dom"]
    page = f"file://{demo / 'report.html'}"
    dom = subprocess.run([*command, *options, page], capture_output=True, text=True, timeout=120, check=True).stdout
    assert dom.count("<audio") == 18
    assert dom.count("<img") == 5  # three examples, co-occurrence, curves
    assert "5-gram" in dom


def test_python_and_command_line_say_the_same(demo, tmp_path):
    original = demo / "examples" / "0" / "original.wav"
    pipeline = SpeechPipeline.load(demo / "bundle", "cpu")
    waveform = io.load(original)
    again = pipeline.resynthesize(waveform, pipeline.speakers[1])
    assert len(again) == pipeline.encode(waveform).n_frames * 320
    result = run_textless(
        "resynthesize", original, tmp_path / "a.wav", "--bundle", demo / "bundle", "--speaker", pipeline.speakers[1]
    )
    assert result.returncode == 0, result.stderr
    assert torch.allclose(io.load(tmp_path / "a.wav"), again.clamp(-1, 1), atol=1e-4)  # 16 bits
    slow = pipeline.resynthesize(waveform, speed=0.5)
    assert len(slow) == pytest.approx(2 * len(again), rel=0.01)

    first, second = pipeline.continue_(waveform[:16_000], n=2, seconds=1.0, seed=3)
    assert first.units.units != second.units.units
    assert first.prompt_samples == 16_000 // 320 * 320
    result = run_textless(
        *("continue", original, tmp_path / "c", "--bundle", demo / "bundle", "--prompt-seconds", 1, "--json"),
        *("--n", 2, "--seconds", 1, "--seed", 3),
    )
    rows = json.loads(result.stdout)
    assert [row["units"] for row in rows] == [first.units.units, second.units.units]
    assert len(io.load(Path(rows[0]["path"]))) == len(first.waveform)


def test_bad_input_is_one_line_and_exit_2(demo, tmp_path):
    original, bundle = demo / "examples" / "0" / "original.wav", demo / "bundle"
    (tmp_path / "text.wav").write_text("no sound at all")
    cases = {
        ("resynthesize", tmp_path / "no.wav", tmp_path / "o.wav", "--bundle", bundle): "not found",
        ("resynthesize", tmp_path / "text.wav", tmp_path / "o.wav", "--bundle", bundle): "not an audio file",
        ("resynthesize", original, original, "--bundle", bundle): "exists already",
        ("resynthesize", original, tmp_path / "o.wav", "--bundle", demo): "not a bundle",
        ("resynthesize", original, tmp_path / "o.wav", "--bundle", bundle, "--speaker", "nobody"): "nobody",
        ("units", "fit", demo / "features" / "test", tmp_path / "q", "--k", 10**6): "as many distinct frames",
        (
            "ulm",
            "train",
            demo / "configs" / "ulm.toml",
            tmp_path / "m",
            "--set",
            "model.dimm=8",
        ): "unknown key model.dimm",
        ("corpus", "scan", tmp_path, tmp_path / "m.tsv"): "text.wav",
        ("demo", tmp_path): "not a demo",
    }
    for arguments, message in cases.items():
        result = run_textless(*arguments)
        assert result.returncode == 2, (arguments, result.stderr)
        assert result.stderr.splitlines()[-1].startswith("error: ")
        assert message in result.stderr
        assert "Traceback" not in result.stderr


def test_parts_of_different_quantizers_do_not_make_a_bundle(demo, tmp_path):
    result = run_textless("units", "fit", demo / "features" / "test", tmp_path / "other", "--k", 100, "--seed", 5)
    assert result.returncode == 0, result.stderr
    with pytest.raises(UserError, match=r"quantizer .*other was made with"):
        write_bundle(tmp_path / "b", "mfcc@50", tmp_path / "other", demo / "ulm", demo / "vocoder")
    with pytest.raises(UserError, match="--encoder logmel was given"):
        write_bundle(tmp_path / "b", "logmel", demo / "quantizer", demo / "ulm", demo / "vocoder")
    with pytest.raises(UserError, match="n-gram model, which scores but does not generate"):
        write_bundle(tmp_path / "b", "mfcc@50", demo / "quantizer", demo / "ngram" / "3", demo / "vocoder")
    shutil.copytree(demo / "bundle", tmp_path / "broken")
    (tmp_path / "broken" / "vocoder" / "model.safetensors").unlink()
    with pytest.raises(UserError, match="is missing"):
        load_bundle(tmp_path / "broken", torch.device("cpu"))


def test_own_recordings_are_collected_with_their_alignments(demo, tmp_path, noise_corpus):
    shutil.copytree(demo / "corpus" / "dev", tmp_path / "two" / "a")
    shutil.copytree(demo / "corpus" / "dev", tmp_path / "two" / "b")
    collected = collect(tmp_path / "two")
    dev = read_manifest(demo / "corpus" / "dev" / "manifest.tsv")
    assert len(collected.manifest) == 2 * len(dev)
    assert set(collected.alignment) == {u.id for u in collected.manifest}
    assert len(collected.manifest.load(collected.manifest.utterances[-1])) == dev.utterances[-1].n_samples
    scanned = collect(noise_corpus)
    assert {u.speaker for u in scanned.manifest} == {"sprecher eins", "γλώσσα"}
    assert not scanned.alignment


@pytest.mark.slow
def test_the_demo_runs_on_plain_recordings(demo, tmp_path):
    speech = tmp_path / "speech"
    shutil.copytree(demo / "corpus" / "train" / "audio", speech)
    result = run_textless("demo", tmp_path / "out", "--speech", speech, "--scale", 0.01, timeout=900)
    assert result.returncode == 0, result.stderr[-2000:]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "No phone alignments came with these recordings" in page
