"""Synthetic heads: procedural people, lights and backgrounds with exact ground truth."""
