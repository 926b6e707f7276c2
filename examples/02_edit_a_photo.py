"""Turn the head of a photo, open its mouth, make it smile: a sheet of poses.

Teaches `headwarp.Pose`, `headwarp.edit` (one pose), `headwarp.edit_track` (many: the photo is fitted once),
and how a picture says that it was altered.

    python examples/02_edit_a_photo.py --photo me.jpg --output outputs/edit
"""

from pathlib import Path

import numpy as np
import skimage.data
import tyro

import headwarp
from headwarp import Pose
from headwarp.training.data.media import write_image
from headwarp.training.data.provenance import ENHANCED, Provenance

# Relative to the photo; degrees. yaw > 0: the nose to the image's left, pitch > 0: down, roll > 0: clockwise.
POSES = (
    Pose(yaw=-25),
    Pose(),
    Pose(yaw=25),
    Pose(pitch=12),
    Pose(jaw=0.7),
    Pose(blink=1.0),
    Pose(gaze=(20, 0)),
    Pose(expressions={"smile": 0.8}),
    Pose(yaw=15, pitch=-8, roll=10, expressions={"brows_up": 0.8}),
)


def main(photo: Path | None = None, output: Path = Path("outputs/examples/edit"), size: int = 320):
    picture = skimage.data.astronaut() if photo is None else photo
    print("this head knows:", ", ".join(sorted(headwarp.load_head("builtin").named_expressions)))
    told = Provenance.now("geometry", inputs=[photo] if photo else [], digital_source_type=ENHANCED)

    windows = list(headwarp.edit_track(picture, POSES, size=size))  # uint8 (size, size, 3), made one by one
    rows = [np.concatenate(windows[at : at + 3], axis=1) for at in range(0, len(windows), 3)]
    write_image(output / "poses.png", np.concatenate(rows), provenance=told)

    # The whole photo, with the window pasted back: all that is not the person keeps its bits.
    whole = headwarp.edit(picture, Pose(yaw=12, expressions={"smile": 0.6}), size=size, full_frame=True)
    write_image(output / "whole.png", whole, provenance=told)
    print(f"look into {output}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
