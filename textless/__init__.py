"""Textless NLP: speech → encoder → discrete units → unit language model → speech, without any text.

This package is the foundation and the front door; the stages are the sibling packages `units`, `ulm`,
`vocoder`, `unsup_asr` and `zerospeech_eval`, and `textless.pipeline` composes them.
"""

__version__ = "0.1.0"
