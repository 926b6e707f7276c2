"""Frames of fitted clips with their regions, and heads in other colours: what blending is trained on."""
