"""Waveforms: reading, writing and resampling files, manifests, and padded batches."""
