"""Every verb of `textless ulm`, every option, and what bad inputs say."""

import json
from pathlib import Path

import pytest
from test_ulm_source import IDENTITY, WordSource, write
from typer.testing import CliRunner

from textless.errors import UserError
from ulm.cli import app
from ulm.config import TrainConfig
from ulm.files import read_scores
from units.files import read_units

SMALL = IDENTITY.model_copy(update={"k": 20})


def textless(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Units, a trained Transformer and a trained n-gram model."""
    folder = tmp_path_factory.mktemp("ulm")
    source = WordSource(k=20, lexicon=12, speakers=1, words=4)
    write(folder / "train.jsonl", source.sample(1500, 1), SMALL)
    write(folder / "valid.jsonl", source.sample(200, 2), SMALL)
    (folder / "lm.toml").write_text(
        'steps = 4\ncontext = 64\nbatch_tokens = 256\n[data]\ntrain = "train.jsonl"\nvalid = "valid.jsonl"\n'
        "[model]\ndim = 16\nlayers = 1\nheads = 2\nffn = 32\n"
    )
    textless("train", folder / "lm.toml", folder / "lm", "--set", "optimizer.lr=2e-3", "--device", "cpu")
    textless("ngram", folder / "train.jsonl", folder / "3gram", "--order", 3)
    return folder


def test_help_of_every_verb() -> None:
    for verb in ("train", "ngram", "score", "generate"):
        assert "--force" in textless(verb, "--help")


def test_both_kinds_score_through_the_same_option(room: Path) -> None:
    for model in ("lm", "3gram"):
        output = room / f"{model}.tsv"
        said = textless("score", room / "valid.jsonl", output, "--model", room / model, "--device", "cpu")
        assert "bits per unit" in said
        assert "bits per second" in said
        scores = read_scores(output)
        assert [s.id for s in scores] == [u.id for u in read_units(room / "valid.jsonl").utterances]
        with pytest.raises(UserError, match="--force"):
            textless("score", room / "valid.jsonl", output, "--model", room / model)
        options = ("--force", "--json", "--eos", "--batch-tokens", 64)
        summary = json.loads(textless("score", room / "valid.jsonl", output, "--model", room / model, *options))
        assert summary["eos"] is True
        assert summary["units"] == sum(s.units for s in scores)
        assert all(with_end.log_prob < s.log_prob for with_end, s in zip(read_scores(output), scores, strict=True))


def test_score_with_windows_and_in_bfloat16(room: Path) -> None:
    long = write(room / "long.jsonl", [[5, 6, 7] * 60, []], SMALL)
    arguments = ("--model", room / "lm", "--device", "cpu", "--json", "--force")
    summaries = [
        json.loads(textless("score", long, room / "w.tsv", *arguments, *options))
        for options in ((), ("--stride", 32), ("--stride", 4), ("--precision", "bf16"))
    ]
    logs = [summary["log_prob"] for summary in summaries]
    assert logs[0] == logs[1] != logs[2]
    # The network is a small one, and bfloat16 has 8 bits.
    assert logs[3] == pytest.approx(logs[0], rel=0.01)
    assert logs[3] != logs[0]
    assert summaries[0]["empty"] == 1
    with pytest.raises(UserError, match=r"--stride 65 should lie in 1\.\.64"):
        textless("score", long, room / "w.tsv", *arguments, "--stride", 65)
    with pytest.raises(UserError, match="--stride is of windows"):
        textless("score", long, room / "w.tsv", "--model", room / "3gram", "--force", "--stride", 5)


def test_score_in_shards(room: Path) -> None:
    textless("score", room / "valid.jsonl", room / "s.tsv", "--model", room / "3gram", "--shards", 3)
    assert len(list(room.glob("s-0000?-of-00003.tsv"))) == 3


def test_generate_with_every_option(room: Path) -> None:
    arguments = ("--model", room / "lm", "--prompts", room / "valid.jsonl", "--prompt-seconds", 0.2, "--n", 2)
    drawing = ("--temperature", 0.9, "--top-k", 10, "--top-p", 0.95, "--min-p", 0.01, "--repetition-penalty", 1.1)
    drawing += ("--seed", 3, "--max-units", 8, "--precision", "bf16", "--device", "cpu")
    textless("generate", room / "a.jsonl", *arguments, *drawing)
    textless("generate", room / "b.jsonl", *arguments, *drawing, "--continuation-only", "--batch-size", 3)
    prompts = [item.units[:5] for item in read_units(room / "valid.jsonl").utterances for _ in range(2)]
    whole, only = (read_units(room / name).utterances for name in ("a.jsonl", "b.jsonl"))
    assert [item.units for item in whole] == [p + o.units for p, o in zip(prompts, only, strict=True)]
    textless("generate", room / "c.jsonl", "--model", room / "lm", "--n", 2, "--max-seconds", 0.4)
    assert max(len(item.units) for item in read_units(room / "c.jsonl").utterances) <= 10
    with pytest.raises(UserError, match="--force"):
        textless("generate", room / "c.jsonl", "--model", room / "lm")
    textless("generate", room / "c.jsonl", "--model", room / "lm", "--force", "--max-units", 2)
    wrong = (
        ("--top-p", 0),
        ("--max-seconds", -1),
        ("--prompt-seconds", 0),
        ("--min-p", 1.5),
        ("--repetition-penalty", 0),
    )
    for option, value in wrong:
        with pytest.raises(UserError, match=option):
            textless("generate", room / "d.jsonl", "--model", room / "lm", option, value)
    with pytest.raises(UserError, match="scores only"):
        textless("generate", room / "d.jsonl", "--model", room / "3gram")


def test_generate_by_beam_search(room: Path) -> None:
    prompts = write(room / "prompts.jsonl", [[1, 2, 3], [], [4] * 70], SMALL)
    arguments = ("--model", room / "lm", "--prompts", prompts, "--max-units", 6, "--device", "cpu")
    beams = ("--beams", 4, "--length-penalty", 0.5, "--n", 3)
    call = map(str, ("generate", room / "beams.jsonl", *arguments, *beams))
    said = " ".join(CliRunner().invoke(app, list(call), catch_exceptions=False).stderr.split())
    found = read_units(room / "beams.jsonl").utterances
    assert [item.id for item in found] == [f"u{prompt:05d}__{n}" for prompt in range(3) for n in range(3)]
    assert all(item.units[:3] == [1, 2, 3] for item in found[:3])
    assert len({tuple(item.units) for item in found[:3]}) == 3
    assert all(item.units for item in found[3:6])
    assert "1 of 3 prompts are empty" in said
    assert "1 of 3 prompts exceed the context of 64" in said
    with pytest.raises(UserError, match="--beams should be at least --n"):
        textless("generate", room / "more.jsonl", *arguments, "--beams", 2, "--n", 3)
    with pytest.raises(UserError, match="leave out the options of sampling"):
        textless("generate", room / "more.jsonl", *arguments, "--beams", 2, "--top-k", 5)


def test_force_replaces_models(room: Path, tmp_path: Path) -> None:
    textless("ngram", room / "train.jsonl", tmp_path / "m")
    with pytest.raises(UserError, match="--force"):
        textless("ngram", room / "train.jsonl", tmp_path / "m")
    textless("ngram", room / "train.jsonl", tmp_path / "m", "--order", 1, "--force")
    assert json.loads((tmp_path / "m/config.json").read_text())["order"] == 1
    train = ("train", room / "lm.toml", tmp_path / "lm", "--set", "steps=1", "--device", "cpu")
    textless(*train)
    textless(*train, "--set", "seed=1", "--force")
    assert json.loads((tmp_path / "lm/config.json").read_text())["training"]["step"] == 1


def test_units_of_another_quantizer_are_refused_everywhere(room: Path, tmp_path: Path) -> None:
    other = SMALL.model_copy(update={"sha256": "f" * 64})
    wrong = write(tmp_path / "wrong.jsonl", [[1, 2, 3]], other)
    for model in ("lm", "3gram"):
        with pytest.raises(UserError, match="made with the quantizer"):
            textless("score", wrong, tmp_path / "o.tsv", "--model", room / model)
    with pytest.raises(UserError, match="made with the quantizer"):
        textless("generate", tmp_path / "o.jsonl", "--model", room / "lm", "--prompts", wrong)
    with pytest.raises(UserError, match="made with the quantizer"):
        textless("train", room / "lm.toml", tmp_path / "lm", "--set", f"data.valid={wrong}", "--device", "cpu")


def test_bad_inputs_say_what_is_wrong(room: Path, tmp_path: Path) -> None:
    score = ("score", room / "valid.jsonl", tmp_path / "o.tsv", "--model")
    with pytest.raises(UserError, match=r"config.json is missing"):
        textless(*score, tmp_path / "nowhere")
    headless = tmp_path / "headless.jsonl"
    headless.write_text('{"id": "a", "units": [1, 2]}\n')
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    for bad in (headless, empty):
        with pytest.raises(UserError, match="not a textless-units file"):
            textless("ngram", bad, tmp_path / "m")
        with pytest.raises(UserError, match="not a textless-units file"):
            textless("train", room / "lm.toml", tmp_path / f"r{bad.stem}", "--set", f"data.train={bad}")
    nothing = write(tmp_path / "nothing.jsonl", [], SMALL)
    with pytest.raises(UserError, match="no units"):
        textless("ngram", nothing, tmp_path / "m")
    with pytest.raises(UserError, match="no units"):
        textless("train", room / "lm.toml", tmp_path / "r", "--set", f"data.train={nothing}", "--device", "cpu")
    assert "no units" in textless("score", nothing, tmp_path / "n.tsv", "--model", room / "lm", "--device", "cpu")


def test_bad_configurations_name_the_key(room: Path) -> None:
    for override, message in (
        ("optimizer.lrr=1", r"optimizer\.lrr.*did you mean lr"),
        ("model.heads=3", "even multiple of heads"),
        ("batch_tokens=8", "at least context"),
        ("model.dropout=1.5", r"model\.dropout"),
    ):
        with pytest.raises(UserError, match=message):
            TrainConfig.load(room / "lm.toml", [override])
    with pytest.raises(UserError, match="not found"):
        TrainConfig.load(room / "none.toml")


def test_a_configuration_of_data_alone_will_do(room: Path) -> None:
    path = room / "data.toml"
    path.write_text('[data]\ntrain = "train.jsonl"\n')
    assert TrainConfig.load(path).model.dim == 192
