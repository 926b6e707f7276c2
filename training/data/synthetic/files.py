"""Synthetic clips on disk: a clip in VoxCeleb's layout, its fit beside it, its truth in a folder of its own.

``{train,test}/synSSSS-NNNNN#clip#000000#000050.mp4`` (or a folder of PNG frames), ``NAME.npz`` (a `HeadFit`)
beside it, and ``truth/NAME.npz``. Or a pack of that name, ready to train on, with the true person mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from ....flame._files import read_npz, write_npz
from ....flame.model import HeadModel
from ....geom.errors import ModelFileError
from ....warping.posed_layers import soft_edge
from ..media import VideoWriter, write_image
from ..pairs.pack import ClipLabel, PackConfig, pack_clip
from ..vox import ClipName, format_name
from .clip import Recipe, SyntheticClip, recipe_from_json, synthesise, true_fit
from .truth import is_person, truth_of, visible_vertices

TRUTH = "truth"
Kind = Literal["mp4", "png", "pack"]
_KEYS = ("recipe", "depth", "label", "visible", "window")


def clip_name(recipe: Recipe) -> str:
    """The clip's name without a suffix; the person stands before the first ``#``."""
    person = f"syn{recipe.seed:04d}-{recipe.number:05d}"
    return format_name(ClipName(person, "clip", 0, recipe.frames))


@dataclass(frozen=True)
class TruthFile:
    """The truth of a clip as it lies on disk.

    Attributes:
        recipe: from which the rest can be made anew.
        depth: metres, float16, 0 where nothing is, ``(T, H, W)``.
        label: `Material` of every pixel's centre, uint8.
        visible: whether a frame shows a vertex of the head, ``(T, V)``.
        window: the camera's own motion, ``(T, 2, 3)``.
    """

    recipe: Recipe
    depth: np.ndarray
    label: np.ndarray
    visible: np.ndarray
    window: np.ndarray


def write_clip(
    clip: SyntheticClip, folder: Path, *, partition: str, kind: Kind = "mp4", crf: int = 12
) -> str:
    """Draw and write a clip, its fit and its truth; returns its name.

    A ``pack`` holds the fit itself, and the true person mask in place of a network's.

    Args:
        clip: to be drawn.
        folder: of the data set.
        partition: ``train`` or ``test``.
        kind: how frames are kept.
        crf: quality of an mp4; lower is better.

    Raises:
        HeadwarpError: a file cannot be written.
    """
    name = clip_name(clip.recipe)
    frames = range(clip.recipe.frames)
    place = folder / partition / name
    if kind == "pack":
        _pack(clip, folder / partition, name)
    elif kind == "mp4":
        with VideoWriter(place.with_name(f"{name}.mp4"), clip.recipe.fps, crf=crf) as writer:
            for frame in frames:
                writer.write(clip.picture(frame))
    else:
        for frame in frames:
            write_image(place / f"{frame:06d}.png", clip.picture(frame))
    if kind != "pack":
        true_fit(clip).save(folder / partition / f"{name}.npz")
    (folder / TRUTH).mkdir(parents=True, exist_ok=True)
    write_npz(folder / TRUTH / f"{name}.npz", truth_arrays(clip))
    return name


def _pack(clip: SyntheticClip, folder: Path, name: str) -> None:
    """All frames are packed, in order: so come their masks."""
    frames = range(clip.recipe.frames)
    masks = (truth_of(clip.view(frame)).person.float() for frame in frames)
    pack_clip(
        (clip.picture(frame) for frame in frames),
        true_fit(clip),
        head=clip.person.head,
        folder=folder,
        label=ClipLabel(person=name.split("#")[0], clip=name, source=name),
        config=PackConfig(size=clip.recipe.size, codec="jpeg"),
        segment=lambda frame: soft_edge(next(masks)[None, None])[0, 0].numpy(),
    )


def truth_arrays(clip: SyntheticClip) -> dict[str, np.ndarray]:
    """What a truth file holds, by key."""
    count = len(clip.person.head.template)
    views = [clip.view(frame) for frame in range(clip.recipe.frames)]
    truths = [truth_of(view) for view in views]
    return {
        "recipe": np.array(clip.recipe.as_json(clip.person.head.model_id)),
        "depth": torch.stack([truth.depth for truth in truths]).numpy().astype(np.float16),
        "label": torch.stack([truth.label for truth in truths]).numpy().astype(np.uint8),
        "visible": np.packbits(torch.stack([visible_vertices(v, count) for v in views]).numpy(), axis=1),
        "window": clip.motion.window.numpy(),
    }


def load_truth(path: str | Path, head: HeadModel) -> TruthFile:
    """Read a truth file.

    Args:
        path: of the truth file.
        head: the head model that it was made with.

    Raises:
        ModelFileError: no such file, not one of these, of another head model or another version.
    """
    path = Path(path)
    arrays = read_npz(path)
    missing = sorted(set(_KEYS) - set(arrays))
    if missing:
        raise ModelFileError(
            f"{path}: expected a truth file with keys {', '.join(missing)}, they are missing; "
            "make the clips again with `headwarp synth`"
        )
    try:
        recipe = recipe_from_json(str(arrays["recipe"]), head.model_id)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    frames, size, count = recipe.frames, recipe.size, len(head.template)
    shapes = {
        "depth": (frames, size, size),
        "label": (frames, size, size),
        "visible": (frames, -(-count // 8)),
        "window": (frames, 2, 3),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape or (name in ("label", "visible") and arrays[name].dtype != np.uint8):
            raise ModelFileError(
                f"{path}: {name}: expected {shape}, got {arrays[name].dtype} {arrays[name].shape}; "
                "make the clips again with `headwarp synth`"
            )
    visible = np.unpackbits(arrays["visible"], axis=1, count=count).astype(bool)
    return TruthFile(recipe, arrays["depth"], arrays["label"], visible, arrays["window"])


def truth_beside(clip: Path) -> Path | None:
    """The truth file of a clip, or of a folder of its frames, in a tree that `write_clip` made; else None."""
    stem = clip.name if clip.is_dir() else clip.stem
    path = clip.absolute().parent.parent / TRUTH / f"{stem}.npz"
    return path if path.is_file() else None


def person_masks(path: Path) -> Float[np.ndarray, "T H W"] | None:
    """The exact masks of the person in a clip's frames, in [0, 1], soft by a pixel; None if the file, of
    whatever head model, is no truth file.

    Raises:
        ModelFileError: it cannot be read.
    """
    label = read_npz(path).get("label")
    if label is None or label.ndim != 3 or label.dtype != np.uint8:
        return None
    return soft_edge(is_person(torch.from_numpy(label))[:, None].float())[:, 0].numpy()


def load_clip(path: str | Path, head: HeadModel) -> SyntheticClip:
    """The clip of a truth file made anew: its pictures, posed meshes and the flow between any two frames.

    Args:
        path: of the truth file.
        head: the head model that it was made with.

    Raises:
        ModelFileError: see `load_truth`.
    """
    return synthesise(head, load_truth(path, head).recipe)
