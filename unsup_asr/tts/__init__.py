"""Text to speech as training needs it: phones and a voice to units of a quantizer or frames of an encoder."""
