"""`fomm`: first-order motion [FOMM]: keypoints and the affine frames around them, learned from clips alone.

Modes: ``fomm/own`` is ours; ``fomm/official`` the public code's ``vox-256``, without a game, and
``fomm/official-adv`` its ``vox-adv-256``, which goes on from that (``--set start=FILE``) with one;
``fomm/paper`` is what [FOMM] writes, which has no game either. What ``own`` repairs, each a field of its own:

| repair | field | as published |
|---|---|---|
| maps bend in both axes | ``maps.axes`` | ``diagonal`` |
| by the Euclidean distance | ``maps.radius``, ``maps.bend_sigma`` | ``city_block``, 0.005 |
| lattices by half pixels | ``network.keypoints.align_corners``, ``network.motion.align_corners`` | true |
| heat maps as large as what they show | ``network.keypoints.padding`` | 0 |
| Jacobians inverted up to a condition | ``condition_guard`` in ``network.motion``, ``equivariance`` | null |
| keypoints keep apart | ``distance`` | null |
| colours count beside features | ``pixel_weight`` | 0 |

[DaGAN]'s depth keypoints and attention switch on by ``depth_keypoints``, ``attention`` and ``depth_weights``:
see `dagan`. The learning rate's steps down, by tenths at some epochs in the public code and at fractions of
the training in the paper, are not kept: the engine has constant and cosine.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ...geom import thin_plate
from ...warping.keypoint_network import fomm, fomm_official, fomm_paper
from .. import keypoint_discriminator
from ..losses import adversarial, equivariance
from . import register
from ._keypoint_networks import SIZES
from ._keypoints import KeypointRecipe, KeypointRecipeConfig, sized

__all__ = ["MODES", "SIZES", "FommRecipe", "KeypointRecipeConfig", "sized"]

_PUBLISHED: dict[str, Any] = {
    "pixel_weight": 0.0,
    "equivariance": equivariance.OFFICIAL,
    "distance": None,
}
_OFFICIAL = KeypointRecipeConfig(
    mode="official",
    network=fomm_official(),
    maps=thin_plate.OFFICIAL,
    **_PUBLISHED,
)
MODES = {
    "own": KeypointRecipeConfig(
        network=fomm(),
        discriminator=keypoint_discriminator.VOX_ADVERSARIAL,
    ),
    "official": _OFFICIAL,
    "official-adv": dataclasses.replace(
        _OFFICIAL,
        mode="official-adv",
        adversarial=adversarial.OFFICIAL,
        discriminator=keypoint_discriminator.VOX_ADVERSARIAL,
    ),
    "paper": KeypointRecipeConfig(mode="paper", network=fomm_paper(), maps=thin_plate.PAPER, **_PUBLISHED),
}


@register(MODES)
class FommRecipe(KeypointRecipe):
    """See the module and `_keypoints`."""

    family = "fomm"
