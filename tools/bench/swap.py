"""Head swaps of the private photos and clips, detected and fitted anew: whose shape, pose and expression.

Needs ``$HEADWARP_TEST_DATA`` with ``dev/photos`` and ``dev/clips``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from ...geom.errors import HeadwarpError

if TYPE_CHECKING:
    from torch import Tensor

    from ...flame.model import HeadModel
    from ...flame.params import HeadFit
    from ...geom.crops import Crop
    from ...training.data.portrait import Frame
    from ...warping.swap_engines import Swapped, SwapTarget
    from ..swap_scene import Scene
    from .suites import Case

VARIABLE = "HEADWARP_TEST_DATA"
PHOTOS = (
    ("p01_smile.jpeg", "p05_smile.png"),
    ("p04_laugh.png", "p22_scale_1080p.jpg"),
    ("p05_smile.png", "p02_fringe.jpeg"),
    ("p02_fringe.jpeg", "p04_laugh.png"),
    ("p06_lookup_smile.png", "p15_two_faces.jpg"),
    ("p07b_multiview_front.jpg", "p01_smile.jpeg"),
    ("p21_vox_256.jpg", "p07b_multiview_front.jpg"),
    ("p22_scale_1080p.jpg", "p06_lookup_smile.png"),
)
CLIPS = (("p01_smile.jpeg", "c02_podium_1080p.mp4"), ("p22_scale_1080p.jpg", "c21_hdtf_512.mp4"))
FRAMES = 30  # of each clip
BAND = 4  # pixels to either side of a contour between which a step is taken


def swap_cases() -> Sequence[Case]:
    """Eight pairs of photos, two clips; the time is that of one frame with its window, in turn.

    Raises:
        HeadwarpError: the private pictures are not here.
    """
    from .suites import Case

    folder = Path(os.environ.get(VARIABLE, "")) / "dev"
    if not os.environ.get(VARIABLE) or not (folder / "photos").is_dir():
        raise HeadwarpError(
            f"--suite swap: expected dev/photos under ${VARIABLE}, sought {folder.absolute()}; set it to the "
            "folder of private test data"
        )
    cases = []
    for kind, pairs in (("photos", PHOTOS), ("clips", CLIPS)):
        for source, target in pairs:
            opened = _Opened(folder / "photos" / source, folder / kind / target)
            name = f"swap/{Path(source).stem}_to_{Path(target).stem}"
            cases.append(Case(name, 512, 1, opened.next_frame, None, partial(facts_of, opened)))
    return cases


class _Opened:
    """A pair that is opened when it is first asked for, and its frames in turn."""

    def __init__(self, source: Path, target: Path) -> None:
        self.source, self.target = source, target
        self._scene: Scene | None = None
        self._frames: Iterator[Frame] = iter(())

    def frames(self) -> list[Frame]:
        from ..portrait import as_frames

        return list(islice(as_frames(self.target), FRAMES))

    def scene(self) -> Scene:
        from ...warping.swap_engines import load_engine
        from ..heads import ready_head
        from ..swap_scene import open_scene

        if self._scene is None:
            self._scene = open_scene([self.source], self.frames(), load_engine(), ready_head())
        return self._scene

    def next_frame(self) -> Frame:
        from ..swap_scene import frames_of

        found = next(self._frames, None)
        if found is None:
            self._frames = frames_of(self.scene())
            found = next(self._frames)
        return found


@dataclass(frozen=True)
class _Made:
    """One frame of a swap: before, after, and its window."""

    before: Frame
    after: Frame
    target: SwapTarget
    swapped: Swapped
    crop: Crop


def facts_of(opened: _Opened) -> Mapping[str, float]:
    """What `headwarp bench --suite swap` says of one pair.

    Returns:
        ``shape_ratio``: distance of the result's fitted shape to the source's over that to the target's;
        ``pose_deg``: mean angle between the fitted rotations of result and target; ``expression_percent``,
        fitted with the source's shape known: root mean square vertex distance of both expressions (jaw and
        lids too) over that of the target's to rest. ``shape_floor`` and ``expression_floor`` are what the
        same fits say of the very landmarks that were wanted, without a picture: what the fitter cannot tell
        apart; ``.._resampled`` and ``.._itself`` what they say of the target's own picture drawn through
        the window, and of the target swapped with itself, its pose not mended. All these with ``.._steady``:
        result and target both read by `flame.detect.steady`, which repeats itself to 0.3 to 6 % of an
        expression where one reading does to 5 to 37 %. ``colour_step`` and
        ``neck_step``: mean colour difference across the new head's contour, and its part on the neck, over
        that across the target's own head's; ``outside``: largest difference where the mask is 0, of 255; for
        clips ``overlap`` of the masks of neighbouring frames and ``overlap_target`` of the target's own
        segmentation, the same with the motion of the head taken out (``.._steady``), ``frames_per_second``
        without detection and fit.
    """
    from ...flame.fitting import fit_landmarks
    from ...flame.replacement import replaced_head
    from ..swap_scene import pasted, swapped_windows

    scene, began = opened.scene(), time.perf_counter()
    made = [
        _Made(frame, pasted(frame, *found), *found)
        for frame, found in swapped_windows(scene)
        if found is not None
    ]
    seconds = time.perf_counter() - began
    model, target = scene.sources.heads[0].stencil.model, scene.fit
    source = scene.sources.heads[0].seen.fit
    wanted = _landmarks(model, replaced_head(model, source, target))
    before, after = ([getattr(each, name) for each in made] for name in ("before", "after"))
    points = _detected(after, wanted)
    found = fit_facts(model, source, target, points)
    own = _steady(before, _detected(before, wanted))
    seen = fit_landmarks(model, own, target.size)
    steady = fit_facts(model, source, seen, _steady(after, points))
    found |= {f"{name}_steady": value for name, value in steady.items()}
    floor = fit_facts(model, source, target, wanted)
    found |= {"shape_floor": floor["shape_ratio"], "expression_floor": floor["expression_percent"]}
    found |= _floors(opened, model, (target, seen), made, wanted)
    steps = np.array([contour_steps(each.swapped, each.target) for each in made])
    found["colour_step"] = _ratio(steps[:, 0], steps[:, 1])
    found["neck_step"] = _ratio(steps[:, 2], steps[:, 3])
    found["outside"] = float(max(_outside(each) for each in made))
    if len(made) > 1:
        found |= _steadiness(made, target)
        found["frames_per_second"] = len(made) / seconds
    return found


def _detected(frames: Sequence[Frame], wanted: np.ndarray) -> np.ndarray:
    """Landmarks of the face that lies nearest to the wanted one, ``(T, 478, 2)``."""
    from ..faces import find_faces

    def distance(points: np.ndarray) -> float:
        apart = np.nanmean(points, axis=1) - np.nanmean(wanted, axis=1)
        return float(np.nanmean(np.linalg.norm(apart, axis=-1)))

    tracks = [track.landmarks[..., :2] for track in find_faces(frames)]
    return min((track for track in tracks if np.isfinite(track).any()), key=distance)


def _floors(
    opened: _Opened,
    model: HeadModel,
    fits: tuple[HeadFit, HeadFit],
    made: Sequence[_Made],
    wanted: np.ndarray,
) -> dict[str, float]:
    """What no swap can be asked for: the target's own picture through the window, and put over itself."""
    from ...warping.swap_engines import load_engine
    from ..swap_scene import SceneOptions, frames_of, open_scene, pasted

    resampled = []
    for each in made:
        whole = torch.ones_like(each.swapped.changed)
        own = replace(each.swapped, image=each.target.image, changed=whole)
        resampled.append(pasted(each.before, each.target, own, each.crop))
    frames = [each.before for each in made]
    itself = open_scene([frames[0]], frames, load_engine(), model, SceneOptions(pose_rounds=0))
    found: dict[str, float] = {}
    for name, pictures in (("resampled", resampled), ("itself", list(frames_of(itself)))):
        points = _detected(pictures, wanted)
        for fit, read, kind in ((fits[0], points, ""), (fits[1], _steady(pictures, points), "_steady")):
            facts = fit_facts(model, fit, fit, read)
            found |= {f"{key}_{name}{kind}": facts[key] for key in ("pose_deg", "expression_percent")}
    return found


def fit_facts(model: HeadModel, source: HeadFit, target: HeadFit, points: np.ndarray) -> dict[str, float]:
    """``shape_ratio``, ``pose_deg`` and ``expression_percent`` of `facts_of`, of detected ``(T, 478, 2)``.

    Args:
        model: the head of the fits.
        source: whose shape is wanted, one frame.
        target: whose pose is wanted, T frames.
        points: as they were detected in the result.
    """
    from ...flame.fitting import FitConfig, fit_landmarks
    from ...flame.params import MISSING
    from ..swap_measures import swap_errors

    same = FitConfig(shape=tuple(source.params.shape.tolist()))
    free, known = (fit_landmarks(model, points, target.size, config=each).params for each in (None, same))
    wanted = target.params.select((target.status != MISSING).nonzero()[:, 0])
    return asdict(swap_errors(model, free, known, wanted, source.params.shape))


def _steady(frames: Sequence[Frame], points: np.ndarray) -> np.ndarray:
    """The landmarks read many times over, ``(T, 478, 2)``."""
    from ..swap_looks import steadied

    return np.stack([steadied(*each, "mediapipe") for each in zip(frames, points, strict=True)])


def _landmarks(model: HeadModel, fit: HeadFit) -> np.ndarray:
    """The face-mesh landmarks of a fit in its pixels, its residual put back, ``(T, 478, 2)``."""
    from ...flame.model import landmark_points
    from ...flame.posing import posed_vertices
    from ...flame.residual import corrected, field_of

    verts = corrected(posed_vertices(model, fit), fit, field_of(model, fit))
    points = np.full((fit.frames, 478, 2), np.nan)
    rows = model.landmarks["mediapipe"].indices.numpy()
    points[:, rows] = landmark_points(model, verts, "mediapipe")[..., :2].double().numpy()
    return points


def contour_steps(swapped: Swapped, target: SwapTarget) -> tuple[float, float, float, float]:
    """Mean colour steps across contours: the new head's in the result, the old head's in the target; then the
    same of their parts between person and person, which is the neck.
    """
    person = (target.person if target.person is not None else target.head) > 0.5
    results = []
    for image, head in ((swapped.image, swapped.head), (target.image, target.head)):
        results.append((_step(image, head, None), _step(image, head, person)))
    (new, new_neck), (old, old_neck) = results
    return new, old, new_neck, old_neck


def _step(image: Tensor, head: Tensor, person: Tensor | None) -> float:
    """Mean colour difference of pixels `BAND` inside and outside of a contour, along its normal."""
    from ...geom.flow import sample

    soft = torch.nn.functional.avg_pool2d(head, 5, stride=1, padding=2)
    edge = ((soft > 0.4) & (soft < 0.6))[0, 0]
    y, x = edge.nonzero(as_tuple=True)
    gradient = torch.stack(torch.gradient(soft[0, 0], dim=(1, 0)))[:, y, x]  # (2, N), x first
    normal = gradient / gradient.norm(dim=0).clamp(min=1e-6)
    place = torch.stack([x, y]).to(image) + 0.5
    pair = [sample(image, (place + sign * BAND * normal)[None, :, None])[0, :, 0] for sign in (1, -1)]
    step = (pair[0] - pair[1]).abs().mean(0)
    size = torch.tensor([image.shape[3], image.shape[2]])[:, None]
    kept = ((place > BAND) & (place < size - BAND)).all(0)
    if person is not None:
        outer = (place - 2 * BAND * normal).long().clamp(min=0)
        outer = torch.minimum(outer, size - 1)
        kept &= person[0, 0, outer[1], outer[0]]
    return float(step[kept].mean()) if bool(kept.any()) else float("nan")


def _ratio(new: np.ndarray, old: np.ndarray) -> float:
    kept = np.isfinite(new) & np.isfinite(old)
    return float(new[kept].mean() / max(old[kept].mean(), 1e-6)) if kept.any() else float("nan")


def _outside(made: _Made) -> int:
    """Largest difference where the mask, drawn into the frame, is 0."""
    inside = _in_frame(made, made.swapped.changed) > 0
    return int(np.abs(made.after.astype(int) - made.before).max(-1)[~inside].max(initial=0))


def _in_frame(made: _Made, mask: Tensor) -> np.ndarray:
    """A window's mask in the whole frame, ``(H, W)``."""
    from ...warping.composite import paste_back

    black = torch.zeros(1, 3, *made.before.shape[:2])
    return paste_back(black, mask.expand(1, 3, -1, -1).contiguous(), made.crop, feather=0.0)[0, 0].numpy()


def _steadiness(made: Sequence[_Made], target: HeadFit) -> dict[str, float]:
    from ...flame.params import MISSING

    kept = (target.status != MISSING).nonzero()[:, 0]
    points = target.landmarks[kept]
    found = {}
    for name, masks in (
        ("overlap", [_in_frame(each, each.swapped.head) for each in made]),
        ("overlap_target", [_in_frame(each, each.target.head) for each in made]),
    ):
        found[name] = _overlap([mask > 0.5 for mask in masks])
        found[f"{name}_steady"] = _steady_overlap(masks, points)
    return found


def _overlap(masks: Sequence[np.ndarray]) -> float:
    """Mean intersection over union of neighbours."""
    return float(np.mean([(a & b).sum() / max((a | b).sum(), 1) for a, b in pairwise(masks)]))


def _steady_overlap(masks: Sequence[np.ndarray], points: Float[Tensor, "T L 2"]) -> float:
    """The same of each mask and the one before it, carried along with the head."""
    from ...geom.alignment import affine_flow
    from ...geom.flow import warp
    from ...geom.mask_smoothing import head_motion

    pairs = []
    for number in range(1, len(masks)):
        motion = head_motion(points[number], points[number - 1])
        before = torch.from_numpy(masks[number - 1])[None, None]
        height, width = masks[number].shape
        carried = warp(before, affine_flow(motion, (height, width)))[0, 0].numpy()
        pairs.append(_overlap([carried > 0.5, masks[number] > 0.5]))
    return float(np.mean(pairs))
