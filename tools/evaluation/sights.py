"""What is seen in a picture: the face, who it is, and what it has in common with others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from ...flame.landmarks import MEDIAPIPE_68
from ...training.data.portrait import Frame, to_image
from ...training.metrics.identity import aligned_faces
from .networks import Networks
from .trials import Place

FACE_SCORE = 0.5
MESH = (478, 3)


@dataclass(frozen=True)
class Sight:
    """What one picture shows.

    Attributes:
        points: face mesh in pixels, (478, 3); NaN where no face was found.
        embedding: of the face, (D,); None without weights or without a face.
        features: of the picture, (2048,); None without weights.
    """

    points: Float[ndarray, "478 3"]
    embedding: Float[Tensor, " D"] | None = None
    features: Float[Tensor, " F"] | None = None

    @property
    def found(self) -> bool:
        """Whether there is a face."""
        return bool(np.isfinite(self.points).all())


def look(picture: Frame, places: Sequence[Place], networks: Networks, *, certain: bool = False) -> Sight:
    """Find the face of a picture near one of some places, tried in order, and what networks see.

    Args:
        picture: uint8 (H, W, 3).
        places: where the face may be; none: no face is sought.
        networks: those whose weights are there.
        certain: there is a face at the first place, whatever the detector's presence says.
    """
    points = np.full(MESH, np.nan, np.float32)
    for place in places:
        from ...flame.detect.mediapipe import landmarks_in_roi

        found, score = landmarks_in_roi(picture, place)
        if certain or score >= FACE_SCORE:
            points = found
            break
    sight = Sight(points)
    if networks.inception is not None:
        sight = replace(sight, features=_first(networks.inception(to_image(picture))))
    if networks.arcface is not None and sight.found:
        mesh68 = torch.from_numpy(np.ascontiguousarray(points[list(MEDIAPIPE_68), :2]))[None]
        sight = replace(sight, embedding=_first(networks.arcface(aligned_faces(to_image(picture), mesh68))))
    return sight


class Sights:
    """What the pictures of a trial show, one after the other, in arrays that are made before the first.

    A small array a picture would do the same and cost a picture each: what stays among the memory that
    pictures come and go in keeps it from being given back.

    Attributes:
        points: face meshes in pixels, float32 (T, 478, 3), NaN where none was found; None where none is
            sought.
        seen: how many pictures there were so far.
    """

    def __init__(self, count: int, *, faces: bool = True) -> None:
        """Room for so many pictures."""
        self.points = np.full((count, *MESH), np.nan, np.float32) if faces else None
        self.seen = 0
        self._count = count
        self._embeddings: Tensor | None = None
        self._features: Tensor | None = None
        self._embedded = np.zeros(count, bool)

    @classmethod
    def of(cls, sights: Sequence[Sight]) -> Sights:
        """Of some pictures."""
        found = cls(len(sights))
        for sight in sights:
            found.add(sight)
        return found

    def add(self, sight: Sight) -> None:
        """The next picture."""
        row, self.seen = self.seen, self.seen + 1
        if self.points is not None:
            self.points[row] = sight.points
        if sight.embedding is not None:
            if self._embeddings is None:
                self._embeddings = sight.embedding.new_empty(self._count, len(sight.embedding))
            self._embeddings[row], self._embedded[row] = sight.embedding, True
        if sight.features is not None:
            if self._features is None:
                self._features = sight.features.new_empty(self._count, len(sight.features))
            self._features[row] = sight.features

    @property
    def meshes(self) -> Float[ndarray, "T 478 3"]:
        """The points, which were sought."""
        assert self.points is not None
        return self.points[: self.seen]

    @property
    def found(self) -> Bool[ndarray, " T"]:
        """Pictures that show a face."""
        return np.isfinite(self.meshes).all((1, 2))

    @property
    def embedded(self) -> Bool[ndarray, " T"]:
        """Pictures whose face has an embedding."""
        return self._embedded[: self.seen]

    def embeddings(self, rows: Sequence[int] | ndarray) -> Float[Tensor, "N D"]:
        """Of pictures that have one."""
        assert self._embeddings is not None
        return self._embeddings[torch.as_tensor(rows)]

    @property
    def features(self) -> tuple[Float[Tensor, " F"], ...]:
        """One a picture, or none."""
        return () if self._features is None else tuple(self._features[: self.seen])


def _first(values: Tensor) -> Tensor:
    return values.detach()[0].float().cpu()


def points_of(sights: Sequence[Sight]) -> Float[ndarray, "T 478 3"]:
    """Face meshes of a few pictures; NaN where none was found."""
    return np.stack([sight.points for sight in sights])


def found_in(points: Float[ndarray, "T L C"]) -> Bool[ndarray, " T"]:
    """Frames whose points are known."""
    return np.isfinite(points).all((1, 2))
