"""Parts of a clip: which frames a share START:END of it holds."""

from __future__ import annotations

import math

_ROUNDING = 1e-9  # of a frame: 0.29 of 100 frames is 28.999999999999996


def frames_of_share(share: tuple[float, float], length: int) -> range:
    """The frames of a part of a clip; parts that meet have no frame in common, and none lies between them.

    So what is trained on up to a share is not measured from it on. A part of less than a frame may be empty.

    Args:
        share: START and END in 0..1.
        length: frames of the clip.

    Example:
        >>> frames_of_share((0.0, 0.8), 128), frames_of_share((0.8, 1.0), 128)
        (range(0, 102), range(102, 128))
    """
    start, end = (math.floor(part * length + _ROUNDING) for part in share)
    return range(start, end)
