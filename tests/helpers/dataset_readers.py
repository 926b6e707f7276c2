"""Readers of landmarks, tracks, lists, tables, shards and media, with small valid files for each."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from lz4_frames import MESH
from media_files import moving_frames, picture, write_clip, write_photo
from PIL import Image
from readers import Reader
from tar_files import write_shard

from headwarp.flame.detect import read_landmarks
from headwarp.flame.pose_track import read_pose_track
from headwarp.training.data.crops.table import CropRow, read_table, write_table
from headwarp.training.data.gdpw import read_vertices
from headwarp.training.data.inputs import list_inputs, opened
from headwarp.training.data.jobs import Job, Record, open_manifest
from headwarp.training.data.media import VideoReader, read_image
from headwarp.training.data.provenance import Provenance, read_provenance, write_sidecar
from headwarp.training.data.vox import parse_name


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


def _clip(path: Path) -> None:
    write_clip(path, moving_frames(6, 32, 48), audio_seconds=0.2)


def _animation(path: Path) -> None:
    first, *rest = (Image.fromarray(frame) for frame in moving_frames(3, 16, 24))
    first.save(path, save_all=True, append_images=rest, duration=40)


def _photo(path: Path) -> None:
    write_photo(path, picture(16, 24), orientation=6)


def _read_clip(path: Path) -> None:
    with VideoReader(path) as reader:
        for number, frame in enumerate(reader):
            assert frame.shape == (reader.info.height, reader.info.width, 3)
            if number > 100:
                break


DATASET_READERS = {
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
    "posed vertices": Reader("a_posed_vertx.lz4", lambda path: path.write_bytes(MESH), read_vertices),
    "photo png": Reader("a.png", _photo, read_image),
    "photo jpg": Reader("a.jpg", _photo, read_image),
    "animation": Reader("a.gif", _animation, _read_clip),
    "clip mp4": Reader("a.mp4", _clip, _read_clip),
    "clip mkv": Reader("a.mkv", _clip, _read_clip),
}
