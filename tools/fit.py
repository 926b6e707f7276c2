"""`headwarp fit`: photos, videos and folders become fits, one record for every input frame."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import FlagCreatePairsOff, Positional

from ..flame.detect import detector_names, get_detector
from ..flame.fitting import FitConfig, SolverConfig
from ..flame.model import HeadModel
from ..flame.params import SCHEMA_VERSION, HeadFit
from ..geom.errors import HeadwarpError
from ..training.data.atomic import write_json
from ..training.data.inputs import Input, is_numbered, list_inputs, output_names
from ..training.data.jobs import JobConfig, open_manifest, publishing, run_jobs
from ..training.data.provenance import sha256_of
from .faces import find_face, find_faces, fit_face, fit_faces, naming
from .fit_clip import ClipOptions
from .fit_identity import identity_spread
from .fit_jobs import MANIFEST, Entries, FitWork, fit_jobs, manifest_remarks, without_own
from .fit_page import write_fit_page
from .fit_report import describe, licences, summary
from .fit_sheet import open_rows, write_sheet
from .heads import head_notes, ready_head
from .inputs import check_folder
from .portrait import as_frames

__all__ = ["Fit", "describe", "fit", "fit_all", "run"]
PROTOCOL = (
    "landmarks",
    "face",
    "all_faces",
    "mode",
    "one_person",
    "focal",
    "sigma",
    "smooth",
    "steady",
    "photometric",
    "provenance",
)
NEUTRAL = frozenset(
    {
        "input",
        "output",
        "head",
        "sequence",
        "recursive",
        "workers",
        "engine",
        "address",
        "retry_failed",
        "restart",
    }
)
"""Options on which no output depends (the head counts by its model_id)."""


@dataclass(frozen=True)
class Fit:
    """Fit a head to photos, videos and folders: NAME.npz each, and report.json.

    A folder stands for the photos, videos and .tar shards in it or, if there are none, in the folders below,
    whose tree the outputs keep; a .tar stands for its members, a .csv for its rows (path, and as wanted name,
    start, stop, face). Inputs that share a name get longer ones: x.mp4 and x.jpg become x_mp4.npz and
    x_jpg.npz. An input that fails is reported and the others go on. Run again, the command goes on where it
    stopped: manifest.jsonl in the output folder knows what is done.
    """

    input: Positional[tuple[Path, ...]]
    """Photos, videos, folders of them, quoted patterns, .tar shards, or .csv lists."""
    output: Path
    """Folder for the fits, report.json, manifest.jsonl, report.html, sheet.png, overlays/NAME.png and
    curves/NAME.png; overlays/NAME.mp4 where asked for."""
    head: str | None = None
    """builtin, or a head file; without it, what $HEADWARP_HEAD names, else builtin."""
    landmarks: str = "mediapipe"
    """mediapipe, face-alignment, or a file of landmarks (.npy, .npz, .csv) for a single input."""
    face: int | None = None
    """Which face, by rank; 0 is the largest confirmed one. The overlay shows the ranks."""
    all_faces: bool = False
    """Fit every face track: NAME.npz holds the first, NAME.faceK.npz the face of rank K."""
    mode: Literal["auto", "clip", "stream"] = "auto"
    """clip solves all frames of an input at once; stream looks at no later frame, once it knows the face."""
    one_person: bool = False
    """All inputs show the same person: they share one identity, found from views of all of them."""
    focal: float | Literal["estimate"] | None = None
    """Focal length in pixels for a perspective camera, or estimate; without it, weak perspective."""
    sigma: float = SolverConfig.sigma
    """Landmark noise in percent of the eye distance; smaller follows the points more closely."""
    smooth: float = SolverConfig.smooth
    """Weight of evenness in time; 0 fits every frame alone, with one shape."""
    steady: bool = False
    """Hold motion itself back, judder included: about half the jitter, for curves rather than pictures."""
    photometric: bool = False
    """Refine pose, jaw, expression and eyelids by the pictures: slower, never worse at the landmarks."""
    sequence: bool = False
    """Take a folder, or a pattern, of numbered pictures as one clip."""
    recursive: bool = False
    """Take folders with all folders below them."""
    overlay: bool = True
    """Draw the fitted mesh over a frame of every input, a clip's curves, a sheet of the worst fits, and
    report.html: the run as one page for a browser."""
    overlay_video: FlagCreatePairsOff[bool] = False
    """Write overlays/NAME.mp4 of every clip: each of its frames beside mesh, points and how far off they
    are; frames without a face say so."""
    provenance: bool = True
    """Say in the overlays how they were made."""
    workers: int | None = None
    """Processes that fit at the same time, watched and replaced if they die. Without it this one alone, and
    on a Ray cluster one for each CPU."""
    engine: Literal["local", "ray"] = "local"
    """ray takes the workers of a Ray cluster that sees the same files."""
    address: str | None = None
    """The Ray cluster; without it, the one that $RAY_ADDRESS names, else a new one on this machine."""
    retry_failed: bool = False
    """Try inputs again that failed in an earlier run."""
    restart: bool = False
    """Make everything anew, with other options if wanted; the old manifest is kept as manifest-N.jsonl."""


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

    Returns:
        Parameters, camera and what is known of their error, T frames; a frame without a face keeps its
        record, with the status `MISSING` or, between frames that have one, `INTERPOLATED`.

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
    with naming(frames_or_path):
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
        head: as for `fit`.
        landmarks: as for `fit`.
        config: as for `fit`.

    Returns:
        A fit a track in the order of rank, confirmed ones first, larger and longer ones before others.

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
    with naming(frames_or_path):
        tracks = find_faces(as_frames(frames_or_path), landmarks=landmarks)
        return list(fit_faces(tracks, model, config=config))


def run(config: Fit) -> dict[str, Any]:
    """The command.

    Returns:
        The report, which also stands in ``report.json``; ``ok`` is False if any input failed.

    Raises:
        HeadwarpError: nothing can be done at all: the head, the detector, an option or the folder is wrong.
    """
    output = config.output
    listing = list_inputs(
        config.input, recursive=config.recursive, sequence=config.sequence, exclude=config.output
    )
    inputs = without_own(list(listing), output)
    _check(config, inputs)
    jobs = JobConfig(config.workers, config.engine, config.address, config.retry_failed)
    check_folder(output)
    model = ready_head(config.head)
    options = _clip_options(config)
    if config.one_person:
        options = _of_one_person(inputs, options, model)
    fingerprint = _fingerprint(config, model) | _identity(options)
    with open_manifest(
        output / MANIFEST, kind="fit", fingerprint=fingerprint, restart=config.restart
    ) as manifest:
        names = output_names(inputs, base=output, known=manifest.keys_by_source())
        done = run_jobs(
            fit_jobs(inputs, names, output),
            FitWork(options, model, output, replace=config.restart),
            manifest=manifest,
            config=jobs,
            total=len(inputs),
            label="fit",
        )
        entries = Entries(manifest, inputs, names)
        with publishing(output) as folder:
            shown, lacking = open_rows(entries, inputs, model) if config.overlay else ({}, [])
            write_sheet(folder / "sheet.png", list(shown.values()), len(inputs))
            report = summary(
                entries,
                messages=[*head_notes(model), *_remarks(config), *manifest_remarks(manifest, done), *lacking],
                protocol={"head": model.model_id, **{key: getattr(config, key) for key in PROTOCOL}},
                startup=done.startup_seconds,
                more={
                    "licences": licences(model, config.landmarks),
                    "identity": identity_spread(model, entries),
                    "sheet": output / "sheet.png" if (folder / "sheet.png").exists() else None,
                },
            )
            if shown:
                report = {**report, "page": output / "report.html"}
                write_fit_page(folder / "report.html", report, entries, shown, place=output)
            write_json(folder / "report.json", report)
    return report


def _remarks(config: Fit) -> list[str]:
    """What may have been meant otherwise."""
    numbered = [path for path in config.input if not config.sequence and is_numbered(path)]
    return [f"{path}: numbered pictures; --sequence takes them as one clip" for path in numbered]


def _fingerprint(config: Fit, model: HeadModel) -> dict[str, Any]:
    """All that the outputs depend on beside the inputs; an option that is added counts unless it is named."""
    options = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    kept = {name: value for name, value in options.items() if name not in NEUTRAL}
    if config.landmarks not in detector_names():
        kept["landmarks"] = sha256_of(config.landmarks)
    return {
        "head": model.model_id,
        "head_landmarks": _landmark_digest(model),
        "fit_schema": SCHEMA_VERSION,
        **kept,
    }


def _of_one_person(inputs: Sequence[Input], options: ClipOptions, model: HeadModel) -> ClipOptions:
    """The options with the shape that all inputs share."""
    from .fit_person import person_shape

    shape = person_shape(inputs, options, model)
    return dataclasses.replace(options, fitting=dataclasses.replace(options.fitting, shape=shape))


def _identity(options: ClipOptions) -> dict[str, Any]:
    """Stands for a known shape, which changes with the inputs it was found from."""
    shape = options.fitting.shape
    return {} if shape is None else {"shape": hashlib.sha256(repr(shape).encode()).hexdigest()[:12]}


def _landmark_digest(model: HeadModel) -> str:
    """Stands for the points of the head that are fitted: its files may have given them, or drawing it."""
    digest = hashlib.sha256()
    for family, points in sorted(model.landmarks.items()):
        digest.update(family.encode())
        for values in (points.indices, points.faces):
            digest.update(values.long().numpy().tobytes())
    return digest.hexdigest()[:12]


def _check(config: Fit, inputs: Sequence[Input]) -> None:
    """Raise HeadwarpError for options that make no sense."""
    focal = None if config.focal == "estimate" else config.focal
    for name, value, least in (("sigma", config.sigma, 0.0), ("focal", focal, 0.0)):
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
    solver = SolverConfig(sigma=config.sigma, smooth=config.smooth, steady=config.steady)
    return ClipOptions(
        landmarks=config.landmarks,
        face=config.face,
        all_faces=config.all_faces,
        fitting=FitConfig(solver=solver, mode=config.mode, focal=config.focal),
        photometric=config.photometric,
        overlay=config.overlay,
        overlay_video=config.overlay_video,
        provenance=config.provenance,
    )
