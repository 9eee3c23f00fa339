"""ASR–TTS cycles: a recogniser and a synthesizer that teach each other with speech and text that are not paired."""
