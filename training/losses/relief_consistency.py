"""Two pictures of one head must get one relief: what one says, moved as the head did, the other says.

Photometric errors say nothing of plain skin. Where it is seen against something else, in another frame that
shows it from the side, its relief is known; this carries it over. The idea is the geometry consistency of
Bian et al., Unsupervised scale-consistent depth and ego-motion learning from monocular video (2019);
differences of reliefs here, which are counted from unknown surfaces, so that a constant is taken away.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import HeadwarpError
from ...geom.flow import sample
from ...geom.rigid_alignment import SurfaceMotion, relief_after, seen_at


def relief_disagreement(
    target: Float[Tensor, "B 1 H W"],
    source: Float[Tensor, "B 1 H W"],
    motion: SurfaceMotion,
    weight: Float[Tensor, "#B 1 H W"],
    *,
    softness: float = 0.05,
) -> Float[Tensor, " B"]:
    """How far two reliefs disagree, weighted mean over the target's pixels that stay in the frame, in widths.

    Small differences count by their square over ``2 softness``, large ones, at what is hidden in one of the
    pictures, by their logarithm. The gradient flows into both reliefs.

    Args:
        target, source: reliefs, away from the camera, in widths at their mean surfaces.
        motion: from target to source.
        weight: of the target's pixels, not negative; where all are zero the result is zero.
        softness: difference that counts as large.

    Raises:
        HeadwarpError: a softness that is not above zero.
    """
    if not softness > 0:
        raise HeadwarpError(f"relief_disagreement: softness: expected above 0, got {softness}")
    places = seen_at(target, motion)
    size = places.new_tensor([target.shape[3], target.shape[2]])[:, None, None]
    inside = ((places > 0) & (places < size)).all(1, keepdim=True)
    share = weight * inside
    share = share / share.sum((2, 3), keepdim=True).clamp_min(torch.finfo(share.dtype).tiny)
    off = relief_after(target, motion) - sample(source, places)
    off = off - (off * share).sum((2, 3), keepdim=True)
    return (0.5 * softness * torch.log1p((off / softness).square()) * share).sum((1, 2, 3))
