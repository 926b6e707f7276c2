"""What each geometry source says of a frame of a synthetic person: flow, what is known of it, head pose."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...flame.fitting import fit_landmarks
from ...flame.landmarks import MEDIAPIPE_68
from ...flame.model import HeadModel, landmark_points
from ...flame.params import HeadFit
from ...flame.posing import head_pose
from ...flame.residual import ResidualField, field_of
from ...geom.cameras import MODEL_TO_CAMERA
from ...geom.guidance import Driving, Guidance, Source
from ...geom.head_pose import (
    affine_of_jacobians,
    affine_of_keypoints,
    pose_of_affine,
    pose_of_keypoints,
    pose_of_points,
    pose_of_relative,
)
from ...geom.sources.depth import DepthSource
from ...geom.sources.keypoints import KeypointsSource
from ...geom.sources.landmarks import LandmarksSource
from ...geom.sources.mesh import MeshSource
from ...training.data.portrait import Portrait, face_points, to_image
from ...training.data.synthetic import (
    SyntheticClip,
    true_fit,
    truth_of,
    visible_vertices,
)
from ...training.data.synthetic.motions import (
    spread_vertices,
    true_intrinsics,
    true_keypoints,
    true_pose,
    true_relative_pose,
)
from ...warping.animators import load_animator

KEYPOINTS = 15
Row = Callable[["Scene", int], "Told"]
"""What one source says of a scene's driving frame."""


@dataclass(frozen=True)
class Told:
    """What a source says of one driving frame.

    Attributes:
        guidance: flow, and where it is known.
        pose_deg: yaw, pitch, roll of the head, ``(1, 3)``; NaN where the source cannot tell.
    """

    guidance: Guidance
    pose_deg: Float[Tensor, "1 3"]


@dataclass(frozen=True)
class Scene:
    """A synthetic clip with one of its frames as the source.

    Attributes:
        clip: what is known of it is exact.
        first: the source's frame.
        fit: of its frames, from landmarks; None: from the exact landmarks.
    """

    clip: SyntheticClip
    first: int = 0
    fit: HeadFit | None = None

    @property
    def head(self) -> HeadModel:
        """The model of the fits."""
        return self.clip.person.head

    @cached_property
    def source(self) -> Source:
        """The source with picture, person mask, true depth and camera of it."""
        truth = truth_of(self.clip.view(self.first))
        return Source(
            image=to_image(self.clip.picture(self.first)),
            mask=truth.person[None, None].float(),
            depth=truth.depth[None, None],
            intrinsics=true_intrinsics(self.clip, self.first),
            landmarks=self.landmarks(self.first),
        )

    @cached_property
    def exact_fit(self) -> HeadFit:
        """The parameters that the clip was drawn with."""
        return true_fit(self.clip)

    @cached_property
    def landmark_fit(self) -> HeadFit:
        """What a fit finds from landmarks."""
        return self.fit if self.fit is not None else fit_of_exact_landmarks(self.head, self.exact_fit)

    @cached_property
    def vertices(self) -> Tensor:
        """Vertices that stand for keypoints: seen in the source, spread over the head."""
        count = len(self.head.template)
        view = self.clip.view(self.first)
        return spread_vertices(view.verts[0, :count, :2], visible_vertices(view, count), KEYPOINTS)

    def landmarks(self, frame: int) -> Float[Tensor, "1 68 2"] | None:
        """The 68 points of a frame."""
        return face_points(self.head, self.clip.view(frame).verts[:, : len(self.head.template)])

    def portrait(self, fit: HeadFit, field: ResidualField | None = None) -> Portrait:
        """The source fitted."""
        source, own = self.source, fit.select([self.first])
        assert source.image is not None
        assert source.mask is not None
        return Portrait(self.head, source.image, own, source.mask, field or field_of(self.head, own))

    @cached_property
    def start_deg(self) -> Float[Tensor, "1 3"]:
        """The source's own pose."""
        return true_pose(self.clip, self.first)


def fit_of_exact_landmarks(head: HeadModel, exact: HeadFit) -> HeadFit:
    """A fit to the projected landmarks of the truth: what fitting loses without a detector's noise."""
    points = np.full((exact.frames, 478, 2), np.nan, np.float32)
    points[:, exact.landmark_indices.numpy()] = exact.landmarks.numpy()
    return fit_landmarks(head, points, exact.size)


def _by_mesh(exact: bool) -> Row:
    def told(scene: Scene, frame: int) -> Told:
        fit = scene.exact_fit if exact else scene.landmark_fit
        portrait, maker = scene.portrait(fit), MeshSource()
        posed = portrait.driving(fit.select([frame]))
        made = maker.guide(maker.prepare(portrait.source()), posed)
        return Told(made, head_pose(fit.params.select([frame])))

    return told


def by_rest(scene: Scene, frame: int) -> Told:
    """Nothing moves: what the errors of the others are measured in."""
    assert scene.source.image is not None
    still = torch.zeros_like(scene.source.image[:, :2])
    whole = torch.ones_like(still[:, :1])
    return Told(Guidance(still, whole, whole), scene.start_deg)


def by_depth(scene: Scene, frame: int) -> Told:
    """True depth, the true rigid motion of the skull and the true cameras."""
    driving = Driving(
        relative_pose=true_relative_pose(scene.clip, scene.first, frame),
        intrinsics=true_intrinsics(scene.clip, frame),
    )
    maker = DepthSource()
    assert driving.relative_pose is not None
    pose = pose_of_relative(driving.relative_pose, scene.start_deg)
    return Told(maker.guide(maker.prepare(scene.source), driving), pose)


def _by_keypoints(*, jacobians: bool, depth: bool) -> Row:
    def told(scene: Scene, frame: int) -> Told:
        here, there, affine = true_keypoints(scene.clip, scene.first, frame, scene.vertices)
        source, driving = dataclasses.replace(scene.source, keypoints=here), Driving(keypoints=there)
        if jacobians:
            still = torch.eye(2).expand_as(affine)
            source = dataclasses.replace(source, jacobians=affine)
            driving = dataclasses.replace(driving, jacobians=still)
        maker = KeypointsSource()
        made = maker.guide(maker.prepare(source), driving)
        if depth:
            behind = scene.clip.view(scene.first).verts[0, scene.vertices, 2]
            return Told(made, pose_of_keypoints(here, there, behind, scene.start_deg))
        turned = affine_of_jacobians(torch.linalg.inv(affine))
        motion = turned if jacobians else affine_of_keypoints(here, there)
        return Told(made, pose_of_affine(motion, scene.start_deg))

    return told


def _by_landmarks(exact: bool) -> Row:
    def told(scene: Scene, frame: int) -> Told:
        source, points, maker = scene.source, scene.landmarks(frame), LandmarksSource()
        if not exact:
            portrait = scene.portrait(scene.landmark_fit)
            points = portrait.driving(scene.landmark_fit.select([frame])).landmarks
            source = dataclasses.replace(source, landmarks=portrait.source().landmarks)
        made = maker.guide(maker.prepare(source), Driving(landmarks=points))
        return Told(made, _pose_of_landmarks(points, scene.head))

    return told


def by_spline(scene: Scene, frame: int) -> Told:
    """The animator `tps`: the spline through the 68 true landmarks alone, which says it knows everything."""
    animator = load_animator("tps")
    points = scene.landmarks(frame)
    flow = animator.animate(animator.encode([scene.source]), Driving(landmarks=points)).flow
    assert flow is not None
    whole = torch.ones_like(flow[:, :1])
    return Told(Guidance(flow, whole, whole), _pose_of_landmarks(points, scene.head))


def _pose_of_landmarks(points: Float[Tensor, "1 68 2"] | None, head: HeadModel) -> Float[Tensor, "1 3"]:
    """By the template's."""
    assert points is not None
    return pose_of_points(points, _resting_landmarks(head))


def _resting_landmarks(head: HeadModel) -> Float[Tensor, "68 3"]:
    """The 68 points of the template in camera axes."""
    verts = head.template[None].float() @ MODEL_TO_CAMERA
    if "ibug68" in head.landmarks:
        return landmark_points(head, verts, "ibug68")[0]
    order = {int(index): row for row, index in enumerate(head.landmarks["mediapipe"].indices)}
    return landmark_points(head, verts, "mediapipe")[0, [order[index] for index in MEDIAPIPE_68]]


ROWS: Mapping[str, Row] = {
    "rest": by_rest,
    "mesh, truth": _by_mesh(True),
    "mesh, fit": _by_mesh(False),
    "depth, truth": by_depth,
    "keypoints, projected": _by_keypoints(jacobians=False, depth=False),
    "keypoints with Jacobians": _by_keypoints(jacobians=True, depth=False),
    "keypoints with depth": _by_keypoints(jacobians=True, depth=True),
    "landmarks, truth": _by_landmarks(True),
    "landmarks, fit": _by_landmarks(False),
    "landmarks, tps": by_spline,
}
"""The sources that need no network, by the name that a report has for them."""
