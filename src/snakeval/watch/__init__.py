"""Checkpoints as they appear: complete folders join at the next look, each is evaluated once."""
