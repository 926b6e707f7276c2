"""Every reader of files that come from elsewhere, with small valid files for it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flame_fits import flame_fit, flame_head
from flame_schema import flame_arrays, write_flame_pickle, write_landmark_files
from tar_files import write_shard
from toy_fit import toy_fit, varied
from toy_head import toy_head

from headwarp.flame.detect import read_landmarks
from headwarp.flame.formats import describe, read_fit, sniff, write_fit
from headwarp.flame.io import load_head, save_head_npz
from headwarp.flame.params import HeadFit
from headwarp.flame.pose_track import read_pose_track
from headwarp.training.data.crops.table import CropRow, read_table, write_table
from headwarp.training.data.inputs import list_inputs, opened
from headwarp.training.data.jobs import Job, Record, open_manifest
from headwarp.training.data.provenance import Provenance, read_provenance, write_sidecar
from headwarp.training.data.vox import parse_name


@dataclass(frozen=True)
class Reader:
    """A reader and what it reads.

    Attributes:
        seed: name of the valid file.
        make: writes it into a folder under that name.
        read: reads a file.
        packed: whether the file is a zip archive, whose members are changed too.
    """

    seed: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    packed: bool = False


_SMALL = {"rows": 3, "columns": 3, "shape_count": 300, "expression_count": 2}


def _flame(path: Path, **options: object) -> None:
    write_flame_pickle(path, flame_arrays(**_SMALL), **options)  # type: ignore[arg-type]


def _flame_npz(path: Path) -> None:
    np.savez(path, **flame_arrays(**_SMALL))


def _own_npz(path: Path) -> None:
    save_head_npz(toy_head(), path)


def _beside(name: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        _flame(path.parent / "generic_model.pkl")
        return load_head(path.parent / "generic_model.pkl", landmarks=path)

    return read


def _landmark_file(kind: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        faces = len(flame_arrays(**_SMALL)["f"])
        write_landmark_files(path.parent, faces)[kind].rename(path)

    return make


def _fit(path: Path) -> None:
    head = toy_head()
    toy_fit(head, 3, **varied(head, 3)).save(path)


_FLAME = flame_head()


def _other_fit(name: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        write_fit(flame_fit(_FLAME.model, frames=2), _FLAME.model, path, name=name)

    return make


def _read_other(path: Path) -> object:
    sniff(path)
    try:
        describe(path)
    finally:
        return read_fit(path, _FLAME.model)  # noqa: B012


def _part_of(name: str, part: str, *, suffix: str = "") -> Callable[[Path], object]:
    """One file of a tracker's folder; the others lie beside it."""

    def make(path: Path) -> None:
        folder = path.parent / f"made{suffix}"
        write_fit(flame_fit(_FLAME.model, frames=2), _FLAME.model, folder, name=name)
        for file in sorted(folder.rglob("*")):
            target = path.parent / file.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            if file.is_file():
                file.rename(target)
        shutil.rmtree(folder)
        assert path == path.parent / part

    return make


def _read_folder(path: Path) -> object:
    return _read_other(path.parent)


def _points(path: Path) -> None:
    points = np.random.default_rng(0).uniform(0, 99, (2, 68, 2)).round(1)
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(points.reshape(2, -1).tolist())
    elif path.suffix == ".npz":
        np.savez_compressed(path, landmarks=points)
    else:
        np.save(path, points)


def _track(path: Path) -> None:
    keys = [{"time": 0, "yaw": 1.5, "smile": 0.2}, {"time": 0.5, "yaw": -10, "smile": 1}]
    if path.suffix == ".json":
        path.write_text(json.dumps({"relative": True, "keyframes": keys}))
    else:
        path.write_text("time,yaw,smile\n0,1.5,0.2\n0.5,-10,1\n")


def _table(path: Path) -> None:
    row = CropRow(
        "v#a", 0, 64, (1, 2, 257, 258), 25.0, 640, 480, "train", "a", 0, "train/x.mp4", "", "", 0, True
    )
    write_table(path, [row, row])


def _list(path: Path) -> None:
    path.write_text("path,name,start,stop,face\na.mp4,anna,0,100,0\nb.mp4,,,,\n")


def _shard(path: Path) -> None:
    write_shard(path, {"a/x.png": b"12345", "a/x.json": b"{}", "b.mp4": b"0" * 600})


def _read_inputs(path: Path) -> None:
    for found in list_inputs([path]):
        found.source(path.parent)
        if found.member is not None and found.problem is None:
            with opened(found, path.parent) as copy:
                copy.read_bytes()


def _manifest(path: Path) -> None:
    with open_manifest(path, kind="fit", fingerprint={"a": 1}) as manifest:
        for key in ("x", "y"):
            manifest.append(
                Record(
                    key=key,
                    source=key,
                    stamp="1",
                    ok=True,
                    outputs={},
                    facts={"b": 2},
                    error=None,
                    seconds=1.0,
                )
            )


def _read_manifest(path: Path) -> None:
    with open_manifest(path, kind="fit", fingerprint={"a": 1}) as manifest:
        manifest.is_settled(Job("x", None, "x", "1"))
        list(manifest.records())
        manifest.keys_by_source()


def _sidecar(path: Path) -> None:
    medium = path.with_suffix("")
    medium.write_bytes(b"medium")
    write_sidecar(medium, Provenance.now("geometry"), frames=1)


READERS = {
    "FLAME pickle of Python 2": Reader("old.pkl", _flame, load_head),
    "FLAME pickle of Python 3": Reader(
        "new.pkl", lambda path: _flame(path, python2=False, protocol=4), load_head
    ),
    "FLAME npz": Reader("flame.npz", _flame_npz, load_head, packed=True),
    "own head": Reader("own.npz", _own_npz, load_head, packed=True),
    "mediapipe embedding": Reader("e.npz", _landmark_file("mediapipe"), _beside("e.npz"), packed=True),
    "static embedding": Reader("e.pkl", _landmark_file("static"), _beside("e.pkl")),
    "DECA embedding": Reader("e.npy", _landmark_file("deca"), _beside("e.npy")),
    "own fit": Reader("fit.npz", _fit, HeadFit.load, packed=True),
    "VHAP": Reader("tracked_flame_params_1.npz", _other_fit("vhap"), _read_other, packed=True),
    "DECA": Reader("deca.npz", _other_fit("deca"), _read_other, packed=True),
    "DECA pickle": Reader("deca.pkl", _other_fit("deca"), _read_other),
    "EMOCA": Reader("emoca.npz", _other_fit("emoca"), _read_other, packed=True),
    "SMIRK": Reader("smirk.npz", _other_fit("smirk"), _read_other, packed=True),
    "landmarks npy": Reader("points.npy", _points, read_landmarks),
    "landmarks npz": Reader("points.npz", _points, read_landmarks, packed=True),
    "landmarks csv": Reader("points.csv", _points, read_landmarks),
    "pose track csv": Reader("track.csv", _track, lambda path: read_pose_track(path, 25)),
    "pose track json": Reader("track.json", _track, lambda path: read_pose_track(path, 25)),
    "table of clips": Reader("metadata.csv", _table, read_table),
    "list of inputs": Reader("list.csv", _list, _read_inputs),
    "tar shard": Reader("shard.tar", _shard, _read_inputs),
    "manifest": Reader("manifest.jsonl", _manifest, _read_manifest),
    "provenance": Reader("a.png.json", _sidecar, lambda path: read_provenance(path.with_suffix(""))),
    "vox name": Reader(
        "name.txt",
        lambda path: path.write_text("id10068#vqs1ZvoJ4XY#010464#010913.mp4"),
        lambda path: parse_name(path.read_bytes().decode("utf-8", "replace")),
    ),
}
