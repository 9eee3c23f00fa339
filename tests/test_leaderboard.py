"""Published figures, and one's own among them."""

import json
from pathlib import Path

import pytest
from test_zerospeech_cli import run

from textless.errors import UserError
from zerospeech_eval.leaderboard import leaderboards
from zerospeech_eval.submission.layout import TASKS
from zerospeech_eval.submission.measures import Scores
from zerospeech_eval.submission.score import write_scores


def test_every_figure_is_a_number_with_a_source() -> None:
    for task in ("abxLS", "abx15", "abx17", "sLM21", "prosAudit", "tde15", "tde17", "tts0", "salmon", "storycloze"):
        for board in leaderboards(task):
            assert board.entries
            for entry in board.entries:
                assert entry.source
                assert set(entry.figures) <= set(board.measures)
    figures = {e.system: e.figures for b in leaderboards("sLM21") for e in b.entries}
    assert figures["BERT baseline"]["lexical_all"] == 67.7
    with pytest.raises(UserError, match="no published figures of 'abx'; there are some of abx15"):
        leaderboards("abx")


def test_ranks_are_those_of_the_measure() -> None:
    (board,) = leaderboards("prosAudit", {"test": {"lexical": 72.0, "unheard of": 1.0}, "dev": {"lexical": 99.0}}, "me")
    names = [entry.system for entry in board.ranked("lexical")]
    assert names[:3] == ["pGSLM discrete, shifted", "me", "pGSLM continuous, shifted"]
    assert board.ranked("protosyntax")[-1].system == "me", "without that figure, last"
    assert board.measures == ["protosyntax", "lexical"]
    errors = leaderboards("abxLS", {"triphone-within": {"test-clean within": 3.0}}, "me")[0]
    assert [entry.system for entry in errors.ranked()].index("me") == 2, "the lower the better"
    with pytest.raises(UserError, match="has no 'speed'"):
        board.ranked("speed")
    with pytest.raises(UserError, match="none of these figures is in a published table of prosAudit: test"):
        leaderboards("prosAudit", {"dev": {"lexical": 99.0}}, "me")


def test_from_scores_to_a_line(tmp_path: Path) -> None:
    scores = Scores()
    scores.add("test", protosyntax=80.0, lexical=None)
    write_scores(tmp_path, TASKS["prosAudit"], scores)
    result = run("leaderboard", "prosAudit", "--ours", tmp_path, "--name", "our model")
    lines = result.stdout.splitlines()
    assert lines[0] == "prosAudit test"
    assert lines[2].split() == ["→", "our", "model", "80.00", "-"]
    assert len(lines) == 2 + 9
    report = json.loads(run("leaderboard", "prosAudit", "--ours", tmp_path, "--by", "protosyntax", "--json").stdout)
    assert report["tables"]["test"][0]["figures"] == {"protosyntax": 80.0}
    with pytest.raises(UserError, match="holds scores of prosAudit, not of sLM21"):
        run("leaderboard", "sLM21", "--ours", tmp_path)
    with pytest.raises(UserError, match="no table 'dev'"):
        run("leaderboard", "prosAudit", "--table", "dev")
    assert "van Niekerk" in run("leaderboard", "tts0").stdout
