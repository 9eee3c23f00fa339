"""The unit language model: training, scoring and generation, with n-gram baselines."""
