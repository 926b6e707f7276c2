"""Geometry sources: each makes `geom.guidance.Guidance` of what is known of source and driver."""
