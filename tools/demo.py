"""``headwarp demo``: the main job on a shipped photo, with pictures to look at and numbers to compare."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from ..flame.model import HeadModel
from ..flame.params import HeadFit, Pose
from ..flame.pose_track import interpolate_poses, write_pose_track
from ..flame.posing import apply_pose, posed_vertices
from ..geom.errors import HeadwarpError
from ..training.data.portrait import Frame, Portrait, to_frame, to_image
from ..training.data.provenance import Provenance
from ._memory import peak_memory_mb
from .draw import blend, shaded, view_of
from .guidance import warn_of_mesh
from .heads import ready_head
from .inputs import check_folder
from .performance import open_animator, perform, progress, provenance_facts, provenance_of, windows
from .portrait import as_frames, open_portrait

FPS = 25
MESH_OPACITY = 0.75
COLUMNS = 4
LABEL = 18  # pixels of the strip under a tile
NAMES = {
    "clip": "reenactment.mp4",
    "sheet": "contact_sheet.png",
    "fit_picture": "fit.png",
    "fit": "fit.npz",
    "track": "track.csv",
    "report": "report.json",
}

# Seconds of an eight-second clip and the pose there.
SWEEP: tuple[tuple[float, Pose], ...] = (
    (0.0, Pose()),
    (0.3, Pose()),
    (1.0, Pose(yaw=28)),
    (2.2, Pose(yaw=-28)),
    (2.9, Pose()),
    (3.4, Pose(pitch=16)),
    (4.1, Pose(pitch=-14)),
    (4.6, Pose()),
    (4.8, Pose(blink=1)),
    (5.0, Pose()),
    (5.4, Pose(jaw=0.8)),
    (5.8, Pose()),
    (6.1, Pose(expressions={"smile": 0.8})),
    (6.3, Pose(expressions={"smile": 0.8})),
    (6.6, Pose()),
    (7.1, Pose(yaw=-16, pitch=5, roll=8, gaze=(-8, 0), expressions={"brows_up": 0.8})),
    (7.3, Pose(yaw=-16, pitch=5, roll=8, gaze=(-8, 0), blink=1, expressions={"brows_up": 0.8})),
    (7.5, Pose(yaw=-14, pitch=4, roll=7, expressions={"brows_up": 0.4})),
    (8.0, Pose()),
)
TILES: tuple[tuple[str, Pose], ...] = (
    *((f"yaw {angle:+d}", Pose(yaw=angle)) for angle in (15, 30, 45)),
    *((f"yaw {angle:+d}", Pose(yaw=angle)) for angle in (-15, -30, -45)),
    ("pitch +20", Pose(pitch=20)),
    ("pitch -20", Pose(pitch=-20)),
    ("roll +20", Pose(roll=20)),
    ("jaw 0.8", Pose(jaw=0.8)),
    ("blink 1", Pose(blink=1)),
    ("gaze +20", Pose(gaze=(20, 0))),
    ("smile 1", Pose(expressions={"smile": 1.0})),
    ("pucker 1", Pose(expressions={"pucker": 1.0})),
    ("brows_up 1", Pose(expressions={"brows_up": 1.0})),
)


@dataclass(frozen=True)
class Demo:
    """Fit a photo, turn it, move its face; writes a clip, a contact sheet, the fitted mesh and a report.

    Without a photo it takes the astronaut Eileen Collins, a NASA picture in the public domain.
    """

    photo: Positional[Path | None] = None
    """A photo of your own."""
    output: Path = Path("outputs/demo")
    """Folder to write to."""
    size: int = 320
    """Side of the window around the head in pixels."""
    seconds: float = 8.0
    """Length of the clip."""
    animator: str = "geometry"
    """What makes the pixels; geometry needs no weights."""
    checkpoint: Path | None = None
    """Weights of the animator."""
    head: str | None = None
    """builtin, or a head file; $HEADWARP_HEAD where not given."""
    provenance: bool = True
    """Say in the files, and in a JSON beside each, how they were made."""


def run(config: Demo) -> dict[str, Any]:
    """The command.

    Returns:
        ``files`` (kind -> path), ``head``, ``reprojection_percent_iod``, ``frames``, ``size``, ``animator``,
        ``seconds`` (``load``, ``fit``, ``sheet``, ``clip``, ``clip_per_frame``, ``total``),
        ``peak_memory_mb``, ``provenance``. The same is in ``report.json``.

    Raises:
        NoFaceError: the photo has no face.
        HeadwarpError: an option or the folder is wrong.
    """
    from ..training.data.atomic import write_json
    from ..training.data.media import write_image

    _check(config)
    clock = _Clock()
    model = ready_head(config.head)
    animator = open_animator(config.animator, config.checkpoint)
    warn_of_mesh(animator)
    picture = _photo(config.photo)
    clock.lap("load")
    portrait = open_portrait(picture, head=model, size=config.size)
    files = {kind: config.output / name for kind, name in NAMES.items()}
    portrait.fit.save(files["fit"])
    provenance = provenance_of(config.animator, inputs=[config.photo]) if config.provenance else None
    write_image(files["fit_picture"], fitted_mesh(portrait, portrait.fit), provenance=provenance)
    clock.lap("fit")
    tiles = [(label, known_expressions(model, pose)) for label, pose in TILES]
    fit = apply_pose(model, portrait.fit, [pose for _, pose in tiles])
    frames = progress(windows(perform([portrait], fit, animator)), len(tiles), "contact sheet")
    sheet = labelled_sheet([to_frame(portrait.image), *frames], ["photo", *(label for label, _ in tiles)])
    write_image(files["sheet"], sheet, provenance=provenance)
    clock.lap("sheet")
    poses = sweep(model, config.seconds)
    write_pose_track(files["track"], poses, FPS)
    _write_clip(files["clip"], portrait, apply_pose(model, portrait.fit, poses), animator, provenance)
    clock.lap("clip")
    report = {
        "files": {kind: str(path) for kind, path in files.items()},
        "head": model.model_id,
        "reprojection_percent_iod": portrait.fit.report["reprojection_percent_iod"],
        "frames": len(poses),
        "size": config.size,
        "animator": config.animator,
        "seconds": {**clock.laps, "clip_per_frame": clock.laps["clip"] / len(poses), "total": clock.total()},
        "peak_memory_mb": peak_memory_mb(),
        "provenance": provenance_facts(provenance),
    }
    write_json(files["report"], report)
    return report


def describe(report: Mapping[str, Any]) -> str:
    """Where the files are, how good the fit is, how long it took."""
    seconds, memory = report["seconds"], report["peak_memory_mb"]
    said = "" if memory is None else f", {memory:.0f} MB at most"
    lines = [f"  {kind.replace('_', ' '):<12}{path}" for kind, path in report["files"].items()]
    return "\n".join(
        [
            *lines,
            f"  fit: {report['reprojection_percent_iod']:.2f} % of the eye distance",
            f"  {report['frames']} frames, {1 / seconds['clip_per_frame']:.1f} per second; "
            f"{seconds['total']:.0f} s in all{said}",
            f"  provenance: {report['provenance']}",
        ]
    )


def sweep(model: HeadModel, seconds: float) -> list[Pose]:
    """The poses of the clip: head turns, nods, blink, jaw, smile, smoothly, within ``seconds``."""
    stretch = seconds / SWEEP[-1][0]
    poses = [known_expressions(model, pose) for _, pose in SWEEP]
    return interpolate_poses([at * stretch for at, _ in SWEEP], poses, FPS)


def known_expressions(model: HeadModel, pose: Pose) -> Pose:
    """The pose without the named expressions that a head (a user's FLAME, say) does not know."""
    known = {name: amount for name, amount in pose.expressions.items() if name in model.named_expressions}
    return dataclasses.replace(pose, expressions=known)


def fitted_mesh(portrait: Portrait, fit: HeadFit) -> Frame:
    """The mesh of a one-frame fit, shaded, over the portrait's window."""
    verts = posed_vertices(portrait.head, fit, body=portrait.fit)
    height, width = portrait.image.shape[2:]
    view = view_of(portrait.head, verts, (height, width))
    return to_frame(blend(portrait.image[0], shaded(view), view.covered, opacity=MESH_OPACITY))


def mesh_over(portrait: Portrait, fit: HeadFit, frame: Frame) -> Frame:
    """The mesh of a one-frame fit, shaded, over a made frame.

    Args:
        portrait: of the source.
        fit: one frame in its window.
        frame: the window as it was made.
    """
    return fitted_mesh(dataclasses.replace(portrait, image=to_image(frame)), fit)


def labelled_sheet(frames: Sequence[Frame], labels: Sequence[str], *, columns: int = COLUMNS) -> Frame:
    """Pictures of one size in rows, of four where not said, each over its label.

    Args:
        frames: of one size.
        labels: one a frame.
        columns: pictures a row.
    """
    from PIL import Image, ImageDraw

    height, width = frames[0].shape[:2]
    rows = -(-len(frames) // columns)
    sheet = Image.new("RGB", (columns * width, rows * (height + LABEL)), (245, 245, 245))
    draw = ImageDraw.Draw(sheet)
    for index, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        x, y = index % columns * width, index // columns * (height + LABEL)
        sheet.paste(Image.fromarray(frame), (x, y))
        draw.text((x + 4, y + height + 3), label, fill=(20, 20, 20))
    return np.asarray(sheet)


def _write_clip(
    path: Path, portrait: Portrait, fit: HeadFit, animator: Any, provenance: Provenance | None
) -> None:
    """Photo, result and fitted mesh side by side."""
    from ..training.data.media import VideoWriter

    photo = to_frame(portrait.image)
    frames = progress(windows(perform([portrait], fit, animator)), fit.frames, "clip")
    with VideoWriter(path, FPS, provenance=provenance) as writer:
        for index, frame in enumerate(frames):
            mesh = mesh_over(portrait, fit.select([index]), frame)
            writer.write(np.concatenate([photo, frame, mesh], axis=1))


def _photo(path: Path | None) -> Frame:
    if path is not None:
        return next(iter(as_frames(path)))
    import skimage.data

    return np.ascontiguousarray(skimage.data.astronaut())


def _check(config: Demo) -> None:
    if config.size < 16:
        raise HeadwarpError(f"--size: expected 16 pixels or more, got {config.size}")
    if not 0 < config.seconds <= 600:
        raise HeadwarpError(f"--seconds: expected more than 0 and at most 600, got {config.seconds}")
    check_folder(config.output)


class _Clock:
    """Seconds of one stage after another."""

    def __init__(self) -> None:
        self._began = self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage], self._last = now - self._last, now

    def total(self) -> float:
        return time.perf_counter() - self._began
