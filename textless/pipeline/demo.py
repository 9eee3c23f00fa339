"""The whole chain on one corpus: a list of commands, then the report.

OUT/corpus      the embedded synthetic corpus, or splits of your own recordings
OUT/encoders    a mixture and a small HuBERT, compared with MFCC
OUT/features, quantizer, units, ulm, ngram, scores, vocoder, recognizer, resynthesis, bundle, continuations
OUT/metrics.json, OUT/report.html

Every step is a command of the public interface (`commands.py`); a stopped demo continues where it stopped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, read_manifest
from textless.errors import UserError
from textless.files import atomic_write, read_json, remove, write_json
from textless.pipeline.commands import Commands
from textless.pipeline.demo_encoders import judge_encoders, train_encoders
from textless.pipeline.recordings import split_recordings
from textless.pipeline.report import write_report
from textless.progress import say

ENCODER = "mfcc@50"
K = 500
DURATION_PENALTY = 0.5  # units that last: a small unit LM learns more from fewer of them
SPEAKERS = 6  # few enough that four hours hold every word several times in each voice
NGRAM_ORDERS = (1, 3, 5)
HUBERT_STEPS, ULM_STEPS, VOCODER_STEPS, RECOGNIZER_STEPS = 800, 1300, 2200, 700
EXAMPLES = 3
PROMPT_SECONDS, CONTINUATION_SECONDS = 1.5, 3.0


@dataclass(frozen=True)
class Settings:
    """What a demo is made of; a directory holds one."""

    speech: Path | None
    hours: float
    scale: float
    seed: int

    def steps(self, number: int) -> int:
        """Training steps after scaling."""
        return max(4, round(number * self.scale))


def run_demo(out: Path, speech: Path | None, *, hours: float, scale: float, seed: int, force: bool = False) -> Path:
    """Run the chain in `out` and return the path of the report.

    Raises:
        UserError: `out` holds something else, or a demo of other settings; the recordings cannot be used.
    """
    settings = Settings(speech.resolve() if speech else None, hours, scale, seed)
    _claim(out, settings, force=force)
    commands = Commands(out)
    prepare_corpus(out, settings, commands)
    train_encoders(out, commands, steps=settings.steps(HUBERT_STEPS), seed=settings.seed)
    metrics: dict[str, Any] = {"units": make_units(out, commands, settings)}
    metrics |= evaluate_abx(out, commands, settings)
    metrics["lm"] = train_language_models(out, commands, settings)
    metrics |= train_vocoder(out, commands, settings)
    examples = speak(out, commands, settings)
    write_json(out / "metrics.json", metrics)
    return write_report(out, metrics, examples, [done.line for done in commands.finished])


def _claim(out: Path, settings: Settings, *, force: bool) -> None:
    path = out / "demo.json"
    wanted = {name: str(value) for name, value in vars(settings).items()}
    if out.exists() and force:
        remove(out)
    if out.exists() and any(out.iterdir()):
        if not path.exists():
            raise UserError(f"{out} exists and is not a demo; give another output or --force to replace it")
        if read_json(path) != wanted:
            raise UserError(f"{out} holds a demo of other settings {read_json(path)}; give another output or --force")
        say(f"continuing the demo in {out}")
    write_json(path, wanted)


def prepare_corpus(out: Path, settings: Settings, commands: Commands) -> None:
    """Synthesize the embedded corpus, or split the user's recordings."""
    if settings.speech is None:
        size = {"hours": settings.hours, "speakers": SPEAKERS, "seed": settings.seed}
        commands.run("corpus synth", out / "corpus", **size, replace=True)
    elif not (out / "corpus").exists():
        split_recordings(settings.speech, out / "corpus")


def splits(out: Path) -> list[str]:
    """Names of the parts of the corpus, in the order of their making."""
    return [n for n in ("train", "dev", "test", "swuggy", "sblimp") if (out / "corpus" / n / "manifest.tsv").exists()]


def make_units(out: Path, commands: Commands, settings: Settings) -> dict[str, Any]:
    """Features, quantizer, units of every split, and how well units name phones."""
    corpus, features, units, quantizer = out / "corpus", out / "features", out / "units", out / "quantizer"
    for split in ("train", "test"):
        commands.run("encoder features", corpus / split / "manifest.tsv", features / split, encoder=ENCODER)
    fitting = {"k": K, "duration_penalty": DURATION_PENALTY, "max_frames": 250_000, "iterations": 30}
    commands.run("units fit", features / "train", quantizer, **fitting, seed=settings.seed, replace=True)
    for split in splits(out):
        manifest = corpus / split / "manifest.tsv"
        commands.run("units encode", manifest, units / f"{split}.jsonl", quantizer=quantizer, replace=True)
    for kind in ("one-hot", "codebook"):
        target = features / f"test-{kind}"
        commands.run("units features", units / "test.jsonl", target, quantizer=quantizer, as_=kind, replace=True)
    result = {"statistics": commands.run_json("units stats", units / "train.jsonl")}
    alignments = corpus / "test" / "alignments.tsv"
    if alignments.exists():
        result["phones"] = commands.run_json("eval units", units / "test.jsonl", alignments)
    return result


def evaluate_abx(out: Path, commands: Commands, settings: Settings) -> dict[str, Any]:
    """ABX of features and of units, and of the encoders; triphones in context where they are given, else phonemes."""
    test, features = out / "corpus" / "test", out / "features"
    item, context = test / "triphone.item", "within"
    if not item.exists():
        item, context = test / "phoneme.item", "any"
    if not item.exists():
        return {"abx": {}, "encoders": {}}
    task: dict[str, Any] = {"context": context, "max_size_group": 10, "max_x_across": 5}  # ZeroSpeech's own caps
    abx = {
        name: commands.run_json("eval abx", item, features / folder, **task, seed=settings.seed, skip_missing=True)
        for name, folder in (("features", "test"), ("one-hot", "test-one-hot"), ("codebook", "test-codebook"))
    }
    return {"abx": abx, "encoders": judge_encoders(out, commands, task, item, seed=settings.seed)}


def train_language_models(out: Path, commands: Commands, settings: Settings) -> dict[str, Any]:
    """The Transformer and n-grams: bits per unit on held-out speech, and what they know of words and grammar."""
    units, config = out / "units", out / "configs" / "ulm.toml"
    with atomic_write(config) as file:
        file.write(ULM_CONFIG.format(steps=settings.steps(ULM_STEPS), seed=settings.seed))
    models = {f"{order}-gram": out / "ngram" / str(order) for order in NGRAM_ORDERS}
    for order, model in zip(NGRAM_ORDERS, models.values(), strict=True):
        commands.run("ulm ngram", units / "train.jsonl", model, order=order, replace=True)
    models["transformer"] = out / "ulm"
    commands.run("ulm train", config, out / "ulm")
    result: dict[str, Any] = {name: {} for name in models}
    for name, model in models.items():
        for split in splits(out)[1:]:
            scores = out / "scores" / name / f"{split}.tsv"
            answer = commands.run_json("ulm score", units / f"{split}.jsonl", scores, model=model, replace=True)
            if split in {"swuggy", "sblimp"}:
                answer = commands.run_json(f"eval {split}", scores, out / "corpus" / split / "gold.csv")
            result[name][split] = answer
    return result


def train_vocoder(out: Path, commands: Commands, settings: Settings) -> dict[str, Any]:
    """The vocoder, its resynthesis of held-out speech, and what a phone recogniser hears in it."""
    corpus, vocoder, config = out / "corpus", out / "vocoder", out / "configs" / "vocoder.toml"
    with atomic_write(config) as file:
        file.write(VOCODER_CONFIG.format(steps=settings.steps(VOCODER_STEPS), seed=settings.seed))
    commands.run("vocoder train", config, vocoder)
    for split in ("dev", "test"):
        own_voice = corpus / split / "manifest.tsv"
        units, target = out / "units" / f"{split}.jsonl", out / "resynthesis" / split
        commands.run("vocoder synthesize", units, target, model=vocoder, manifest=own_voice)
    parts = {"encoder": ENCODER, "quantizer": out / "quantizer", "ulm": out / "ulm", "vocoder": vocoder}
    commands.run("bundle", out / "bundle", **parts, replace=True)
    alignments = {split: corpus / split / "alignments.tsv" for split in ("train", "dev", "test")}
    if not all(path.exists() for path in alignments.values()):
        return {}
    training = {"steps": settings.steps(RECOGNIZER_STEPS), "seed": settings.seed}
    recognizer = out / "recognizer"
    manifest = corpus / "train" / "manifest.tsv"
    commands.run("eval train-recognizer", manifest, alignments["train"], recognizer, **training, replace=True)
    rates: dict[str, Any] = {"dev": {}, "test": {}}
    for split, found in rates.items():
        for name, folder in (("original", corpus / split), ("resynthesis", out / "resynthesis" / split)):
            manifest = folder / "manifest.tsv"
            found[name] = commands.run_json("eval per", manifest, alignments[split], recognizer=recognizer)
    return {"per": rates}


@dataclass(frozen=True)
class Example:
    """One utterance of the report: what was said, the same in another voice, and how the unit LM goes on."""

    id: str
    speaker: str
    other_speaker: str
    original: Path
    resynthesis: Path
    other_voice: Path
    continuations: list[Path]
    text: str


def speak(out: Path, commands: Commands, settings: Settings) -> list[Example]:
    """Resynthesize and continue a few held-out utterances through the bundle."""
    dev = read_manifest(out / "corpus" / "dev" / "manifest.tsv")
    voices = sorted({u.speaker for u in read_manifest(out / "corpus" / "train" / "manifest.tsv") if u.speaker})
    examples = []
    for number, utterance in enumerate(choose_examples(dev)):
        folder = out / "examples" / str(number)
        original = folder / "original.wav"
        io.save(original, dev.load(utterance))
        speaker = utterance.speaker if utterance.speaker in voices else (voices[0] if voices else "")
        other = voices[(voices.index(speaker) + len(voices) // 2) % len(voices)] if len(voices) > 1 else speaker
        for name, voice in (("resynthesis", speaker), ("other-voice", other)):
            target = folder / f"{name}.wav"
            commands.run("resynthesize", original, target, bundle=out / "bundle", **_speaker(voice), replace=True)
        sampling = {"n": 3, "seed": settings.seed, "prompt_seconds": PROMPT_SECONDS, "seconds": CONTINUATION_SECONDS}
        target = folder / "continuations"
        commands.run("continue", original, target, bundle=out / "bundle", **_speaker(speaker), **sampling, replace=True)
        continuations = sorted((folder / "continuations").glob("*.wav"))
        resynthesis, changed = folder / "resynthesis.wav", folder / "other-voice.wav"
        examples.append(
            Example(utterance.id, speaker, other, original, resynthesis, changed, continuations, utterance.text or "")
        )
    return examples


def _speaker(name: str) -> dict[str, object]:
    return {"speaker": name} if name else {}


def choose_examples(manifest: Manifest) -> list[Utterance]:
    """Utterances of 2.5 to 6 s (or nearest to 4 s), of different speakers where possible, with known phones first."""
    rate = io.SAMPLE_RATE
    ranked = sorted(manifest, key=lambda u: (not 2.5 <= u.n_samples / rate <= 6, abs(u.n_samples / rate - 4), u.id))
    chosen: list[Utterance] = []
    for utterance in ranked:
        if len(chosen) < EXAMPLES and utterance.speaker not in {u.speaker for u in chosen}:
            chosen.append(utterance)
    rest = (u for u in ranked if u not in chosen)
    return chosen + [u for u, _ in zip(rest, range(EXAMPLES - len(chosen)), strict=False)]


ULM_CONFIG = """\
steps = {steps}
seed = {seed}

[data]
train = "../units/train.jsonl"
valid = "../units/dev.jsonl"
"""

VOCODER_CONFIG = """\
steps = {steps}
seed = {seed}

[data]
units = "../units/train.jsonl"
manifest = "../corpus/train/manifest.tsv"
valid_units = "../units/dev.jsonl"
valid_manifest = "../corpus/dev/manifest.tsv"
"""
