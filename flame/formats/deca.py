"""DECA's ``codedict``: 100 shape, 50 expression, root and jaw rotation, orthographic camera in a crop.

``encode`` gives ``shape (B, 100)``, ``tex (B, 50)``, ``exp (B, 50)``, ``pose (B, 6)`` (global, then jaw,
axis-angle), ``cam (B, 3)`` (s, tx, ty), ``light (B, 9, 3)`` and ``detail (B, 128)``, as tensors; people save
it as an ``.npz``, ``.npy``, ``.mat``, pickle or with ``torch.save``. ``xy = s (xy + t)``, then y flipped,
in a crop that spans -1..1; ``tform`` of its test data leads from the original image to the crop, and
``transform_points`` takes projected points back through it [DECA ``decalib/utils/util.py``,
``tensor_cropper.py``]. The neck and the eyes do not turn. The ``.mat`` that DECA's demo saves is its
``opdict``: vertices and pictures, without parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...geom.errors import ModelFileError
from ..model import HeadModel
from ..params import HeadFit
from ._codes import Codes, matches_codes, neutral_light, read_codes, summarise, write_rows
from ._content import Content
from ._files import CONTAINERS
from ._source import Source
from ._tree import holds
from ._types import Format, Reading, ReadOptions, WriteOptions, Writing

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


def summary(source: Source, content: Content) -> Mapping[str, object]:
    """For `describe`."""
    return summarise(source, content, CODES)


def read(source: Source, head: HeadModel, options: ReadOptions) -> Reading:
    """A codedict, or one a frame.

    Raises:
        ModelFileError: see `_codes.read_codes`.
    """
    return read_codes(source, head, options, CODES)


def write(fit: HeadFit, head: HeadModel, path: Path, options: WriteOptions) -> Writing:
    """A codedict of T rows with ``tform``; texture and detail zero, light neutral, ``images`` left out.

    Raises:
        ModelFileError: see `_codes.encode`.
    """
    if path.suffix not in CONTAINERS:
        raise ModelFileError(f"{path}: expected a name that ends in one of {', '.join(CONTAINERS)}")
    return write_rows(fit, head, path, CODES)


FORMAT = Format("deca", "DECA codedict", CONTAINERS, matches, summary, read, write)
