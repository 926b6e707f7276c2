"""Put one person's head in place of another's.

Teaches `headwarp.swap`. Do it only with people who agreed, both of them, and leave the files' provenance
where it is: see Responsible use in the README. Where you name nobody, the astronaut's head goes onto a
drawn person.

    python examples/09_swap_a_head.py --source a.jpg --target b.mp4 --output outputs/swap
"""

from pathlib import Path

import skimage.data
import tyro

import headwarp
from headwarp.training.data.media import VideoWriter, write_image
from headwarp.training.data.provenance import Provenance
from headwarp.training.data.synthetic import Recipe, synthesise


def main(
    source: Path | None = None,
    target: Path | None = None,
    output: Path = Path("outputs/examples/swap"),
    size: int = 384,
    fps: float = 25.0,
):
    head = headwarp.load_head("builtin")
    drawn = synthesise(head, Recipe(seed=0, number=7, frames=1, size=size)).picture(0)
    told = Provenance.now("geometry", inputs=[path for path in (source, target) if path])

    # Whole frames of the target, made one by one; away from the head every bit is the target's own.
    frames = headwarp.swap(
        skimage.data.astronaut() if source is None else source,
        drawn if target is None else target,
        size=size,
    )
    first, second = next(frames), next(frames, None)
    if second is None:
        write_image(output / "swapped.png", first, provenance=told)
    else:
        with VideoWriter(output / "swapped.mp4", fps, audio_from=None, provenance=told) as writer:
            for frame in (first, second, *frames):
                writer.write(frame)
    print(f"look into {output}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
