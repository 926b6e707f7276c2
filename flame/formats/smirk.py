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

from ._codes import Codes, codes_format, matches_codes
from ._content import Content
from ._source import Source

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


FORMAT = codes_format("smirk", CODES, "SMIRK parameters", matches=matches)
