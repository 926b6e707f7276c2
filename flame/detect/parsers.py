"""Region maps by a face-parsing network whose weights the user has: `BiSeNet` with the public weights."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from ...geom.crops import Crop, crop_image, head_crop
from ...geom.face_regions import HEAD
from ...geom.nets.weights import Backbone, load_backbone, load_backbone_file, require_pretrained
from ..params import HeadFit
from .regions import BISENET, RegionMap, check_inputs

SIZE = 512  # px that the public weights were trained on
_SCALE, _LIFT = 2.6, 0.05  # window in face sizes: about that of the pictures they were trained on


@dataclass
class ParsingSegmenter:
    """A parser of 19 classes.

    Attributes:
        backbone: the network and where its weights are from.
        device: where it runs.
    """

    backbone: Backbone
    device: torch.device

    def __post_init__(self) -> None:
        network = require_pretrained(self.backbone, by="segmentation bisenet")
        self._network = network.to(self.device)

    def segment(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        *,
        fit: HeadFit | None = None,
        frame: int = 0,
        person: Float[np.ndarray, "H W"] | None = None,
    ) -> RegionMap:
        """As `RegionSegmenter.segment`; a fit says where the face is, else all is parsed.

        ``person`` is not looked at.

        Raises:
            ShapeError: picture and fit do not belong together.
        """
        check_inputs(image, fit, frame, person)
        height, width = image.shape[:2]
        picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
        window = _window(fit, frame, (height, width))
        scores = self._scores(crop_image(picture, window, SIZE))
        shares = scores.softmax(1).cpu()  # (1, 19, S, S)
        head = shares[:, [int(region) for region in sorted(HEAD)]].sum(1, keepdim=True)
        labels = shares.argmax(1, keepdim=True).float()
        place = _grid(window, (height, width))
        whole = F.grid_sample(labels, place, mode="nearest", padding_mode="zeros", align_corners=False)
        soft = F.grid_sample(head, place, mode="bilinear", padding_mode="zeros", align_corners=False)
        origin = f"{self.backbone.name} {(self.backbone.sha256 or '')[:8]}".strip()
        return RegionMap(whole[0, 0].to(torch.uint8).numpy(), soft[0, 0].clamp(0, 1).numpy(), origin)

    @torch.no_grad()
    def _scores(self, image: Float[Tensor, "1 3 S S"]) -> Float[Tensor, "1 K S S"]:
        return self._network(image.to(self.device))


def load_bisenet(
    weights: str | os.PathLike[str] | None = None,
    *,
    weights_dir: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
) -> ParsingSegmenter:
    """The parser with public weights, or with a file of one's own of the same network.

    Args:
        weights: a file; None: the public weights that the user has fetched.
        weights_dir: where these lie; None: as `geom.nets.weights.load_backbone`.
        device: where it works.

    Raises:
        ModelFileError: no such file, or not of this network.
    """
    if weights is None:
        backbone = load_backbone(BISENET, weights_dir=weights_dir)
    else:
        backbone = load_backbone_file(weights, [BISENET])
    return ParsingSegmenter(backbone, torch.device(device))


def _window(fit: HeadFit | None, frame: int, size: tuple[int, int]) -> Crop:
    """Round the face; without one, a square round the picture."""
    points = None if fit is None else fit.landmarks[frame]
    if points is None or not bool(torch.isfinite(points).all(-1).any()):
        side = float(max(size))
        return Crop((size[1] - side) / 2, (size[0] - side) / 2, side)
    return head_crop(points, scale=_SCALE, lift=_LIFT)


def _grid(window: Crop, size: tuple[int, int]) -> Float[Tensor, "1 H W 2"]:
    """Where each pixel lies in the window, in [-1, 1]."""
    rows = (torch.arange(size[0]) + 0.5 - window.y) / window.side * 2 - 1
    columns = (torch.arange(size[1]) + 0.5 - window.x) / window.side * 2 - 1
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], -1)[None]  # (1, H, W, 2)
