"""`dagan`: first-order motion with depth [DaGAN]: keypoints found in colour and depth, attention by depth.

As `fomm`, driver and source are pictures alone. Depth of the source is estimated once; that of a driving
frame only where its keypoints are found in it, and not where they are given. It has no weights of its own:
train them (`training.recipes.dagan`) or convert published ones.
"""

from __future__ import annotations

from ..keypoint_animator import KeypointAnimator
from ..keypoint_network import KeypointNetworkConfig
from . import register


@register(KeypointNetworkConfig)
class DaganAnimator(KeypointAnimator):
    """See the module and `warping.keypoint_animator`."""

    name = "dagan"
