"""Evaluators, ZeroSpeech's and their kin: of features, units, language models, discovered terms and speech."""
