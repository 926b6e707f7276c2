"""Data, losses, metrics and training: the layer that puts head models and warping networks to work."""
