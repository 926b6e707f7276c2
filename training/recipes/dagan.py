"""`dagan`: depth-aware talking heads [DaGAN]: keypoints found in RGB and depth, attention asked by depth.

Modes: ``dagan/own`` is ours, ``dagan/official`` the public code, ``dagan/paper`` what is written, and
``dagan/baseline`` its Table 4's "Baseline", without depth. All but the last need a depth network that was
trained before: ``--set depth_weights=FILE``. Rows of Table 4, each with that where depth is looked at:

| row | recipe and ``--set`` |
|---|---|
| Baseline | ``dagan/baseline`` |
| w/ FDN | ``dagan/baseline``, ``depth_keypoints=true`` |
| w/ CAM | ``dagan/baseline``, ``attention=depth`` |
| Ours (SA) | ``dagan/baseline``, ``depth_keypoints=true``, ``attention=self`` |
| DaGAN | ``dagan/baseline``, ``depth_keypoints=true``, ``attention=depth`` |
| FOMM | ``fomm/own`` |
| FOMM w/ FDN | ``fomm/own``, ``depth_keypoints=true`` |
| FOMM w/ CAM | ``fomm/own``, ``attention=depth`` |
| FOMM w/ FDN + CAM | ``fomm/own``, ``depth_keypoints=true``, ``attention=depth`` |

(SA: the supplement says that depth is disabled in the attention module; its pose error of 5.18 degrees, the
baseline's 5.39, looks as if its keypoints had none either.) ``dagan/own`` differs from that DaGAN in its
Jacobians, which the public code has and the paper has not. As published, the loss that is to keep keypoints
apart has no gradient (`losses.keypoint_distance`); ours has.
"""

from __future__ import annotations

from typing import Any

from ...geom import thin_plate
from ...warping.keypoint_network import baseline, dagan, dagan_official, dagan_paper
from .. import keypoint_discriminator
from ..losses import adversarial, equivariance, keypoint_distance
from . import register
from ._keypoint_networks import SIZES
from ._keypoints import KeypointRecipe, KeypointRecipeConfig, sized

__all__ = ["MODES", "SIZES", "DaganRecipe", "KeypointRecipeConfig", "sized"]

_GAME: dict[str, Any] = {
    "adversarial": adversarial.OFFICIAL,
    "discriminator": keypoint_discriminator.DAGAN,
}
MODES = {
    "own": KeypointRecipeConfig(network=dagan(), **_GAME),
    "official": KeypointRecipeConfig(
        mode="official",
        network=dagan_official(),
        pixel_weight=0.0,
        maps=thin_plate.OFFICIAL,
        equivariance=equivariance.OFFICIAL,
        distance=keypoint_distance.OFFICIAL,
        **_GAME,
    ),
    "paper": KeypointRecipeConfig(
        mode="paper",
        network=dagan_paper(),
        pixel_weight=0.0,
        equivariance=equivariance.DAGAN,
        distance=keypoint_distance.PAPER,
        adversarial=adversarial.OFFICIAL,
    ),
    "baseline": KeypointRecipeConfig(
        mode="baseline",
        network=baseline(),
        **_GAME,
    ),
}


@register(MODES)
class DaganRecipe(KeypointRecipe):
    """See the module and `_keypoints`."""

    family = "dagan"
