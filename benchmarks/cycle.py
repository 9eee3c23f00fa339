"""What a cycle gains: ten minutes of pairs, the rest of an hour without transcripts, text without speech.

    textless corpus synth corpus --hours 1 --text sentences.txt
    python benchmarks/cycle.py OUT --corpus corpus --text unpaired.txt [--encoder SPEC] [--seeds 3]
    python benchmarks/cycle.py OUT --manifest recordings.tsv --text unpaired.txt --encoder SPEC

Arms: `paired` (a student and a synthesizer of the pairs alone: what all cycles start from), `both`, `text` (text is
spoken, the recogniser learns), `speech` (of several transcripts, the one that synthesizer and text like best teaches
both models), `pseudo-label` (the recogniser's own transcripts, with a mean teacher; no synthesizer, no text),
`reinforce` (the same reward by REINFORCE), `oracle` (all of the speech with transcripts). PER is that of greedy
transcripts, of the speech that the cycle has no transcripts of (34,000 phones an hour), and of the corpus's test set,
whose speakers are in no other (3,000 phones: 0.4 of a PER of 6 is chance); intelligibility is the PER of another
network, taught by all transcripts, on what the synthesizer makes of the test set's transcripts.
With `--manifest`, recordings with transcripts in words take the corpus's place: every sixth is for testing, and espeak
says how their words sound. Every seed has pairs of its own. The control with deranged pairs is run for `both` of seed 0
(`--controls` for more).
Verbs that have finished are not run again: a killed benchmark goes on. Two runs side by side make use of two cores:
give them different `--first-seed` and print the table at the end with `--table`.
"""

import argparse
import json
import os
import statistics
from pathlib import Path

import numpy as np
import torch

from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import Manifest, read_manifest, write_manifest
from textless.corpora.alignment import SILENCE, read_alignment
from textless.pipeline.commands import Commands
from unsup_asr.transcripts import read_transcripts, write_transcripts

TERMS = ("reinforce", "transcribed", "spoken", "pseudo_label")
CHOSEN = ["speech.choose=8", "speech.lm_weight=1"]
STILL = ["optimizer.tts_factor=0"]  # nothing in the arm teaches the synthesizer
CYCLES = {
    "both": ({"transcribed": 1, "pseudo_label": 2, "spoken": 1}, CHOSEN),
    "text": ({"spoken": 1}, STILL),
    "speech": ({"transcribed": 1, "pseudo_label": 2}, CHOSEN),
    "pseudo-label": ({"pseudo_label": 2}, STILL),
    "reinforce": ({"reinforce": 1}, [*STILL, "speech.lm_weight=1"]),
}
SMALL = ["network.dim=96", "network.ffn=384", "network.blocks=1"]
ARMS = ("paired", *CYCLES, "oracle")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    speech = parser.add_mutually_exclusive_group(required=True)
    speech.add_argument("--corpus", type=Path, help="with train and test, and their alignments")
    speech.add_argument("--manifest", type=Path, help="with texts")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--encoder", default="logmel-cmvn@50")
    parser.add_argument("--phones", default="espeak:en-us")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--controls", default="both")
    for name, default in (("seeds", 3), ("first-seed", 0), ("threads", 1), ("student-steps", 500), ("tts-steps", 300)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in (("oracle-steps", 600), ("cycle-steps", 400), ("judge-steps", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--minutes", type=float, default=10.0, help="of pairs")
    parser.add_argument("--table", action="store_true", help="only print what there is")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    arms = options.arms.split(",")
    if not options.table:
        common = Common(options)
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            for arm in arms:
                Arm(common, seed).run(arm)
    print_table(options.out)


class Common:
    """What all arms share: features, text, references, the independent recogniser."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out = options, options.out.absolute()
        self.commands = Commands(self.out / f"commands-{options.first_seed}")
        shared = Commands(self.out / "commands-shared")
        with (self.out / "shared.lock").open("w") as lock:
            os.lockf(lock.fileno(), os.F_LOCK, 0)  # runs side by side prepare once
            self.prepare(shared)

    def prepare(self, commands: Commands) -> None:
        options = self.options
        self.manifests = self.split()
        for split, manifest in self.manifests.items():
            references = self.out / f"{split}.tsv"
            if options.manifest:
                commands.run("asr phonemize", manifest, references, replace=True, phones=options.phones)
            elif not references.exists():
                alignment = read_alignment(manifest.parent / "alignments.tsv")
                said = {name: [s.label for s in segments] for name, segments in alignment.items()}
                write_transcripts(references, {name: [p for p in s if p != SILENCE] for name, s in said.items()})
            commands.run("encoder features", manifest, self.out / split, encoder=options.encoder)
        pronounced = {"phones": options.phones, "silence": 0, "no_silence_at_ends": True}
        commands.run("asr prepare-text", options.text, self.out / "text", replace=True, **pronounced)
        self.judge = self.out / "judge"
        settings = ["seed=100", f"steps={options.judge_steps}", "network.dim=160", "network.blocks=2"]
        self.student(commands, self.judge, self.out / "train.tsv", settings)

    def split(self) -> dict[str, Path]:
        """The manifests of training and testing."""
        options = self.options
        if options.corpus:
            return {split: options.corpus.absolute() / split / "manifest.tsv" for split in ("train", "test")}
        manifest = read_manifest(options.manifest)
        found = {split: self.out / f"{split}-manifest.tsv" for split in ("train", "test")}
        for split, path in found.items():
            kept = (u for place, u in enumerate(manifest) if (place % 6 == 5) == (split == "test"))
            write_manifest(path, Manifest(manifest.root, tuple(kept)))
        return found

    def student(self, commands: Commands, out: Path, transcripts: Path, settings: list[str]) -> None:
        """Train a recogniser on references."""
        taught = [f"data.transcripts={transcripts}", "data.labels=reference", "rounds=1", "batch_seconds=40"]
        config = self.config("student", f'[data]\nspeech = "{self.out / "train"}"\ntranscripts = ""\ntext = "text"\n')
        run(commands, "asr student", config, out, taught + settings)

    def config(self, name: str, content: str) -> Path:
        path = self.out / f"{name}.toml"
        path.write_text(content)
        return path


class Arm:
    """The arms of a seed."""

    def __init__(self, common: Common, seed: int) -> None:
        self.common, self.seed, self.out = common, seed, common.out / f"seed-{seed}"
        self.out.mkdir(exist_ok=True)
        self.paired = self.out / "paired.tsv"
        self.unpaired = self.out / "unpaired.tsv"
        references = read_transcripts(self.common.out / "train.tsv")
        pairs = self.pairs(references)
        write_transcripts(self.paired, pairs)
        write_transcripts(self.unpaired, {name: said for name, said in references.items() if name not in pairs})

    def pairs(self, references: dict[str, list[str]]) -> dict[str, list[str]]:
        """Transcripts of utterances drawn until there are so many minutes."""
        options = self.common.options
        utterances = read_manifest(self.common.manifests["train"]).utterances
        order = np.random.default_rng(self.seed).permutation(len(utterances)).tolist()
        samples = np.cumsum([utterances[place].n_samples for place in order])
        count = int(np.searchsorted(samples, options.minutes * 60 * SAMPLE_RATE)) + 1
        return {utterances[place].id: references[utterances[place].id] for place in order[:count]}

    def run(self, arm: str) -> None:
        options, commands, folder = self.common.options, self.common.commands, self.out / arm
        if arm in {"paired", "oracle"}:
            transcripts = self.paired if arm == "paired" else self.common.out / "train.tsv"
            steps = options.student_steps if arm == "paired" else options.oracle_steps
            settings = [f"seed={self.seed}", f"steps={steps}", *SMALL]
            self.common.student(commands, folder / "asr", transcripts, settings)
            self.synthesizer(folder / "tts", transcripts, options.tts_steps)
        else:
            config = self.common.config(
                "cycle", 'asr = ""\ntts = ""\n[data]\nspeech = "train"\ntext = "text"\nlabels = "reference"\n'
            )
            settings = [f"asr={self.out / 'paired' / 'asr'}", f"tts={self.out / 'paired' / 'tts'}"]
            settings += [f"data.paired={self.paired}", f"seed={self.seed}", f"steps={options.cycle_steps}"]
            weights, special = CYCLES[arm]
            settings += [f"terms.{name}={weights.get(name, 0)}" for name in TERMS]
            settings += ["batch_seconds=20", "optimizer.lr=1.5e-3", "valid_every=100", "text.scatter=0.5", *special]
            controlled = arm in options.controls.split(",") and self.seed == 0
            settings += [f"control={str(controlled).lower()}"]
            run(commands, "asr cycle", config, folder, settings, json=True)
        self.judge(folder, taught_all=arm == "oracle")

    def synthesizer(self, out: Path, transcripts: Path, steps: int) -> None:
        content = "batch_seconds = 40\nflat_steps = 50\nvalid_every = 50\n[network]\n"
        content += "width = 128\nencoder_layers = 2\ndecoder_layers = 1\n"
        content += f'[data]\nspeech = "{self.common.out / "train"}"\n'
        config = self.common.config("tts", content + 'transcripts = ""\nlabels = "reference"\n')
        settings = [f"data.transcripts={transcripts}", f"seed={self.seed}", f"steps={steps}"]
        run(self.common.commands, "asr train-tts", config, out, settings)

    def judge(self, folder: Path, *, taught_all: bool) -> None:
        """PER of the recogniser, and of the independent one on what the synthesizer says."""
        commands, common = self.common.commands, self.common
        results = {}
        decoded = {"model": folder / "asr"}
        commands.run("asr decode", common.out / "test", folder / "test.tsv", replace=True, **decoded)
        results["per"] = score(commands, folder / "test.tsv", common.out / "test.tsv")
        if not taught_all:
            commands.run("asr decode", common.out / "train", folder / "train.tsv", replace=True, **decoded)
            said, unpaired = read_transcripts(folder / "train.tsv"), read_transcripts(self.unpaired)
            write_transcripts(folder / "unpaired.tsv", {name: said[name] for name in unpaired})
            results["unpaired_per"] = score(commands, folder / "unpaired.tsv", self.unpaired)
        spoken = {"model": folder / "tts", "skip_unknown": True, "scatter": 0}
        commands.run("asr augment", common.out / "test.tsv", folder / "said", replace=True, **spoken)
        decoded = {"model": common.judge}
        commands.run("asr decode", folder / "said" / "features", folder / "heard.tsv", replace=True, **decoded)
        results["tts_per"] = score(commands, folder / "heard.tsv", folder / "said" / "phones.tsv")
        (folder / "result.json").write_text(json.dumps(results))


def run(commands: Commands, verb: str, config: Path, out: Path, settings: list[str], *, json: bool = False) -> None:
    """A verb of training; its settings, an option that is given several times, follow the arguments."""
    words: list[object] = [config, out]
    for setting in settings:
        words += ["--set", setting]
    commands.run(verb, *words, **({"json": True} if json else {}))


def score(commands: Commands, heard: Path, references: Path) -> float:
    return commands.run_json("asr score", heard, references, permutations=0)["phone_error_rate_percent"]


def print_table(out: Path) -> None:
    names = ("unpaired_per", "per", "tts_per")
    found = {arm: [json.loads(p.read_text()) for p in sorted(out.glob(f"seed-*/{arm}/result.json"))] for arm in ARMS}
    print("| arm | seeds | PER, speech without transcripts | PER, test | PER of its speech |")
    print("|---|---|---|---|---|")
    for arm, rows in found.items():
        if rows:
            cells = [described(arm, rows, found["paired"], name) for name in names]
            print(f"| {arm} | {len(rows)} | {' | '.join(cells)} |")
    for path in sorted(out.glob("seed-*/*/report.json")):
        report = json.loads(path.read_text())
        if report["control"] is not None:
            contents = {name: report[name]["content"] for name in ("cycle", "control")}
            print(f"{path.parent.relative_to(out)}: fall of the loss that is due to content, a frame: {contents}")


def described(arm: str, rows: list[dict[str, float]], base: list[dict[str, float]], name: str) -> str:
    """Mean and deviation over seeds, and the change from the paired arm."""
    values = [row[name] for row in rows if name in row]
    if not values:
        return ""
    mean = statistics.mean(values)
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    change = f" ({100 * (mean / statistics.mean(row[name] for row in base) - 1):+.1f} %)" if arm != "paired" else ""
    return f"{mean:.2f}{spread}{change}"


if __name__ == "__main__":
    main()
