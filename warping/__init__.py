"""Pictures from guidance: animators, composition, checkpoints. Knows nothing of head models (see `geom.guidance`)."""
