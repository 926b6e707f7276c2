"""Pairs of frames to train on: clips and their fits packed, sampled, augmented and loaded."""
