"""`headwarp prepare` as work over many videos: what a worker does, and who and what a clip is named after."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..flame.detect import detect_faces
from ..geom.errors import HeadwarpError
from ..training.data.crops.video import PrepareConfig, prepare_video
from ..training.data.inputs import Input, opened
from ..training.data.jobs import Job
from ..training.data.vox import clean_part

_VOX_ID = re.compile(r"id\d{5}")


@dataclass(frozen=True)
class Named:
    """A video to be cut.

    Attributes:
        found: where it is.
        video: its name in the dataset.
        person: whose face it shows, where the folder or the user says so.
    """

    found: Input
    video: str
    person: str | None


@dataclass(frozen=True)
class PrepareWork:
    """Cuts one video after the other; sent to the workers."""

    config: PrepareConfig

    def open(self) -> Callable[[Named, Path], dict[str, Any]]:
        """Load the detector.

        Raises:
            HeadwarpError: it cannot be loaded.
        """
        detect_faces(np.zeros((64, 64, 3), np.uint8))
        return self._cut

    def _cut(self, named: Named, folder: Path) -> dict[str, Any]:
        found = named.found
        if found.face is not None:
            raise HeadwarpError(
                f"{found.label}: prepare cuts every face; leave the column face out of the list"
            )
        with opened(found, folder) as path:
            frames = (found.start, found.stop)
            record = prepare_video(
                path, self.config, folder, video=named.video, person=named.person, frames=frames
            )
        return record.facts()


def prepare_jobs(
    inputs: Sequence[Input], keys: Sequence[str], output: Path, *, identity: str
) -> Iterator[Job]:
    """A job for every video.

    Args:
        inputs: the videos.
        keys: a unique name for each, parts joined by ``/``.
        output: folder of the dataset.
        identity: ``track``, ``folder``, or the name of the person.
    """
    names = [_named(found, key, identity) for found, key in zip(inputs, keys, strict=True)]
    counts = Counter((name.video.casefold(), (name.person or "").casefold()) for name in names)
    for found, key, name in zip(inputs, keys, names, strict=True):
        video = name.video
        if counts[video.casefold(), (name.person or "").casefold()] > 1:  # a-b beside a/b
            video = clean_part(f"{video}-{hashlib.sha256(key.encode()).hexdigest()[:8]}")
        job = Named(found, video, name.person)
        yield Job(key, job, source=found.source(output), stamp=found.stamp())


def _named(found: Input, key: str, identity: str) -> Named:
    if identity != "folder":
        return Named(found, clean_part(key.replace("/", "-")), None if identity == "track" else identity)
    person = person_of(found)
    parts = [part for part in key.split("/") if part != person]
    return Named(found, clean_part("-".join(parts) or key), person)


def person_of(found: Input) -> str:
    """The person whose name a folder has: VoxCeleb's idNNNNN anywhere above the video, else its own folder.

    Example:
        >>> person_of(Input("vox/id00012/21Uxsk56VDQ/00001.mp4", "00001.mp4"))
        'id00012'
        >>> person_of(Input("footage/anna/talk.mp4", "talk.mp4"))
        'anna'
    """
    parent = os.path.dirname(os.path.abspath(found.path))
    inside = os.path.dirname(found.place) if found.member is not None else ""
    folders = [part for part in (*parent.split(os.sep), *inside.split("/")) if part]
    ids = [part for part in folders if _VOX_ID.fullmatch(part)]
    return ids[-1] if ids else folders[-1] if folders else "person"
