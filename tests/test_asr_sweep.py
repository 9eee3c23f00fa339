"""Sweeps: the grid, what is given up and why, how a stopped sweep goes on, the page, the ablation table."""

import fcntl
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from textless.errors import UserError
from textless.files import read_json
from textless.training.checkpoint import CONFIG_NAME
from unsup_asr.ablate import ablation_table, ablations, ingredients
from unsup_asr.gan.config import DataConfig, GanConfig, GeneratorConfig, LossConfig
from unsup_asr.select_runs import Candidate, choose_among
from unsup_asr.selection import Quality
from unsup_asr.sweep import driver
from unsup_asr.sweep.driver import Sweep, SweepOptions
from unsup_asr.sweep.hopeless import Patience, hopeless
from unsup_asr.sweep.page import Axis, write_page
from unsup_asr.sweep.plan import Variation, plan

# What a run does, for the tests: every 20 ms a validation, to 5 or as far as it is told; SIGTERM ends it politely.
RUN = """
import json, pathlib, signal, sys, time
folder, kind = pathlib.Path(sys.argv[1]), sys.argv[2]
folder.mkdir(parents=True, exist_ok=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if kind == "broken":
    sys.exit("the loss is nan")
path = folder / "metrics.jsonl"
first = len(path.read_text().splitlines()) if path.exists() else 0
for step in range(first + 1, 200 if kind in ("endless", "collapsed") else 6):
    usage = 0.1 if kind == "collapsed" else 1.0
    row = {"step": step, "weighted_perplexity": 20.0 / usage / step, "usage": usage, "divergence_4": 0.5}
    with path.open("a") as file:
        file.write(json.dumps({**row, "tokens_per_sentence": 1.0}) + "\\n")
    time.sleep(0.02)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "POLL_SECONDS", 0.05)


def swept(tmp_path: Path, kinds: dict[str, str], options: SweepOptions) -> Sweep:
    config = tmp_path / "config.toml"
    config.write_text("")

    def command(variation: Variation, folder: Path) -> list[str]:
        with (tmp_path / "started.txt").open("a") as file:
            file.write(f"{variation.name}\n")
        return [sys.executable, "-c", RUN, str(folder), kinds[variation.name]]

    return Sweep(tmp_path / "sweep", config, command, options)


def conditions(sweep: Sweep) -> dict[str, str]:
    return {row["name"]: row["condition"] for row in read_json(sweep.out / "sweep.json")["runs"]}


def test_a_grid_gives_every_combination_with_every_seed() -> None:
    found = plan(["loss.diversity=2,4", "loss.gradient_penalty=1.5,2"], seeds=2)
    assert len({variation.name for variation in found}) == 8
    assert found[1].name == "diversity-2_gradient_penalty-2_seed-0"
    assert found[1].changes == ("loss.diversity=2", "loss.gradient_penalty=2", "seed=0")
    assert all(variation.changes[-1] == "seed=0" for variation in found[:4])
    assert [variation.changes for variation in plan([], seeds=2)] == [("seed=0",), ("seed=1",)]


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        (["loss.diversity"], "key=value,value"),
        (["a=1,"], "key=value,value"),
        (["a=1", "a=2"], "has a twice"),
        (["seed=1,2"], "--seeds"),
        (["a.lr=1", "b.lr=1,1"], "same name"),
    ],
)
def test_grids_that_are_none_are_refused(grids: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(grids, seeds=1)


def rows(
    perplexities: list[float], usage: float = 1.0, length: float = 1.0, far: float = 0.95
) -> list[dict[str, float]]:
    shared = {"usage": usage, "tokens_per_sentence": length, "divergence_4": far}
    return [{"step": 10 * i, "weighted_perplexity": value, **shared} for i, value in enumerate(perplexities, 1)]


def test_runs_are_given_up_when_collapsed_or_far_behind_but_never_too_many() -> None:
    runs = {
        "good": rows([60, 30, 20], far=0.4),
        "slow": rows([60, 50, 45]),
        "far, but near in n-grams": rows([60, 50, 45], far=0.85),
        "collapsed": rows([90, 80, 90], usage=0.4),
        "long": rows([30, 30, 30], length=3.5),
        "young": rows([90], usage=0.1),
    }
    found = hopeless(runs, list(runs), Patience(judged_after=30))
    assert list(found) == ["collapsed", "slow", "long"]  # the worst first
    assert found["collapsed"].startswith("collapsed: 40%")
    assert found["slow"] == "behind: weighted perplexity 45.0 at best, where another run had 20.0"
    assert not hopeless(runs, list(runs), Patience(judged_after=40))
    assert list(hopeless(runs, list(runs), Patience(30, keep=5))) == ["collapsed"]
    assert not hopeless(runs, ["slow", "collapsed"], Patience(30, keep=2))
    recovered = rows([90, 90], usage=0.1) + [row | {"step": row["step"] + 20} for row in rows([25])]
    assert not hopeless({"good": runs["good"], "recovered": recovered}, ["good", "recovered"], Patience(30, keep=1))


def test_hopeless_runs_end_early_and_failures_are_told(tmp_path: Path) -> None:
    kinds = {"a": "collapsed", "b": "short", "c": "broken"}
    sweep = swept(tmp_path, kinds, SweepOptions(jobs=3, patience=Patience(3, keep=1)))
    sweep.run([Variation(name, ()) for name in kinds])
    assert conditions(sweep) == {"a": "given up", "b": "finished", "c": "failed"}
    assert sweep.states["a"].why.startswith("collapsed: 10%")
    assert sweep.states["c"].why == "exit status 1: the loss is nan"
    assert len((sweep.out / "runs" / "a" / "metrics.jsonl").read_text().splitlines()) < 199
    with pytest.raises(UserError, match="no run of .* has kept a recogniser"):
        sweep.select(tmp_path)


def test_a_stopped_sweep_goes_on_with_what_had_not_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"a": "short", "b": "endless", "c": "short"}
    sweep = swept(tmp_path, kinds, SweepOptions(jobs=2))
    collect = Sweep._collect

    def stop_when_c_is_over(self: Sweep) -> None:
        collect(self)
        if self.states["c"].condition == "finished":
            self._ask_to_stop(15, None)

    monkeypatch.setattr(Sweep, "_collect", stop_when_c_is_over)
    with pytest.raises(SystemExit) as stopped:
        sweep.run([Variation(name, ()) for name in kinds])
    assert stopped.value.code == 0
    assert conditions(sweep) == {"a": "finished", "b": "waiting", "c": "finished"}
    reached = len((sweep.out / "runs" / "b" / "metrics.jsonl").read_text().splitlines())
    assert reached > 0

    monkeypatch.setattr(Sweep, "_collect", collect)
    again = swept(tmp_path, {**kinds, "b": "short", "d": "short"}, SweepOptions(jobs=1))
    again.run([Variation(name, ()) for name in (*kinds, "d")])  # and one more
    assert set(conditions(again).values()) == {"finished"}
    assert (tmp_path / "started.txt").read_text().split() == ["a", "b", "c", "b", "d"]
    steps = [json.loads(line)["step"] for line in (sweep.out / "runs" / "b" / "metrics.jsonl").open()]
    assert steps == sorted(set(steps))  # it went on where it was

    another = swept(tmp_path, kinds, SweepOptions(jobs=1))
    another.config.write_text("updates = 7")
    with pytest.raises(UserError, match="a sweep of another configuration"):
        another.run([])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(UserError, match="is not a sweep"):
        Sweep(tmp_path / "other", tmp_path / "config.toml", lambda *_: [], SweepOptions(jobs=1)).run([])


def test_a_run_that_a_killed_sweep_has_left_is_not_trained_twice(tmp_path: Path) -> None:
    sweep = swept(tmp_path, {"a": "short"}, SweepOptions(jobs=1))
    sweep.states = {"a": driver.RunState(Variation("a", ()))}
    log = sweep.out / "runs" / "a.log"
    log.parent.mkdir(parents=True)
    with log.open("ab") as held:  # as the process would
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="a process that a killed sweep has left"):
            sweep._start("a")


def test_the_page_has_every_run_and_every_curve(tmp_path: Path) -> None:
    runs = {"first": rows([60, 30, 20]), "second <b>": [{"step": 5, "penalty": 3.0}, *rows([50, float("inf"), 40])]}
    write_page(tmp_path / "index.html", "a & b", runs, dict.fromkeys(runs, "finished"), "first")
    page = (tmp_path / "index.html").read_text()
    assert page.count("<tr") == 3
    assert page.count("class='best'") == 1
    assert "second &lt;b&gt;" in page
    plots = [f"<svg {rest}" for rest in page.split("class='plots'>")[1].split("</div>")[0].split("<svg ")[1:]]
    drawn = [ET.fromstring(plot.strip()) for plot in plots]
    assert [svg.find("text").text for svg in drawn] == [  # type: ignore[union-attr]
        "weighted perplexity",
        "divergence of 4-grams, bits",
        "share of phones used",
        "length, over that of text",
        "gradient penalty",
    ]
    assert [len(svg.findall("polyline")) for svg in drawn] == [2] * 5
    axis = Axis(10, 1000, 0, 200, logarithmic=True)
    assert axis(100) == pytest.approx(100)
    assert axis.ticks() == [10, 20, 50, 100, 200, 500, 1000]
    assert Axis(0, 8, 0, 1).ticks() == [0, 2, 4, 6, 8]
    assert Axis(3, 3, 0, 1)(3) == 0


def configured(**values: object) -> GanConfig:
    return GanConfig(data=DataConfig(speech=Path("s"), text=Path("t"), auxiliary=Path("a")), **values)


def test_ingredients_are_those_that_the_configuration_has() -> None:
    assert list(ingredients(configured())) == [
        *("silence", "pooling", "diversity", "smoothness", "penalty", "initialiser"),
    ]
    second = configured(generator=GeneratorConfig.second(), loss=LossConfig.second(), initial="matching")
    assert ingredients(second)["auxiliary"] == ("loss.auxiliary=0",)
    assert ingredients(second)["initialiser"] == ("initial=random",)
    noisy = ingredients(configured(instance_noise=1.0, generator={"initial_scale": 0.1}))
    assert (noisy["noise"], noisy["small-start"]) == (("instance_noise=0",), ("generator.initial_scale=1",))
    found = ablations(configured(), 2, ["penalty"])
    assert [v.name for runs in found.values() for v in runs] == [
        *("everything_seed-0", "everything_seed-1", "without-penalty_seed-0", "without-penalty_seed-1"),
    ]
    assert found["penalty"][1].changes == ("loss.gradient_penalty=0", "seed=1")
    with pytest.raises(UserError, match="no auxiliary to leave out"):
        ablations(configured(), 2, ["auxiliary"])


def test_the_table_has_means_and_deviations_over_seeds(tmp_path: Path) -> None:
    variations = ablations(configured(), 2, ["penalty"])
    usages = {"everything_seed-0": 1.0, "everything_seed-1": 0.8, "without-penalty_seed-0": 0.25}
    candidates = [
        Candidate(tmp_path / name, Quality(100, 10, -200.0, usage, (0.1, 0.2, 0.3, 0.4), 1.0))
        for name, usage in usages.items()
    ]
    table = ablation_table(variations, choose_among(candidates), {"everything_seed-0": 0.1, "everything_seed-1": 0.2})
    everything, without = table.rows
    assert (everything["usage"], everything["usage_sd"]) == pytest.approx((0.9, 0.1 * 2**0.5))
    assert (everything["runs"], without["runs"], without["collapsed"]) == (2, 1, 1)
    assert without["error_rate"] is None
    table.write(tmp_path)
    assert "| everything | 2 | 0 |" in (tmp_path / "ablation.md").read_text()
    assert "15 ± 7.1" in (tmp_path / "ablation.md").read_text()
    lines = (tmp_path / "ablation.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["without", "everything", "penalty"]


def test_what_is_chosen_is_copied_without_what_training_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = swept(tmp_path, {"a": "short"}, SweepOptions(jobs=1))
    sweep.run([Variation("a", ())])
    folder = sweep.out / "runs" / "a"
    (folder / CONFIG_NAME).write_text("{}")
    (folder / "resume.pt").touch()
    chosen = choose_among([Candidate(folder, Quality(100, 10, -200.0, 1.0, (0.1,) * 4, 1.0))])
    monkeypatch.setattr(driver, "select", lambda *_: chosen)
    assert sweep.select(tmp_path) is chosen
    assert [path.name for path in (sweep.out / "best").iterdir()] == [CONFIG_NAME]
    assert "class='best'" in (sweep.out / "index.html").read_text()
