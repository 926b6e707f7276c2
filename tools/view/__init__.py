"""``headwarp view``: the live editor in the browser."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ...geom.errors import HeadwarpError
from ..guidance import GuidanceName


@dataclass(frozen=True)
class View:
    """Turn a portrait live in the browser: sliders, a 3D head to drag, key frames, heat maps.

    Serves this machine alone unless another host is named. Ends with Ctrl+C.
    """

    photo: Positional[Path | None] = None
    """Photo or clip to begin with; others are opened in the browser."""
    output: Path = Path("outputs/view")
    """Folder for what is saved."""
    host: str = "127.0.0.1"
    """Address to serve; 0.0.0.0 lets other machines in, without a password."""
    port: int = 8080
    """Port to serve; 0 takes a free one."""
    size: int = 256
    """Side of the window around the head in pixels."""
    animator: str = "geometry"
    """What makes the pixels; geometry needs no weights."""
    checkpoint: Path | None = None
    """Weights of the animator."""
    guidance: GuidanceName | None = None
    """What guides the animator, as in headwarp edit."""
    depth_checkpoint: Path | None = None
    """Weights for --guidance depth, of headwarp train depth."""
    keypoints_checkpoint: Path | None = None
    """Weights for --guidance keypoints, of fomm or dagan."""
    guide_side: int | None = None
    """Longer side of the pictures that this network sees."""
    head: str | None = None
    """builtin, or a head file; $HEADWARP_HEAD where not given."""
    landmarks: str = "mediapipe"
    """mediapipe or face-alignment."""
    face: int | None = None
    """Which face, by rank; the largest where not given."""
    device: str = "cpu"
    """Where the animator works: cpu, cuda."""
    upload_megabytes: int = 200
    """Largest file that may be uploaded."""
    camera: str | None = None
    """Number of a camera of this machine that the head can follow, or a video file in its place."""
    mark: bool = False
    """Draw a visible mark into every saved frame: that it is altered."""
    provenance: bool = True
    """Say in saved files, and in a JSON beside each, how they were made."""


def run(config: View) -> dict[str, Any]:
    """The command: serves until it is interrupted.

    Returns:
        ``address``, ``output``.

    Raises:
        MissingDependencyError: viser is not installed.
        HeadwarpError: an option is wrong, or the port is taken.
    """
    editor = opened(config)
    address = editor.start()
    try:
        sys.stderr.write(f"headwarp view: open {address} in a browser; Ctrl+C ends it\n")
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        editor.stop()
    return {"address": address, "output": str(config.output)}


def opened(config: View) -> Any:
    """The editor of the command, ready to start.

    Raises:
        HeadwarpError: an option is wrong.
    """
    from ..inputs import check_folder
    from ..performance import check_window, warn
    from .document import Document, Maker
    from .engine import Engine, EngineOptions
    from .files import Results, source_of
    from .saving import Signature
    from .server import Editor, Place

    _check(config)
    _check_camera(config)
    check_folder(config.output)
    place = Place(config.host, config.port, config.upload_megabytes * 1_000_000, config.camera)
    if place.public:
        warn(f"--host {config.host}: anybody who reaches this machine can edit here and upload files")
    engine = Engine(EngineOptions(config.head, config.landmarks, config.face, config.device))
    maker = Maker(**{name: getattr(config, name) for name in Maker.__dataclass_fields__})
    check_window(engine.animator(maker), config.size, name=config.animator)
    source = None if config.photo is None else source_of(config.photo)
    document = Document(source=source, maker=maker, size=config.size)
    signature = Signature(config.provenance, config.mark)
    return Editor(engine, place, Results(config.output), document, signature)


def describe(report: Mapping[str, Any]) -> str:
    """Where the results lie."""
    return f"the editor has ended; what was saved lies in {report['output']}"


def _check(config: View) -> None:
    if not 0 <= config.port <= 65535:
        raise HeadwarpError(f"--port: expected 0 to 65535, got {config.port}")
    if config.size < 16:
        raise HeadwarpError(f"--size: expected 16 pixels or more, got {config.size}")
    if config.upload_megabytes < 1:
        raise HeadwarpError(f"--upload-megabytes: expected 1 or more, got {config.upload_megabytes}")


def _check_camera(config: View) -> None:
    from .camera import check_camera
    from .server import LOOPBACK

    if config.camera is None:
        return
    check_camera(config.camera)
    if config.host not in LOOPBACK:
        raise HeadwarpError(f"--camera: expected a loopback --host, got {config.host}: visitors would see it")
    if config.landmarks != "mediapipe":
        raise HeadwarpError(f"--camera: expected --landmarks mediapipe, got {config.landmarks}")
