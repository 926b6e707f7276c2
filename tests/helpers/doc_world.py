"""What the pages take for granted: files by the names that README and docs/ give them, small and by chance.

Photos are the public-domain astronaut, clips four frames of it; checkpoints are untrained networks of a few
channels; FLAME is the built-in head in FLAME's file; the public code's weights have its names and no more.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import toy_scene
from doc_pages import ROOT
from face_pictures import portrait, sway
from flame_export import write_head_as_flame
from gdpw_file import generator
from guide_files import guide_file
from keypoint_cases import dagan_checkpoint, depth_files, fomm_checkpoint
from media_files import write_clip, write_photo
from toy_animators import ALIGNER, SPARSE, shallow

import headwarp
from headwarp.tools import cli
from headwarp.warping.animators import registration
from headwarp.warping.blending_unet import ResidualUNetConfig
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.heser_blender import HeserBlender, HeserBlenderConfig
from headwarp.warping.keypoint_network import dagan, fomm, tiny, with_attention
from headwarp.warping.pwm import PwmConfig

Maker = Callable[[Path], object]
"""Writes what it is of, a file or a folder, under this path."""


def lay(word: str, folder: Path) -> None:
    """Put into the folder what a page calls so, if the world has it and the page has not made it."""
    word = word.rstrip("/")
    if (folder / word).exists():
        return
    for named in (word, *map(str, Path(word).parents)):
        if named in WORLD and not (folder / named).exists():
            made = _made(named)
            (folder / named).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if made.is_dir() else shutil.copy
            copy(made, folder / named)


@functools.cache
def _shelf() -> Path:
    """Where everything is made once a process."""
    import atexit
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="pages_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _made(name: str) -> Path:
    path = _shelf() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    WORLD[name](path)
    return path


def photo(path: Path) -> None:
    write_photo(path, portrait())


def two(path: Path) -> None:
    """Two faces beside each other."""
    write_photo(path, np.concatenate([portrait(), portrait()], axis=1))


def clip(path: Path) -> None:
    write_clip(path, sway(4), audio_seconds=0.16)


def clip_of_two(path: Path) -> None:
    write_clip(path, [np.concatenate([frame, frame], axis=1) for frame in sway(4)])


def clips(path: Path, *parts: str) -> None:
    """A folder with a clip, or folders of them."""
    for part in parts or (".",):
        (path / part).mkdir(parents=True, exist_ok=True)
        write_clip(path / part / "id1#clip#000000#000004.mp4", [frame[:256, 20:276] for frame in sway(4)])


def raw(path: Path) -> None:
    """A folder with a clip that was not cut to a square of a usual size."""
    path.mkdir()
    for name in ("a.mp4", "b.mp4"):
        clip(path / name)


def footage(path: Path) -> None:
    """The first pair of the list."""
    photo_of, clip_of = _made("docs/pairs/cross_identity_40.csv").read_text().splitlines()[-1].split(",")
    for name, make in ((photo_of, photo), (clip_of, clip)):
        (path / name).parent.mkdir(parents=True)
        make(path / name)


def first_pair(path: Path) -> None:
    lines = (ROOT / "docs/pairs/cross_identity_40.csv").read_text().splitlines()
    start = lines.index("source,driving")
    path.write_text("\n".join(lines[start : start + 2]))


def people(path: Path) -> None:
    """Three clips, long enough to learn from."""
    path.mkdir()
    for number in range(3):
        write_clip(path / f"{number}.mp4", sway(10, step=1))


def points(path: Path) -> None:
    """68 landmarks of a photo, or of four frames, a row each."""
    drawn = np.random.default_rng(0).uniform(100, 200, (1, 136)) + np.arange(4)[:, None]
    np.save(path, drawn[:1].reshape(1, 68, 2)) if path.suffix == ".npy" else np.savetxt(
        path, drawn, "%.2f", ","
    )


def fit_of(name: str) -> Maker:
    return lambda path: headwarp.fit(_made(name)).save(path)


def flame(path: Path) -> None:
    """The pickle with the files beside it that a download has; the pickle alone is what a page names."""
    shutil.copy(write_head_as_flame(path.parent / f"of_{path.stem}", headwarp.load_head("builtin")), path)


def animator(name: str, config: object) -> Maker:
    def save(path: Path) -> None:
        save_checkpoint(path, registration(name).build(config), config=config, name=name)

    return save


def depth(path: Path) -> None:
    shutil.move(guide_file(path.parent / "of_depth", "depth"), path)


def blender(path: Path) -> None:
    config = HeserBlenderConfig(
        unet=ResidualUNetConfig((8, 8), norm="group", spectral_norm=False), channels=32
    )
    save_checkpoint(path, HeserBlender(config), config=config, name="heser_blender", kind="blender")


def saved(content: Callable[[], object]) -> Maker:
    return lambda path: torch.save(content(), path)


def command(*words: str) -> Maker:
    """What a command makes, whose last word is ``--output``."""

    def run(path: Path) -> None:
        shelf = [str(_made(word)) if word in WORLD else word for word in words]
        assert cli.main([*shelf, str(path)]) == 0, words

    return run


def emoca(path: Path) -> None:
    """As EMOCA would have found it."""
    command("fit", "clip.mp4", "--head", "generic_model.pkl", "--output")(path.parent / "of_emoca")
    head, form = ("--head", "generic_model.pkl"), ("--format", "emoca")
    command("convert", "fit", str(path.parent / "of_emoca/clip.npz"), *head, *form, "--output")(path)


PHOTOS = ("photo.jpg", "photo.png", "me.jpg", "me1.jpg", "me2.jpg", "you.jpg", "a.jpg", "b.jpg")
CLIPS = ("clip.mp4", "me.mp4", "you.mp4", "them.mp4", "driver.mp4", "speech.mp4", "c.mp4")
SWAPS = dataclasses.replace(ALIGNER, generator=dataclasses.replace(ALIGNER.generator, size=64))
SYNTH = ("--identities", "2", "--frames", "3", "--size", "64", "--test-share", "0.5")
ALIGNERS = ("aligner.safetensors", "runs/head/animator.safetensors", "runs/tuned/animator.safetensors")
WORLD: dict[str, Maker] = {
    **dict.fromkeys(PHOTOS, photo),
    **dict.fromkeys(CLIPS, clip),
    **dict.fromkeys(("DIR", "clips", "CLIPS", "CROPS", "FOLDER"), clips),
    "RAW": raw,
    "footage": footage,
    "docs/pairs/cross_identity_40.csv": first_pair,
    "people": people,
    "us.jpg": two,
    "us.mp4": clip_of_two,
    "vox": lambda path: clips(path, "train", "test"),
    "SYNTH": command("synth", *SYNTH, "--output"),
    "points.csv": points,
    "photo_points.npy": points,
    "fits/photo.npz": fit_of("photo.jpg"),
    "fits/clip.npz": fit_of("clip.mp4"),
    "FITS/NAME.npz": fit_of("clip.mp4"),
    "you.npz": fit_of("you.mp4"),
    "emoca_results": emoca,
    "generic_model.pkl": flame,
    "flame2023.pkl": flame,
    "flame.npz": command("convert", "head", "generic_model.pkl", "--output"),
    "pwm.safetensors": animator("pwm", PwmConfig()),
    "fomm.safetensors": animator("fomm", shallow(fomm())),
    "dagan.safetensors": animator("dagan", tiny(dagan())),
    "self.safetensors": animator("dagan", tiny(with_attention(dagan(), "self"))),
    "s2d.safetensors": animator("sparse2dense", SPARSE),
    **dict.fromkeys(ALIGNERS, animator("heser", SWAPS)),
    "blender.safetensors": blender,
    "depth.safetensors": depth,
    "vox-adv-cpk.pth.tar": saved(lambda: fomm_checkpoint(adversarial=True)),
    "DaGAN_vox_adv_256.pth.tar": saved(dagan_checkpoint),
    "encoder.pth": saved(lambda: depth_files()[0]),
    "depth.pth": saved(lambda: depth_files()[1]),
    "PWM_geom_disp.pth": saved(lambda: {"generator": generator("geom_disp", width=4, cap=24, embedding=3)}),
}
"""Name in the pages -> what writes it."""

GIVEN: dict[str, Callable[[], dict[str, object]]] = {
    "docs/sources.md": lambda: {"source": toy_scene.source(), "driving": toy_scene.driving()},
}
"""Names that the Python of a page takes for granted, as it says."""
