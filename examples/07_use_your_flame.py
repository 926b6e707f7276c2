"""Use FLAME, ICT-FaceKit or GNM instead of the built-in head.

Teaches head files, what a head brings, and how a fit is carried from one head to another. FLAME's licence
forbids shipping it: register at https://flame.is.tue.mpg.de and name your file. Without one, the head that
`$HEADWARP_HEAD` names, else the built-in, takes its place.

    python examples/07_use_your_flame.py --head generic_model.pkl --photo me.jpg --output outputs/flame
"""

import os
from pathlib import Path

import skimage.data
import tyro

import headwarp
from headwarp.flame.transfer import transfer_fit
from headwarp.training.data.media import write_image


def main(head: str | None = None, photo: Path | None = None, output: Path = Path("outputs/examples/flame")):
    head = head or os.environ.get("HEADWARP_HEAD") or "builtin"
    model = headwarp.load_head(head)  # a FLAME pickle is read without chumpy, and nothing in it is run
    counts = [basis.shape[-1] for basis in (model.shape_basis, model.expression_basis)]
    print(f"{model.model_id}: {len(model.template)} vertices, {len(model.faces)} triangles,")
    print(f"  {counts[0]} shape and {counts[1]} expression coefficients,")
    print(f"  landmarks: {', '.join(model.landmarks) or 'found by drawing it, once'};", end=" ")
    print(f"named expressions: {', '.join(sorted(model.named_expressions)) or 'none'}")

    picture = skimage.data.astronaut() if photo is None else photo
    fit = headwarp.fit(picture, head=head)
    print(f"reprojection: {fit.report['reprojection_percent_iod']:.2f} % of the eye distance")
    fit.save(output / "fit.npz")
    (drawn,) = headwarp.render(fit, mode="shaded", head=head, over=picture)
    write_image(output / "fit.png", drawn)

    # Coefficients of one head mean nothing to another; the surface does.
    plain = headwarp.load_head("builtin")
    carried = transfer_fit(headwarp.fit(picture), plain, headwarp.load_head(head))
    print(f"carried over from the built-in head: {carried.report['transfer']['rms_mm']:.2f} mm apart")
    headwarp.export(fit, output / "mesh", head=head)  # OBJ files for any program
    print(f"look into {output}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
