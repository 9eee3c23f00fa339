"""The verbs that import and export unit LMs."""

import json

import torch
from foreign_unit_lms import K, make, save_gslm
from typer.testing import CliRunner

from ulm.cli import app
from ulm.language_model import load_language_model
from units.quantizer import Quantizer, save_quantizer


def save_quantizer_of(folder, k=K):
    quantizer = Quantizer(torch.arange(k * 39.0).view(k, 39), "mfcc@50", "0" * 64, 50.0)
    save_quantizer(folder, quantizer, {})
    return quantizer.identity


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_verbs_go_there_and_back(tmp_path):
    identity = save_quantizer_of(tmp_path / "q")
    theirs = make("llama", K + 2, bos_token_id=None, eos_token_id=None)
    theirs.save_pretrained(tmp_path / "theirs")
    places = (tmp_path / "theirs", tmp_path / "ours", "--quantizer", tmp_path / "q")
    assert "give --bos" in str(run("import", *places).exception)
    result = run("import", *places, "--bos", 0, "--eos", 0, "--offset", 2, "--context", 32, "--json")
    assert result.exit_code == 0, result.exception
    said = json.loads(result.stdout)
    assert (said["k"], said["inert"], said["context"]) == (K, 1, 32)
    assert said["parameters"] == sum(parameter.numel() for parameter in theirs.parameters())
    assert load_language_model(tmp_path / "ours").quantizer == identity
    assert "exists already" in str(run("import", *places, "--bos", 0, "--eos", 0).exception)
    result = run("import", *places, "--bos", 0, "--eos", 0, "--offset", 2, "--force")
    assert f"{K} units, 1 inert" in result.stdout

    result = run("export", tmp_path / "ours", tmp_path / "back")
    assert result.stdout.startswith("LlamaForCausalLM")
    assert "exists already" in str(run("export", tmp_path / "ours", tmp_path / "back").exception)
    assert run("export", tmp_path / "ours", tmp_path / "back", "--force").exit_code == 0
    other = tmp_path / "other"
    save_quantizer(other, Quantizer(torch.ones(K, 39), "mfcc@50", "0" * 64, 50.0), {})
    result = run("import", tmp_path / "back", tmp_path / "wrong", "--quantizer", other)
    assert "was made with the quantizer" in str(result.exception)


def test_a_dictionary_elsewhere(tmp_path):
    save_quantizer_of(tmp_path / "q")
    save_gslm(tmp_path / "lm")
    (tmp_path / "lm/dict.txt").rename(tmp_path / "symbols.txt")
    places = (tmp_path / "lm/checkpoint_best.pt", tmp_path / "ours", "--quantizer", tmp_path / "q")
    assert "not found" in str(run("import", *places).exception)
    assert run("import", *places, "--dictionary", tmp_path / "symbols.txt").exit_code == 0
