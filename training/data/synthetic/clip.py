"""A synthetic clip: a recipe of a few numbers, from which every frame and all its truth is made anew."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ....flame.model import HeadModel, landmark_points
from ....flame.params import DETECTED, HeadFit
from ....flame.posing import project_head
from ....geom.errors import HeadwarpError, ModelFileError
from .motion import Motion, clip_motion
from .person import Person, make_person
from .render import Studio, make_studio, render, see
from .truth import View

VERSION = 4  # of what a recipe stands for: it changes when the same numbers make other pictures
SIZES = (32, 2048)


@dataclass(frozen=True)
class Recipe:
    """What a clip is made from, beside the head model.

    Attributes:
        seed: of the data set.
        number: of the person in it.
        frames: of the clip.
        size: side of the frames in pixels.
        fps: frames a second.
        occluders: share of persons with something before them.
        focal: least and largest focal length in widths of the frame, drawn evenly in their logarithm; the
            distance follows from it. None: the distance is drawn, and focal lengths are long (about 2 to 10).
    """

    seed: int
    number: int
    frames: int = 50
    size: int = 256
    fps: float = 25.0
    occluders: float = 0.15
    focal: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        low, high = SIZES
        checks = (
            ("seed", self.seed >= 0, "0 or more", self.seed),
            ("number", self.number >= 0, "0 or more", self.number),
            ("frames", self.frames >= 1, "1 or more", self.frames),
            ("size", low <= self.size <= high, f"{low} to {high} pixels", self.size),
            ("fps", math.isfinite(self.fps) and 0 < self.fps <= 1000, "above 0, at most 1000", self.fps),
            ("occluders", 0 <= self.occluders <= 1, "a share in 0 .. 1", self.occluders),
            ("focal", _is_focal_range(self.focal), "two of 0.3 to 100 frame widths, rising", self.focal),
        )
        for name, good, expected, got in checks:
            if not good:
                raise HeadwarpError(f"{name}: expected {expected}, got {got}")

    def as_json(self, model_id: str) -> str:
        """One line that `recipe_from_json` reads."""
        fields = dataclasses.asdict(self)
        if self.focal is None:
            del fields["focal"]  # so that the line of such a clip is what it always was
        return json.dumps({"version": VERSION, "model_id": model_id, **fields})


def _is_focal_range(focal: tuple[float, float] | None) -> bool:
    if focal is None:
        return True
    numbers = len(focal) == 2 and all(isinstance(end, (int, float)) for end in focal)
    return numbers and 0.3 <= focal[0] <= focal[1] <= 100


def recipe_from_json(text: str, model_id: str) -> Recipe:
    """The recipe in a truth file.

    Raises:
        ModelFileError: it is none, for another head model, or of another version of this module.
    """
    content = _parsed(text)
    for key, wanted in (("version", VERSION), ("model_id", model_id)):
        if content.get(key) != wanted:
            raise ModelFileError(
                f"recipe: expected {key} {wanted}, got {content.get(key)}; make the clips again "
                "(`headwarp synth`) or give the head model they were made with"
            )
    try:
        focal = content.get("focal")
        given = {f.name: content[f.name] for f in dataclasses.fields(Recipe) if f.name != "focal"}
        return Recipe(**given, focal=None if focal is None else tuple(focal))
    except (KeyError, TypeError, HeadwarpError) as error:
        raise ModelFileError(
            f"recipe: expected the numbers of a clip, got {text[:200]!r} ({error})"
        ) from error


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, Mapping):
        raise ModelFileError(f"recipe: expected a JSON object, got {text[:80]!r}; make the clips again")
    return content


@dataclass(frozen=True)
class SyntheticClip:
    """A clip ready to be drawn, frame by frame in any order.

    Attributes:
        recipe: what it is made from.
        person, motion, studio: who, how and where.
    """

    recipe: Recipe
    person: Person
    motion: Motion
    studio: Studio

    def picture(self, frame: int) -> NDArray[np.uint8]:
        """RGB of a frame, (H, W, 3); the same bits every time."""
        return render(self.studio, self.motion, frame)

    def view(self, frame: int) -> View:
        """The posed meshes of a frame in its pixels: what its truth is read from."""
        seen = see(self.person, self.motion, frame)
        return View(
            verts=seen.pixels,
            faces=self.person.faces,
            material=self.person.material,
            metres=seen.posed.points[..., 2],
            window=self.motion.window[frame],
            size=(self.recipe.size, self.recipe.size),
        )


def synthesise(head: HeadModel, recipe: Recipe) -> SyntheticClip:
    """The clip of a recipe on a head model.

    Args:
        head: the head model.
        recipe: what is drawn by lot and what is not.

    Raises:
        ModelFileError: the head's landmarks hold too little of the face.
    """
    person = make_person(head, seed=recipe.seed, number=recipe.number, occluders=recipe.occluders)
    motion = clip_motion(
        head,
        person.anatomy,
        traits=person.traits,
        seed=recipe.seed,
        frames=recipe.frames,
        fps=recipe.fps,
        size=recipe.size,
        focal=recipe.focal,
    )
    return SyntheticClip(recipe, person, motion, make_studio(person, seed=recipe.seed, size=recipe.size))


def true_fit(clip: SyntheticClip) -> HeadFit:
    """The parameters and camera that the clip was drawn with, as a fit would hold them.

    Every frame counts as detected, with the projected points as landmarks and nothing left over.
    """
    head, motion, recipe = clip.person.head, clip.motion, clip.recipe
    verts = project_head(head, motion.params, motion.camera)
    points = landmark_points(head, verts, "mediapipe")[..., :2]
    frames, width = motion.params.expression.shape
    return HeadFit(
        params=motion.params,
        camera=motion.camera,
        size=(recipe.size, recipe.size),
        model_id=head.model_id,
        landmark_indices=head.landmarks["mediapipe"].indices,
        landmarks=points,
        residual=torch.zeros_like(points),
        status=torch.full((frames,), DETECTED, dtype=torch.int8),
        confidence=torch.ones(frames),
        covariance=1e-8 * torch.eye(6).expand(frames, 6, 6).contiguous(),
        report={"frames": frames, "detected": frames, "synthetic": json.loads(recipe.as_json(head.model_id))},
        deviation=torch.zeros(frames, 5 + width),
    )
