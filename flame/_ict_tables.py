"""What the vertices of ICT-FaceKit's light model are, and its blendshapes by what people call them."""

from __future__ import annotations

NEUTRAL, TABLE = "generic_neutral_mesh", "vertex_indices.json"
VERTICES = 26_719
KEPT = 24_999
"""Vertices from here on are layers over the eyes and the lashes, which are left out."""

RANGES: dict[str, tuple[int, int]] = {
    "face_narrow": (0, 6_706),
    "face": (0, 9_409),
    "head_and_neck": (9_409, 11_248),
    "mouth_socket": (11_248, 13_294),
    "left_eye_socket": (13_294, 13_678),
    "right_eye_socket": (13_678, 14_062),
    "gums": (14_062, 17_039),
    "teeth": (17_039, 21_451),
    "lower_teeth": (19_247, 21_451),
    "left_eyeball": (21_451, 23_021),
    "left_sclera": (21_451, 22_221),
    "right_eyeball": (23_021, 24_591),
    "right_sclera": (23_021, 23_791),
    "lacrimal": (24_591, 24_999),
}
"""Vertices of the parts, first and one past the last; left and right are the subject's."""

IDENTITIES = tuple(f"identity{number:03d}" for number in range(100))
EXPRESSIONS = (
    *("browDown_L", "browDown_R", "browInnerUp_L", "browInnerUp_R", "browOuterUp_L", "browOuterUp_R"),
    *("cheekPuff_L", "cheekPuff_R", "cheekSquint_L", "cheekSquint_R", "eyeBlink_L", "eyeBlink_R"),
    *("eyeLookDown_L", "eyeLookDown_R", "eyeLookIn_L", "eyeLookIn_R", "eyeLookOut_L", "eyeLookOut_R"),
    *("eyeLookUp_L", "eyeLookUp_R", "eyeSquint_L", "eyeSquint_R", "eyeWide_L", "eyeWide_R", "jawForward"),
    *("jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimple_L", "mouthDimple_R", "mouthFrown_L"),
    *("mouthFrown_R", "mouthFunnel", "mouthLeft", "mouthLowerDown_L", "mouthLowerDown_R", "mouthPress_L"),
    *("mouthPress_R", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower"),
    *("mouthShrugUpper", "mouthSmile_L", "mouthSmile_R", "mouthStretch_L", "mouthStretch_R"),
    *("mouthUpperUp_L", "mouthUpperUp_R", "noseSneer_L", "noseSneer_R"),
)
"""All 53: ARKit's with the sides as suffixes, ``browInnerUp`` and ``cheekPuff`` in halves, no tongue."""

JAW_OPEN = "jawOpen"
BLINKS = ("eyeBlink_L", "eyeBlink_R")
AS_JOINTS = (JAW_OPEN, *BLINKS)
"""Blendshapes that are no columns of the expression basis: the jaw joint and the eyelids make them."""

NAMED: dict[str, tuple[str, ...]] = {
    "smile": ("mouthSmile_L", "mouthSmile_R"),
    "frown": ("mouthFrown_L", "mouthFrown_R"),
    "brows_up": ("browInnerUp_L", "browInnerUp_R", "browOuterUp_L", "browOuterUp_R"),
    "brows_down": ("browDown_L", "browDown_R"),
    "pucker": ("mouthPucker",),
    "mouth_left": ("mouthLeft",),
    "mouth_right": ("mouthRight",),
}
"""Expressions of `Pose` and the blendshapes that make them at 1; one that lacks any is not offered."""

LICENCE = (
    "ICT-FaceKit, MIT License, Copyright (c) 2020 USC Institute for Creative Technologies; "
    "the notice belongs in every copy: github.com/USC-ICT/ICT-FaceKit/blob/master/LICENSE"
)
