"""The dataset's table."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from headwarp.geom.errors import MediaError
from headwarp.training.data.crops.table import CropRow, VideoRecord, read_table, rows_of, write_table

ROW = CropRow(
    video_id="talk#anna",
    start=75,
    end=1030,
    bbox=(-10, 4, 290, 304),
    fps=30000 / 1001,
    width=1920,
    height=1080,
    partition="train",
    identity="anna",
    track=2,
    clip="train/anna#talk#000075#001030.mp4",
    dropped="",
    detail='say "hello", twice',
    missing=3,
    audio=True,
)


def test_round_trip(tmp_path: Path) -> None:
    other = replace(ROW, start=0, end=5, clip="", dropped="short", bbox=(0, -5, 300, 295), audio=False)
    write_table(tmp_path / "metadata.csv", iter([ROW, other]))
    assert read_table(tmp_path / "metadata.csv") == (ROW, other)
    record = VideoRecord("talk", (ROW, other), 1200, ROW.fps, ("a note",))
    assert tuple(rows_of(json.loads(json.dumps(record.facts())))) == record.rows
    assert record.clips == (ROW,)


def test_the_columns_of_vox_metadata_come_first(tmp_path: Path) -> None:
    write_table(tmp_path / "m.csv", [replace(ROW, bbox=(10, 4, 310, 304))])
    with open(tmp_path / "m.csv", newline="") as file:
        header, values = csv.reader(file)
    assert header[:8] == ["video_id", "start", "end", "bbox", "fps", "width", "height", "partition"]
    assert values[3] == "10-4-310-304"
    assert values[7] == "train"


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("-10-4-290-304", "10-4-290", "line 2: column bbox cannot be '10-4-290'"),
        ("75,", "many,", "line 2: column start cannot be 'many'"),
        ("video_id", "name", "missing video_id"),
        ('"say ""hello"", twice"', '"say', "is not a table of clips that can be read"),
        (",2,train/", ",train/", "column track cannot be"),
    ],
)
def test_tables_that_do_not_read(tmp_path: Path, old: str, new: str, text: str) -> None:
    path = tmp_path / "m.csv"
    write_table(path, [ROW])
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))
    with pytest.raises(MediaError, match=text):
        read_table(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MediaError, match="is not a table"):
        read_table(path)
    with pytest.raises(MediaError, match="no such file"):
        read_table(tmp_path / "absent.csv")
