"""Training speech encoders without labels: one file per objective, one loop for all."""
