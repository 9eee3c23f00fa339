"""The ZeroSpeech evaluators: they read the files of any stage."""
