"""`headwarp synth`: clips of people that nobody is, with everything about them known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..flame.model import HeadModel
from ..geom.errors import HeadwarpError
from ..training.data.atomic import write_json
from ..training.data.jobs import Job, JobConfig, Manifest, open_manifest, publishing, run_jobs
from ..training.data.synthetic import Recipe, clip_name, synthesise, write_clip
from ..training.data.synthetic.check import LEAST_FOUND, MOST_PERCENT, FrameCheck, check_clip, summary
from ..training.data.synthetic.clip import VERSION
from ..training.data.synthetic.files import Kind
from .heads import head_notes, ready_head
from .inputs import check_folder

MANIFEST, REPORT = "manifest.jsonl", "report.json"
_CHECKED_FRAMES = 20


@dataclass(frozen=True)
class Synth:
    """Make clips of people that nobody is: hair, clothes, light and background, and all of it known.

    Writes OUTPUT/{train,test}/NAME.mp4, beside each its fit NAME.npz (the parameters and camera it was drawn
    with), and OUTPUT/truth/NAME.npz (depth, labels, visibility). The same seed makes the same people, each
    whatever the number of others. Run again, the command goes on where it stopped.
    """

    output: Path | None = None
    """Folder of the data set; not needed with --check."""
    identities: int = 10
    """How many people; one clip of each."""
    seed: int = 0
    """Of everything that is drawn by lot."""
    first: int = 0
    """Number of the first person."""
    frames: int = Recipe.frames
    """Of every clip."""
    fps: float = Recipe.fps
    """Frames a second."""
    size: int = Recipe.size
    """Side of the frames in pixels."""
    head: str = "builtin"
    """Built-in, or a head file."""
    test_share: float = 0.1
    """Share of the people whose clips go to test."""
    occluders: float = Recipe.occluders
    """Share of the people with something before them, such as a hand."""
    focal: tuple[float, float] | None = None
    """Least and largest focal length in frame widths, such as 0.8 3: every clip draws one, and its distance
    follows from it. Without them the distance is drawn and focal lengths are long."""
    kind: Kind = "mp4"
    """Clips, folders of pictures without loss, or packs: what training makes of clips, masks exact."""
    crf: int = 12
    """Quality of the clips: 0 (near lossless, large) to 51."""
    workers: int | None = None
    """Processes at work."""
    check: bool = False
    """Make nothing: measure on 20 frames of every person how often and how well a face detector finds it."""
    sheet: Path | None = None
    """Write a sheet of the people, at half their size, here."""
    retry_failed: bool = False
    """Try people again that failed in an earlier run."""
    restart: bool = False
    """Make everything anew; the old manifest is kept as manifest-N.jsonl."""


@dataclass(frozen=True)
class SynthWork:
    """Makes one clip after the other; sent to the workers."""

    head: HeadModel
    kind: Kind
    crf: int

    def open(self) -> Callable[[tuple[Recipe, str], Path], dict[str, Any]]:
        """Nothing to load."""
        return self._make

    def _make(self, argument: tuple[Recipe, str], folder: Path) -> dict[str, Any]:
        recipe, partition = argument
        clip = synthesise(self.head, recipe)
        name = write_clip(clip, folder, partition=partition, kind=self.kind, crf=self.crf)
        traits = clip.person.traits
        told = {key: getattr(traits, key) for key in ("age", "hair_style", "glasses", "occluder", "neckline")}
        return {"name": name, "partition": partition, "frames": recipe.frames, **told}


@dataclass(frozen=True)
class CheckWork:
    """Measures one person after the other; sent to the workers."""

    head: HeadModel

    def open(self) -> Callable[[Recipe, Path], dict[str, Any]]:
        """Load the detector.

        Raises:
            MissingDependencyError: it is not installed.
        """
        from ..flame.detect import redetect

        redetect(np.zeros((64, 64, 3), np.uint8))
        return self._check

    def _check(self, recipe: Recipe, folder: Path) -> dict[str, Any]:
        clip = synthesise(self.head, recipe)
        count = min(_CHECKED_FRAMES, recipe.frames)
        frames = np.linspace(0, recipe.frames - 1, count).round().astype(int).tolist()
        return {"checks": [dataclasses.asdict(check) for check in check_clip(clip, frames)]}


def run(config: Synth) -> dict[str, Any]:
    """The command.

    Returns:
        ``ok``, ``clips``, ``frames``, ``seconds_per_frame``, ``failed`` (name -> reason), ``output``; with
        ``--check`` instead ``found``, ``percent_68``, ``percent_468``, ``clips`` and ``definition``; ``ok``
        says whether they are within the bounds.

    Raises:
        HeadwarpError: an option or the folder is wrong.
    """
    recipes = list(recipes_of(config))
    if not 0 <= config.test_share <= 1:
        raise HeadwarpError(f"--test-share: expected a share in 0 .. 1, got {config.test_share}")
    if config.output is None and not config.check and config.sheet is None:
        raise HeadwarpError("--output: expected a folder for the clips, got none; or use --check or --sheet")
    model = ready_head(config.head)
    report: dict[str, Any] = {"ok": True}
    if config.check:
        report = _checked(config, recipes, model)
    elif config.output is not None:
        report = _made(config, recipes, model)
    if config.sheet is not None:
        write_people(config.sheet, recipes, model)
        report = {**report, "sheet": config.sheet}
    return {**report, "messages": head_notes(model)}


def recipes_of(config: Synth) -> Iterator[Recipe]:
    """What each clip is made from.

    Raises:
        HeadwarpError: an option makes no sense.
    """
    if config.identities < 1 or config.first < 0:
        raise HeadwarpError(
            f"--identities, --first: expected at least 1 and 0, got {config.identities} and {config.first}"
        )
    for number in range(config.first, config.first + config.identities):
        drawn = (config.frames, config.size, config.fps, config.occluders, config.focal)
        yield Recipe(config.seed, number, *drawn)


def partition_of(recipe: Recipe, test_share: float) -> str:
    """Train or test, by the person's number alone; ``test_share`` of any run of numbers goes to test."""
    before, after = int(recipe.number * test_share), int((recipe.number + 1) * test_share)
    return "test" if after > before else "train"


def _made(config: Synth, recipes: list[Recipe], model: HeadModel) -> dict[str, Any]:
    assert config.output is not None
    check_folder(config.output)
    fingerprint = {
        "version": VERSION,
        "model_id": model.model_id,
        "test_share": config.test_share,
        "kind": config.kind,
        "crf": config.crf,
    }
    jobs = (
        Job(clip_name(r), (r, partition_of(r, config.test_share)), source=r.as_json(model.model_id))
        for r in recipes
    )
    with open_manifest(
        config.output / MANIFEST, kind="synth", fingerprint=fingerprint, restart=config.restart
    ) as manifest:
        run_jobs(
            jobs,
            SynthWork(model, config.kind, config.crf),
            manifest=manifest,
            config=JobConfig(config.workers, retry_failed=config.retry_failed),
            total=len(recipes),
            label="synth",
        )
        report = _report(manifest, [clip_name(r) for r in recipes], config.output)
        with publishing(config.output) as folder:
            write_json(folder / REPORT, report)
    return report


def _report(manifest: Manifest, names: list[str], output: Path) -> dict[str, Any]:
    records = list(manifest.records(names))
    good = [record for record in records if record.ok]
    frames = sum(record.facts["frames"] for record in good)
    return {
        "ok": len(good) == len(names),
        "output": output,
        "clips": len(good),
        "frames": frames,
        "seconds_per_frame": sum(record.seconds for record in good) / max(1, frames),
        "failed": {record.key: record.error or "failed" for record in records if not record.ok},
    }


def _checked(config: Synth, recipes: list[Recipe], model: HeadModel) -> dict[str, Any]:
    import tempfile

    with (
        tempfile.TemporaryDirectory() as folder,
        open_manifest(Path(folder) / MANIFEST, kind="synth check", fingerprint={}) as manifest,
    ):
        names = [clip_name(recipe) for recipe in recipes]
        run_jobs(
            (Job(name, recipe) for name, recipe in zip(names, recipes, strict=True)),
            CheckWork(model),
            manifest=manifest,
            config=JobConfig(config.workers),
            total=len(recipes),
            label="check",
        )
        records = list(manifest.records(names))
    failed = {record.key: record.error or "failed" for record in records if not record.ok}
    checks = {r.key: [FrameCheck(**c) for c in r.facts["checks"]] for r in records if r.ok}
    if not checks:
        raise HeadwarpError(f"synth --check: nobody could be measured: {'; '.join(failed.values())}")
    numbers = summary(checks)
    good = numbers["found"] is not None and numbers["found"] >= LEAST_FOUND
    good = good and numbers["percent_68"] <= MOST_PERCENT
    return {"ok": good and not failed, **numbers, "failed": failed}


def write_people(path: Path, recipes: list[Recipe], model: HeadModel, *, columns: int = 8) -> None:
    """A sheet of one frame of every person at half its size, each from another moment of its clip.

    Args:
        path: of the PNG.
        recipes: of the clips.
        model: the head of all.
        columns: pictures a row.

    Raises:
        HeadwarpError: it cannot be written.
    """
    from ..training.data.media import write_image

    pictures = [
        _halved(synthesise(model, recipe).picture(recipe.number * 7 % recipe.frames)) for recipe in recipes
    ]
    pictures += [np.zeros_like(pictures[0])] * (-len(pictures) % min(columns, len(pictures)))
    width = min(columns, len(pictures))
    rows = [np.concatenate(pictures[k : k + width], axis=1) for k in range(0, len(pictures), width)]
    write_image(path, np.concatenate(rows, axis=0))


def _halved(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of two by two pixels."""
    height, width = (extent // 2 for extent in picture.shape[:2])
    blocks = picture[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3)
    return blocks.mean((1, 3)).round().astype(np.uint8)


def _found(report: Mapping[str, Any]) -> str:
    """What the detector found; nobody may look at the camera, and no face may be found."""
    if not report["found"]:
        return "no face found"
    return (
        f"a face found in {100 * report['found']:.1f} %; "
        f"{report['percent_68']:.2f} % of the canthal distance off over 68 points, "
        f"{report['percent_468']:.2f} % over 468"
    )


def describe(report: Mapping[str, Any]) -> str:
    """What was made, or what was measured."""
    lines = []
    if "percent_68" in report:
        lines.append(f"{report['frames']} frames at |yaw| <= 40: {_found(report)}")
    elif "output" in report:
        lines.append(
            f"{report['output']}: {report['clips']} clip(s), {report['frames']} frames, "
            f"{report['seconds_per_frame']:.2f} s a frame"
        )
    if "sheet" in report:
        lines.append(f"{report['sheet']}: the people")
    return "\n".join([*lines, *report["messages"]])
