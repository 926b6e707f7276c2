"""A photo follows another person's clip.

Teaches `headwarp.animate` with relative and absolute motion (`headwarp.Transfer`), clips as streams, and
clips of people that nobody is, which stand in where you name no driver.

    python examples/03_animate_a_photo.py --photo me.jpg --driver you.mp4 --output outputs/animate
"""

from pathlib import Path

import numpy as np
import skimage.data
import tyro

import headwarp
from headwarp.training.data.media import VideoReader, VideoWriter
from headwarp.training.data.provenance import Provenance
from headwarp.training.data.synthetic import Recipe, synthesise


def drawn_driver(path: Path, *, frames: int, size: int) -> Path:
    """A clip of a drawn person who turns and speaks; the same numbers make the same person."""
    clip = synthesise(headwarp.load_head("builtin"), Recipe(seed=0, number=3, frames=frames, size=size))
    with VideoWriter(path, clip.recipe.fps) as writer:
        for frame in range(frames):
            writer.write(clip.picture(frame))
    return path


def main(
    photo: Path | None = None,
    driver: Path | None = None,
    output: Path = Path("outputs/examples/animate"),
    size: int = 256,
    frames: int = 50,
):
    picture = skimage.data.astronaut() if photo is None else photo
    driver = driver or drawn_driver(output / "driver.mp4", frames=frames, size=size)
    told = Provenance.now("geometry", inputs=[driver])
    # relative: the change since the driver's first frame; absolute: the driver's pose itself.
    for name in ("relative", "absolute"):
        transfer = headwarp.Transfer(relative=name == "relative")
        made = headwarp.animate(picture, driver, transfer=transfer, size=size)  # frame by frame, as asked for
        with VideoReader(driver) as clip, VideoWriter(output / f"{name}.mp4", 25, provenance=told) as writer:
            for frame, driving in zip(made, clip, strict=True):
                beside = np.zeros_like(frame)  # the driver beside it, cut to the window's size
                part = driving[:size, :size]
                beside[: part.shape[0], : part.shape[1]] = part
                writer.write(np.concatenate([beside, frame], axis=1))
        print(f"{output / name}.mp4")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
