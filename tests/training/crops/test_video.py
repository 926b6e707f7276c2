"""Videos cut into clips: exact to the frame and to the sample, whatever the file is like."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from footage import KnownFaces, clicks, number_of, numbered, onsets, write_footage
from media_files import decode_clip, mean_error, sound_of, write_photo, write_sound
from PIL import Image

from headwarp.geom.errors import HeadwarpError, MediaError, NoFaceError
from headwarp.training.data.crops.cutting import cut_out
from headwarp.training.data.crops.plan import CropConfig
from headwarp.training.data.crops.table import VideoRecord
from headwarp.training.data.crops.video import PrepareConfig, check_prepare, partition_of, prepare_video
from headwarp.training.data.crops.windows import Square
from headwarp.training.data.media import probe
from headwarp.training.data.vox import parse_name

FACE = (0, 130.0, 90.0, 190.0, 150.0)  # track, box of the points
CROP = CropConfig(window="heser", size=128, min_box=64, min_frames=10)
CONFIG = PrepareConfig(crop=CROP)


def prepared(
    path: Path, output: Path, faces: list, config: PrepareConfig = CONFIG, **options: object
) -> VideoRecord:
    return prepare_video(path, config, output, start_tracker=lambda: KnownFaces(faces, **options))


def numbers_in(output: Path, row) -> list[int]:
    return [number_of(picture, row.bbox) for picture in decode_clip(output / row.clip)]


@pytest.mark.parametrize("sound_codec", ["aac", "mp3"])
def test_cuts_are_exact_to_the_frame_and_the_sample(tmp_path: Path, sound_codec: str) -> None:
    moments = [(10 * count + 5) / 25 for count in range(8)]
    path = write_footage(
        tmp_path / "talk.mp4", map(numbered, range(80)), sound=clicks(3.2, moments), sound_codec=sound_codec
    )
    faces = [[] if 30 <= index < 40 else [FACE] for index in range(80)]
    record = prepared(path, tmp_path / "out", faces)
    assert [(row.start, row.end, row.dropped) for row in record.rows] == [(0, 30, ""), (40, 80, "")]
    for row in record.clips:
        assert numbers_in(tmp_path / "out", row) == list(range(row.start, row.end))
        samples, rate = sound_of(tmp_path / "out" / row.clip)
        expected = [moment - row.start / 25 for moment in moments if row.start / 25 <= moment < row.end / 25]
        assert onsets(samples, rate) == pytest.approx(expected, abs=1e-3)
        assert len(samples) / rate == pytest.approx(row.frames / 25, abs=0.05)
        assert parse_name(Path(row.clip).name).start == row.start
        info = probe(tmp_path / "out" / row.clip)
        assert (info.width, info.height, info.fps, info.frames) == (128, 128, 25, row.frames)


def test_running_again_writes_the_same_bytes(tmp_path: Path) -> None:
    path = write_footage(tmp_path / "a.mp4", map(numbered, range(40)), sound=clicks(1.6, [0.5]))
    first = prepared(path, tmp_path / "one", [[FACE]] * 40)
    assert prepared(path, tmp_path / "two", [[FACE]] * 40) == first
    contents = [(tmp_path / name / first.clips[0].clip).read_bytes() for name in ("one", "two")]
    assert contents[0] == contents[1]
    assert os.listdir(tmp_path / "one" / "train") == ["a-00#a#000000#000040.mp4"]


def test_several_people_at_once(tmp_path: Path) -> None:
    path = write_footage(tmp_path / "two.mp4", map(numbered, range(60)))
    large, small = (0, 130.0, 90.0, 190.0, 150.0), (3, 20.0, 30.0, 60.0, 70.0)
    faces = [[large] * (index < 50) + [small] * (index >= 20) for index in range(60)]
    record = prepared(path, tmp_path / "out", faces)
    assert [(row.identity, row.start, row.end) for row in record.clips] == [
        ("two-00", 0, 50),
        ("two-03", 20, 60),
    ]
    assert [row.bbox[2] - row.bbox[0] for row in record.clips] == [108, 72]
    for row in record.clips:
        clip = decode_clip(tmp_path / "out" / row.clip)
        expected = [
            cut_out(numbered(i), Square(*row.bbox[:2], row.bbox[2] - row.bbox[0]), 128) for i in range(60)
        ]
        errors = [mean_error(a, b) for a, b in zip(clip, expected[row.start : row.end], strict=True)]
        assert max(errors) < 3
    named = prepare_video(
        path,
        replace(CONFIG, identity="person"),
        tmp_path / "named",
        person="anna",
        start_tracker=lambda: KnownFaces(faces),
    )
    assert [row.identity for row in named.clips] == ["anna", "anna-03"]


def test_a_variable_rate_becomes_constant_and_stays_with_its_sound(tmp_path: Path) -> None:
    kept = [index for index in range(100) if index % 7 != 3]
    moments = [index / 25 for index in (21, 50, 84)]
    path = write_footage(
        tmp_path / "phone.mp4",
        (numbered(index) for index in kept),
        times=[index / 25 for index in kept],
        sound=clicks(4, moments),
    )
    record = prepared(path, tmp_path / "out", [[FACE]] * len(kept))
    (row,) = record.clips
    assert (row.start, row.end, row.fps) == (0, 100, 25.0)
    shown = numbers_in(tmp_path / "out", row)
    assert shown == [index - (index % 7 == 3) for index in range(100)]  # the last picture is held
    assert onsets(*sound_of(tmp_path / "out" / row.clip)) == pytest.approx(moments, abs=1e-3)
    assert record.notes == ("Frames do not come evenly: at 25 a second 14 are repeated and 0 left out.",)


def test_another_rate(tmp_path: Path) -> None:
    path = write_footage(
        tmp_path / "a.mp4", map(numbered, range(90)), fps=Fraction(30), sound=clicks(3, [1.0, 2.5])
    )
    config = replace(CONFIG, crop=replace(CROP, fps=Fraction(25)))
    (row,) = prepared(path, tmp_path / "out", [[FACE]] * 90, config).clips
    assert (row.end, row.fps, probe(tmp_path / "out" / row.clip).fps) == (75, 25.0, 25)
    shown = np.array(numbers_in(tmp_path / "out", row))
    assert np.abs(shown - np.arange(75) * 30 / 25).max() <= 0.6
    assert onsets(*sound_of(tmp_path / "out" / row.clip)) == pytest.approx([1.0, 2.5], abs=1e-3)


def test_a_part_of_a_video(tmp_path: Path) -> None:
    path = write_footage(tmp_path / "a.mp4", map(numbered, range(90)), sound=clicks(3.6, [0.4, 2.6]))
    record = prepare_video(
        path, CONFIG, tmp_path / "out", frames=(60, 80), start_tracker=lambda: KnownFaces([[FACE]] * 20)
    )
    (row,) = record.clips
    assert (row.start, row.end, record.frames) == (60, 80, 20)
    assert numbers_in(tmp_path / "out", row) == list(range(60, 80))
    assert onsets(*sound_of(tmp_path / "out" / row.clip)) == pytest.approx([0.2], abs=1e-3)


def test_rotated_odd_and_ten_bit_videos(tmp_path: Path) -> None:
    turned = write_footage(
        tmp_path / "turned.mp4", (np.rot90(numbered(i), -1) for i in range(20)), rotation=90
    )
    deep = write_footage(tmp_path / "deep.mkv", map(numbered, range(20)), pix_fmt="yuv420p10le")
    for path in (turned, deep):
        (row,) = prepared(path, tmp_path / "out", [[FACE]] * 20).clips
        assert (row.width, row.height) == (320, 240)
        assert numbers_in(tmp_path / "out", row) == list(range(20))
    odd = [numbered(i)[:239, :319] for i in range(20)]
    path = write_footage(tmp_path / "odd.mkv", odd, codec="ffv1", pix_fmt="bgr0")
    (row,) = prepared(path, tmp_path / "out", [[FACE]] * 20).clips
    assert (row.width, row.height, row.audio) == (319, 239, False)
    assert numbers_in(tmp_path / "out", row) == list(range(20))


def test_sound_that_ends_early_or_is_unwanted(tmp_path: Path) -> None:
    path = write_footage(tmp_path / "a.mp4", map(numbered, range(80)), sound=clicks(1.0, [0.5]))
    faces = [[] if 38 <= index < 44 else [FACE] for index in range(80)]
    record = prepared(path, tmp_path / "out", faces, replace(CONFIG, crop=replace(CROP, bridge=0)))
    assert [row.audio for row in record.clips] == [True, True]
    assert all(len(decode_clip(tmp_path / "out" / row.clip)) == row.frames for row in record.clips)
    silent = prepared(path, tmp_path / "silent", [[FACE]] * 80, replace(CONFIG, audio=False))
    assert [row.audio for row in silent.clips] == [False]
    assert not probe(tmp_path / "silent" / silent.clips[0].clip).has_audio


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    for index in range(12):
        Image.fromarray(numbered(index)).save(tmp_path / "shots" / f"{index}.png")
    (row,) = prepared(tmp_path / "shots", tmp_path / "out", [[FACE]] * 12).clips
    assert row.fps == 25
    assert numbers_in(tmp_path / "out", row) == list(range(12))


def test_cuts_of_the_film_end_clips(tmp_path: Path) -> None:
    frames = [numbered(index) for index in range(20)] + [255 - numbered(index) for index in range(20)]
    path = write_footage(tmp_path / "a.mp4", frames)
    record = prepared(path, tmp_path / "out", [[FACE]] * 40)
    assert [(row.start, row.end) for row in record.clips] == [(0, 20), (20, 40)]


def test_a_damaged_stretch(tmp_path: Path) -> None:
    """What does not decode leaves a hole in time that the last picture fills; pictures keep their places."""
    path = write_footage(tmp_path / "a.mkv", map(numbered, range(60)), codec="mjpeg", pix_fmt="yuvj420p")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    content = path.read_bytes()
    for packet in packets[30:33]:
        content = content.replace(packet, bytes(len(packet)))
    path.write_bytes(content)
    record = prepared(path, tmp_path / "out", [[FACE]] * 60)
    assert "3 damaged packet(s)" in record.notes[0]
    (row,) = record.clips
    assert numbers_in(tmp_path / "out", row) == [29 if 30 <= index < 33 else index for index in range(60)]


def test_a_file_that_breaks_off(tmp_path: Path) -> None:
    path = write_footage(tmp_path / "a.mkv", map(numbered, range(60)), sound=clicks(2.4, [0.2]))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    record = prepared(path, tmp_path / "out", [[FACE]] * 60)
    (row,) = record.clips
    assert 10 < row.end < 60
    assert numbers_in(tmp_path / "out", row) == list(range(row.end))
    assert any("breaks off" in note or "header states" in note for note in record.notes)


def test_what_cannot_be_prepared(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "noise.mp4").write_bytes(os.urandom(5000))
    write_sound(tmp_path / "sound.m4a", 1.0)
    write_photo(tmp_path / "photo.png", numbered(0))
    footage = write_footage(tmp_path / "a.mp4", map(numbered, range(12)))
    headless = tmp_path / "cut.mp4"
    headless.write_bytes(footage.read_bytes()[:2000])
    for name, text in {
        "empty.mp4": "is empty",
        "noise.mp4": "is not a photo or clip",
        "sound.m4a": "no video stream",
        "photo.png": "is a photo",
        "cut.mp4": "damaged or cut off",
        "absent.mp4": "no such file",
    }.items():
        with pytest.raises(MediaError, match=text):
            prepared(tmp_path / name, tmp_path / "out", [[]] * 100)
    with pytest.raises(NoFaceError, match=r"a.mp4: no face was found in 12 frame\(s\)"):
        prepared(footage, tmp_path / "out", [[]] * 12)
    assert not (tmp_path / "out").exists()


def test_dropped_stretches_are_rows_too(tmp_path: Path) -> None:
    path = write_footage(tmp_path / "a.mp4", map(numbered, range(30)))
    edge, tiny = (1, 2.0, 90.0, 62.0, 150.0), (2, 250.0, 20.0, 270.0, 40.0)
    faces = [[FACE] * (index < 5) + [edge, tiny] for index in range(30)]
    record = prepared(path, tmp_path / "out", faces)
    assert [(row.track, row.dropped) for row in record.rows] == [(0, "short"), (1, "border"), (2, "small")]
    assert record.clips == ()
    assert not (tmp_path / "out").exists()
    record = prepared(path, tmp_path / "out", [[FACE]] * 30, confirmed=False)
    assert [row.dropped for row in record.rows] == ["unconfirmed"]


def test_an_error_leaves_no_clip_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import headwarp.training.data.crops.cutting as cutting

    path = write_footage(tmp_path / "a.mp4", map(numbered, range(60)))
    calls = iter(range(100))

    def fails_late(*arguments: object) -> np.ndarray:
        if next(calls) == 45:
            raise MediaError("the disk is gone")
        return cut_out(*arguments)

    monkeypatch.setattr(cutting, "cut_out", fails_late)
    faces = [[] if 20 <= index < 30 else [FACE] for index in range(60)]
    with pytest.raises(MediaError, match="the disk is gone"):
        prepared(path, tmp_path / "out", faces)
    # the first clip was whole when the second one failed
    assert os.listdir(tmp_path / "out" / "train") == ["a-00#a#000000#000020.mp4"]


def test_a_file_that_changes_between_the_passes(tmp_path: Path) -> None:
    path = write_footage(tmp_path / "a.mkv", map(numbered, range(60)))
    short = path.read_bytes()[: path.stat().st_size // 2]

    class Spoils(KnownFaces):
        def step(self, frame: np.ndarray) -> list:
            if self._next == 59:
                path.write_bytes(short)
            return super().step(frame)

    with pytest.raises(MediaError, match="reads differently the second time"):
        prepare_video(path, CONFIG, tmp_path / "out", start_tracker=lambda: Spoils([[FACE]] * 60))
    assert os.listdir(tmp_path / "out" / "train") == []


class TestCutOut:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)

    def test_its_own_size_is_a_copy(self) -> None:
        assert np.array_equal(cut_out(self.picture, Square(7, 3, 40), 40), self.picture[3:43, 7:47])

    def test_shrinking_averages_areas(self) -> None:
        window = self.picture[4:44, 8:48].astype(float)
        means = window.reshape(20, 2, 20, 2, 3).mean(axis=(1, 3))
        assert np.abs(cut_out(self.picture, Square(8, 4, 40), 20) - means).max() <= 1.0
        third = cut_out(self.picture, Square(8, 4, 40), 16).astype(float)  # 2.5 pixels each
        assert third.mean() == pytest.approx(window.mean(), abs=0.5)

    def test_a_ramp_keeps_its_place_when_enlarged(self) -> None:
        ramp = np.broadcast_to(np.arange(80, dtype=np.uint8)[None, :, None] * 3, (60, 80, 3))
        large = cut_out(ramp, Square(20, 10, 20), 80)
        expected = 3 * (20 + (np.arange(80) + 0.5) / 4 - 0.5)
        assert np.abs(large[40, 8:-8, 0] - expected[8:-8]).max() <= 1.0

    def test_the_border_repeats(self) -> None:
        window = cut_out(self.picture, Square(-5, 40, 30), 30)
        assert np.array_equal(window[:20, 5:], self.picture[40:, :25])
        assert np.array_equal(window[:20, 0], self.picture[40:, 0])
        assert np.array_equal(window[29, 5:], self.picture[59, :25])


def test_partitions_do_not_depend_on_the_set() -> None:
    config = PrepareConfig(test_share=0.25, test_ids=("id10270",))
    names = [f"id{number}" for number in range(2000)]
    share = np.mean([partition_of(name, config) == "test" for name in names])
    assert share == pytest.approx(0.25, abs=0.03)
    assert partition_of("id10270", PrepareConfig(test_ids=("id10270",))) == "test"
    assert {partition_of(name, PrepareConfig()) for name in names} == {"train"}
    assert {partition_of(name, PrepareConfig(test_share=1.0)) for name in names} == {"test"}


def test_configs() -> None:
    check_prepare(PrepareConfig())
    with pytest.raises(HeadwarpError, match="--test-share: expected 0 to 1, got 2"):
        check_prepare(PrepareConfig(test_share=2))
    with pytest.raises(HeadwarpError, match="--crf: expected 0 to 51, got 99"):
        check_prepare(PrepareConfig(crf=99))
    with pytest.raises(HeadwarpError, match="--size"):
        check_prepare(PrepareConfig(crop=CropConfig(size=1)))
