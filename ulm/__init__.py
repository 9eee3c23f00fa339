"""Unit language models: a Transformer and an n-gram model over discrete units, scoring and continuation."""
