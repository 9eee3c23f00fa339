"""`textless asr`: unsupervised speech recognition."""

import typer

from unsup_asr import (
    cycle_cli,
    decode_cli,
    diagnose_cli,
    ensemble_cli,
    language_model_cli,
    prepare_cli,
    score_cli,
    select_cli,
    student_cli,
    sweep_cli,
    train_cli,
    transcribe_cli,
)

app = typer.Typer(help="Unsupervised speech recognition.", no_args_is_help=True, rich_markup_mode=None)


app.command()(prepare_cli.prepare)
app.command("prepare-text")(prepare_cli.prepare_text)
app.command("prepare-speech")(prepare_cli.prepare_speech)
app.command()(prepare_cli.phonemize)
app.command()(train_cli.train)
app.command()(sweep_cli.sweep)
app.command()(sweep_cli.ablate)
app.command()(student_cli.student)
app.command()(ensemble_cli.ensemble)
app.command()(select_cli.select)
app.command()(decode_cli.decode)
app.command()(transcribe_cli.transcribe)
app.command()(score_cli.score)
app.command()(diagnose_cli.diagnose)
app.command()(language_model_cli.lm)
app.command("train-tts")(cycle_cli.train_tts)
app.command()(cycle_cli.cycle)
app.command()(cycle_cli.augment)
