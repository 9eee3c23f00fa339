"""Unsupervised speech recognition and ASR–TTS cycle training, above all other stages."""
