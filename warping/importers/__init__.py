"""Weights of other projects read key by key: what was loaded, what was missing, what was not expected.

One file a project: `gdpw` ([PWM]), `fomm`, `dagan`, `depth` (DaGAN's face depth and pose networks). It knows
its key names and says which of our configs they are; `kinds` tells whose a file is, `conversion` puts the
files of one animator together, whatever their order. `key_table` does what all of them share,
`keypoint_files` and `keypoint_shapes` what the keypoint animators do, `torch_files` reads the files without
running what is in them.
"""
