"""What made pictures and clips say about themselves survives in every format."""

from __future__ import annotations

import hashlib
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import av
import pytest
from media_files import moving_frames, picture, write_clip, write_photo
from PIL import Image

from headwarp import __version__
from headwarp.geom.errors import MediaError
from headwarp.training.data.media import VideoWriter, write_image
from headwarp.training.data.provenance import (
    COMPOSITE_WITH_TRAINED,
    ENHANCED,
    Provenance,
    read_provenance,
    sha256_of,
    sidecar_path,
    write_sidecar,
)

RECORD = Provenance("pwm", "headwarp", "1.2.3", COMPOSITE_WITH_TRAINED, ("ab" * 32,), "2025-01-02T03:04:05Z")


def write_any(path: Path, provenance: Provenance | None) -> None:
    if path.suffix in (".png", ".jpg"):
        write_image(path, picture(), provenance=provenance)
        return
    with VideoWriter(path, 25, provenance=provenance) as writer:
        for frame in moving_frames(3, 95, 127):
            writer.write(frame)


NAMES = ["a.png", "a.jpg", "a.mp4", "a.m4v", "a.mov", "a.mkv"]


@pytest.mark.parametrize("name", NAMES)
def test_record_is_read_back_from_inside_the_file(tmp_path: Path, name: str) -> None:
    write_any(tmp_path / name, RECORD)
    sidecar_path(tmp_path / name).unlink()
    assert read_provenance(tmp_path / name) == RECORD


@pytest.mark.parametrize("name", NAMES)
def test_none_says_nothing(tmp_path: Path, name: str) -> None:
    write_any(tmp_path / name, None)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert read_provenance(tmp_path / name) is None
    assert b"digitalsourcetype" not in (tmp_path / name).read_bytes()


@pytest.mark.parametrize("name", ["a.png", "a.mp4"])
def test_sidecar(tmp_path: Path, name: str) -> None:
    write_any(tmp_path / name, RECORD)
    content = json.loads((tmp_path / f"{name}.json").read_text())
    assert content["file"] == name
    assert content["sha256"] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert content["digital_source_type"] == COMPOSITE_WITH_TRAINED
    assert content["inputs"] == ["ab" * 32]
    if name == "a.mp4":
        assert (content["frames"], content["fps"], content["displayed_size"]) == (3, "25", [127, 95])


def test_sidecar_counts_only_for_the_file_it_was_written_for(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.png", picture())
    write_sidecar(path, RECORD)
    assert read_provenance(path) == RECORD
    write_photo(path, picture(seed=1))
    assert read_provenance(path) is None
    sidecar_path(path).write_text("[1, 2")
    assert read_provenance(path) is None


def test_png_says_it_in_the_words_of_others(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture(), provenance=RECORD)
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        text = image.text
    assert text["Software"] == "headwarp 1.2.3"
    assert text["Description"].startswith("Made with headwarp 1.2.3 (pwm); digital source type: composite")
    packet = text["XML:com.adobe.xmp"]
    root = ET.fromstring(packet[packet.index("<x:xmpmeta") : packet.index("<?xpacket end")])
    source = root.find(".//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert source.text == COMPOSITE_WITH_TRAINED


def test_jpeg_carries_xmp(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", picture(), provenance=RECORD)
    with Image.open(tmp_path / "a.jpg") as image:
        assert COMPOSITE_WITH_TRAINED.encode() in image.info["xmp"]


def test_clip_says_it_in_the_words_of_others(tmp_path: Path) -> None:
    write_any(tmp_path / "a.mp4", RECORD)
    with av.open(str(tmp_path / "a.mp4")) as container:
        metadata = container.metadata
    assert metadata["description"] == RECORD.sentence()
    assert json.loads(metadata["comment"])["displayed_size"] == [127, 95]


def test_now(tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.png", picture())
    record = Provenance.now("geometry", inputs=[photo, tmp_path], digital_source_type=ENHANCED)
    assert (record.tool, record.version, record.animator) == ("headwarp", __version__, "geometry")
    assert record.inputs == (sha256_of(photo),)
    assert record.created.endswith("Z")
    assert record.digital_source_type == ENHANCED
    assert str(tmp_path) not in record.as_json()
    with pytest.raises(MediaError, match="cannot be read"):
        Provenance.now("geometry", inputs=[tmp_path / "missing"])


@pytest.mark.parametrize(
    "comment", ["", "made on my phone", "{}", '{"headwarp": 1}', '{"headwarp": 1, "inputs": 3}', "[]", "null"]
)
def test_comments_of_others_are_no_record(tmp_path: Path, comment: str) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        container.metadata["comment"] = comment
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")))
        container.mux(stream.encode(None))
    assert read_provenance(tmp_path / "a.mp4") is None


def test_other_files(tmp_path: Path) -> None:
    assert read_provenance(write_clip(tmp_path / "a.mp4", moving_frames(2))) is None
    (tmp_path / "a.txt").write_text("text")
    assert read_provenance(tmp_path / "a.txt") is None
    with pytest.raises(MediaError, match="no such file"):
        read_provenance(tmp_path / "missing.png")
