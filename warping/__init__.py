"""Pictures from guidance: animators, composition. Knows nothing of head models (see `geom.guidance`)."""
