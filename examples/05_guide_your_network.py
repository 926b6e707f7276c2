"""Guidance of the head's geometry as tensors, for a network of your own.

Teaches `headwarp.pose`, `headwarp.displacement` and `headwarp.codes`: where every pixel comes from, what of
it the photo shows, and codes that mark equal places of the face in both poses; and how to warp by the flow.

    python examples/05_guide_your_network.py --photo me.jpg --output outputs/guidance
"""

from pathlib import Path

import numpy as np
import skimage.data
import torch
import tyro
from PIL import Image

import headwarp
from headwarp.geom.flow import warp
from headwarp.training.data.media import write_image


def main(
    photo: Path | None = None,
    output: Path = Path("outputs/examples/guidance"),
    yaw: float = 20.0,
    size: int = 256,
):
    portrait = skimage.data.astronaut()[:320, 60:380]
    image = Image.fromarray(portrait) if photo is None else Image.open(photo).convert("RGB")
    source = headwarp.fit(image)
    driving = headwarp.pose(source, [headwarp.Pose(yaw=yaw), headwarp.Pose(yaw=-yaw, jaw=0.5)])

    guidance = headwarp.displacement(source, driving, size)  # backward flow in pixels of its own H x W
    coded = headwarp.codes(source, driving, size)
    assert coded.codes is not None  # `codes` always has them; guidance of other kinds has none
    assert coded.source_codes is not None
    output.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        output / "guidance.npz",
        flow=guidance.flow.numpy(),  # (T, 2, H, W): target -> source, x then y
        known=guidance.known.numpy(),  # (T, 1, H, W): 1 where covered, and seen in the photo
        codes=coded.codes.numpy(),  # (T, 16, H, W) as the driving frames show them
        source_codes=coded.source_codes.numpy(),
    )
    height, width = guidance.flow.shape[-2:]
    small = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    tensor = torch.from_numpy(small.copy()).permute(2, 0, 1)[None] / 255.0  # (1, 3, H, W)
    # The floor for a network: the photo moved along the flow, dimmed where it has to invent.
    moved = warp(tensor, guidance.flow) * (0.4 + 0.6 * guidance.known)
    codes = coded.codes[:, :3]  # three of the sixteen channels as colours
    write_image(output / "moved.png", torch.cat([tensor[0], *moved], dim=-1))
    write_image(output / "codes.png", torch.cat([coded.source_codes[0, :3], *codes], dim=-1).clamp(0, 1))
    print(f"{tuple(guidance.flow.shape)} flow; {float(guidance.known.mean()):.0%} of the pixels are known")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
