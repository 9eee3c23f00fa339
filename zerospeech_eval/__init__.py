"""ZeroSpeech evaluators: ABX of features, sWUGGY and sBLIMP of unit language models, phone error rate of speech."""
