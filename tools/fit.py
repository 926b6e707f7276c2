"""`headwarp fit`: photos, videos and folders become fits, one record for every input frame."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from ..flame.detect import detect_faces, detector_names, get_detector
from ..flame.fitting import FitConfig, SolverConfig
from ..flame.model import HeadModel
from ..flame.params import HeadFit
from ..geom.errors import HeadwarpError
from .faces import find_face, find_faces, fit_face, fit_faces
from .fit_clip import ClipOptions, fit_to_files
from .fit_report import describe, summary
from .heads import head_notes, ready_head
from .inputs import check_folder, expand, is_numbered, output_names
from .portrait import as_frames

__all__ = ["Fit", "describe", "fit", "fit_all", "run"]
PROTOCOL = ("landmarks", "face", "all_faces", "focal", "sigma", "smooth", "provenance")


@dataclass(frozen=True)
class Fit:
    """Fit a head to photos, videos and folders: NAME.npz each, and report.json.

    A folder stands for the photos and videos in it. Inputs that share a name get longer ones: x.mp4 and x.jpg
    become x_mp4.npz and x_jpg.npz. An input that fails is reported and the others go on.
    """

    input: Positional[tuple[Path, ...]]
    """Photos, videos, folders of them, or quoted patterns."""
    output: Path
    """Folder for the fits, report.json, and overlays/NAME.png."""
    head: str | None = None
    """builtin, or a head file; without it, what $HEADWARP_HEAD names, else builtin."""
    landmarks: str = "mediapipe"
    """mediapipe, face-alignment, or a file of landmarks (.npy, .npz, .csv) for a single input."""
    face: int | None = None
    """Which face, by rank; 0 is the largest confirmed one. The overlay shows the ranks."""
    all_faces: bool = False
    """Fit every face track: NAME.npz holds the first, NAME.faceK.npz the face of rank K."""
    focal: float | None = None
    """Focal length in pixels for a perspective camera; without it, weak perspective."""
    sigma: float = SolverConfig.sigma
    """Landmark noise in percent of the eye distance; smaller follows the points more closely."""
    smooth: float = SolverConfig.smooth
    """Weight of evenness in time; 0 fits every frame alone, with one shape."""
    sequence: bool = False
    """Take a folder, or a pattern, of numbered pictures as one clip."""
    overlay: bool = True
    """Draw the fitted mesh over a frame of every input."""
    provenance: bool = True
    """Say in the overlays how they were made."""


def fit(
    frames_or_path: Any,
    *,
    head: str | Path | HeadModel | None = None,
    landmarks: str | Path = "mediapipe",
    face: int | None = None,
    config: FitConfig | None = None,
) -> HeadFit:
    """Fit a head to a photo or clip: one record for every frame.

    Args:
        frames_or_path: a photo or clip file, a folder or pattern of numbered pictures (one clip), a PIL
            picture, numpy (H, W, 3) or (T, H, W, 3), torch (3, H, W) or (T, 3, H, W), uint8 or floats in
            [0, 1], or an iterable of these.
        head: ``"builtin"``, a head file, or a loaded head; None for what ``$HEADWARP_HEAD`` names, else the
            built-in.
        landmarks: a detector's name, or a file of landmarks.
        face: rank of the face; None for the first: the largest confirmed one.
        config: of the fitter.

    Raises:
        NoFaceError: no face, or none of that rank.
        MediaError: the file cannot be read.
        ModelFileError: the head cannot be read.
        HeadwarpError: an unknown detector, or landmarks that do not belong to the input.

    Example:
        >>> import skimage.data  # doctest: +SKIP
        >>> fit(skimage.data.astronaut()).report["detected"]  # doctest: +SKIP
        1
    """
    model = ready_head(head)
    choice = find_face(as_frames(frames_or_path), landmarks=landmarks, face=face)
    return fit_face(choice, model, config=config)


def fit_all(
    frames_or_path: Any,
    *,
    head: str | Path | HeadModel | None = None,
    landmarks: str | Path = "mediapipe",
    config: FitConfig | None = None,
) -> list[HeadFit]:
    """Fit a head to every face track of a photo or clip.

    A camera cut ends a track, and so does an absence of more than 50 frames: the same person after it is
    another track. Each fit has one record for every frame of the input, missing where its track is not;
    ``report["face"]`` is the rank that `fit` takes as ``face``, ``report["track"]`` numbers the faces by
    appearance, ``report["span"]`` says from which frame to which (one past the last). A track that turns
    out to be no human face is left out.

    Args:
        frames_or_path: as `fit` takes it.
        head, landmarks, config: as for `fit`.

    Raises:
        NoFaceError: no face.
        MediaError: the file cannot be read.
        ModelFileError: the head cannot be read.
        HeadwarpError: an unknown detector, or landmarks that do not belong to the input.

    Example:
        >>> import skimage.data  # doctest: +SKIP
        >>> [found.report["span"] for found in fit_all(skimage.data.astronaut())]  # doctest: +SKIP
        [[0, 1]]
    """
    model = ready_head(head)
    return list(fit_faces(find_faces(as_frames(frames_or_path), landmarks=landmarks), model, config=config))


def run(config: Fit) -> dict[str, Any]:
    """The command.

    Returns:
        The report, which also stands in ``report.json``; ``ok`` is False if any input failed.

    Raises:
        HeadwarpError: nothing can be done at all: the head, the detector, an option or the folder is wrong.
    """
    from tqdm import tqdm

    from ..training.data.atomic import write_json

    inputs = expand(config.input, sequence=config.sequence)
    _check(config, inputs)
    check_folder(config.output)
    started = time.perf_counter()
    model = ready_head(config.head)
    _start_detector(config.landmarks)
    startup = time.perf_counter() - started
    names = output_names(inputs)
    bar = tqdm(names.items(), desc="fit", unit="input", disable=None if len(names) > 1 else True)
    options = _clip_options(config)
    clips = [fit_to_files(path, name, options, model, folder=config.output) for path, name in bar]
    numbered = [path for path in config.input if not config.sequence and is_numbered(path)]
    report = summary(
        clips,
        messages=[
            *head_notes(model),
            *(f"{path}: numbered pictures; --sequence takes them as one clip" for path in numbered),
        ],
        protocol={"head": model.model_id, **{key: getattr(config, key) for key in PROTOCOL}},
        startup=startup,
    )
    write_json(config.output / "report.json", report)
    return report


def _check(config: Fit, inputs: Sequence[Path]) -> None:
    """Raise HeadwarpError for options that make no sense."""
    for name, value, least in (("sigma", config.sigma, 0.0), ("focal", config.focal, 0.0)):
        if value is not None and not (math.isfinite(value) and value > least):
            raise HeadwarpError(f"--{name}: expected a number above 0, got {value:g}")
    if not (math.isfinite(config.smooth) and config.smooth >= 0):
        raise HeadwarpError(f"--smooth: expected 0 or more, got {config.smooth:g}")
    if config.face is not None and config.face < 0:
        raise HeadwarpError(f"--face: expected 0 or more, got {config.face}")
    if config.face is not None and config.all_faces:
        raise HeadwarpError(f"--face {config.face} and --all-faces exclude each other; give one of them")
    if config.landmarks not in detector_names() and len(inputs) > 1:
        get_detector(config.landmarks)  # an unknown name, or a file that does not read, comes first
        raise HeadwarpError(
            f"--landmarks {config.landmarks}: belongs to one input, got {len(inputs)}; fit them one by one"
        )


def _clip_options(config: Fit) -> ClipOptions:
    solver = SolverConfig(sigma=config.sigma, smooth=config.smooth)
    return ClipOptions(
        landmarks=config.landmarks,
        face=config.face,
        all_faces=config.all_faces,
        fitting=FitConfig(solver=solver, focal=config.focal),
        overlay=config.overlay,
        provenance=config.provenance,
    )


def _start_detector(landmarks: str) -> None:
    """Raise what is wrong with the detector before all else; load its networks outside the clock."""
    get_detector(landmarks)
    if landmarks == "mediapipe":
        detect_faces(np.zeros((64, 64, 3), np.uint8))
