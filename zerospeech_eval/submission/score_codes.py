"""Scores of codes and discovered terms: tde17, tts0 and discophon."""

from collections.abc import Mapping
from pathlib import Path

from textless.corpora.alignment import Segment
from textless.corpora.items import read_items
from textless.features.store import FeatureFolder
from zerospeech_eval.bit_rate import bit_rate_of_features, read_filelist
from zerospeech_eval.classes import read_classes
from zerospeech_eval.precut_abx import Name, precut_abx
from zerospeech_eval.submission.dataset import Dataset
from zerospeech_eval.submission.measures import Row, Scores
from zerospeech_eval.submission.unit_lines import read_as_units
from zerospeech_eval.term_discovery import evaluate
from zerospeech_eval.transcribed_speech import read_speech, read_tiers
from zerospeech_eval.unit_phones import NAMINGS, summary


def score_tde17(parts: Mapping[str, Path], dataset: Dataset) -> Scores:
    """All measures of every language, in percent, and the file of the organisers' program."""
    scores = Scores()
    report = {}
    for language, path in parts.items():
        speech = read_speech(dataset.need(language, "alignment_phones"), dataset.need(language, "alignment_words"))
        found = evaluate(read_classes(path), speech)
        measures = {
            "ned": found.ned,
            "coverage": found.coverage,
            **{f"{name}_f": getattr(found, name).fscore for name in ("grouping", "token", "type", "boundary")},
        }
        scores.add(language, **{k: None if value is None else 100 * value for k, value in measures.items()})
        report[language] = {
            **{name: getattr(found, name).summary() for name in ("grouping", "boundary", "token", "type")},
            "nlp": {
                "nwords": found.type.found,
                "ned": found.ned,
                "coverage": found.coverage,
                "npairs": found.n_pairs,
                "type_recall_ceiling": found.type_recall_ceiling,
            },
        }
    scores.values["scores.json"] = report
    return scores


def score_tts0(parts: Mapping[str, Path], dataset: Dataset, distance: Name) -> Scores:
    """Bit rate, and ABX where the dataset has items, of all embeddings."""
    scores = Scores()
    rows: list[Row] = []
    for part, folder in parts.items():
        language, _, name = part.partition("/")
        if name == "wav":
            continue
        embeddings = FeatureFolder(folder)
        rate = bit_rate_of_features(embeddings, read_filelist(dataset.need(language, "bitrate_filelist")))
        item = dataset.find(language, "abx_item")
        error = None if item is None else 100 * precut_abx(read_items(item), embeddings, distance).value
        if name == "test":
            scores.add(language, abx=error, bitrate=rate.value)
        rows.append({"language": language, "embedding": name, "distance": distance, "abx": error, **rate.summary()})
    scores.tables["scores.csv"] = rows
    return scores


def score_discophon(parts: Mapping[str, Path], dataset: Dataset) -> Scores:
    """Phoneme discovery by language and set, in percent, counted every 10 ms as DiscoPhon does."""
    scores = Scores()
    rows: list[Row] = []
    for part, path in parts.items():
        tiers = read_tiers(dataset.need(part, "alignment_phones"))
        alignment = {
            file: [Segment(*row) for row in zip(tier.onsets, tier.offsets, tier.labels, strict=True)]
            for file, tier in tiers.items()
        }
        report = summary(read_as_units(path), alignment)
        for naming in NAMINGS:
            found = report[naming.replace("-", "_")]
            assert isinstance(found, dict)
            measures = {
                "pnmi": report["pnmi"],
                "per": found["phone_error_rate"],
                "f1": found["boundary_fscore"],
                "r_val": found["boundary_r_value"],
            }
            scores.add(f"{part} {naming}", **{k: None if v is None else 100 * v for k, v in measures.items()})
            language, _, name = part.partition("-")
            rows += [
                {"language": language, "split": name, "kind": naming, "metric": metric, "score": value}
                for metric, value in measures.items()
            ]
    scores.tables["scores.csv"] = rows
    return scores
