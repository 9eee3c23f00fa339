"""A language of words of random phones, some frequent and most rare, and its sound: one noisy vector a phone."""

import numpy as np

N_WORDS = 300


class Language:
    """Sentences of `n_phones` phones in random order of words; from each phone few others follow."""

    def __init__(self, seed: int, n_phones: int = 20) -> None:
        random = np.random.default_rng(seed)
        following = random.dirichlet(np.full(n_phones, 0.15), n_phones)
        self.words = []
        for length in random.integers(2, 7, N_WORDS):
            word = [random.integers(n_phones)]
            while len(word) < length:
                word.append(random.choice(n_phones, p=following[word[-1]]))
            self.words.append(np.array(word))
        self.frequency = 1 / np.arange(3, 3 + N_WORDS)
        self.frequency /= self.frequency.sum()

    def sentences(self, n: int, seed: int) -> list[np.ndarray]:
        """So many, each of 4 to 11 words."""
        random = np.random.default_rng(seed)
        lengths = random.integers(4, 12, n)
        return [np.concatenate([self.words[w] for w in random.choice(N_WORDS, k, p=self.frequency)]) for k in lengths]


def unequal_neighbours(sentence: np.ndarray) -> np.ndarray:
    """A sentence in which no phone follows itself."""
    return sentence[np.append(True, sentence[1:] != sentence[:-1])]


def spoken_rows(
    sentences: list[np.ndarray], seed: int, *, n_phones: int, dim: int, noise: float, repeated: float
) -> list[np.ndarray]:
    """Rows `(N, dim)` of sentences, as pooled segments are: one a phone, and for a share of the phones two."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((n_phones, dim))
    found = []
    for sentence in sentences:
        said = np.repeat(sentence, 1 + (random.random(len(sentence)) < repeated))
        found.append((vectors[said] + noise * random.standard_normal((len(said), dim))).astype(np.float32))
    return found


def spoken_frames(sentences: list[np.ndarray], seed: int, *, n_phones: int, dim: int, noise: float) -> list[np.ndarray]:
    """Frames `(T, dim)` of sentences: a phone lasts 2 frames and some, every time with another error and jitter."""
    random = np.random.default_rng(seed)
    vectors = np.random.default_rng(99).standard_normal((n_phones, dim))
    found = []
    for sentence in sentences:
        durations = 2 + random.poisson(2, len(sentence))
        said = vectors[sentence] + noise * random.standard_normal((len(sentence), dim))
        frames = np.repeat(said, durations, axis=0)
        found.append((frames + 0.5 * random.standard_normal(frames.shape)).astype(np.float32))
    return found
