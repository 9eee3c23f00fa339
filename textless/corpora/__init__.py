"""Corpora: an embedded synthetic one with ground truth at every level, alignments, and ABX item files."""
