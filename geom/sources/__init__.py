"""Geometry sources: each turns what is known of source and driver into `geom.guidance.Guidance`; one file each."""
