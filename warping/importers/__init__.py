"""Weights of other projects read key by key: what was loaded, what was missing, what was not expected."""
