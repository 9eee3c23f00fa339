"""From probabilities of phones to phones and words."""
