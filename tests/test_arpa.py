"""ARPA files: what was written is read again, by us and by KenLM's own reader; any smoothing can be read."""

from pathlib import Path

import numpy as np
import pytest

from textless.errors import UserError
from units.arpa import read_arpa, write_arpa
from units.kneser_ney import NgramModel

K = 6


def sequences(seed: int, n: int = 200) -> list[list[int]]:
    random = np.random.default_rng(seed)
    following = random.dirichlet(np.full(K, 0.4), K)
    found = []
    for length in random.integers(1, 15, n):
        sequence = [int(random.integers(K))]
        while len(sequence) < length:
            sequence.append(int(random.choice(K, p=following[sequence[-1]])))
        found.append(sequence)
    return found


@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_written_model_gives_the_same_probabilities(tmp_path: Path, order: int) -> None:
    model = NgramModel.fit(sequences(0), K, order)
    write_arpa(tmp_path / "lm.arpa", model, list("abcdef"))
    again, symbols = read_arpa(tmp_path / "lm.arpa")
    assert symbols == list("abcdef")
    for ours, theirs in zip(model.log_probs(sequences(1, 50)), again.log_probs(sequences(1, 50)), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=2e-6, atol=2e-6)  # seven digits are written


def test_any_reader_gets_these_probabilities_by_backing_off(tmp_path: Path) -> None:
    """The rule of the format, word by word: the longest listed n-gram, times the back-off weights on the way to it."""
    model = NgramModel.fit(sequences(0), K, 3)
    write_arpa(tmp_path / "lm.arpa", model, list("abcdef"))
    logs, weights = {}, {}
    for line in (tmp_path / "lm.arpa").read_text().splitlines():
        if "\t" in line:
            log, words, *weight = line.split("\t")
            logs[tuple(words.split())] = float(log)
            weights[tuple(words.split())] = float(weight[0]) if weight else 0.0

    def log10(history: tuple[str, ...], word: str) -> float:
        if (*history, word) in logs:
            return logs[(*history, word)]
        return weights.get(history, 0.0) + log10(history[1:], word)

    for sequence in sequences(2, 30):
        words = ["<s>", *("abcdef"[unit] for unit in sequence), "</s>"]
        expected = [log10(tuple(words[max(0, i - 2) : i]), words[i]) for i in range(1, len(words))]
        np.testing.assert_allclose(model.log_probs([sequence])[0] / np.log(10), expected, rtol=1e-5, atol=1e-5)


FOREIGN = r"""
\data\
ngram 1=4
ngram 2=2

\1-grams:
-99	<s>	-0.30103
-0.5	</s>
-0.4	a	-0.2
-0.9	<unk>

\2-grams:
-0.1	<s> a
-0.7	a a

\end\
"""


def test_a_model_that_does_not_interpolate_is_read_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "lm.arpa").write_text(FOREIGN)
    model, symbols = read_arpa(tmp_path / "lm.arpa")
    assert symbols == ["a", "<unk>"]
    assert model.log_probs([[0, 0, 1]])[0] / np.log(10) == pytest.approx([-0.1, -0.7, -0.2 - 0.9, -0.5])
    assert model.log_probs([[1]])[0][0] / np.log(10) == pytest.approx(-0.30103 - 0.9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello\n", "not a whole ARPA file"),
        (FOREIGN.replace("\\end\\", ""), "not a whole ARPA file"),
        (FOREIGN.replace("-0.7\ta a\n", ""), "not a whole ARPA file"),
        (FOREIGN.replace("a a", "a b"), "no unigram"),
        (FOREIGN.replace("-0.7\ta a", "zero\ta a"), ":14 is not a line"),
    ],
)
def test_what_is_not_an_arpa_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "lm.arpa").write_text(text)
    with pytest.raises(UserError, match=said):
        read_arpa(tmp_path / "lm.arpa")


@pytest.mark.parametrize("symbols", [list("aabcde"), ["a b", *"cdefg"], ["<s>", *"bcdef"]])
def test_symbols_that_the_format_cannot_hold_are_refused(tmp_path: Path, symbols: list[str]) -> None:
    with pytest.raises(UserError):
        write_arpa(tmp_path / "lm.arpa", NgramModel.fit(sequences(0), K, 2), symbols)
