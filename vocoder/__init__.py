"""The vocoder: units to waveform."""
