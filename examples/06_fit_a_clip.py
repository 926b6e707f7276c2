"""Fit a clip and read its curves.

Teaches fits of many frames: who was found where, angles with their deviations, and what other programs
take: a table, ARKit's 52 curves, an animated glTF.

    python examples/06_fit_a_clip.py --clip me.mp4 --output outputs/clip
"""

import csv
from pathlib import Path

import tyro

import headwarp
from headwarp.flame.params import STATUS_NAMES
from headwarp.flame.posing import head_pose
from headwarp.training.data.synthetic import Recipe, synthesise


def main(
    clip: Path | None = None,
    output: Path = Path("outputs/examples/clip"),
    frames: int = 50,
    size: int = 256,
    fps: float = 25.0,
):
    if clip is None:  # a drawn person, whose truth is known
        drawn = synthesise(headwarp.load_head("builtin"), Recipe(seed=0, number=3, frames=frames, size=size))
        fit = headwarp.fit([drawn.picture(frame) for frame in range(frames)])
    else:
        fit = headwarp.fit(clip)  # one record for every frame, also where no face was found
    found = {name: int((fit.status == number).sum()) for number, name in enumerate(STATUS_NAMES)}
    print(found, f"{fit.report['reprojection_percent_iod']:.2f} % of the eye distance")

    output.mkdir(parents=True, exist_ok=True)
    angles = head_pose(fit.params)  # (T, 3) yaw, pitch, roll in degrees
    deviation = fit.covariance[:, :3, :3].diagonal(dim1=-2, dim2=-1).sqrt().rad2deg().norm(dim=-1)
    with (output / "curves.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["frame", "status", "yaw", "pitch", "roll", "deviation_deg", "jaw_deg"])
        for frame in range(fit.frames):
            jaw = float(fit.params.jaw[frame, 0].rad2deg())
            numbers = [*map(float, angles[frame]), float(deviation[frame]), jaw]
            status = STATUS_NAMES[int(fit.status[frame])]
            table.writerow([frame, status, *(f"{number:.3f}" for number in numbers)])

    fit.save(output / "clip.npz")
    print(headwarp.export(fit, output / "arkit.csv", fps=fps)["output"], "for a rig with ARKit's shapes")
    print(headwarp.export(fit, output / "head.glb", fps=fps)["output"], "for a viewer of glTF")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
