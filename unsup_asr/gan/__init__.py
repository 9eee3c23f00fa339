"""wav2vec-U: a generator of phones and a discriminator that knows what phones of text look like."""
