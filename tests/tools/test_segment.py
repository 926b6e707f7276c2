"""``headwarp segment``: class maps that show colours, hold numbers and are taken back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from face_pictures import blank, needs_mediapipe, portrait, sway
from media_files import write_clip, write_photo
from PIL import Image

from headwarp.flame.detect.regions import load_segmenter
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.face_regions import FaceRegion
from headwarp.tools import cli, segment
from headwarp.tools.segment import COLOURS, write_class_map


@needs_mediapipe
def test_a_photo_s_map_is_looked_at_and_taken_back(tmp_path, capsys):
    """The astronaut: dark hair to both sides, an orange suit, a flag and a shuttle behind."""
    write_photo(tmp_path / "a.png", portrait())
    out = tmp_path / "map.png"
    assert cli.main(["segment", str(tmp_path / "a.png"), "--output", str(out)]) == 0
    assert "1 class map(s), rendered from builtin" in capsys.readouterr().out
    with Image.open(out) as picture:
        labels = np.array(picture)
        colours = np.array(picture.convert("RGB"))
    assert labels.shape == portrait().shape[:2]
    assert (colours == np.array(COLOURS)[labels]).all()
    shares = {region: (labels == region).mean() for region in FaceRegion}
    assert 0.05 < shares[FaceRegion.HAIR] < 0.3
    assert 0.05 < shares[FaceRegion.SKIN] < 0.3
    assert shares[FaceRegion.CLOTH] > 0.1
    assert all(shares[region] > 0 for region in (FaceRegion.NECK, FaceRegion.NOSE, FaceRegion.MOUTH_INTERIOR))
    again = load_segmenter(out).segment(portrait())
    assert (again.labels == labels).all()


@needs_mediapipe
def test_a_clip_s_maps_are_a_folder_and_the_report_says_shares(tmp_path, capsys):
    frames = [np.ascontiguousarray(frame[:192, :192]) for frame in sway(2)]
    write_clip(tmp_path / "a.mp4", frames)
    out, report = tmp_path / "maps", tmp_path / "r.json"
    words = ["segment", str(tmp_path / "a.mp4"), "--output", str(out), "--json", str(report)]
    assert cli.main(words) == 0, capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["00000.png", "00001.png"]
    said = json.loads(report.read_text())
    assert said["frames"] == 2
    assert sum(said["shares"].values()) == pytest.approx(1)
    assert cli.main(words) == 1
    assert "is there already" in capsys.readouterr().err


@needs_mediapipe
def test_what_cannot_be_is_said_and_leaves_no_file(tmp_path, capsys):
    write_photo(tmp_path / "a.png", portrait())
    write_photo(tmp_path / "none.png", blank(64, 64))
    for words, text in (
        (["a.png", "--output", "map.jpg"], "expected a .png for one picture"),
        (["none.png", "--output", "map.png"], "expected a face"),
        (["a.png", "--output", "map.png", "--segmentation", "unet"], "expected rendered, bisenet"),
        (["a.png", "--output", "map.png", "--segmentation", "w.pth"], "no such file of weights"),
    ):
        paths = [str(tmp_path / word) if "." in word else word for word in words]
        assert cli.main(["segment", *paths]) == 1
        assert text in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "none.png"]


@pytest.mark.parametrize("output", ["map.jpg", "a.png/map.png"])
def test_an_output_that_cannot_be_is_refused_before_the_fit(tmp_path, monkeypatch, output):
    def never(*_, **__):
        raise AssertionError("fitted before the output was looked at")

    monkeypatch.setattr(segment, "_fit", never)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(HeadwarpError, match="--output"):
        segment.run(segment.Segment(tmp_path / "a.png", output=tmp_path / output))


def test_every_region_has_a_colour_of_its_own(tmp_path):
    assert len(set(COLOURS)) == len(COLOURS) == len(FaceRegion)
    labels = np.arange(19, dtype=np.uint8)[None]
    write_class_map(tmp_path / "m.png", labels)
    with Image.open(tmp_path / "m.png") as picture:
        assert picture.mode == "P"
        assert (np.array(picture) == labels).all()
