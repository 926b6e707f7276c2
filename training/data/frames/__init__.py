"""Clips without faces or fits to train on: packed, sampled, augmented and loaded."""
