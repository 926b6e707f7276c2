"""Pictures of the pages, made of what ships: ``python docs/site/pictures.py [NAME...]`` writes docs/images.

The photo is the astronaut Eileen Collins (NASA, public domain); the driver and the person whose head is
swapped are drawn by `headwarp synth` and are nobody. In a browser: ``view.jpg`` is `headwarp view`,
``fit-report.jpg`` and ``evaluate-page.png`` are pages of `headwarp fit` and `headwarp evaluate --html` of the
four people of ``headwarp synth --identities 4 --seed 7 --frames 20 --fps 10 --test-share 1 --occluders 0``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw, ImageFont

import headwarp
from headwarp import Pose
from headwarp.training.data.synthetic import Recipe, synthesise

IMAGES = Path(__file__).resolve().parent.parent / "images"
ASTRONAUT = skimage.data.astronaut()
PHOTO = ASTRONAUT[:256, 96:352]
Frame = Any


def labelled(frames: Sequence[tuple[str, Frame]], *, across: int, tile: int = 240) -> Image.Image:
    """Pictures in rows, each with its name below it in letters that a phone shows."""
    font, line = ImageFont.load_default(size=27), 38
    rows = -(-len(frames) // across)
    sheet = Image.new("RGB", (across * tile, rows * (tile + line)), "white")
    for number, (name, frame) in enumerate(frames):
        left, top = number % across * tile, number // across * (tile + line)
        sheet.paste(Image.fromarray(frame).resize((tile, tile), Image.Resampling.LANCZOS), (left, top))
        ImageDraw.Draw(sheet).text((left + tile / 2, top + tile + 3), name, "black", font, anchor="ma")
    return sheet


def keep(picture: Image.Image, name: str, **options: Any) -> None:
    """Write a picture into docs/images."""
    picture.save(IMAGES / name, **{"quality": 87, **options})


def person(number: int, *, frames: int = 1, size: int = 384) -> Iterator[Frame]:
    """Frames of somebody whom the library draws."""
    clip = synthesise(headwarp.load_head("builtin"), Recipe(seed=0, number=number, frames=frames, size=size))
    return (clip.picture(frame) for frame in range(frames))


def demo() -> None:
    """One photograph in other poses."""
    asked = {
        "photo": Pose(),
        "yaw 25": Pose(yaw=25),
        "yaw -25": Pose(yaw=-25),
        "pitch 15": Pose(pitch=15),
        "roll 15": Pose(roll=15),
        "jaw 0.6": Pose(jaw=0.6),
        "blink 1": Pose(blink=1),
        "smile 0.9": Pose(expressions={"smile": 0.9}),
    }
    made = headwarp.edit_track(ASTRONAUT, list(asked.values()), size=480)
    keep(labelled(list(zip(asked, made, strict=True)), across=4), "demo.jpg")


def animate() -> None:
    """A drawn person, and the photo that follows them: a moving picture."""
    driver = list(person(3, frames=100, size=256))
    frames = [
        Image.fromarray(np.concatenate([seen, made], axis=1))
        for seen, made in zip(driver, headwarp.animate(ASTRONAUT, driver, size=256), strict=True)
    ][::2]
    options = {"save_all": True, "append_images": frames[1:], "duration": 80, "loop": 0}
    keep(frames[0], "animate.webp", quality=60, method=6, **options)


def fit() -> None:
    """What a fit knows, drawn."""
    known = headwarp.fit(PHOTO)
    points = Image.fromarray(PHOTO).resize((1024, 1024))
    for x, y in (4 * known.landmarks[0]).tolist():
        ImageDraw.Draw(points).ellipse((x - 4, y - 4, x + 4, y + 4), fill="#00e000")
    modes = ("shaded", "normals", "depth", "regions")
    drawn = {mode: next(headwarp.render(known, mode=mode)) for mode in modes}
    shown = [("photo", PHOTO), ("478 landmarks", np.asarray(points)), *drawn.items()]
    keep(labelled(shown, across=3), "fit.jpg")


def guidance() -> None:
    """Flow as colours, what is known, and the picture that follows."""
    source, pose = headwarp.fit(PHOTO), Pose(yaw=22, jaw=0.4)
    made = headwarp.displacement(source, headwarp.pose(source, pose))
    hue = torch.atan2(made.flow[:, 1], made.flow[:, 0]) / (2 * torch.pi) % 1
    reach = made.flow.norm(dim=1) / made.flow.norm(dim=1).max()
    hsv = torch.stack([hue, reach, torch.ones_like(hue)], dim=-1)[0]
    flow = Image.fromarray((255 * hsv).byte().numpy(), "HSV").convert("RGB")
    known = (255 * made.known[0, 0, :, :, None].expand(-1, -1, 3)).byte().numpy()
    posed = next(headwarp.render(headwarp.pose(source, pose), mode="shaded"))
    result = headwarp.edit(PHOTO, pose, full_frame=True)
    fitted = next(headwarp.render(source, mode="shaded"))
    names = ("source", "fitted head", "posed head", "flow", "known", "result")
    frames = (PHOTO, fitted, posed, np.asarray(flow), known, result)
    keep(labelled(list(zip(names, frames, strict=True)), across=3), "guidance.jpg")


def animators() -> None:
    """One pose by the animators that need no file."""
    pose, shown = Pose(yaw=20, jaw=0.4), [("photo", headwarp.edit(ASTRONAUT, Pose(), size=480))]
    for name in ("tps", "geometry", "pwm"):
        shown.append((name, headwarp.edit(ASTRONAUT, pose, animator=name, size=480)))
    keep(labelled(shown, across=4), "animators.jpg")


def swap() -> None:
    """Two persons, and the head of one on the other."""
    (target,) = person(7)
    made = next(headwarp.swap(ASTRONAUT, target, size=384))
    keep(labelled([("source", PHOTO), ("target", target), ("result", made)], across=3), "swap.jpg")


PICTURES: dict[str, Callable[[], None]] = {
    made.__name__: made for made in (demo, animate, fit, guidance, animators, swap)
}

if __name__ == "__main__":
    for name in sys.argv[1:] or PICTURES:
        PICTURES[name]()
