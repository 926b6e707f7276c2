"""How alike two faces are, by embeddings of a recognition network that the user brings.

Functions take embeddings, (T, D) each, one a frame. `aligned_faces` cuts the pictures that such networks
read. Nothing here stands in for a network: without weights these metrics are absent.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import ShapeError
from ...geom.transforms import umeyama

__all__ = ["ARCFACE_TEMPLATE", "aed_id", "aed_id_sq", "aligned_faces", "csim", "five_points"]

ARCFACE_TEMPLATE = (
    (38.7946, 52.1963),
    (74.0318, 52.0014),
    (56.5252, 72.2366),
    (42.0493, 92.8655),
    (71.2299, 92.7041),
)
"""Where the eyes, the tip of the nose and the corners of the mouth lie in the 112 px picture that networks
trained as [ArcFace] read, pixel centres at +0.5. Published with centres at whole numbers, half a pixel less.
"""
SIDE = 112
_RIGHT_EYE, _LEFT_EYE, _NOSE_TIP, _MOUTH_CORNERS = slice(36, 42), slice(42, 48), 30, (48, 54)


def csim(generated: Float[Tensor, "T D"], reference: Float[Tensor, "T D"]) -> Float[Tensor, " T"]:
    """Cosine of the angle between embeddings, in [-1, 1]; higher is more alike.

    Args:
        generated: embeddings of the generated faces.
        reference: of the true frames, or of the sources [PWM, section 3].

    Raises:
        ShapeError: shapes differ, a value is not finite, or an embedding is 0.

    Example:
        >>> csim(torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 8.0]])).tolist()
        [1.0]
    """
    first, second = _checked(generated, reference)
    for name, vectors in (("generated", first), ("reference", second)):
        if bool((vectors.norm(dim=1) == 0).any()):
            raise ShapeError(f"{name}: expected embeddings with a direction, got one of length 0.")
    return (F.normalize(first, dim=1) * F.normalize(second, dim=1)).sum(1)


def aed_id(generated: Float[Tensor, "T D"], reference: Float[Tensor, "T D"]) -> Float[Tensor, " T"]:
    """Euclidean distance of embeddings: what the text of [FOMM] says under the name AED.

    The length of the embeddings is the network's: OpenFace's is 1.

    Args:
        generated: embeddings of the generated faces.
        reference: of the true frames.

    Raises:
        ShapeError: shapes differ, or a value is not finite.

    Example:
        >>> aed_id(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])).tolist()
        [5.0]
    """
    first, second = _checked(generated, reference)
    return (first - second).norm(dim=1)


def aed_id_sq(generated: Float[Tensor, "T D"], reference: Float[Tensor, "T D"]) -> Float[Tensor, " T"]:
    """Sum of squared differences of embeddings: what the published script of [FOMM] computes as AED.

    Args:
        generated: embeddings of the generated faces.
        reference: of the true frames.

    Raises:
        ShapeError: shapes differ, or a value is not finite.

    Example:
        >>> aed_id_sq(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])).tolist()
        [25.0]
    """
    first, second = _checked(generated, reference)
    return (first - second).square().sum(1)


def five_points(landmarks: Float[Tensor, "68 2"]) -> Float[Tensor, "5 2"]:
    """Middles of the eyes (the image's left one first), tip of the nose, mouth corners, of 68 points.

    Raises:
        ShapeError: not 68 points.

    Example:
        >>> points = torch.zeros(68, 2)
        >>> points[30] = torch.tensor([64.0, 70.0])
        >>> five_points(points)[2].tolist()  # the tip of the nose
        [64.0, 70.0]
    """
    if tuple(landmarks.shape) != (68, 2):
        raise ShapeError(f"landmarks: expected (68, 2), got {tuple(landmarks.shape)}.")
    eyes = [landmarks[_RIGHT_EYE].mean(0), landmarks[_LEFT_EYE].mean(0)]
    return torch.stack([*eyes, landmarks[_NOSE_TIP], *(landmarks[i] for i in _MOUTH_CORNERS)])


def aligned_faces(
    images: Float[Tensor, "B 3 H W"], landmarks: Float[Tensor, "B 68 2"], *, side: int = SIDE
) -> Float[Tensor, "B 3 S S"]:
    """Faces brought to `ARCFACE_TEMPLATE` by the similarity of five points, as [PWM, section 3] aligns them.

    Sampling is bilinear, black beyond the frame, without a filter against aliasing: recognition networks were
    trained on pictures made so.

    Args:
        images: pictures, RGB in [0, 1].
        landmarks: 68 points of the one face in each, pixels.
        side: of the result; the template is scaled to it.

    Returns:
        RGB in [0, 1]. Differentiable in the images.

    Raises:
        ShapeError: shapes do not agree, or a point is not finite.

    Example:
        >>> points = torch.rand(1, 68, 2) * 100
        >>> aligned_faces(torch.rand(1, 3, 128, 128), points).shape
        torch.Size([1, 3, 112, 112])
    """
    if images.ndim != 4 or images.shape[1] != 3 or landmarks.shape != (len(images), 68, 2):
        got = f"{tuple(images.shape)} and {tuple(landmarks.shape)}"
        raise ShapeError(f"images, landmarks: expected (B, 3, H, W) and (B, 68, 2), got {got}.")
    target = torch.tensor(ARCFACE_TEMPLATE, dtype=torch.float64) * (side / SIDE)
    grids = [_grid(five_points(points.double().cpu()), target, side) for points in landmarks]
    height, width = images.shape[2:]
    if not grids:
        return images.new_zeros(0, 3, side, side)
    pixels = torch.stack(grids).to(images)  # (B, S, S, 2)
    grid = 2 * pixels / pixels.new_tensor([width, height]) - 1
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _grid(points: Float[Tensor, "5 2"], target: Float[Tensor, "5 2"], side: int) -> Float[Tensor, "S S 2"]:
    """Pixels of the picture under the pixel centres of the aligned face."""
    fitted = umeyama(points, target)
    centres = torch.arange(side, dtype=torch.float64) + 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    loose = torch.stack([x, y], dim=-1) - fitted.translation
    return loose @ fitted.rotation / fitted.scale  # rows times R: the inverse rotation


def _checked(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    if first.ndim != 2 or first.shape != second.shape:
        got = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise ShapeError(f"generated, reference: expected two (T, D) of one shape, got {got}.")
    for name, vectors in (("generated", first), ("reference", second)):
        if not bool(torch.isfinite(vectors).all()):
            raise ShapeError(f"{name}: expected finite embeddings, got NaN or infinity.")
    return first.double(), second.double()
