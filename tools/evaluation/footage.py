"""The clips of an evaluation: video files, folders of numbered frames, and packs that a training reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...geom.errors import HeadwarpError
from ...training.data.frames.pack import FramePack, open_frames
from ...training.data.inputs import CLIPS, is_numbered
from ...training.data.pairs.index import FILE
from ...training.data.portrait import Frame
from ...training.data.shares import frames_of_share


@dataclass(frozen=True)
class PackFrames:
    """The frames of a pack, again and again; a pack may leave frames of its clip out.

    Attributes:
        pack: of frames, or one of pairs as such.
    """

    pack: FramePack

    def __iter__(self) -> Iterator[Frame]:
        """One frame in memory."""
        return (self.pack.frame(position) for position in range(len(self.pack)))

    @property
    def times(self) -> tuple[int, ...] | None:
        """Numbers of the frames in their clip; None where they are neighbours."""
        numbers = self.pack.index.frames
        return None if numbers[-1] - numbers[0] == len(numbers) - 1 else numbers

    def of_share(self, share: tuple[float, float]) -> set[int]:
        """Positions of frames in a part of the clip, the part that a training with ``--frames`` takes."""
        part = frames_of_share(share, self.pack.index.clip_frames)
        return {position for position, number in enumerate(self.pack.index.frames) if number in part}


def clip_paths(path: Path) -> list[Path]:
    """The clips of a folder, sorted, or the one clip: files, folders of numbered frames, packs.

    Raises:
        HeadwarpError: nothing there.
    """
    if path.is_file() or is_pack(path) or is_numbered(path):
        return [path]
    if not path.is_dir():
        raise HeadwarpError(f"--clips: expected a clip or a folder, found nothing at {path}")
    found = sorted(below for below in path.iterdir() if not below.name.startswith(".") and _is_clip(below))
    if not found:
        raise HeadwarpError(
            f"--clips: expected clips ({', '.join(sorted(CLIPS))}), folders of numbered frames or packs in "
            f"{path}, found none"
        )
    return found


def pack_paths(path: Path) -> list[Path]:
    """The packs of a folder, sorted, or the folder itself if it is one."""
    if is_pack(path) or not path.is_dir():
        return [path] if is_pack(path) else []
    return sorted(below for below in path.iterdir() if not below.name.startswith(".") and is_pack(below))


def is_pack(path: Path) -> bool:
    """Whether a folder says that it is a pack, of pairs or of frames."""
    return (path / FILE).is_file()


def footage(path: Path) -> Any:
    """The clip at a path as `tools.portrait.as_frames` reads it: the path itself, or a pack's frames.

    Raises:
        ModelFileError: a damaged pack.
    """
    return PackFrames(open_frames(path)) if is_pack(path) else path


def _is_clip(path: Path) -> bool:
    return path.suffix.lower() in CLIPS or is_pack(path) or is_numbered(path)
