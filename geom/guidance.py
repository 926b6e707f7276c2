"""What passes between a geometry source, an animator and the tools: frozen tensors, nothing else.

A *geometry source* turns a posed source and a posed driver into a `Guidance`; an *animator* turns guidance
(or the raw driver) into a picture. Both declare in ``needs`` which fields of `Source` and `Driving` they
read; `require` turns a missing one into an error that names its producer.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from .errors import HeadwarpError

# Who makes each field: quoted by `require` when one is missing.
PRODUCERS = {
    "image": "training.data.media (read the photo or clip)",
    "mask": "flame.detect.segment_person, or a mask of your own",
    "landmarks": "flame.detect (face mesh), or a landmark file",
    "keypoints": "geom.keypoints (a trained keypoint detector)",
    "jacobians": "geom.keypoints (a trained keypoint detector with Jacobians)",
    "depth": "geom.depth (a trained depth network), or a depth map of your own",
    "intrinsics": "geom.relative_pose (a trained pose network), or geom.view_synthesis.intrinsics_matrix",
    "relative_pose": "geom.relative_pose (a trained pose network), or geom.head_pose.turn_about of a pose",
    "posed_vertices": "flame.posing.posed_vertices of a HeadFit (run `headwarp fit`)",
    "faces": "the head model (HeadModel.faces)",
    "cavity": "flame.mouth.open_mouth of the head model",
    "body": "flame.posing.body_vertices of the head model",
    "skull": "flame.posing.skull_vertices of the head model",
    "region_map": "a parser of your own, or regions rendered from the fitted head",
    "camera_motion": "training.data.camera_motion (robust alignment of what is not the person)",
    "body_motion": "flame.posing.body_motion of the source's and the driving fit",
    "guidance": "a geometry source (geom.sources)",
}


@dataclass(frozen=True)
class Guidance:
    """Where every output pixel comes from, as far as geometry knows.

    Attributes:
        flow: backward displacement target -> source in pixels of its own H x W, ``(B, 2, H, W)``, x then y.
        known: 1 where a geometry primitive covers the pixel and its source was seen, ``(B, 1, H, W)``, in
            [0, 1]. Elsewhere the flow is a fill.
        visible: 1 where the covering surface is visible in the source picture, ``(B, 1, H, W)`` in [0, 1].
        codes: posed neural codes rendered in the target's pose, ``(B, C, H, W)``.
        source_codes: the same in the source's pose.
    """

    flow: Float[Tensor, "B 2 H W"]
    known: Float[Tensor, "B 1 H W"]
    visible: Float[Tensor, "B 1 H W"]
    codes: Float[Tensor, "B C H W"] | None = None
    source_codes: Float[Tensor, "B C H W"] | None = None


Rows = TypeVar("Rows")


@dataclass(frozen=True)
class _Observation:
    """Fields that a source and a driving frame share; pixels are those of the working frame."""

    image: Float[Tensor, "B 3 H W"] | None = None
    mask: Float[Tensor, "B 1 H W"] | None = None
    landmarks: Float[Tensor, "B L 2"] | None = None
    keypoints: Float[Tensor, "B K 2"] | None = None
    jacobians: Float[Tensor, "B K 2 2"] | None = None
    depth: Float[Tensor, "B 1 H W"] | None = None
    intrinsics: Float[Tensor, "B 3 3"] | None = None
    posed_vertices: Float[Tensor, "B V 3"] | None = None
    region_map: Int[Tensor, "B H W"] | None = None
    guidance: Guidance | None = None


@dataclass(frozen=True)
class Source(_Observation):
    """One source picture and what is known of it.

    Attributes:
        image: RGB in [0, 1], ``(B, 3, H, W)``; B is 1 for a single photo.
        mask: person probability in [0, 1].
        landmarks: detector points in pixels, ``(B, L, 2)``.
        keypoints, jacobians: learned keypoints in pixels and their local affine frames.
        depth: distance along the camera's axis in a unit of its own, smaller is nearer; 0 where unknown.
        intrinsics: camera matrix in pixels, ``[[f_x, 0, c_x], [0, f_y, c_y], [0, 0, 1]]``; None where the
            driving frame's holds for both.
        posed_vertices: head mesh in pixels with depth in pixel units, ``(B, V, 3)``.
        region_map: integer labels.
        guidance: guidance computed elsewhere.
        faces: triangles of ``posed_vertices``, ``(F, 3)``.
        skull: True for the vertices whose outline carries what lies around the mesh (hair), ``(V,)``.
        body: True for the vertices that belong to the torso; below them nothing follows the head, ``(V,)``.
        cavity: True for vertices no source picture shows (the mouth's inside); painted dark, ``(V,)``.
    """

    faces: Int[Tensor, "F 3"] | None = None
    skull: Bool[Tensor, "V"] | None = None
    body: Bool[Tensor, "V"] | None = None
    cavity: Bool[Tensor, "V"] | None = None


@dataclass(frozen=True)
class Driving(_Observation):
    """One driving frame (or a batch); the same fields as `Source`, in the same frame.

    Attributes:
        relative_pose: rigid map ``[R | t]`` of the source camera's axes to this camera's, ``(B, 3, 4)``, t in
            the unit of the source's depth: how the head moved as if the camera stood still.
        camera_motion: affine map of this frame's background pixels to the source's, ``(B, 2, 3)`` in pixels;
            None means a still camera.
        body_motion: the same for the person's torso; None means that it rests.
    """

    relative_pose: Float[Tensor, "B 3 4"] | None = None
    camera_motion: Float[Tensor, "B 2 3"] | None = None
    body_motion: Float[Tensor, "B 2 3"] | None = None

    @property
    def batch(self) -> int:
        """How many frames these are: the batch of its tensors, 1 if there are none."""
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]
        if self.guidance is not None:
            values.append(self.guidance.flow)
        return next((len(value) for value in values if isinstance(value, Tensor)), 1)

    def frame(self, index: int) -> Driving:
        """One frame of a batch, as a batch of 1 that shares its memory.

        Args:
            index: number of the frame in the batch.
        """
        return _rows(self, slice(index, index + 1))


def _rows(observation: Rows, rows: slice) -> Rows:
    """A dataclass of tensors restricted to some rows of each."""
    kept: dict[str, Any] = {}
    for field in dataclasses.fields(observation):  # type: ignore[arg-type]
        value = getattr(observation, field.name)
        if isinstance(value, Tensor):
            kept[field.name] = value[rows]
        elif dataclasses.is_dataclass(value):
            kept[field.name] = _rows(value, rows)
    return dataclasses.replace(observation, **kept)  # type: ignore[type-var]


@runtime_checkable
class GeometrySource(Protocol):
    """Makes guidance. ``prepare`` once per source, ``guide`` once per driving frame.

    ``needs_source`` and ``needs_driving`` name the fields that must not be None.
    """

    needs_source: tuple[str, ...]
    needs_driving: tuple[str, ...]

    def prepare(self, source: Source) -> Any:
        """Compute everything that depends on the source alone.

        Args:
            source: with the fields of ``needs_source``.
        """

    def guide(self, state: Any, driving: Driving) -> Guidance:
        """Guidance from the prepared source to this driving frame.

        Args:
            state: what `prepare` returned.
            driving: a frame or a batch.
        """


Observation = TypeVar("Observation", bound=_Observation)


def require(observation: Observation, needs: tuple[str, ...], *, by: str) -> Observation:
    """Return the observation, or say which field is missing, who needs it and who makes it.

    Args:
        observation: a `Source` or `Driving`.
        needs: names of its fields.
        by: who needs them, for the message.

    Raises:
        HeadwarpError: a field named in ``needs`` is None or unknown.

    Example:
        >>> import torch
        >>> source = Source(image=torch.rand(1, 3, 8, 8))
        >>> require(source, ("image", "depth"), by="dagan")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        headwarp.geom.errors.HeadwarpError: dagan: Source.depth: expected a tensor, got None; ...
    """
    kind = type(observation).__name__
    names = {field.name for field in dataclasses.fields(observation)}
    for need in needs:
        if need not in names:
            raise HeadwarpError(f"{by}: {kind} has no field {need!r}; it has {', '.join(sorted(names))}")
        if getattr(observation, need) is None:
            raise HeadwarpError(
                f"{by}: {kind}.{need}: expected a tensor, got None; it is made by {PRODUCERS[need]}"
            )
    return observation


def take(observation: _Observation, needs: tuple[str, ...], *, by: str) -> tuple[Tensor, ...]:
    """The named tensors, none of them None; see `require`.

    Args:
        observation: a `Source` or `Driving`.
        needs: names of its fields.
        by: who needs them, for the message.

    Returns:
        The tensors, in the order of ``needs``.

    Raises:
        HeadwarpError: a field named in ``needs`` is None or unknown.

    Example:
        >>> import torch
        >>> source = Source(torch.rand(1, 3, 2, 2), torch.ones(1, 1, 2, 2))
        >>> image, mask = take(source, ("image", "mask"), by="me")
        >>> tuple(mask.shape)
        (1, 1, 2, 2)
    """
    checked = require(observation, needs, by=by)
    return tuple(getattr(checked, need) for need in needs)
