"""Parametric heads: the model and its files, landmarks, detection, and fitting to photos and clips.

`model` poses a head, `io` reads FLAME files and this library's own, `params` says what a fit holds. Nothing
here knows of the networks in `headwarp.warping`; what passes between them are plain tensors and
`headwarp.geom` types.
"""
