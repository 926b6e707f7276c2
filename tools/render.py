"""`headwarp render`: what a fit says, as pictures, as a clip, or as arrays for other people's networks."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from tyro.conf import Positional

from ..flame.model import HeadModel
from ..flame.params import DETECTED, MISSING, HeadFit, check_model
from ..flame.posing import posed_vertices, retarget
from ..flame.residual import ResidualField, corrected, field_of
from ..flame.texture import TextureSpace, load_texture, with_texture_coordinates
from ..geom.codes import NeuralCodes
from ..geom.displacement import mesh_radius, source_visibility
from ..geom.errors import HeadwarpError
from ..geom.sources.codes import fixed_codes
from ..training.data.portrait import Frame, to_frame, to_image
from .draw import Picture, View, blend, region_names, view_of
from .heads import ready_head
from .maps import MODES, Maps, Origin
from .overlay import scaled_fit, scaled_frame
from .performance import CLIPS, PICTURES
from .portrait import fitted_frames
from .posed import learned_codes

ModeName = Literal[
    "shaded", "normals", "depth", "uv", "displacement", "codes", "visibility", "regions", "textured"
]
OPACITY = 0.7
CHUNK = 16  # frames posed at a time
DEFAULT_FPS = Fraction(25)
DATA_DRIVEN = "http://cv.iptc.org/newscodes/digitalsourcetype/dataDrivenMedia"


@dataclass(frozen=True)
class Render:
    """Draw a fit: a picture for one frame, a clip for many, or an .npz with the numbers themselves.

    Displacement and visibility start from the first detected frame of the fit, or from --source. With
    --output X.npz, --mode displacement writes flow (pixels, backward), known and visible for each frame.
    """

    fit: Positional[Path]
    """A fit, as `headwarp fit` writes it."""
    mode: ModeName = "shaded"
    """What to show."""
    output: Path | None = None
    """.png or .jpg (one frame), .mp4, .m4v, .mov, .mkv, or .npz; without it, FIT_MODE beside the fit."""
    source: Path | None = None
    """Another fit whose pose displacement, visibility and textures start from; its shape is used."""
    over: Path | None = None
    """Photo or clip to draw over: the picture that was fitted."""
    texture: Path | None = None
    """Photo or clip that the source fit belongs to, or a FLAME texture file (.npz); for --mode textured."""
    checkpoint: Path | None = None
    """For --mode codes: a network whose learned codes are drawn; without it, fixed numbers a vertex."""
    size: int | None = None
    """Longer side of the result in pixels; without it, that of the fitted picture."""
    frame: int | None = None
    """Only this frame of the fit, counted from 0."""
    head: str | None = None
    """builtin, or a head file; without it, what $HEADWARP_HEAD names, else builtin."""
    provenance: bool = True
    """Say in the file, and in a .json beside it, how it was made."""


@dataclass(frozen=True)
class Scene:
    """Everything that is drawn, ready: frames in their final size.

    Attributes:
        model: the head.
        fit: the frames to draw, retargeted to the source's shape where a source was given.
        field: spreads the residuals.
        mode: key of `MODES`.
        origin: where displacements start.
        body: the one-frame fit whose shoulders rest; None where the mesh follows the head as a whole.
        only: number in the fit file of the one frame that is drawn; None for all.
        fitted_size: (H, W) of the fitted picture.
    """

    model: HeadModel
    fit: HeadFit
    field: ResidualField
    mode: str
    origin: Origin
    body: HeadFit | None
    only: int | None
    fitted_size: tuple[int, int]


def render(
    fit: HeadFit | str | Path,
    *,
    mode: str = "shaded",
    head: str | Path | HeadModel | None = None,
    source: HeadFit | str | Path | None = None,
    over: Any = None,
    texture: Any = None,
    size: int | None = None,
    frame: int | None = None,
) -> Iterator[Frame]:
    """The frames of a fit drawn one after another; ``list(render(..))`` holds them all.

    Args:
        fit: a fit, or its file.
        mode: ``shaded``, ``normals``, ``depth``, ``uv``, ``displacement``, ``codes``, ``visibility``,
            ``regions`` or ``textured``.
        head: the head model of the fit, or its file; None for what ``$HEADWARP_HEAD`` names, else the
            built-in.
        source: fit whose first detected frame displacement, visibility and textures start from, and whose
            shape is used; None for the fit itself.
        over: picture(s) to draw over, as `headwarp.fit` takes them: one for all frames, or one a frame.
        texture: what lies on the mesh: the picture that the source belongs to, or a texture space or its
            file, for ``textured``; the checkpoint of learned codes for ``codes``, None for fixed ones.
        size: longer side of the result in pixels; None for that of the fitted picture.
        frame: only this frame.

    Returns:
        A stream of uint8 (H, W, 3) RGB frames, black where nothing is drawn. A frame without a face is black,
        or the picture drawn over.

    Raises:
        HeadwarpError: an unknown mode, a frame that is not there, or a picture of another size than the
            fit's. What belongs to single frames of ``over`` is raised while they are drawn.
        ModelFileError: no fit, or one of another head.
    """
    scene = make_scene(fit, mode=mode, head=head, source=source, texture=texture, size=size, frame=frame)
    return (to_frame(picture) for picture in _pictures(scene, over))


def make_scene(
    fit: HeadFit | str | Path,
    *,
    mode: str,
    head: str | Path | HeadModel | None = None,
    source: HeadFit | str | Path | None = None,
    texture: Any = None,
    size: int | None = None,
    frame: int | None = None,
) -> Scene:
    """Check what was asked and prepare what all frames share; errors as of `render`.

    Args:
        fit, mode, head, source, texture, size, frame: as for `render`.
    """
    if mode not in MODES:
        raise HeadwarpError(f"--mode: expected one of {', '.join(MODES)}, got {mode!r}")
    if size is not None and not 1 <= size <= 16384:
        raise HeadwarpError(f"--size: expected 1 to 16384 pixels, got {size}")
    fit = fit if isinstance(fit, HeadFit) else HeadFit.load(fit)
    if frame is not None and not 0 <= frame < fit.frames:
        raise HeadwarpError(f"--frame: expected 0 to {fit.frames - 1}, the frames of this fit, got {frame}")
    model = ready_head(head)
    check_model(fit, model.model_id)
    _check_head(model, mode)
    fitted_size = fit.size
    start, number = _start(fit, model, source)
    chosen = fit if frame is None else fit.select([frame])
    if mode == "displacement" and source is None and chosen.frames == 1 and frame in (None, number):
        raise HeadwarpError(
            "--mode displacement: one frame does not move; name the pose it starts from: --source FIT"
        )
    space = _texture_space(texture) if mode == "textured" else None
    model = model if space is None else with_texture_coordinates(model, space)
    needs_photo = mode == "textured" and space is None
    photo = _photo(texture, start, 0 if source is not None else number) if needs_photo else None
    if source is not None:
        chosen = retarget(model, start, chosen)
    if size is not None and size != max(fitted_size):
        chosen, start = scaled_fit(chosen, size), scaled_fit(start, size)
    field = field_of(model, chosen)
    moving = mode in ("displacement", "visibility", "textured")
    body = start if moving else None
    origin = _origin(model, start, chosen, field, photo)
    if space is not None:
        mean = space.sample()
        origin = dataclasses.replace(origin, skin=mean ** (1 / 2.2) if space.linear else mean)
    if mode == "codes":
        origin = dataclasses.replace(origin, codes=_codes(model, texture))
    return Scene(model, chosen, field, mode, origin, body, frame, fitted_size)


def _check_head(model: HeadModel, mode: str) -> None:
    needs = MODES[mode].needs
    if needs is not None:
        value = getattr(model, needs[0])
        if value is None or not len(value):
            raise HeadwarpError(f"--mode {mode}: head {model.model_id} has no {needs[1]}; use another head")


def _start(fit: HeadFit, model: HeadModel, source: HeadFit | str | Path | None) -> tuple[HeadFit, int]:
    """The one-frame fit that displacements start from, and its number in its file."""
    given = fit if source is None else source if isinstance(source, HeadFit) else HeadFit.load(source)
    check_model(given, model.model_id)
    if given.size != fit.size:
        sizes = [f"{size[1]} x {size[0]}" for size in (fit.size, given.size)]
        raise HeadwarpError(
            f"--source: expected a fit of a {sizes[0]} picture, like the fit that is drawn, got {sizes[1]}; "
            "bring the pictures to one size and fit them again"
        )
    seen = torch.nonzero(given.status == DETECTED)[:, 0]
    number = int(seen[0]) if len(seen) else 0
    return given.select([number]), number


def _texture_space(texture: Any) -> TextureSpace | None:
    """A texture space, or one read from the file that was given; None for pictures."""
    if isinstance(texture, TextureSpace):
        return texture
    named = isinstance(texture, (str, Path)) and Path(texture).suffix.lower() == ".npz"
    return load_texture(texture, count=1) if named else None


def _codes(model: HeadModel, checkpoint: Any) -> NeuralCodes:
    if checkpoint is None:
        return fixed_codes(model.template)
    if not isinstance(checkpoint, (str, Path)):
        raise HeadwarpError(
            f"--mode codes: expected the file of a checkpoint, got {type(checkpoint).__name__}; "
            "leave it out for fixed codes"
        )
    return learned_codes(checkpoint, model)


def _photo(texture: Any, start: HeadFit, number: int) -> Float[Tensor, "1 3 H W"]:
    if texture is None:
        raise HeadwarpError("--mode textured: expected the fitted picture in --texture, got none")
    frame = next(fitted_frames(texture, start, first=number), None)
    if frame is None:
        raise HeadwarpError(f"--texture: expected the picture that was fitted, frame {number}, got fewer")
    return to_image(_of_size(frame, start.size, "--texture"))


def _of_size(frame: Frame, size: tuple[int, int], name: str) -> Frame:
    if frame.shape[:2] != tuple(size):
        raise HeadwarpError(
            f"{name}: expected the picture that was fitted, {size[1]} x {size[0]}, "
            f"got {frame.shape[1]} x {frame.shape[0]}"
        )
    return frame


def _origin(
    model: HeadModel, start: HeadFit, fit: HeadFit, field: ResidualField, photo: Tensor | None
) -> Origin:
    same = torch.equal(start.landmark_indices, fit.landmark_indices)
    verts = corrected(posed_vertices(model, start), start, field if same else field_of(model, start))
    some = fit.select(sorted({int(i) for i in torch.linspace(0, fit.frames - 1, min(fit.frames, 32))}))
    moved = (corrected(posed_vertices(model, some), some, field) - verts)[..., :2].square().sum(-1).sqrt()
    large = float(moved.flatten().sort().values[int(0.98 * (moved.numel() - 1))])
    full = max(large, 0.02 * float(mesh_radius(verts)))  # where nothing moves, noise stays pale
    if photo is not None:
        photo = to_image(scaled_frame(to_frame(photo), start.size))
    return Origin(verts, source_visibility(verts, model.faces, start.size), full, photo)


def views(scene: Scene) -> Iterator[View]:
    """The posed mesh of each frame as the camera sees it; empty where no face was found."""
    for first in range(0, scene.fit.frames, CHUNK):
        part = scene.fit.select(slice(first, first + CHUNK))
        verts = corrected(posed_vertices(scene.model, part, body=scene.body), part, scene.field)
        verts[part.status == MISSING] = torch.nan
        for one in verts.split(1):
            yield view_of(scene.model, one, scene.fit.size)


def measure(scene: Scene) -> Iterator[Maps]:
    """The named maps ``(C, H, W)`` of each frame; `MODES` says what they are."""
    return (MODES[scene.mode].measure(view, scene.origin) for view in views(scene))


def _pictures(scene: Scene, over: Any) -> Iterator[Picture]:
    mode = MODES[scene.mode]
    below = None if over is None else _backgrounds(scene, over)
    for view in views(scene):
        picture = mode.colour(view, mode.measure(view, scene.origin), scene.origin)
        covered = view.covered
        if below is None:
            yield picture if mode.whole else picture * covered
            continue
        opacity = 1.0 if scene.mode == "textured" else OPACITY
        yield blend(to_image(next(below))[0], picture, covered, opacity=opacity)
    if below is not None and scene.only is None and next(below, None) is not None:
        raise HeadwarpError(f"--over: expected {scene.fit.frames} frames, as the fit has, got more")


def _backgrounds(scene: Scene, over: Any) -> Iterator[Frame]:
    """The pictures to draw over, at the scene's size: one a frame, or one for all."""
    given = 0
    for frame in _given(over, scene):
        given += 1
        yield scaled_frame(_of_size(frame, scene.fitted_size, "--over"), scene.fit.size)
    if given < scene.fit.frames:
        raise HeadwarpError(f"--over: expected {scene.fit.frames} frames, as the fit has, got {given}")


def _given(over: Any, scene: Scene) -> Iterator[Frame]:
    """The frames of a clip (from the one that is drawn on), or a photo as often as there are frames."""
    frames = fitted_frames(over, scene.fit, first=scene.only or 0)
    given = list(itertools.islice(frames, 2))
    if len(given) == 1:
        yield from itertools.repeat(given[0], scene.fit.frames)
    else:
        yield from itertools.chain(given, frames)


def run(config: Render) -> dict[str, Any]:
    """The command.

    Returns:
        ``output``, ``mode``, ``frames``, ``size`` (H, W), ``head``, ``seconds_per_frame``, ``about`` (the
        mode's maps in a sentence), ``maps`` (name -> type and shape, of an .npz), ``provenance``.

    Raises:
        HeadwarpError: as `render`, or the output is not possible.
    """
    scene = make_scene(
        config.fit,
        mode=config.mode,
        head=config.head,
        source=config.source,
        texture=_on_the_mesh(config),
        size=config.size,
        frame=config.frame,
    )
    output = _output(config, scene)
    started = time.perf_counter()
    maps = _write(config, scene, output)
    return {
        "ok": True,
        "output": output,
        "mode": config.mode,
        "frames": scene.fit.frames,
        "size": list(scene.fit.size),
        "head": scene.model.model_id,
        "seconds_per_frame": (time.perf_counter() - started) / scene.fit.frames,
        "about": MODES[config.mode].about,
        "maps": maps,
        "provenance": config.provenance and output.suffix.lower() != ".npz",
    }


def _on_the_mesh(config: Render) -> Path | None:
    """What `make_scene` takes as texture."""
    if config.mode != "codes" and config.checkpoint is not None:
        raise HeadwarpError(f"--checkpoint: only --mode codes draws learned codes, got --mode {config.mode}")
    if config.mode == "codes" and config.texture is not None:
        raise HeadwarpError("--texture: --mode codes draws codes; name a network's file with --checkpoint")
    return config.checkpoint if config.mode == "codes" else config.texture


def _output(config: Render, scene: Scene) -> Path:
    """The file to write, checked before the work."""
    one = scene.fit.frames == 1
    output = config.output
    if output is None:
        number = "" if config.frame is None else f"_{config.frame}"
        output = config.fit.with_name(f"{config.fit.stem}_{config.mode}{number}{'.png' if one else '.mp4'}")
    suffix = output.suffix.lower()
    if suffix in PICTURES and not one:
        raise HeadwarpError(
            f"--output: {output} holds one frame, the fit has {scene.fit.frames}; name an .mp4, "
            "or choose one with --frame"
        )
    if suffix not in (*PICTURES, *CLIPS, ".npz"):
        kinds = ", ".join((*PICTURES, *CLIPS, ".npz"))
        raise HeadwarpError(f"--output: expected a name in {kinds}, got {output.name}")
    if suffix == ".npz" and config.over is not None:
        raise HeadwarpError("--over: an .npz holds numbers, there is nothing to draw over; leave it out")
    return output


def _inputs(config: Render) -> list[Path]:
    named = (config.fit, config.source, config.over, config.texture, config.checkpoint)
    return [path for path in named if path is not None]


def _write(config: Render, scene: Scene, output: Path) -> dict[str, str]:
    from ..training.data.media import VideoWriter, write_image

    suffix = output.suffix.lower()
    if suffix == ".npz":
        return _write_maps(scene, output)
    frames = _shown((to_frame(picture) for picture in _pictures(scene, config.over)), scene, config.mode)
    made = _provenance(config) if config.provenance else None
    if suffix in PICTURES:
        write_image(output, next(frames), provenance=made)
        frames.close()
        return {}
    fps, audio = _timing(config, scene)
    with VideoWriter(output, fps, audio_from=audio, provenance=made) as writer:
        for frame in frames:
            writer.write(frame)
    return {}


def _shown(frames: Iterator[Any], scene: Scene, name: str) -> Generator[Any, None, None]:
    """A progress bar on a terminal, for clips."""
    from tqdm import tqdm

    quiet = True if scene.fit.frames == 1 else None
    yield from tqdm(frames, desc=name, total=scene.fit.frames, unit="frame", leave=False, disable=quiet)


def _write_maps(scene: Scene, output: Path) -> dict[str, str]:
    from ._stacks import write_stacks

    facts: dict[str, object] = {
        "mode": scene.mode,
        "about": MODES[scene.mode].about,
        "model_id": scene.model.model_id,
        "size": scene.fit.size,
        "status": scene.fit.status.numpy(),
    }
    if scene.mode == "regions":
        facts["region_names"] = region_names(scene.model)
    arrays = ({name: value.numpy() for name, value in maps.items()} for maps in measure(scene))
    return write_stacks(output, _shown(arrays, scene, scene.mode), scene.fit.frames, facts=facts)


def _timing(config: Render, scene: Scene) -> tuple[Fraction, Path | None]:
    """Frame rate of the clip that was fitted, and where its sound is."""
    from ..training.data.media import probe

    info = None if config.over is None else probe(config.over)
    audio = config.over if info is not None and info.has_audio and scene.only is None else None
    stated = scene.fit.report.get("fps")
    rate = Fraction(stated) if stated else (info.fps if info is not None else None)
    return rate or DEFAULT_FPS, audio


def _provenance(config: Render) -> Any:
    from ..training.data.provenance import ENHANCED, Provenance

    kind = DATA_DRIVEN if config.over is None and config.mode != "textured" else ENHANCED
    return Provenance.now(f"render {config.mode}", inputs=_inputs(config), digital_source_type=kind)


def describe(report: Mapping[str, Any]) -> str:
    """Where it is, and what the numbers mean."""
    size = f"{report['size'][1]} x {report['size'][0]}"
    head = f"{report['output']}: {report['mode']}, {report['frames']} frame(s) of {size}"
    lines = [f"  {name}: {shape}" for name, shape in report["maps"].items()]
    if report["maps"]:
        lines.append(f"  {report['about']}")
    return "\n".join([f"{head}, {1000 * report['seconds_per_frame']:.0f} ms a frame", *lines])
