"""`headwarp depth`: disparity, depth and a point cloud of a photo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from tyro.conf import Positional

from ..geom.crops import Crop, crop_image, head_crop
from ..geom.depth import STRIDE, point_cloud, stretched
from ..geom.depth_pose import Scene
from ..geom.errors import HeadwarpError, NoFaceError
from ..training.data.atomic import atomic_path
from ..training.data.media import write_image
from ..training.data.portrait import Frame, to_frame, to_image
from ..training.data.sheets import write_sheet
from .clouds import VIEWS, views_of, write_ply
from .inputs import check_folder
from .portrait import as_frames

STEP = 1e-4
"""What one grey level of the 16-bit depth picture stands for, as a share of the mean depth."""


@dataclass(frozen=True)
class Depth:
    """Disparity, depth and a point cloud of a photo, by a network that headwarp train depth made.

    Writes OUTPUT/NAME_disparity.png (for the eye), NAME_depth.png (16 bits), NAME.npz (the numbers, and K),
    NAME.ply (the cloud) and NAME_sheet.png (all of it, the cloud from three sides). Depth is known up to a
    factor: one photo does not say how large a head is. What lies behind the head is a guess.
    """

    photo: Positional[Path]
    """The photo, or a clip for its first frame."""
    checkpoint: Path
    """depth.safetensors of a training."""
    output: Path
    """Folder of the results."""
    size: int = 256
    """Longer side of the picture that the network sees, in pixels; that of its training is best."""
    crop: Literal["none", "head"] = "none"
    """head: find the face and take the window around it, as training clips are framed."""
    focal: float | None = None
    """Focal length in picture widths, where it is known; without it, what the network says."""
    cloud_above: float = 0.0
    """Leave points out of the cloud whose disparity is not above this, between 0 and 1: what lies behind."""


def run(config: Depth) -> dict[str, Any]:
    """The command.

    Returns:
        ``files`` (by what they are), ``size`` (height and width), ``focal_widths``, ``depth`` (least, median
        and largest), ``points``, ``crop`` (corner and side in the photo, or None).

    Raises:
        HeadwarpError: a photo, checkpoint or option that makes no sense.
    """
    _check(config)
    check_folder(config.output)
    picture = next(iter(as_frames(config.photo)))
    _check_photo(config.photo, picture)
    window = head_window(picture) if config.crop == "head" else None
    image = seen_image(picture, config.size, window)
    scene = scene_of(config.checkpoint, image, focal=config.focal)
    files, points = write_scene(
        config.output, config.photo.stem, image, scene, cloud_above=config.cloud_above
    )
    values = scene.depth.flatten()
    return {
        "files": {name: str(path) for name, path in files.items()},
        "size": list(image.shape[2:]),
        "focal_widths": float(scene.intrinsics[0, 0, 0]) / image.shape[3],
        "depth": [float(values.min()), float(values.median()), float(values.max())],
        "points": points,
        "crop": None if window is None else [window.x, window.y, window.side],
    }


def describe(report: Mapping[str, Any]) -> str:
    """What a person reads."""
    low, middle, high = report["depth"]
    return "\n".join(
        [
            f"depth from {low:.3f} to {high:.3f}, median {middle:.3f} (up to a factor); "
            f"focal length {report['focal_widths']:.2f} widths; {report['points']} points",
            *(f"{name}: {path}" for name, path in report["files"].items()),
        ]
    )


def seen_image(picture: Frame, side: int, window: Crop | None = None) -> Float[Tensor, "1 3 H W"]:
    """The picture, or a square window of it, as a network sees it: both sides multiples of 32.

    Args:
        picture: the photo.
        side: of the longer side, in pixels.
        window: of the photo; None: all of it.
    """
    image = to_image(picture)
    if window is not None:
        return crop_image(image, window, max(STRIDE, round(side / STRIDE) * STRIDE))
    height, width = image.shape[2:]
    share = side / max(height, width)
    size = [max(STRIDE, round(length * share / STRIDE) * STRIDE) for length in (height, width)]
    smaller = size[0] < height or size[1] < width
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=smaller)


@torch.no_grad()
def scene_of(checkpoint: Path, image: Float[Tensor, "1 3 H W"], *, focal: float | None = None) -> Scene:
    """What trained networks make of a picture.

    Args:
        checkpoint: of a training of depth.
        image: RGB in [0, 1], sides multiples of 32.
        focal: in picture widths; None: what the network says.

    Raises:
        ModelFileError: no such file, or none of depth networks.
    """
    from ..warping.observers import load_depth_observer

    network = load_depth_observer(checkpoint).network
    return network.scene(image, focal=None if focal is None else torch.tensor([focal]))


def write_scene(
    folder: Path, name: str, image: Float[Tensor, "1 3 H W"], scene: Scene, *, cloud_above: float = 0.0
) -> tuple[dict[str, Path], int]:
    """Write pictures, numbers and cloud; returns the files and how many points the cloud has.

    Args:
        folder: of the files.
        name: that theirs begin with.
        image: what was seen.
        scene: what was found.
        cloud_above: least disparity of the cloud's points.

    Raises:
        HeadwarpError: a file cannot be written, or no point is left.
    """
    size = (int(image.shape[2]), int(image.shape[3]))
    points, colours = point_cloud(scene.depth, scene.intrinsics, image)
    assert colours is not None
    kept = scene.disparity.flatten() > cloud_above
    if not bool(kept.any()):
        most = float(scene.disparity.max())
        raise HeadwarpError(f"--cloud-above: expected less than the largest, {most:.3f}, got {cloud_above}")
    points, colours = points[0][kept], colours[0][kept]
    files = {
        "disparity": folder / f"{name}_disparity.png",
        "depth": folder / f"{name}_depth.png",
        "numbers": folder / f"{name}.npz",
        "cloud": folder / f"{name}.ply",
        "sheet": folder / f"{name}_sheet.png",
    }
    shown = to_frame(stretched(scene.disparity).expand(-1, 3, -1, -1))
    write_image(files["disparity"], shown)
    _write_16_bit(files["depth"], scene.depth[0, 0])
    _write_numbers(files["numbers"], scene)
    write_ply(files["cloud"], points, colours)
    titles = ["photo", "disparity", *(f"yaw {yaw:+.0f}, pitch {pitch:+.0f}" for yaw, pitch in VIEWS)]
    views = views_of(points, colours, scene.intrinsics[0], size)
    write_sheet(files["sheet"], [[to_frame(image), shown, *views]], titles, tile=max(size))
    return files, len(points)


def _write_16_bit(path: Path, depth: Float[Tensor, "H W"]) -> None:
    """Depth over its median in steps of `STEP`, cut off at 65535."""
    from PIL import Image

    levels = (depth / depth.median() / STEP).round().clamp(0, 65535).numpy().astype(np.uint16)
    with atomic_path(path) as temporary:
        Image.fromarray(levels).save(temporary, format="PNG")


def _write_numbers(path: Path, scene: Scene) -> None:
    from ..flame._files import write_npz

    write_npz(
        path,
        {
            "disparity": scene.disparity[0, 0].numpy(),
            "depth": scene.depth[0, 0].numpy(),
            "intrinsics": scene.intrinsics[0].numpy(),
        },
    )


def head_window(picture: Frame, *, what: str = "photo") -> Crop:
    """The window around the largest face, as training clips are framed.

    Args:
        picture: RGB.
        what: it is, for the message.

    Raises:
        NoFaceError: there is none.
    """
    from ..flame.detect import detect_faces

    found = detect_faces(picture)
    if not found:
        raise NoFaceError(f"--crop head: no face was found in the {what}; leave it out to take the whole")
    points = torch.from_numpy(found[0].landmarks[:, :2]).float()
    return head_crop(points, size=(picture.shape[0], picture.shape[1]))


def _check_photo(photo: Path, picture: Frame) -> None:
    """Refuse what is smaller than a cell of the network: it would see nothing but what enlarging made up."""
    height, width = picture.shape[:2]
    if min(height, width) < STRIDE:
        raise HeadwarpError(
            f"{photo}: expected a photo of {STRIDE} x {STRIDE} px or more, got {width} x {height}; take a "
            "larger one"
        )


def _check(config: Depth) -> None:
    if config.size < STRIDE:
        raise HeadwarpError(f"--size: expected {STRIDE} px or more, got {config.size}")
    if config.focal is not None and not config.focal > 0:
        raise HeadwarpError(f"--focal: expected picture widths above 0, got {config.focal}")
    if not 0 <= config.cloud_above < 1:
        raise HeadwarpError(f"--cloud-above: expected a disparity in [0, 1), got {config.cloud_above}")
