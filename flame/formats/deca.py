"""DECA's ``codedict``: 100 shape, 50 expression, root and jaw rotation, orthographic camera in a crop.

``encode`` gives ``shape (B, 100)``, ``tex (B, 50)``, ``exp (B, 50)``, ``pose (B, 6)`` (global, then jaw,
axis-angle), ``cam (B, 3)`` (s, tx, ty), ``light (B, 9, 3)`` and ``detail (B, 128)``, as tensors; people save
it as an ``.npz``, ``.npy``, ``.mat``, pickle or with ``torch.save``. ``xy = s (xy + t)``, then y flipped,
in a crop that spans -1..1; ``tform`` of its test data leads from the original image to the crop, and
``transform_points`` takes projected points back through it [DECA ``decalib/utils/util.py``,
``tensor_cropper.py``]. The neck and the eyes do not turn. The ``.mat`` that DECA's demo saves is its
``opdict``: vertices and pictures, without parameters.
What is written has zero ``tex`` and ``detail``, a neutral ``light`` and no ``images``.
"""

from __future__ import annotations

import numpy as np

from ._codes import Codes, codes_format, matches_codes, neutral_light
from ._content import Content
from ._source import Source
from ._tree import holds

CODES = Codes(
    title="DECA",
    shape=("shape",),
    expression=("exp",),
    rotation=("pose",),
    cam=("cam",),
    shape_count=100,
    expression_count=50,
    carried={"tex": np.zeros(50), "light": neutral_light(), "detail": np.zeros(128)},
)


def matches(source: Source, content: Content) -> bool:
    """A file, or a file a frame, with codes and a camera or a light."""
    tree = content.tree
    return source.parts[0].is_file() and matches_codes(tree, CODES) and ("cam" in tree or "light" in tree)


def is_opdict(content: Content) -> bool:
    """Whether this is what DECA decoded from the parameters, without them."""
    return holds(content.tree, "verts", "trans_verts") and "exp" not in content.tree


FORMAT = codes_format("deca", CODES, "DECA codedict", matches=matches)
