"""`headwarp attention`: where a picture that is made looks in its source, as [DaGAN] Fig. 10 and 12."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from tyro.conf import Positional

from ..flame.driving import centre_square
from ..geom.crops import crop_image
from ..geom.errors import HeadwarpError
from ..training.data.media import write_image
from ..training.data.portrait import Frame, to_image
from ..warping.keypoint_network import KeypointNetwork
from ..warping.observers import load_keypoints_observer
from .attention_pictures import FACE_POINTS, attention_sheet
from .depth import head_window
from .performance import PICTURES, check_output
from .portrait import as_frames


@dataclass(frozen=True)
class Attention:
    """A sheet of what places of a generated picture look at: a red cross asks, bright places answer.

    A row a checkpoint, such as one whose attention asks by depth above one that asks by its own features:
    source, its depth, result, and the attention of every query over the result.
    """

    source: Positional[Path]
    """The photo that is animated, or a clip for its first frame."""
    driving: Positional[Path]
    """The picture that drives it, or a clip."""
    checkpoint: tuple[Path, ...]
    """Trained networks with attention, of dagan or fomm."""
    output: Path
    """The sheet, a picture."""
    frame: int = 0
    """Of a driving clip: the frame that drives, from 0."""
    size: int = 256
    """Side of the squares that the networks see, in pixels; that of their training is best."""
    crop: Literal["none", "head"] = "none"
    """head: find the faces and take the windows around them, as training clips are framed."""
    query: tuple[tuple[float, float], ...] = FACE_POINTS
    """Where the result is asked, x and y from -1 (left, top) to 1: X Y X Y. Where not given, the eyes, the
    nose and the mouth of a face that fills its window."""


def run(config: Attention) -> dict[str, Any]:
    """The command.

    Returns:
        ``output``, ``networks`` (the rows' names, in order), ``queries``, ``size``.

    Raises:
        HeadwarpError: a picture, checkpoint or option that makes no sense.
    """
    _check(config)
    networks = load_networks(config.checkpoint, config.size)
    source = _seen(next(iter(as_frames(config.source))), config, what="source")
    driving = _seen(_frame(config), config, what="driving picture")
    sheet = attention_sheet(networks, source, driving, points=torch.tensor(config.query))
    write_image(config.output, sheet, provenance=None)
    return {
        "output": str(config.output),
        "networks": list(networks),
        "queries": [list(point) for point in config.query],
        "size": config.size,
    }


def describe(report: Mapping[str, Any]) -> str:
    """What a person reads."""
    rows = ", ".join(report["networks"])
    return f"rows: {rows}; {len(report['queries'])} queries\n{report['output']}"


def load_networks(files: tuple[Path, ...], size: int) -> dict[str, KeypointNetwork]:
    """Networks by what asks in them, ``depth`` or ``self``; those that ask alike after their files too.

    Args:
        files: checkpoints.
        size: side of the squares that they will see, in pixels.

    Raises:
        ModelFileError: no such file, or none of ours.
        HeadwarpError: one without keypoints or attention, one that takes no squares of this size, or two
            that would be called the same.
    """
    found = [load_keypoints_observer(file).network for file in files]
    kinds = [network.config.attention for network in found]
    networks: dict[str, KeypointNetwork] = {}
    for file, network, kind in zip(files, found, kinds, strict=True):
        if kind == "none":
            raise HeadwarpError(
                f"--checkpoint {file}: expected a network with attention, got one without; "
                "`headwarp train dagan` makes one"
            )
        multiple = network.config.multiple
        if size % multiple:
            near = max(multiple, round(size / multiple) * multiple)
            raise HeadwarpError(
                f"--size: {file} takes multiples of {multiple} pixels, got {size}; take {near}"
            )
        label = kind if kinds.count(kind) == 1 else f"{kind}:{file.stem}"
        if label in networks:
            raise HeadwarpError(f"--checkpoint {file}: another one is called {label} too; rename one")
        networks[label] = network
    return networks


def _seen(picture: Frame, config: Attention, *, what: str) -> Float[Tensor, "1 3 S S"]:
    """A square of a picture: about its face, or its middle."""
    middle = centre_square((picture.shape[0], picture.shape[1]))
    window = head_window(picture, what=what) if config.crop == "head" else middle
    return crop_image(to_image(picture), window, config.size)


def _frame(config: Attention) -> Frame:
    found = next(islice(as_frames(config.driving), config.frame, None), None)
    if found is None:
        raise HeadwarpError(f"--frame: expected one of {config.driving}, got {config.frame}, beyond its end")
    return found


def _check(config: Attention) -> None:
    check_output(config.output, PICTURES, what="a picture")
    if not config.checkpoint:
        raise HeadwarpError("--checkpoint: expected at least one file, got none")
    if config.frame < 0:
        raise HeadwarpError(f"--frame: expected 0 or more, got {config.frame}")
    if not config.query:
        raise HeadwarpError("--query: expected at least one place X Y, got none")
    for x, y in config.query:
        if not (-1 <= x <= 1 and -1 <= y <= 1):
            raise HeadwarpError(f"--query: expected x and y from -1 to 1, got {x} {y}")
