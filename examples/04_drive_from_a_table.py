"""Drive a photo from a table of key frames.

Teaches pose tracks: a row a key, a column a channel (yaw, pitch, roll, jaw, gaze_x, gaze_y, blink, or a
named expression), an empty cell no key there; between its keys every channel runs smoothly and never
overshoots.

    python examples/04_drive_from_a_table.py --photo me.jpg --track mine.csv --output outputs/table
"""

from pathlib import Path

import skimage.data
import tyro

import headwarp
from headwarp.flame.pose_track import read_pose_track
from headwarp.training.data.media import VideoWriter
from headwarp.training.data.provenance import ENHANCED, Provenance

TRACK = """time,yaw,pitch,jaw,blink,smile
0.0,0,0,0,0,0
0.4,20,,,1,
0.6,,6,0.6,0,
1.0,-20,,0,,0.8
1.4,0,0,,,0
"""


def main(
    photo: Path | None = None,
    track: Path | None = None,
    output: Path = Path("outputs/examples/table"),
    size: int = 256,
    fps: float = 25.0,
):
    picture = skimage.data.astronaut() if photo is None else photo
    if track is None:
        track = output / "track.csv"
        track.parent.mkdir(parents=True, exist_ok=True)
        track.write_text(TRACK, encoding="utf-8")
    known = headwarp.load_head("builtin").named_expressions  # a name that it does not know is an error
    poses = read_pose_track(track, fps, expressions=known)
    told = Provenance.now("geometry", inputs=[track], digital_source_type=ENHANCED)
    with VideoWriter(output / "driven.mp4", fps, provenance=told) as writer:
        for frame in headwarp.edit_track(picture, poses, size=size):
            writer.write(frame)
    print(f"{len(poses)} frames in {output / 'driven.mp4'}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
