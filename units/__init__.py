"""Discrete units: fitting quantizers, encoding speech, statistics of unit sequences."""
