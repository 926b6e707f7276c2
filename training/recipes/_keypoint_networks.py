"""Which keypoint network a recipe trains: its size, what is plugged into it, and its depth network's file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ...geom.depth import DepthConfig, DepthNetwork
from ...geom.errors import HeadwarpError, ModelFileError
from ...geom.nets.hourglass import HourglassConfig
from ...warping._config_json import config_from_json
from ...warping.attention import OFFICIAL
from ...warping.checkpoints import load_checkpoint, load_weights
from ...warping.generators import AttentionKind
from ...warping.keypoint_network import KeypointNetworkConfig, tiny, with_attention, with_depth_keypoints

SIZES = ("tiny", "small", "paper")
DEPTH_WEIGHTS = (
    "name the file of a trained one: --set depth_weights=FILE (headwarp train depth makes one, and an "
    "animator's checkpoint that looks at depth holds one); a frozen random network would tell nothing"
)


def sized_network(network: KeypointNetworkConfig, size: str) -> KeypointNetworkConfig:
    """The same network with fewer channels and halvings; conventions and options stay.

    Args:
        network: of any size.
        size: ``paper``: as it is; ``small``: half as wide, four halvings of the quarter-size picture, so that
            frames are multiples of 64 px; ``tiny``: an eighth, three halvings, multiples of 32 px.

    Raises:
        HeadwarpError: no such size.
    """
    if size not in SIZES:
        raise HeadwarpError(f"size: expected one of {', '.join(SIZES)}, got {size!r}")
    if size == "paper":
        return network
    if size == "tiny":
        return tiny(network, width=8)
    return dataclasses.replace(
        network,
        keypoints=dataclasses.replace(network.keypoints, hourglass=HourglassConfig(16, 4, 256)),
        motion=dataclasses.replace(network.motion, hourglass=HourglassConfig(32, 4, 256)),
        generator=dataclasses.replace(network.generator, width=32, max_channels=256, bottleneck=4),
    )


def plugged(
    network: KeypointNetworkConfig,
    *,
    attention: AttentionKind | None,
    depth_keypoints: bool | None,
    depth_weights: Path | None,
) -> tuple[KeypointNetworkConfig, Mapping[str, Tensor] | None]:
    """A network with depth keypoints and attention switched on or off ([DaGAN] Table 4).

    Args:
        network: as its config says.
        attention, depth_keypoints: in place of the config's; None leaves them.
        depth_weights: file of the depth network.

    Returns:
        The config, its detector's channels and depth network fitting, and the depth network's weights; None
        where nothing looks at depth.

    Raises:
        HeadwarpError: depth is looked at and no file is named.
        ModelFileError: the file is missing or holds no depth network.
    """
    made, form = network, network.attention_form or OFFICIAL
    if attention is not None:
        made = with_attention(made, attention, form=form)
    if depth_keypoints:
        made = with_depth_keypoints(made, alone=made.keypoints.channels == 1)
    elif depth_keypoints is not None:
        coloured = dataclasses.replace(made.keypoints, channels=3)
        depth = made.depth if made.attention == "depth" else None
        made = dataclasses.replace(made, keypoints=coloured, depth_keypoints=False, depth=depth)
    if not made.needs_depth:
        return made, None
    if depth_weights is None:
        uses = ["depth keypoints"] * made.depth_keypoints + ["depth attention"] * (made.attention == "depth")
        raise HeadwarpError(
            f"depth network: {' and '.join(uses)} need one that was trained before; {DEPTH_WEIGHTS}"
        )
    config, weights = read_depth(depth_weights)
    return dataclasses.replace(made, depth=config), weights


def read_depth(file: Path) -> tuple[DepthConfig, Mapping[str, Tensor]]:
    """Config and weights of a trained depth network.

    Args:
        file: a checkpoint of ``headwarp train depth``, of the public depth network as ``headwarp convert
            checkpoint`` imports it, or of an animator that looks at depth.

    Raises:
        ModelFileError: it is missing, no checkpoint, or there is no depth network in it.
    """
    checkpoint = load_checkpoint(file)
    plain = checkpoint.config.get("depth", checkpoint.config)
    try:
        config = config_from_json(DepthConfig, plain if isinstance(plain, Mapping) else {})
    except HeadwarpError as error:
        raise ModelFileError(
            f"{file}: expected a depth network, got {checkpoint.kind} {checkpoint.name!r}; {DEPTH_WEIGHTS}"
        ) from error
    prefix = next(
        p for p in ("network.depth.", "depth.", "") if any(k.startswith(p) for k in checkpoint.tensors)
    )
    weights = {k[len(prefix) :]: v for k, v in checkpoint.tensors.items() if k.startswith(prefix)}
    network = DepthNetwork(config)
    load_weights(network, weights, name=str(file))
    return config, network.state_dict()
