"""`textless eval`: judges of features, units, language models, discovered terms and speech."""

import typer

from zerospeech_eval import (
    abx_cli,
    discovery_cli,
    generation_cli,
    lm_cli,
    make_pairs_cli,
    resynthesis_cli,
    speech_cli,
    submission_cli,
)

app = typer.Typer(help="Judge features, units, language models and speech.", no_args_is_help=True)
for verbs in (
    abx_cli,
    lm_cli,
    discovery_cli,
    generation_cli,
    speech_cli,
    resynthesis_cli,
    submission_cli,
    make_pairs_cli,
):
    verbs.register(app)
