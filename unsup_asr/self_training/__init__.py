"""Self-training: a network of frames learns from what an HMM with the n-grams of text makes of its own guesses."""
