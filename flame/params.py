"""The parameters of a head, what a fit of them knows, and what a person says about a pose.

Axes, units and signs: see `headwarp.geom`. Rotations are axis-angle in radians in the head model's own axes
(x = the subject's left, y up, z out of the face), as in FLAME's files; degrees appear in `Pose` only.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..geom.cameras import Perspective, WeakPerspective
from ..geom.errors import HeadwarpError, ModelFileError, ShapeError

SCHEMA_VERSION = 2
CONVENTION = (
    "headwarp-1: model axes x left, y up, z front; camera x right, y down, z forward; pixel centres +0.5"
)
MISSING, INTERPOLATED, DETECTED = 0, 1, 2
STATUS_NAMES = ("missing", "interpolated", "detected")

Camera = WeakPerspective | Perspective


def select_camera(camera: Camera, frames: slice | Tensor | list[int]) -> Camera:
    """The camera at the given frames.

    Args:
        camera: T frames.
        frames: a slice, indices or a mask; they keep the frame axis.
    """
    return type(camera)(*(getattr(camera, f.name)[frames] for f in dataclasses.fields(camera)))


@dataclass(frozen=True)
class HeadParams:
    """Parameters of a head over T frames of one person.

    Attributes:
        shape: identity coefficients, unit variance, ``(S,)``.
        expression: expression coefficients, ``(T, E)``.
        rotation: root joint, ``(T, 3)`` axis-angle.
        translation: after the root rotation, ``(T, 3)`` metres (zero under a weak-perspective camera).
        neck, jaw: joints, ``(T, 3)`` axis-angle; jaw +x opens.
        eyes: left then right eye joint, ``(T, 6)`` axis-angle.
        eyelids: left, right; 0 as in the template, 1 closed, ``(T, 2)``.
    """

    shape: Float[Tensor, "S"]
    expression: Float[Tensor, "T E"]
    rotation: Float[Tensor, "T 3"]
    translation: Float[Tensor, "T 3"]
    neck: Float[Tensor, "T 3"]
    jaw: Float[Tensor, "T 3"]
    eyes: Float[Tensor, "T 6"]
    eyelids: Float[Tensor, "T 2"]

    def __post_init__(self) -> None:
        frames = self.expression.shape[0]
        widths = {"rotation": 3, "translation": 3, "neck": 3, "jaw": 3, "eyes": 6, "eyelids": 2}
        for name, width in widths.items():
            value = getattr(self, name)
            if tuple(value.shape) != (frames, width):
                raise ShapeError(
                    f"HeadParams.{name}: expected {(frames, width)} (T, {width}), got {tuple(value.shape)}; "
                    "every per-frame field needs the frame count of `expression`"
                )

    @property
    def frames(self) -> int:
        """T, the number of frames."""
        return self.expression.shape[0]

    def select(self, frames: slice | Tensor | list[int]) -> HeadParams:
        """The same person at the given frames.

        Args:
            frames: a slice, indices or a mask; they keep the frame axis.

        Example:
            >>> HeadParams.neutral(3, 2, frames=5).select([0, 4]).jaw.shape
            torch.Size([2, 3])
        """
        kept = {f.name: getattr(self, f.name)[frames] for f in dataclasses.fields(self) if f.name != "shape"}
        return HeadParams(shape=self.shape, **kept)

    @staticmethod
    def neutral(shape_count: int, expression_count: int, frames: int = 1) -> HeadParams:
        """The template at rest, facing the camera.

        Args:
            shape_count: S.
            expression_count: E.
            frames: T.

        Example:
            >>> HeadParams.neutral(3, 2).expression.shape
            torch.Size([1, 2])
        """
        zeros = lambda width: torch.zeros(frames, width)  # noqa: E731
        return HeadParams(
            shape=torch.zeros(shape_count),
            expression=zeros(expression_count),
            rotation=zeros(3),
            translation=zeros(3),
            neck=zeros(3),
            jaw=zeros(3),
            eyes=zeros(6),
            eyelids=zeros(2),
        )


@dataclass(frozen=True)
class HeadFit:
    """Parameters found in a photo or clip: one record for every input frame, always.

    Attributes:
        params: the head, T frames.
        camera: its camera, T frames, in pixels of a frame of ``size``.
        size: (H, W) of the frames.
        model_id: name and hash of the head model the coefficients belong to.
        landmark_indices: ids (face-mesh numbering) of the landmarks used, ``(L,)``.
        landmarks: detected points in pixels, ``(T, L, 2)``; NaN where none was detected.
        residual: detected minus projected points in pixels, ``(T, L, 2)``; 0 where none was detected.
        status: `DETECTED`, `INTERPOLATED` or `MISSING` per frame, ``(T,)`` int8.
        confidence: 0..1 per frame, ``(T,)``.
        covariance: of (rotation in the camera frame 3 [rad], log scale, centre 2 [px]) per frame, ``(T, 6,
            6)``.
        report: numbers about the fit, JSON-able.
        deviation: standard deviations per frame of jaw (3) [rad], eyelids (2) and expression (E), ``(T, 5 +
            E)``; None where nothing is known of them (files of schema 1, fits of other tools).

    Example:
        >>> import torch
        >>> from headwarp.geom.cameras import WeakPerspective
        >>> still, none = HeadParams.neutral(3, 2, frames=4), torch.zeros(4, 0, 2)
        >>> camera = WeakPerspective(torch.full((4,), 900.0), torch.full((4, 2), 128.0))
        >>> seen, numbers = torch.full((4,), DETECTED, dtype=torch.int8), torch.zeros(0, dtype=torch.int64)
        >>> fit = HeadFit(still, camera, (256, 256), "mine", numbers, landmarks=none, residual=none,
        ...               status=seen, confidence=torch.ones(4), covariance=torch.zeros(4, 6, 6))
        >>> HeadFit.load(fit.select([0, 2]).save("fit.npz")).frames
        2
    """

    params: HeadParams
    camera: Camera
    size: tuple[int, int]
    model_id: str
    landmark_indices: Int[Tensor, "L"]
    landmarks: Float[Tensor, "T L 2"]
    residual: Float[Tensor, "T L 2"]
    status: Int[Tensor, "T"]
    confidence: Float[Tensor, "T"]
    covariance: Float[Tensor, "T 6 6"]
    report: Mapping[str, Any] = field(default_factory=dict)
    deviation: Float[Tensor, "T D"] | None = None

    def __post_init__(self) -> None:
        expected = (self.params.frames, 5 + self.params.expression.shape[1])
        if self.deviation is not None and tuple(self.deviation.shape) != expected:
            raise ShapeError(
                f"HeadFit.deviation: expected {expected} (T, 5 + E), got {tuple(self.deviation.shape)}; "
                "its columns are jaw (3), eyelids (2), expression (E)"
            )

    @property
    def frames(self) -> int:
        """T, the number of frames, those without a face included."""
        return self.params.frames

    def select(self, frames: slice | Tensor | list[int]) -> HeadFit:
        """The same fit restricted to the given frames.

        Args:
            frames: a slice, indices or a mask; they keep the frame axis.
        """
        per_frame = ("landmarks", "residual", "status", "confidence", "covariance")
        return dataclasses.replace(
            self,
            params=self.params.select(frames),
            camera=select_camera(self.camera, frames),
            deviation=None if self.deviation is None else self.deviation[frames],
            **{name: getattr(self, name)[frames] for name in per_frame},
        )

    def followed_by(self, *others: HeadFit) -> HeadFit:
        """The frames of this fit and then those of others of the same person; the report is this one's.

        Args:
            others: the frames that come after, in this order.

        Raises:
            HeadwarpError: another head, shape, size, kind of camera or other landmarks.
        """
        every = (self, *others)
        for other in others:
            self._check_same(other)

        def cat(parts: Sequence[Any], name: str) -> Any:
            return torch.cat([getattr(part, name) for part in parts])

        moving = [each.name for each in dataclasses.fields(HeadParams) if each.name != "shape"]
        lens = [each.name for each in dataclasses.fields(self.camera)]
        params, cameras = [each.params for each in every], [each.camera for each in every]
        known = all(each.deviation is not None for each in every)
        per_frame = ("landmarks", "residual", "status", "confidence", "covariance")
        return dataclasses.replace(
            self,
            params=dataclasses.replace(self.params, **{name: cat(params, name) for name in moving}),
            camera=type(self.camera)(*(cat(cameras, name) for name in lens)),
            deviation=cat(every, "deviation") if known else None,
            **{name: cat(every, name) for name in per_frame},
        )

    def _check_same(self, other: HeadFit) -> None:
        for name in ("model_id", "size"):
            if getattr(self, name) != getattr(other, name):
                raise HeadwarpError(
                    f"{name}: expected {getattr(self, name)} in both fits, got {getattr(other, name)}"
                )
        same = (self.params.shape, self.landmark_indices), (other.params.shape, other.landmark_indices)
        if type(self.camera) is not type(other.camera) or not all(map(torch.equal, *same)):
            raise HeadwarpError("followed_by: expected fits of one shape, landmarks and kind of camera")

    def save(self, path: str | Path) -> Path:
        """Write one ``.npz`` (no pickles inside); returns its path.

        Args:
            path: of the file.

        Raises:
            ModelFileError: the folder cannot be written, or the disk is full.
        """
        from .fit_file import save_fit

        return save_fit(self, path)

    @staticmethod
    def load(path: str | Path) -> HeadFit:
        """Read what `save` wrote.

        Args:
            path: of the file.

        Raises:
            ModelFileError: anything else, damage too.
        """
        from .fit_file import load_fit

        return load_fit(path)


MOST_AMOUNT = 10.0
"""Bound of a `Pose`'s jaw, blink and expressions: far beyond any face."""


@dataclass(frozen=True)
class Pose:
    """What a person says about a head.

    Attributes:
        yaw, pitch, roll: degrees; yaw > 0 turns the nose to the image's left, pitch > 0 looks down,
            roll > 0 tilts clockwise in the image.
        jaw: 0 shut .. 1 wide open (20 degrees about the jaw joint).
        gaze: (yaw, pitch) of the eyes in degrees, signs as the head's.
        blink: 0 open .. 1 closed, both eyes.
        expressions: named expressions of the head model and their amounts, e.g. ``{"smile": 0.6}``; a number
            for a name, ``{"3": 1.2}``, is that expression coefficient of the head, in standard deviations.
            Amounts lie within +-10.
        relative: added to the fit's own pose and expression (default), or replacing them.

    Example:
        >>> Pose(yaw=20, expressions={"smile": 0.6}).relative
        True
        >>> Pose(pitch=120)
        Traceback (most recent call last):
        headwarp.geom.errors.HeadwarpError: Pose.pitch: expected degrees within +-90, got 120
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    jaw: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    blink: float = 0.0
    expressions: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    relative: bool = True

    def __post_init__(self) -> None:
        numbers = {n: getattr(self, n) for n in ("yaw", "pitch", "roll", "jaw", "blink")}
        numbers.update({f"expressions[{k}]": v for k, v in self.expressions.items()})
        numbers.update({"gaze[0]": self.gaze[0], "gaze[1]": self.gaze[1]})
        for name, value in numbers.items():
            if not np.isfinite(value):
                raise HeadwarpError(f"Pose.{name}: expected a finite number, got {value!r}")
        degrees = {"yaw": 180.0, "pitch": 90.0, "roll": 180.0, "gaze[0]": 90.0, "gaze[1]": 90.0}
        for name, value in numbers.items():
            limit = degrees.get(name, MOST_AMOUNT)
            if abs(value) > limit:
                what = "degrees" if name in degrees else "an amount, of which 1 is the whole,"
                raise HeadwarpError(f"Pose.{name}: expected {what} within +-{limit:.0f}, got {value}")


def report_json(report: Mapping[str, Any]) -> str:
    """A report as JSON text that parses anywhere (no NaN)."""
    return json.dumps(report, allow_nan=False, sort_keys=True)


def check_model(fit: HeadFit, model_id: str) -> None:
    """Raise ModelFileError if the fit's coefficients belong to another head model."""
    if fit.model_id != model_id:
        raise ModelFileError(
            f"fit: expected coefficients of head {model_id}, got those of {fit.model_id}; "
            "pass --head with the model of the fit, or fit the input again"
        )
