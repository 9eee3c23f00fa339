"""Seeds of what is random in one update: a function of the run's seed, the update and the process alone."""

import numpy as np


def mixed_seed(*numbers: int) -> int:
    """63 bits that depend on all the numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1
