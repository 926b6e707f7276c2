"""Numbers as heat, and disparity in it; the cloud of [DaGAN] Fig. 9 is drawn by `clouds`.

Pictures are float RGB (3, H, W) in [0, 1].
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from .draw import Picture

_STEPS = (
    (0.0, 0.0, 0.02),
    (0.23, 0.06, 0.35),
    (0.55, 0.16, 0.51),
    (0.9, 0.32, 0.39),
    (1.0, 0.64, 0.42),
    (1.0, 0.98, 0.75),
)


def heat_colours(values: Float[Tensor, "*N"]) -> Float[Tensor, "*N 3"]:
    """Values in [0, 1] as colours from black through violet and orange to a pale yellow; brightness grows.

    Example:
        >>> import torch
        >>> [round(float(colour.sum()), 2) for colour in heat_colours(torch.tensor([0.0, 0.5, 1.0]))]
        [0.02, 1.41, 2.73]
    """
    table = values.new_tensor(_STEPS)
    place = values.clamp(0, 1) * (len(table) - 1)
    low = place.floor().clamp(max=len(table) - 2)
    share = (place - low)[..., None]
    return table[low.long()] * (1 - share) + table[low.long() + 1] * share


def disparity_colours(disparity: Float[Tensor, "1 H W"]) -> Picture:
    """Near is bright, far dark, evenly in disparity; the extreme hundredths at either end are cut off.

    Args:
        disparity: inverse depth in any unit.
    """
    low, high = np.quantile(disparity.detach().float().cpu().numpy(), (0.01, 0.99)).tolist()
    return heat_colours((disparity[0] - low) / max(high - low, 1e-12)).permute(2, 0, 1)  # (3, H, W)
