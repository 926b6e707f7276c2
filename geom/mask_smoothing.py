"""Soft masks held steady over a clip: the last mask, carried along with the head, has a say in the next.

A segmenter looks at each frame alone, so that hair and collar flicker. Averaging in place would leave ghosts
behind a head that moves; the masks are therefore averaged on the head.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .alignment import affine_flow
from .errors import ShapeError
from .flow import in_frame, warp

SHARE = 0.5


def steadied_mask(
    mask: Float[Tensor, "B 1 H W"],
    before: Float[Tensor, "B 1 H W"],
    motion: Float[Tensor, "B 2 3"],
    *,
    share: float = SHARE,
) -> Float[Tensor, "B 1 H W"]:
    """The mask of a frame averaged with that of the frame before, moved to where the head now is.

    Step by step this is an exponential mean with a memory of ``1 / (1 - share)`` frames. What lay outside the
    frame before is the new mask's alone. Differentiable in both masks.

    Args:
        mask: of this frame, in [0, 1].
        before: what this function gave for the frame before.
        motion: affine map from points of this frame to the same of the frame before, in pixels, such as
            `head_motion`'s.
        share: of the old mask, in [0, 1); 0 leaves the new one as it is.

    Raises:
        ShapeError: masks of different sizes, or a share that is none.

    Example:
        >>> still = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
        >>> old, new = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
        >>> steadied_mask(new, old, still, share=0.5)[0, 0].tolist()
        [[0.5, 0.5], [0.5, 0.5]]
    """
    if mask.ndim != 4 or mask.shape != before.shape or mask.shape[1] != 1:
        raise ShapeError(
            f"steadied_mask: expected two (B, 1, H, W), got {tuple(mask.shape)}, {tuple(before.shape)}"
        )
    if not 0 <= share < 1:
        raise ShapeError(f"steadied_mask: expected a share in [0, 1), got {share}")
    flow = affine_flow(motion, (mask.shape[2], mask.shape[3]))
    weight = share * in_frame(flow)
    return mask + weight * (warp(before, flow) - mask)


def head_motion(now: Float[Tensor, "N 2"], before: Float[Tensor, "N 2"]) -> Float[Tensor, "1 2 3"]:
    """The similarity that takes points of a head in one frame best to those in the frame before.

    Least squares [Umeyama 1991] in the plane; points that are not finite in either are left out.

    Args:
        now: in pixels, such as landmarks of the rigid part of the head.
        before: the same points in the frame before.

    Returns:
        An affine map for `steadied_mask`; the identity where fewer than two points are known.

    Raises:
        ShapeError: not the same points twice.

    Example:
        >>> points = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 2.0]])
        >>> head_motion(points, points + 1)[0, :, 2].round().tolist()  # where the origin goes
        [1.0, 1.0]
    """
    if now.shape != before.shape or now.ndim != 2 or now.shape[1] != 2:
        raise ShapeError(
            f"head_motion: expected (N, 2) twice, got {tuple(now.shape)} and {tuple(before.shape)}"
        )
    kept = torch.isfinite(now).all(1) & torch.isfinite(before).all(1)
    here, there = now[kept], before[kept]
    identity = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]]).to(now)
    if len(here) < 2:
        return identity
    a, b = here - here.mean(0), there - there.mean(0)
    size = a.square().sum()
    if not bool(size > 0):
        return identity
    cos = (a * b).sum() / size
    sin = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / size
    turn = torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])])
    return torch.cat([turn, (there.mean(0) - turn @ here.mean(0))[:, None]], 1)[None]  # (1, 2, 3)
