"""Whether a fit can be a face: for detections that no face detector has confirmed, as a profile may be."""

from __future__ import annotations

from ...geom.errors import NoFaceError
from ..params import HeadFit

MAX_RESIDUAL_PERCENT = 3.0


def accept(fit: HeadFit, *, confirmed: bool) -> HeadFit:
    """Return the fit, or refuse an unconfirmed detection that no head explains.

    The face mesh answers on anything; on what is no face its points do not lie on any head of the prior, and the
    parametric residual (`reprojection_percent_iod`) is several times that of faces, profiles included.

    Raises:
        NoFaceError: not confirmed by a detector, and the residual is above `MAX_RESIDUAL_PERCENT`.
    """
    residual = float(fit.report["reprojection_percent_iod"])
    if not confirmed and residual > MAX_RESIDUAL_PERCENT:
        raise NoFaceError(
            f"fit: expected a human face; what looks like one leaves a residual of {residual:.1f} % of the eye distance "
            f"(faces: about 1 %, limit {MAX_RESIDUAL_PERCENT:.0f} %), and no face detector confirms it"
        )
    return fit
