"""mediapipe's face mesh on regions of our own choosing: faces of a picture, with no memory between pictures.

The order of events in `find_faces`: a face detector looks at the whole picture (full-range model, then
short-range), then at overlapping tiles if no large face was found; the mesh runs on each box, and once more
on the region its own landmarks give. If no detector fires, the mesh alone is tried on a coarse pyramid of
regions, and what it finds is returned as not confirmed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Float, UInt8

from ...geom.errors import ShapeError
from . import Detection, Track, check_image
from ._graphs import Engine, FaceBox, Roi, engine
from ._picture import LazyPicture, Picture

PRESENCE = 0.5
_ROI_SCALE = 1.5
_EYES = (33, 263)  # outer corners, subject's right and left
_SAME_FACE_IOU = 0.4
_CONFIRMING_CROPS = (2.5, 4.0)
_CONFIRMING_IOU = 0.25
_MOST_INSTABILITY = 0.25
_STEADY = 0.05  # an instability that only a face read the right way up has
_TURNS = (0.5 * math.pi, -0.5 * math.pi, math.pi)
_DISTURBANCES = (  # x, y (of the region's side), scale, angle
    *((0.1, 0.0, 1.0, 0.0), (-0.1, 0.0, 1.0, 0.0), (0.0, 0.1, 1.0, 0.0), (0.0, -0.1, 1.0, 0.0)),
    *((0.0, 0.0, 1.15, 0.0), (0.0, 0.0, 1 / 1.15, 0.0), (0.0, 0.0, 1.0, 0.2), (0.0, 0.0, 1.0, -0.2)),
)
_SMALLEST_FACE = 12.0  # px; what the networks see in fewer is noise
_SMALLEST_TILE = 64.0  # px; a third of what the detector reads
_LARGE_FACE = 0.15  # of the shorter picture side: with one this large, no tiles are searched


def landmark_box(landmarks: np.ndarray) -> Float[np.ndarray, " 4"]:
    """Return the bounding box x0, y0, x1, y1 of (L, 2|3) points."""
    xy = landmarks[:, :2]
    return np.concatenate([xy.min(axis=0), xy.max(axis=0)])


def roi_from_landmarks(landmarks: np.ndarray) -> Roi:
    """Return the region that mediapipe reads in the next frame: 1.5 times the landmarks' box, eyes level."""
    box = landmark_box(landmarks)
    right, left = landmarks[_EYES[0], :2], landmarks[_EYES[1], :2]
    return _enlarged(box, math.atan2(left[1] - right[1], left[0] - right[0]))


def roi_from_box(found: FaceBox) -> Roi:
    """Return the region for a detector's box: 1.5 times the box, turned so that its eyes are level."""
    right, left = found.keypoints[0], found.keypoints[1]
    return _enlarged(found.box, math.atan2(left[1] - right[1], left[0] - right[0]))


def _enlarged(box: np.ndarray, angle: float) -> Roi:
    side = _ROI_SCALE * max(box[2] - box[0], box[3] - box[1], 1.0)
    return Roi(float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2, float(side), angle)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two xyxy boxes."""
    return _overlap(first, second)[0]


def _overlap(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return intersection over union, and intersection over the smaller area."""
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    shared = float(np.prod(np.maximum(high - low, 0.0)))
    areas = [float(np.prod(np.maximum(box[2:] - box[:2], 1e-9))) for box in (first, second)]
    return shared / (sum(areas) - shared), shared / min(areas)


def same_face(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two landmark boxes can only be one face: they overlap by 0.4, or one lies within the other."""
    union, within = _overlap(first, second)
    return union > _SAME_FACE_IOU or within > 0.7


def whole(image: Picture) -> Roi:
    """Return the smallest upright square round the picture."""
    height, width = image.shape[:2]
    return Roi(width / 2, height / 2, float(max(width, height)))


def tiles(image: Picture, *, share: float) -> list[Roi]:
    """Return half-overlapping squares, each `share` of the picture's shorter side, that cover the picture.

    They are not smaller than 64 px or an eighth of the longer side, so that a sliver has not thousands.
    """
    height, width = image.shape[:2]
    side = max(share * min(height, width), max(height, width) / 8, _SMALLEST_TILE)
    columns, rows = (max(1, math.ceil(2 * (length - side) / side) + 1) for length in (width, height))
    xs = np.linspace(side / 2, width - side / 2, columns) if columns > 1 else [width / 2]
    ys = np.linspace(side / 2, height - side / 2, rows) if rows > 1 else [height / 2]
    return [Roi(float(x), float(y), side) for y in ys for x in xs]


def find_boxes(image: Picture, *, search_tiles: bool = True) -> list[FaceBox]:
    """Run the full-range detector on the whole picture and, with no large face in it, on tiles.

    Returns:
        Boxes in px of `image`, one a face, larger ones first.
    """
    boxes = engine().boxes(image, whole(image))
    largest = max((_side(box) for box in boxes), default=0.0)
    if search_tiles and largest < _LARGE_FACE * min(image.shape[:2]):
        for share in (1.0, 0.5):
            for tile in tiles(image, share=share):
                boxes += engine().boxes(image, tile)
    kept: list[FaceBox] = []
    for box in sorted(boxes, key=lambda found: -found.score):
        if _side(box) >= _SMALLEST_FACE and not any(same_face(box.box, other.box) for other in kept):
            kept.append(box)
    return sorted(kept, key=lambda box: -_side(box))


def _side(found: FaceBox) -> float:
    return float(max(found.box[2:] - found.box[:2]))


def mesh_at(image: Picture, roi: Roi, *, passes: int = 2) -> tuple[np.ndarray, float]:
    """Run the mesh on a region, then on the region its landmarks give; the last pass that sees a face counts.

    There are ``passes`` of them, and up to three more while the region moves.

    Args:
        image: uint8 RGB.
        roi: the turned square that the mesh looks at first.
        passes: how many at least.

    Returns:
        Landmarks (478, 3) float32 px and presence in [0, 1].
    """
    graphs: Engine = engine()
    landmarks, score = graphs.mesh(image, roi)
    for done in range(1, passes + 3):
        following = roi_from_landmarks(landmarks)
        if score < PRESENCE or (done >= passes and _settled(roi, following)):
            break
        roi = following
        again, again_score = graphs.mesh(image, roi)
        if again_score < PRESENCE:
            break
        landmarks, score = again, again_score
    return landmarks, score


def _settled(roi: Roi, following: Roi) -> bool:
    """Whether the landmarks read from a region would be about the same from the region that they give."""
    shift = math.hypot(following.x - roi.x, following.y - roi.y) / roi.side
    turned = abs(math.remainder(following.angle - roi.angle, math.tau))
    return shift <= 0.04 and 1 / 1.06 <= following.side / roi.side <= 1.06 and turned <= 0.2


def mesh_following(image: Picture, roi: Roi) -> tuple[np.ndarray, float]:
    """Run the mesh on a region, and up to twice more while the landmarks say that the region lags behind
    the face.

    A region that is off by more than 0.04 of its side, by 1.06 in size or by 0.2 radians gives landmarks
    drawn to its middle: in a clip with a quick nod they were off by up to 28 % of the face with presence 1.0,
    with this rule by 0.8 % (against the mesh repeated until it settles). A face that moves slowly costs one
    pass.
    """
    landmarks, score = engine().mesh(image, roi)
    for _ in range(2):
        following = roi_from_landmarks(landmarks)
        if score < PRESENCE or _settled(roi, following):
            break
        roi = following
        landmarks, score = engine().mesh(image, roi)
    return landmarks, score


def mesh_at_box(image: Picture, found: FaceBox) -> tuple[np.ndarray, float]:
    """Run the mesh on a detector's box; where it sees no face, on the upright box and on a wider one.

    In a profile the two eye points nearly coincide and the angle between them means nothing.
    """
    plain = _enlarged(found.box, 0.0)
    best = mesh_at(image, roi_from_box(found))
    for roi in (plain, Roi(plain.x, plain.y, 1.3 * plain.side)):
        if best[1] >= PRESENCE:
            break
        best = mesh_at(image, roi, passes=3)
    return upright(image, *best)


def upright(image: Picture, landmarks: np.ndarray, score: float) -> tuple[np.ndarray, float]:
    """Return the landmarks, or those read a quarter or half turn further there if these are right.

    The mesh reads a face that lies or stands on its head as an upright one, with presence 1.0 and points off
    by half the face, and the detector agrees. Such a reading moves with its region (`instability` over 0.05
    in 17 of 17), the right one hardly does (0.01 to 0.03). The region is turned about itself, then the
    detector looks round about it, turned likewise.

    Args:
        image: uint8 RGB.
        landmarks: (478, 3) as the mesh read them, px.
        score: presence of a face, 0..1.

    Returns:
        Landmarks and presence.
    """
    if score < PRESENCE or instability(image, landmarks) <= _STEADY:
        return landmarks, score
    region = roi_from_landmarks(landmarks)
    for roi in _turned_regions(image, region):
        points, presence = mesh_at(image, roi, passes=3)
        if presence >= PRESENCE and instability(image, points) <= _STEADY:
            return points, presence
    return landmarks, score


def _turned_regions(image: Picture, region: Roi) -> Iterator[Roi]:
    turned = [replace(region, angle=region.angle + angle) for angle in _TURNS]
    yield from turned
    for roi in turned:
        for box in engine().boxes(image, replace(roi, side=2 * roi.side)):
            yield roi_from_box(box)


def as_detection(
    landmarks: np.ndarray, score: float, *, confirmed: bool, track: int | None = None
) -> Detection:
    """Wrap the mesh's answer.

    Args:
        landmarks: (478, 3), px.
        score: presence of a face, 0..1.
        confirmed: a detector found it too.
        track: number of the person in the clip.
    """
    return Detection(landmarks, score, landmark_box(landmarks).astype(np.float32), confirmed, track)


def suppress(found: list[Detection]) -> list[Detection]:
    """Sort confirmed first, larger first; drop what is tiny or the same face as one before it."""
    kept: list[Detection] = []
    for face in sorted(found, key=lambda face: (not face.confirmed, -face.size)):
        if face.size >= _SMALLEST_FACE and not any(same_face(face.box, other.box) for other in kept):
            kept.append(face)
    return kept


def is_confirmed(image: Picture, landmarks: np.ndarray) -> bool:
    """Ask the full-range detector about a face that the mesh found: upright crops 2.5 and 4 times its region.

    Both must hold a box at the face's place. On the private test pictures this accepts every person, a true
    profile that is missed in the whole picture among them, and refuses a dog, a cat and faces seen in a
    forehead.
    """
    region, box = roi_from_landmarks(landmarks), landmark_box(landmarks)
    for wider in _CONFIRMING_CROPS:
        crop = Roi(region.x, region.y, region.side * wider, region.angle)
        if not any(iou(found.box, box) > _CONFIRMING_IOU for found in engine().boxes(image, crop)):
            return False
    return True


def instability(
    image: UInt8[np.ndarray, "H W 3"] | LazyPicture, landmarks: Float[np.ndarray, "478 _"]
) -> float:
    """Return how far the landmarks move when the region they are read from is moved: small for a real face.

    The region is shifted by a tenth, scaled by 1.15 and turned by 0.2 radians, each both ways; the answer
    is the largest mean motion of the 468 mesh points, in face sizes, and 1 where the mesh loses the face.
    Measured: people, drawings and statues 0.01 to 0.07, a full profile 0.14, a dog and a monkey 0.06, a
    face imagined in a forehead or a cat's cheek 1. It tells imagined faces from real ones, not animals from
    people.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (478, 2|3) px, as the mesh gave them on this picture.
    """
    region = roi_from_landmarks(landmarks)
    base, score = engine().mesh(image, region)
    if score < PRESENCE:
        return 1.0
    box, worst = landmark_box(base), 0.0
    for x, y, scale, angle in _DISTURBANCES:
        moved = Roi(
            region.x + x * region.side, region.y + y * region.side, region.side * scale, region.angle + angle
        )
        points, score = engine().mesh(image, moved)
        if score < PRESENCE:
            return 1.0
        motion = np.linalg.norm(points[:468, :2] - base[:468, :2], axis=1).mean()
        worst = max(worst, float(motion / max(box[2:] - box[:2])))
    return min(worst, 1.0)


def judged(image: Picture, landmarks: np.ndarray) -> bool | None:
    """What a detector's box and the mesh agree on, looked at again: True confirmed, False in doubt, None no
    face.

    A box alone does not confirm: the full-range detector also fires on a headlamp and on a rocket. What
    `is_confirmed` refuses and `instability` finds imagined is no face.
    """
    if is_confirmed(image, landmarks):
        return True
    return False if instability(image, landmarks) <= _MOST_INSTABILITY else None


def find_with_detector(image: Picture) -> list[Detection]:
    """Return the faces that the full-range detector finds and the mesh agrees to, as far as `judged` faces.

    If there is none the short-range detector is asked; it also takes dogs for people, so what it finds must
    be confirmed by `is_confirmed`.
    """
    meshed = [mesh_at_box(image, box) for box in find_boxes(image)]
    seen = [(points, score, judged(image, points)) for points, score in meshed if score >= PRESENCE]
    found = [as_detection(points, score, confirmed=sure) for points, score, sure in seen if sure is not None]
    return suppress(found or find_short_range(image))


def find_short_range(image: Picture) -> list[Detection]:
    """Return the faces that the short-range detector finds and the mesh agrees to."""
    meshed = [mesh_at_box(image, box) for box in engine().boxes(image, whole(image), short_range=True)]
    return [
        as_detection(points, score, confirmed=is_confirmed(image, points))
        for points, score in meshed
        if score >= PRESENCE
    ]


def find_turned(image: Picture) -> list[Detection]:
    """Return the faces that the full-range detector finds in the picture turned by a quarter or a half.

    For clips of a phone held sideways whose file does not say so. The landmarks must be steady.
    """
    found = []
    for angle in _TURNS:
        for box in engine().boxes(image, replace(whole(image), angle=angle)):
            points, score = mesh_at_box(image, box)
            steady = score >= PRESENCE and instability(image, points) <= _STEADY
            if steady and is_confirmed(image, points):
                found.append(as_detection(points, score, confirmed=True))
    return suppress(found)


def find_without_detector(image: Picture) -> list[Detection]:
    """Return what the mesh alone takes for a face on squares of the picture, then on a pyramid of tiles.

    Unstable ones are dropped (`instability`); the others count as confirmed only if `is_confirmed` says so.
    """
    levels = [[whole(image)], *(tiles(image, share=share) for share in (1.0, 0.7, 0.45))]
    for level in levels:
        meshed = [upright(image, *mesh_at(image, roi, passes=3)) for roi in level]
        faces = suppress(
            [as_detection(points, score, confirmed=False) for points, score in meshed if score >= PRESENCE]
        )
        found = [
            replace(face, confirmed=is_confirmed(image, face.landmarks))
            for face in faces
            if instability(image, face.landmarks) <= _MOST_INSTABILITY
        ]
        if found:
            return suppress(found)
    return []


def find_faces(image: Picture, *, max_faces: int) -> list[Detection]:
    """Find faces by detector and mesh, then in the turned picture, then by the mesh alone."""
    found = find_with_detector(image) or find_turned(image) or find_without_detector(image)
    return found[:max_faces]


def redetect(image: UInt8[np.ndarray, "H W 3"]) -> Detection | None:
    """Find the first face of a picture as if it were seen for the first time; None if there is none."""
    return next(iter(find_faces(check_image(image), max_faces=1)), None)


def landmarks_in_roi(
    image: UInt8[np.ndarray, "H W 3"], landmarks_or_box: np.ndarray
) -> tuple[Float[np.ndarray, "478 3"], float]:
    """Find the landmarks of a face whose place is about known; nothing is remembered between calls.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks_or_box: (478, 2|3) face-mesh landmarks or a face's box (4,) x0, y0, x1, y1, in px.

    Returns:
        Landmarks (478, 3) float32 px and the presence in [0, 1]; under 0.5 there is no face there and the
        landmarks mean nothing.

    Raises:
        ShapeError: neither landmarks nor a box, or not finite.
    """
    place = np.asarray(landmarks_or_box, np.float64)
    is_box = place.shape == (4,)
    if not is_box and not (place.ndim == 2 and place.shape[0] == 478 and place.shape[1] in (2, 3)):
        raise ShapeError(f"landmarks_or_box: expected (478, 2|3) or (4,), got {place.shape}")
    if not np.isfinite(place if is_box else place[:, :2]).all():
        raise ShapeError(
            "landmarks_or_box: expected finite numbers, got NaN or infinity; skip frames without a face"
        )
    roi = _enlarged(place, 0.0) if is_box else roi_from_landmarks(place)
    return mesh_at(check_image(image), roi)


class MediapipeDetector:
    """The registered detector `mediapipe`."""

    def detect(self, image: Picture, *, max_faces: int) -> list[Detection]:
        """Find the faces of one picture."""
        return find_faces(image, max_faces=max_faces)

    def track(self, frames: Iterable[Picture], *, max_faces: int) -> list[Track]:
        """Follow the faces of one clip."""
        from .tracking import FaceTracker, TrackerConfig, collect_tracks

        with FaceTracker(TrackerConfig(max_faces=max_faces)) as tracker:
            return collect_tracks(tracker, frames)
