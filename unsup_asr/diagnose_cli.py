"""Verb `diagnose`: what features and runs are worth, by labels."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import Json, Seed


def diagnose(
    features: Annotated[Path, typer.Argument(metavar="FEATURES", help="Feature store of any encoder.")],
    alignment: Annotated[Path, typer.Option("--alignment", help="alignments.tsv of the recordings.")],
    *,
    kept: Annotated[
        Path | None,
        typer.Option("--kept", help="kept.tsv, if silences were taken out of the recordings before they were encoded."),
    ] = None,
    model: Annotated[Path | None, typer.Option("--model", help="A recogniser, or a run with its stages.")] = None,
    clusters: Annotated[int, typer.Option("--clusters", min=2, help="Clusters of frames.")] = 128,
    segments_per_second: Annotated[
        float, typer.Option("--segments-per-second", min=0.1, help="Of clusters, as in training.")
    ] = 13.0,
    pca: Annotated[int, typer.Option("--pca", min=1, help="Numbers of a frame that are kept.")] = 64,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Purity of clusters, ceilings that labels would reach, chance, and errors of a run by stage.

    Labels serve this report and nothing else: neither training nor selection can see them.
    """
    import json

    from textless.corpora.alignment import read_alignment
    from textless.corpora.silence import read_kept
    from textless.features.store import FeatureStore
    from textless.files import require
    from unsup_asr.diagnostics import DiagnosisOptions
    from unsup_asr.diagnostics import diagnose as run

    options = DiagnosisOptions(pca=pca, clusters=clusters, segments_per_second=segments_per_second, seed=seed)
    stretches = read_kept(require(kept, "list of what was kept")) if kept is not None else None
    found = run(FeatureStore(features), read_alignment(alignment), kept=stretches, model=model, options=options)
    typer.echo(json.dumps(found.summary()) if as_json else str(found))
