"""Geometry without learned weights: what the head models and the networks share.

The conventions of the whole package, written once:

Frames
    Right-handed. The camera looks along +z, x points right and y down in the image (OpenCV). Head models keep
    FLAME's axes: x to the subject's left, y up, z out of the face; ``cameras.MODEL_TO_CAMERA``, which is
    diag(1, -1, -1), carries them into camera axes. Matrices act on column vectors; ``T_a_b`` maps frame b to
    frame a.
Units
    Metres and radians. Degrees appear only in ``Pose`` and on the command line; a name with another unit
    says so (``yaw_deg``).
Head angles
    ``R = Ry(yaw) Rx(pitch) Rz(roll)`` in camera axes. Yaw > 0: the nose moves to the image's left; pitch > 0:
    looking down; roll > 0: clockwise in the image. Quaternions are ``wxyz``.
Pixels
    Pixel centres lie at +0.5 and (0, 0) is the outer top-left corner, so a frame of W x H spans [0, W] x
    [0, H]. Posed vertices are ``(B, V, 3)`` in pixels: x, y and the depth in pixel units, smaller being
    nearer.
Images
    ``(B, 3, H, W)`` RGB in [0, 1].
Flow
    ``(B, 2, H, W)``, x then y, in pixels of its own H x W, backward: output pixel p shows the source at
    ``p + flow(p)``. Zero flow and whole-pixel shifts reproduce pixels bit for bit. Sampling grids are
    ``(B, H, W, 2)``, xy in [-1, 1], where -1 and 1 are the outer edges (``align_corners=False``);
    ``align_corners`` and ``padding_mode`` are always written out.
Shapes
    B batch, T frames, V vertices, F faces, J joints, K keypoints, L landmarks, S shape, E expression,
    C channels, H and W of the image.
"""
