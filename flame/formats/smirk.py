"""SMIRK's encoder output: 300 shape, 50 expression, head and jaw rotation, eyelids, orthographic camera.

``pose_params (B, 3)``, ``cam (B, 3)``, ``shape_params (B, 300)``, ``expression_params (B, 50)``,
``eyelid_params (B, 2)``, ``jaw_params (B, 3)``, axis-angle. The camera is DECA's; the demo returns to the
original by warping the rendered crop with scikit-image, so its ``tform`` counts pixels' middles as whole
numbers. Its demos save pictures only; people save the dict. Its layer also takes ``neck_pose_params (B, 3)``
and ``eye_pose_params (B, 6)``, which its network does not give: they are written where a fit has them.

SMIRK adds the eyelids' shapes after skinning, in the axes of the image: on a turned head they move the
wrong way [SMIRK ``src/FLAME/FLAME.py``]. Here they turn along, so vertices of closed lids differ between the
two by ``|R - I|`` times the lid's shape (9 mm at most); everything else is equal. Lid 0 is the shape in
``l_eyelid.npy``, taken for the subject's left.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...geom.errors import ModelFileError
from ..model import HeadModel
from ..params import HeadFit
from ._codes import Codes, matches_codes, read_codes, summarise, write_rows
from ._content import Content
from ._files import CONTAINERS
from ._source import Source
from ._types import Format, Reading, ReadOptions, WriteOptions, Writing

CODES = Codes(
    title="SMIRK",
    shape=("shape_params",),
    expression=("expression_params",),
    rotation=("pose_params",),
    jaw=("jaw_params",),
    cam=("cam",),
    eyelids=("eyelid_params",),
    neck=("neck_pose_params",),
    eyes=("eye_pose_params",),
    shape_count=300,
    expression_count=50,
    middles=True,
    lids="SMIRK adds eyelids after skinning, unturned: closed lids of a turned head lie otherwise there",
)


def matches(source: Source, content: Content) -> bool:
    """A file, or a file a frame, with its names."""
    return source.parts[0].is_file() and matches_codes(content.tree, CODES)


def summary(source: Source, content: Content) -> Mapping[str, object]:
    """For `describe`."""
    return summarise(source, content, CODES)


def read(source: Source, head: HeadModel, options: ReadOptions) -> Reading:
    """A dict, or one a frame.

    Raises:
        ModelFileError: see `_codes.read_codes`.
    """
    return read_codes(source, head, options, CODES)


def write(fit: HeadFit, head: HeadModel, path: Path, options: WriteOptions) -> Writing:
    """A dict of T rows with ``tform``.

    Raises:
        ModelFileError: see `_codes.encode`.
    """
    if path.suffix not in CONTAINERS:
        raise ModelFileError(f"{path}: expected a name that ends in one of {', '.join(CONTAINERS)}")
    return write_rows(fit, head, path, CODES)


FORMAT = Format("smirk", "SMIRK parameters", CONTAINERS, matches, summary, read, write)
