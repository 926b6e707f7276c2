"""``headwarp prepare``: raw footage becomes training crops in the layout of VoxCeleb."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from ..flame.detect import TrackerConfig
from ..geom.errors import HeadwarpError
from ..training.data.atomic import write_json
from ..training.data.crops.plan import CropConfig
from ..training.data.crops.table import CropRow, rows_of, write_table
from ..training.data.crops.video import PrepareConfig, check_prepare
from ..training.data.inputs import PHOTOS, Input, list_inputs, output_names
from ..training.data.jobs import JobConfig, Manifest, Record, Summary, open_manifest, publishing, run_jobs
from ..training.data.media import exact_fps
from .inputs import check_folder
from .prepare_jobs import PrepareWork, prepare_jobs

__all__ = ["Prepare", "describe", "run"]
TABLE, MANIFEST, REPORT = "metadata.csv", "manifest.jsonl", "report.json"
_FORMAT = 1  # of what is written; another one is not mixed with it


@dataclass(frozen=True)
class Prepare:
    """Cut raw footage into training crops: every face, a constant square a clip, sound kept in step.

    Writes OUTPUT/{train,test}/ID#VIDEO#START#END.mp4 (frames, the last one excluded) and metadata.csv with a
    row for every clip and for everything dropped, and why. A clip ends where the film is cut, and where the
    face is lost or moves out of its window. Frames come at a constant rate, also from videos of a variable
    one. Inputs are as for `headwarp fit`. Run again, the command goes on where it stopped.
    """

    input: Positional[tuple[Path, ...]]
    """Videos, folders of them, quoted patterns, .tar shards, or .csv lists."""
    output: Path
    """Folder of the dataset."""
    size: int = CropConfig.size
    """Side of the clips in pixels."""
    layout: Literal["vox"] = "vox"
    """How the dataset is laid out: vox, as FOMM's VoxCeleb."""
    window: str = CropConfig.window
    """How much is seen around the face: vox (FOMM, DaGAN), pwm, heser, or head (hair and neck too)."""
    id: str = "track"
    """Who is seen. track: every face track is a person of its own. folder: the person whose name the folder
    has (VoxCeleb's idNNNNN above the video's folder, else the video's own); smaller faces beside are others.
    Anything else is the person's name."""
    test_share: float = 0.0
    """Share of the persons whose clips go to test."""
    test_ids: tuple[str, ...] = ()
    """Persons whose clips go to test."""
    min_frames: int = CropConfig.min_frames
    """Shorter clips are dropped."""
    max_frames: int = CropConfig.max_frames
    """Longer clips are divided."""
    min_box: int | None = None
    """Clips whose face box is smaller, in pixels of the video, are dropped; without it, the size."""
    iou: float = CropConfig.iou
    """A new clip begins where the face's box overlaps that of the clip's first frame less."""
    border: Literal["drop", "shift", "pad"] = "drop"
    """Windows that reach over the picture's border: drop the clip, shift the window inwards (and shrink it),
    or pad the picture."""
    max_pad: float = CropConfig.max_pad
    """With --border pad: clips with more, in sides of the window, are dropped."""
    bridge: int = CropConfig.bridge
    """Longest gap in frames in which a face may be unseen within a clip."""
    fps: float | None = None
    """Frames a second of the clips; without it, each video's own."""
    max_faces: int = 8
    """Faces at a time."""
    audio: bool = True
    """Keep the sound."""
    crf: int = PrepareConfig.crf
    """Quality of the clips: 0 (near lossless, large) to 51."""
    sequence: bool = False
    """Take a folder, or a pattern, of numbered pictures as one video."""
    recursive: bool = False
    """Take folders with all folders below them."""
    workers: int | None = None
    """Processes at work, watched and replaced if they die. Without it this one alone, and on a Ray cluster
    one for each CPU."""
    engine: Literal["local", "ray"] = "local"
    """ray takes the workers of a Ray cluster that sees the same files."""
    address: str | None = None
    """The Ray cluster; without it, the one that $RAY_ADDRESS names, else a new one on this machine."""
    retry_failed: bool = False
    """Try videos again that failed in an earlier run."""
    restart: bool = False
    """Make everything anew, with other options if wanted; the old manifest is kept as manifest-N.jsonl."""


def run(config: Prepare) -> dict[str, Any]:
    """The command.

    Returns:
        ``videos``, ``clips``, ``frames``, ``length_seconds``, ``identities``, ``partitions`` and ``dropped``
        (counts by name), ``notes`` (by video), ``failed`` (name -> reason), ``messages``, ``table``,
        ``output``; ``ok``: no video failed and a clip was made.

    Raises:
        HeadwarpError: nothing can be done at all: an option or the folder is wrong.
    """
    options = prepare_config(config)
    inputs, photos = _videos(config)
    jobs = JobConfig(config.workers, config.engine, config.address, config.retry_failed)
    check_folder(config.output)
    if any(path.is_dir() and path.resolve() == config.output.resolve() for path in config.input):
        raise HeadwarpError(
            f"--output: {config.output} is one of the inputs, where crops would be cut again; name another"
        )
    fingerprint = {"format": _FORMAT, "id": config.id, **dataclasses.asdict(options)}
    manifest_path = config.output / MANIFEST
    with open_manifest(
        manifest_path, kind="prepare", fingerprint=fingerprint, restart=config.restart
    ) as manifest:
        names = output_names(inputs, base=config.output, known=manifest.keys_by_source())
        done = run_jobs(
            prepare_jobs(inputs, names, config.output, identity=config.id),
            PrepareWork(options),
            manifest=manifest,
            config=jobs,
            total=len(inputs),
            label="prepare",
        )
        with publishing(config.output) as folder:
            tally = Tally()
            write_table(folder / TABLE, tally.of(manifest.records(names)))
            report = tally.report(config.output, _remarks(manifest, done, photos))
            write_json(folder / REPORT, report)
    return report


def prepare_config(config: Prepare) -> PrepareConfig:
    """The options of the command as those of the library.

    Raises:
        HeadwarpError: they make no sense.
    """
    crop = CropConfig(
        window=config.window,
        size=config.size,
        iou=config.iou,
        min_frames=config.min_frames,
        max_frames=config.max_frames,
        min_box=config.min_box,
        border=config.border,
        max_pad=config.max_pad,
        bridge=config.bridge,
        fps=None if config.fps is None else exact_fps(config.fps),
    )
    if config.max_faces < 1:
        raise HeadwarpError(f"--max-faces: expected 1 or more, got {config.max_faces}")
    options = PrepareConfig(
        crop=crop,
        tracker=TrackerConfig(max_faces=config.max_faces),
        identity="track" if config.id == "track" else "person",
        test_share=config.test_share,
        test_ids=config.test_ids,
        audio=config.audio,
        crf=config.crf,
    )
    check_prepare(options)
    return options


def _videos(config: Prepare) -> tuple[list[Input], int]:
    """The inputs, and how many photos in folders were passed over."""
    listing = list_inputs(
        config.input, recursive=config.recursive, sequence=config.sequence, exclude=config.output
    )
    found = list(listing)
    kept = [item for item in found if not (item.root and _is_photo(item))]
    return kept, len(found) - len(kept)


def _is_photo(found: Input) -> bool:
    return os.path.splitext(found.place)[1].lower() in PHOTOS and not os.path.isdir(found.path)


def _remarks(manifest: Manifest, done: Summary, photos: int) -> list[str]:
    remarks = []
    if photos:
        remarks.append(f"{photos} photo(s) passed over; --sequence takes folders of numbered ones as videos")
    if manifest.damaged:
        remarks.append(
            f"{manifest.damaged} damaged line(s) of the manifest passed over; their videos were redone"
        )
    return remarks


@dataclass
class Tally:
    """Counts of what became of the videos, taken as their records pass by."""

    videos: int = 0
    frames: int = 0
    seconds: Fraction = Fraction(0)
    identities: set[str] = field(default_factory=set)
    partitions: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    notes: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def of(self, records: Iterable[Record]) -> Iterator[CropRow]:
        """The rows of the records, counted."""
        for record in records:
            self.videos += 1
            if not record.ok:
                self.failed[record.key] = record.error or "failed"
                continue
            if record.facts["notes"]:
                self.notes[record.key] = list(record.facts["notes"])
            for row in rows_of(record.facts):
                self._count(row)
                yield row

    def _count(self, row: CropRow) -> None:
        if row.dropped:
            self.dropped[row.dropped] += 1
            return
        self.partitions[row.partition] += 1
        self.identities.add(row.identity)
        self.frames += row.frames
        self.seconds += row.frames / exact_fps(row.fps)

    def report(self, output: Path, remarks: Sequence[str]) -> dict[str, Any]:
        """The report of the command."""
        clips = sum(self.partitions.values())
        return {
            "ok": not self.failed and clips > 0,
            "output": output,
            "table": output / TABLE,
            "videos": self.videos,
            "clips": clips,
            "frames": self.frames,
            "length_seconds": float(self.seconds),
            "identities": len(self.identities),
            "partitions": dict(sorted(self.partitions.items())),
            "dropped": dict(sorted(self.dropped.items())),
            "notes": self.notes,
            "messages": list(remarks),
            "failed": self.failed,
        }


_REMEDIES = {
    "border": "--border shift or pad",
    "short": "--min-frames",
    "small": "--min-box",
    "unconfirmed": "no option: no detector saw a face there",
}


def describe(report: Mapping[str, Any]) -> str:
    """How many clips of how many people, what was dropped and which option would keep it."""
    lines = [
        f"{report['output']}: {report['clips']} clip(s) of {report['identities']} person(s), "
        f"{report['frames']} frames, {report['length_seconds']:.1f} s, from {report['videos']} video(s)"
    ]
    for reason, count in report["dropped"].items():
        lines.append(f"  dropped, {reason}: {count} ({_REMEDIES[reason]})")
    lines += [f"  {name}: {note}" for name, notes in report["notes"].items() for note in notes]
    lines += [f"  {message}" for message in report["messages"]]
    if report["failed"]:
        lines.append(f"  failed: {len(report['failed'])} video(s), the reasons follow")
    elif not report["clips"]:
        lines.append("  no clip was made; the rows of metadata.csv say why")
    return "\n".join(lines)
