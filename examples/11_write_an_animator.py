"""An animator of your own in one file.

Teaches the contract: the `needs` say what is computed for you, `encode` sees the source once, `animate`
makes a picture a driving frame, `explain` gives maps to look at. As warping/animators/glow.py, with
`@register(GlowConfig)` above the class, it has a name on the command line, and is tested by the contract.

    python examples/11_write_an_animator.py --photo me.jpg --output outputs/animator
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
import torch
import tyro

import headwarp
from headwarp.geom.flow import warp
from headwarp.geom.sources.mesh import MeshSource
from headwarp.training.data.media import write_image
from headwarp.warping.animators import Animation, single


@dataclass(frozen=True)
class GlowConfig:
    colour: tuple[float, float, float] = (1.0, 0.5, 0.0)  # of what the photo never showed


class Glow:
    needs_source: tuple[str, ...] = MeshSource.needs_source  # image, posed_vertices, faces
    needs_driving: tuple[str, ...] = MeshSource.needs_driving

    def __init__(self, config: GlowConfig = GlowConfig()):
        self.mesh, self.colour = MeshSource(), torch.tensor(config.colour)[None, :, None, None]

    def encode(self, sources):
        source = single(sources, by="glow")
        return source.image, self.mesh.prepare(source)

    def animate(self, cache, driving):
        image, state = cache
        raw = self.mesh.flow(state, driving)  # of the pixels that the head covers
        flow = self.mesh.filled(state, driving, raw).flow  # of all pixels
        return Animation(warp(image, flow).lerp(self.colour, raw.covered * (1 - raw.known)), flow)

    def explain(self, cache, driving):
        return {"flow": self.mesh.guide(cache[1], driving).flow}


def main(photo: Path | None = None, output: Path = Path("outputs/examples/animator"), size: int = 320):
    picture = skimage.data.astronaut() if photo is None else photo
    poses = [headwarp.Pose(yaw=yaw) for yaw in (-30, 0, 30)]
    frames = list(headwarp.edit_track(picture, poses, animator=Glow(), size=size))
    write_image(output / "glow.png", np.concatenate(frames, axis=1))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
