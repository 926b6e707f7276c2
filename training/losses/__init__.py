"""Losses: pure functions, one family a file."""
