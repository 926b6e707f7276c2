"""Work over many inputs: a manifest that survives anything, atomic outputs, workers, Ray."""
