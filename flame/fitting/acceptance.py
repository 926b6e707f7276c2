"""Whether a fit can be a face: for detections that no face detector has confirmed, as a profile may be.

The face mesh answers on anything, and what it answers is nearly a face: on the dog, cat and monkey of the
private test pictures (29 crops) it leaves the same residual (0.8 to 1.8 %) as on people (0.5 to 1.8 %, a
full profile 1.8), and strains the prior as much. What differs is the fitted identity's proportions
(`proportions_deviation`). Measured:

    confirmed people, photos and frames        median 0.9, 95 % 1.4, 98 % under 1.6; the full profile 1.2
    unconfirmed animals and backgrounds (30)   median 2.0, 80 % above 1.6; the dog's photo 1.8
    unconfirmed people, spoilt pictures (79)   34 % above 1.6: their landmarks are off by 25 % of the eye
                                               distance (median), those of the others by 5 %
    monkeys, confirmed by the detector (11)    1.5 to 2.5: they pass, as drawings and statues do

Spoilt: dark, blurred, noisy, half hidden, turned by up to 90 degrees. Beyond 40 degrees of yaw, where
detectors miss people and the unseen side of the face is a guess, proportions are not asked.
"""

from __future__ import annotations

from ...geom.errors import NoFaceError
from ..params import HeadFit
from ..posing import head_pose

MAX_RESIDUAL_PERCENT = 3.0
MAX_PROPORTIONS = 1.6
PROFILE_DEG = 40.0


def accept(fit: HeadFit, *, confirmed: bool) -> HeadFit:
    """Return the fit, or refuse an unconfirmed detection that is no human head.

    Args:
        fit: of one photo or clip.
        confirmed: whether a face detector, and not the landmarks alone, found a face; then it is one.

    Raises:
        NoFaceError: not confirmed, and the residual (`reprojection_percent_iod`) is above
            `MAX_RESIDUAL_PERCENT`, or the proportions of a face that is not in profile are further from
            people's than `MAX_PROPORTIONS`.
    """
    if confirmed:
        return fit
    residual = float(fit.report["reprojection_percent_iod"])
    if residual > MAX_RESIDUAL_PERCENT:
        raise NoFaceError(
            f"expected a human face; what looks like one leaves a residual of {residual:.1f} % of the "
            f"eye distance (faces: about 1 %, limit {MAX_RESIDUAL_PERCENT:.0f} %), and no face detector "
            "confirms it"
        )
    deviation = fit.report.get("proportions_deviation")
    yaw_deg = float(head_pose(fit.params)[:, 0].abs().median())
    if deviation is not None and deviation > MAX_PROPORTIONS and yaw_deg < PROFILE_DEG:
        raise NoFaceError(
            f"expected a human face; the proportions of what looks like one are {deviation:.1f} "
            f"standard deviations off (people: about 0.9, limit {MAX_PROPORTIONS}), and no face detector "
            "confirms it"
        )
    return fit
