"""`fomm`: first-order motion [FOMM]: keypoints that a network learned by itself move the picture.

Driver and source are pictures alone, of anything that its checkpoint was trained on. It has no weights of its
own: train them (`training.recipes.fomm`) or convert published ones (`warping.importers.fomm`).
"""

from __future__ import annotations

from ..keypoint_animator import KeypointAnimator
from ..keypoint_network import KeypointNetworkConfig
from . import register


@register(KeypointNetworkConfig)
class FommAnimator(KeypointAnimator):
    """See the module and `warping.keypoint_animator`."""

    name = "fomm"
