"""Photos and clips in and out: the one door to files with pictures in them.

Frames are uint8 (H, W, 3) RGB arrays in display orientation. Clips are read and written as streams, one frame
in memory at a time. What is wrong with a file is a :class:`~headwarp.geom.errors.MediaError` of one sentence,
or, where the rest is usable, a note on the reader. Every file is written under a temporary name and renamed.
"""

from __future__ import annotations

from ...geom.errors import MediaError
from ._images import ScaledImage, read_image, read_image_limited, to_rgb_array, write_image
from ._probe import MediaInfo, list_images, probe
from ._read_ahead import read_ahead
from ._video_reader import VideoReader
from ._video_writer import VideoWriter, check_encoder, exact_fps

__all__ = [
    "MediaError",
    "MediaInfo",
    "ScaledImage",
    "VideoReader",
    "VideoWriter",
    "check_encoder",
    "exact_fps",
    "list_images",
    "probe",
    "read_ahead",
    "read_image",
    "read_image_limited",
    "to_rgb_array",
    "write_image",
]
