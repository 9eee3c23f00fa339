"""Who speaks, as a vector: an encoder of voices, its training, and files of embeddings."""
