"""Fit a head to a photo, read how good it is, keep it, draw it over the picture.

Teaches `headwarp.fit`, what a `HeadFit` holds, its file, and `headwarp.render`.

    python examples/01_fit_a_photo.py --photo me.jpg --output outputs/fit
"""

from pathlib import Path

import skimage.data
import tyro

import headwarp
from headwarp.training.data.media import write_image


def main(photo: Path | None = None, output: Path = Path("outputs/examples/fit"), head: str = "builtin"):
    picture = skimage.data.astronaut() if photo is None else photo  # a path, or a numpy, PIL or torch picture
    fit = headwarp.fit(picture, head=head)  # raises NoFaceError where there is none

    # One record a frame, always; a photo has one frame.
    error = fit.report["reprojection_percent_iod"]
    print(f"{fit.model_id}: landmarks lie {error:.2f} % of the eye distance away from the mesh")
    print(f"status {fit.status.tolist()} (2: detected), confidence {float(fit.confidence[0]):.2f}")
    print(f"{len(fit.params.shape)} numbers of shape, {fit.params.expression.shape[1]} of expression")
    pitch_yaw_roll = fit.covariance[0, :3, :3].diagonal().sqrt().rad2deg()
    print("standard deviations of pitch, yaw, roll [deg]:", [round(float(a), 2) for a in pitch_yaw_roll])

    path = fit.save(output / "fit.npz")  # plain arrays, no pickles inside
    again = headwarp.HeadFit.load(path)
    for mode in ("shaded", "normals", "regions"):
        (drawn,) = headwarp.render(again, mode=mode, head=head, over=picture)
        write_image(output / f"{mode}.png", drawn)
    print(f"look into {output}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
