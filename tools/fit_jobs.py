"""`headwarp fit` as work over many inputs: what a worker does, and what the manifest and the report hold."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..flame.detect import detect_faces, get_detector
from ..flame.model import HeadModel
from ..flame.params import HeadFit
from ..geom.errors import HeadwarpError, ModelFileError
from ..training.data.inputs import Input, opened
from ..training.data.jobs import Job, Manifest, Record, Summary
from .fit_clip import ClipOptions, fit_to_files

MANIFEST = "manifest.jsonl"
OWN = ("sheet.png", "overlays", "curves")
"""Pictures of a run, in its output."""


@dataclass(frozen=True)
class FitWork:
    """Fits one input after the other; sent to the workers.

    Attributes:
        options: how an input is fitted.
        model: the head.
        output: folder of the fits.
        replace: fits of other heads may be overwritten.
    """

    options: ClipOptions
    model: HeadModel
    output: Path
    replace: bool = False

    def open(self) -> Callable[[tuple[Input, str], Path], dict[str, Any]]:
        """Start the detector.

        Raises:
            HeadwarpError: it cannot be started.
        """
        start_detector(self.options.landmarks)
        return lambda argument, folder: self._fit(*argument, folder)

    def _fit(self, found: Input, name: str, folder: Path) -> dict[str, Any]:
        face = self.options.face if found.face is None else found.face
        options = dataclasses.replace(self.options, face=face, start=found.start, stop=found.stop)
        with opened(found, folder) as path:
            facts = fit_to_files(path, name, options, self.model, folder=folder)
        for file in folder.rglob("*.npz"):
            self._check_place(self.output / file.relative_to(folder))
        return facts

    def _check_place(self, target: Path) -> None:
        """Raise HeadwarpError if something of another origin would be overwritten."""
        if not target.exists():
            return
        remedy = "name another folder, or move it"
        try:
            there = HeadFit.load(target).model_id
        except ModelFileError as error:
            raise HeadwarpError(f"{target}: is no fit of this version and stays; {remedy}") from error
        if there != self.model.model_id and not self.replace:
            raise HeadwarpError(f"{target}: is a fit of head {there} and stays; {remedy}, or add --restart")


def without_own(inputs: Sequence[Input], output: Path) -> list[Input]:
    """The inputs without the pictures of earlier runs, where a folder is both read and written to.

    Raises:
        HeadwarpError: such a picture was named itself, or is of no earlier run: it would be written over.
    """
    if not output.is_dir():
        return list(inputs)
    own = {os.path.join(os.path.realpath(output), name) for name in OWN}
    real: dict[str, str] = {}  # of folders: many inputs lie in one
    kept = []
    for found in inputs:
        folder, name = os.path.split(os.path.abspath(found.path))
        path = os.path.join(real.setdefault(folder, os.path.realpath(folder)), name)
        if found.member is not None or not any(path == o or path.startswith(o + os.sep) for o in own):
            kept.append(found)
        elif not found.root or not (output / MANIFEST).is_file():
            raise HeadwarpError(
                f"{found.path}: would be written over by the pictures of this run; name another --output"
            )
    return kept


def start_detector(landmarks: str) -> None:
    """Raise what is wrong with the detector before all else; load its networks outside the clock."""
    get_detector(landmarks)
    if landmarks == "mediapipe":
        detect_faces(np.zeros((64, 64, 3), np.uint8))


def fit_jobs(inputs: Sequence[Input], names: Sequence[str], output: Path) -> Iterator[Job]:
    """A job for every input, made when it is needed.

    Args:
        inputs: in order.
        names: of their outputs.
        output: the folder.
    """
    for found, name in zip(inputs, names, strict=True):
        yield Job(name, (found, name), source=found.source(output), stamp=found.stamp())


def manifest_remarks(manifest: Manifest, done: Summary) -> Iterator[str]:
    """What a person should know about the manifest."""
    if manifest.damaged:
        yield f"{manifest.path}: {manifest.damaged} damaged line(s) passed over; those inputs were done again"
    if done.failed_before:
        yield f"{done.failed_before} input(s) failed in an earlier run; --retry-failed tries them again"


class Entries(Sequence[dict[str, Any]]):
    """The inputs' entries in the report, in order, read from the manifest when they are looked at.

    An entry has ``name``, ``input`` and ``ok``; then the facts and files of the fit, or ``error``.
    """

    def __init__(self, manifest: Manifest, inputs: Sequence[Input], names: Sequence[str]) -> None:
        self._manifest, self._inputs, self._names = manifest, inputs, names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        (record,) = self._manifest.records([self._names[index]])
        return self._entry(self._inputs[index], record)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for found, record in zip(self._inputs, self._manifest.records(self._names), strict=True):
            yield self._entry(found, record)

    def _entry(self, found: Input, record: Record) -> dict[str, Any]:
        shown = {"name": record.key, "input": found.label, "ok": record.ok}
        if not record.ok:
            return {**shown, "error": record.error}
        facts = {**shown, **self._placed(record.facts)}
        if "others" in facts:
            facts["others"] = [self._placed(face) for face in facts["others"]]
        return facts

    def _placed(self, facts: Any) -> dict[str, Any]:
        names = {key: facts.get(key) for key in ("output", "overlay", "curves", "video")}
        files = {key: name and self._manifest.folder / name for key, name in names.items()}
        return {**facts, **files}
