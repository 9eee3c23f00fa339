"""Train a recogniser and a synthesizer in a cycle: one loop for all terms, and the same loop for the control.

Which terms there are says the configuration: `paired.py`, `reinforce.py`, `straight_through.py`, `speech_chain.py` and
`pseudo_labels.py` have one idea each. The best models by unpaired text are kept in `asr/` and `tts/`.
"""

import math
from pathlib import Path
from typing import Any

import torch

from textless.distributed import select_device
from textless.training.checkpoint import Stateful
from textless.training.precision import autocast
from textless.training.run import Run
from textless.training.schedule import multiplier, set_learning_rate
from textless.training.seeds import mixed_seed
from unsup_asr.ctc.model import CtcRecognizer
from unsup_asr.cycle.batches import SpeechBatch, Unpaired
from unsup_asr.cycle.bridge import Masks
from unsup_asr.cycle.choice import transcripts_of
from unsup_asr.cycle.config import CycleConfig, OptimizerConfig, TermsConfig
from unsup_asr.cycle.control import Course, write_report
from unsup_asr.cycle.hypotheses import Bounds
from unsup_asr.cycle.listening import PAGE, Listening, draw_sentences, write_page
from unsup_asr.cycle.memory import Memory
from unsup_asr.cycle.models import Models
from unsup_asr.cycle.paired import paired_terms
from unsup_asr.cycle.prior import TextPrior
from unsup_asr.cycle.pseudo_labels import pseudo_label_term
from unsup_asr.cycle.reading import Material, read_material
from unsup_asr.cycle.reinforce import reinforce_term
from unsup_asr.cycle.speech_chain import spoken_term, transcribed_term
from unsup_asr.cycle.stopping import Best
from unsup_asr.cycle.straight_through import straight_through_term
from unsup_asr.cycle.terms import DivergedError, Setting, Tally, Term
from unsup_asr.cycle.validation import validate
from unsup_asr.cycle.weighting import Weighting
from unsup_asr.phone_text import PhoneText
from unsup_asr.selection import Judge
from unsup_asr.tts.model import TtsModel

CONTROL, ASR, TTS = "control", "asr", "tts"


def train(config: CycleConfig, out: Path, *, device_name: str = "auto", force: bool = False) -> dict[str, Any]:
    """Train in `out`, then the control in `out/control`, continuing where either was stopped; returns the report.

    Raises:
        UserError: what is read does not fit together, or `out` is something else.
    """
    device = select_device(device_name)
    with Run(out, config, force=force) as run:
        material = read_material(config)
        listening = Listening.open(config, material.tts.kind, device)
        cycle = train_on(material, config, run, device, deranged=False)
    control = None
    if config.control:
        with Run(out / CONTROL, config, force=force) as run:
            control = train_on(read_material(config), config, run, device, deranged=True)
    if listening is not None:
        kept = TtsModel.load(out / TTS)
        start, _ = TtsModel.load(config.tts).renumbered(kept.phones)
        sentences = draw_sentences(material.sentences, config.listen.sentences, config.seed)
        synthesizers = {"start": start, f"step {cycle.steps}": kept}
        write_page(out / PAGE, listening, sentences, {n: m.to(device).eval() for n, m in synthesizers.items()})
    return write_report(out, cycle, control, config.terms.model_dump())


def train_on(material: Material, config: CycleConfig, run: Run, device: torch.device, *, deranged: bool) -> Course:
    """Train on what was read; the loop."""
    torch.manual_seed(config.seed)
    models = Models(material.asr.network, material.tts, config.reverse, device)
    optimizers = make_optimizers(models, config.optimizer)
    frames = round(config.batch_seconds * material.asr.source.frame_rate)
    data = read_unpaired(material, frames, config.seed)
    setting = Setting(
        models=models,
        bridge=material.bridge,
        config=config,
        bounds=Bounds(config.speech.longest, material.tts.kind.frame_rate),
        prior=TextPrior(material.sentences, len(material.asr.phones)),
        chance=torch.Generator(device),
        masks=Masks(config.mask, torch.Generator()),
        memory=Memory(config.speech.lasting),
        deranged=deranged,
    )
    judge = Judge(PhoneText(material.asr.phones, material.sentences))
    best, weighting, tally = Best(), Weighting(config.weighting), Tally()
    parts: dict[str, Stateful] = {
        "models": models,
        "memory": setting.memory,
        "best": best,
        "weighting": weighting,
        "tally": tally,
    }
    parts |= {f"{name}_optimizer": optimizer for name, optimizer in optimizers.items()}
    step = run.resume(parts)

    def look() -> None:
        found = validate(models, material.valid, judge, setting.bounds, frames)
        run.log(step, **found.metrics())
        if best.note(step, found, config.patience):
            keep(models, material, config, run.directory, step=step, **found.metrics())

    if best.waited is None:
        look()  # the models of the start are the first to be kept: a cycle that harms leaves them
        run.save(step, parts)
    models.asr.train()
    models.tts.train()
    while step < config.steps and not best.stopped and not run.stopping():
        torch.manual_seed(mixed_seed(config.seed, step))  # dropout
        setting.seed(step)
        try:
            with autocast(device, config.precision):
                terms = terms_of(data, setting, step, device)
        except DivergedError as error:
            best.stopped = f"it has diverged: {error}"
            break
        factors = weighting.factors(list(terms))
        weights = {name: factors[name] * weight_of(name, config.terms) for name in terms}
        rate = config.optimizer.lr * multiplier(config.optimizer.schedule, step, config.steps)
        norm = update(optimizers, [weights[name] * term.loss for name, term in terms.items()], rate, config.optimizer)
        if not math.isfinite(norm):
            best.stopped = f"it has diverged: the gradient is {norm}"
            break
        models.follow()
        step += 1

        tally.add(terms)
        if run.due(step, config.log_every):
            means, out_of_bounds = tally.take()
            weighting.note(means)
            run.log(step, **means, **out_of_bounds, gradient_norm=norm, lr=rate)
        if run.due(step, config.valid_every) or step == config.steps:
            look()
        if run.due(step, config.save_every):
            run.save(step, parts)

    run.save(step, parts)
    reason = best.stopped or ("all steps were taken" if step >= config.steps else "it was asked to stop")
    run.say(
        f"{run.directory}{' (control)' if deranged else ''} ends at step {step}: {reason}; kept is step {best.step} "
        f"with a criterion of {best.criterion:.4f}"
    )
    return Course.of(run.directory, best.step, reason)


def terms_of(data: Unpaired, setting: Setting, step: int, device: torch.device) -> dict[str, Term]:
    """The terms of an update, by name; those of unpaired data are left out where the control has no neighbour."""
    wanted = setting.config.terms
    terms: dict[str, Term] = {}
    if wanted.paired:
        terms |= paired_terms(data.paired_batch(step, device), setting)
    if wanted.listening:
        speech = data.speech_batch(step, device)
        if len(speech) > 1 or not setting.deranged:
            terms |= terms_of_speech(speech, setting)
    if wanted.spoken:
        text = data.text_batch(step, device)
        if len(text) > 1 or not setting.deranged:
            terms["spoken"] = spoken_term(text, setting)
    return terms


def terms_of_speech(speech: SpeechBatch, setting: Setting) -> dict[str, Term]:
    """The terms of unpaired speech."""
    wanted = setting.config.terms
    terms: dict[str, Term] = {}
    if wanted.reinforce:
        terms["reinforce"] = reinforce_term(speech, setting)
    if wanted.straight_through:
        terms["straight_through"] = straight_through_term(speech, setting)
    if wanted.transcribed or wanted.pseudo_label:
        said = transcripts_of(speech, setting)
        if wanted.transcribed:
            terms["transcribed"] = transcribed_term(speech, said, setting)
        if wanted.pseudo_label:
            terms["pseudo_label"] = pseudo_label_term(speech, said, setting)
    return terms


def weight_of(name: str, terms: TermsConfig) -> float:
    """The configured weight of a term; pairs have one for both models."""
    return terms.paired if name.startswith("paired") else float(getattr(terms, name))


def make_optimizers(models: Models, config: OptimizerConfig) -> dict[str, torch.optim.Optimizer]:
    """One for each model that learns."""
    learning: dict[str, torch.nn.Module] = {ASR: models.asr}
    if config.tts_factor:
        learning[TTS] = models.tts
    else:
        models.tts.requires_grad_(False)
    return {
        name: torch.optim.AdamW(model.parameters(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
        for name, model in learning.items()
    }


def update(
    optimizers: dict[str, torch.optim.Optimizer], losses: list[torch.Tensor], rate: float, config: OptimizerConfig
) -> float:
    """One step of every model; none if the largest norm of a gradient, which is returned, is not finite."""
    for optimizer in optimizers.values():
        optimizer.zero_grad()
    torch.stack(losses).sum().backward()
    norms = []
    for optimizer in optimizers.values():
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, config.clip)))
    if all(map(math.isfinite, norms)):
        for name, optimizer in optimizers.items():
            set_learning_rate(optimizer, rate * (config.tts_factor if name == TTS else 1.0))
            optimizer.step()
    return max(norms, key=lambda norm: norm if math.isfinite(norm) else math.inf)


def read_unpaired(material: Material, frames: int, seed: int) -> Unpaired:
    """Batches of what was read; how long a sentence will be is estimated by the pairs."""
    pairs = material.pairs.pairs
    per_phone = sum(len(pair.heard.features) for pair in pairs) / sum(len(pair.phones) for pair in pairs)
    return Unpaired(
        material.pairs, material.speech, material.sentences, frames=frames, frames_per_phone=per_phone, seed=seed
    )


def keep(models: Models, material: Material, config: CycleConfig, directory: Path, **training: float) -> None:
    """Write both models."""
    labels = config.data.labels
    asr, tts = models.judged
    CtcRecognizer(asr, material.asr.phones, material.asr.source).save(directory / ASR, labels, **training)
    tts.save(directory / TTS, labels=labels, **training)
