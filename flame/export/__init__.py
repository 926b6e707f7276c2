"""A fit in the formats of other programs, one file a format: OBJ sequences, glTF 2.0, ARKit-52."""
