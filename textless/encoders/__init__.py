"""Encoders: waveform to frames of features, behind one protocol."""
