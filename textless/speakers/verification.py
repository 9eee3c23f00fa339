"""Speaker verification: is this the voice of that speaker? How often a threshold on the similarity is wrong."""

import numpy as np


def equal_error_rate(same: np.ndarray, different: np.ndarray) -> float:
    """Error rate at the threshold that rejects as many trials of the same speaker as it accepts of different ones.

    The curve of (false acceptances, false rejections) over all thresholds, joined by straight lines, is met with the
    diagonal; a trial is accepted if its score reaches the threshold.

    Args:
        same: `(N,)` scores of trials of one speaker, higher for more similar voices.
        different: `(M,)` scores of trials of two speakers.

    Raises:
        ValueError: there are no trials of one kind.
    """
    if not len(same) or not len(different):
        raise ValueError("an equal error rate needs trials of the same speaker and of different ones")
    thresholds = np.concatenate([np.unique(np.concatenate([same, different])), [np.inf]])
    rejected = np.searchsorted(np.sort(same), thresholds, side="left") / len(same)  # rises with the threshold
    accepted = 1 - np.searchsorted(np.sort(different), thresholds, side="left") / len(different)  # falls
    gap = rejected - accepted
    after = int(np.argmax(gap >= 0))  # gap is -1 at the lowest threshold, 1 at the highest
    before = after - 1
    share = -gap[before] / (gap[after] - gap[before])
    return float(rejected[before] + share * (rejected[after] - rejected[before]))


def pair_scores(vectors: np.ndarray, speakers: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of all pairs of unit vectors `(N, D)`: of the same speaker, and of different ones."""
    one, other = np.triu_indices(len(vectors), 1)
    cosines = (vectors @ vectors.T)[one, other]
    codes = np.unique(speakers, return_inverse=True)[1]
    equal = codes[one] == codes[other]
    return cosines[equal], cosines[~equal]
