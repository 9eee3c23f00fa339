"""Submissions to the ZeroSpeech benchmarks: written, checked offline, and scored."""
