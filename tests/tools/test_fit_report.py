"""What a run of ``headwarp fit`` says and shows: numbers, curves, identity, and the sheet of the worst
fits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from media_files import moving_frames, write_clip
from PIL import Image
from posed_fits import posed_fit
from toy_fit import toy_fit, varied
from toy_head import toy_head

from headwarp.flame.fitting import FitConfig
from headwarp.flame.fitting.percent import eye_distance, eye_pixels, residual_percent
from headwarp.flame.io import load_head
from headwarp.flame.model import HeadModel, restrict
from headwarp.flame.params import MISSING, HeadFit
from headwarp.flame.posing import posed_points
from headwarp.geom.cameras import MODEL_TO_CAMERA
from headwarp.tools import fit_sheet
from headwarp.tools.fit_curves import fit_curves, worst_frames
from headwarp.tools.fit_identity import halves_apart, identity_spread, person_of
from headwarp.tools.fit_report import LISTED, SHOWN, describe, licences, measures, summary
from headwarp.tools.fit_sheet import (
    BAD_PERCENT,
    Row,
    badness,
    chosen_clips,
    draw_sheet,
    open_rows,
    together,
    write_sheet,
)
from headwarp.training.data.inputs import Input


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("builtin")


def entry(name: str = "c", *, percent: float = 1.0, frames: int = 10, **more) -> dict:
    return {
        "name": name,
        "ok": True,
        "frames": frames,
        "detected": frames,
        "interpolated": 0,
        "missing": 0,
        "reprojection_percent_iod": percent,
        "jitter": {"detected": 1.0, "fitted": 0.5, "rotation_deg": 0.25},
        "seconds_per_frame": {"decode": 0.1, "detect": 0.2, "fit": 0.3, "total": 0.4},
        "messages": [],
        "output": Path(f"{name}.npz"),
        "worst_frame": {"frame": 3, "percent": percent},
        "identity_halves_mm": None,
        **more,
    }


def failed(name: str) -> dict:
    return {"name": name, "ok": False, "error": f"{name}: no face"}


# numbers


def test_the_percentage_is_that_of_the_eye_distance(head):
    """Every landmark off by 2 px where the eyes are 100 px apart."""
    fit = toy_fit(head, 3, scale=100 / eye_distance(head))
    fit = dataclasses.replace(fit, residual=torch.tensor([0.0, 2.0]).expand(*fit.residual.shape))
    fit.status[1] = MISSING
    np.testing.assert_allclose(residual_percent(head, fit), [2, np.nan, 2], rtol=1e-4)


def test_a_perspective_fit_is_scaled_at_the_depth_of_its_face(head):
    fit = toy_fit(head, 2, perspective=True, residual=1.0)
    face = posed_points(restrict(head, "mediapipe"), fit.params)[:, :468] @ MODEL_TO_CAMERA.T
    depth = face[..., 2].mean(1).double().numpy()
    pixels = eye_distance(head) * fit.camera.focal[:, 0].double().numpy() / depth
    np.testing.assert_allclose(eye_pixels(head, fit), pixels, rtol=1e-3)


def test_worst_frames_lie_apart_and_absent_ones_are_none():
    percent = np.ones(100)
    percent[50:53] = [3, 4, 3.5]
    percent[90] = 2
    percent[10] = np.nan
    assert worst_frames(percent, 2) == [51, 90]
    assert worst_frames(np.full(4, np.nan)) == []
    assert worst_frames(np.array([1.0, 2.0]), 5) == [1, 0]


def test_sums_are_over_inputs_and_frames():
    clips = [entry("a", percent=1.0, frames=10), entry("b", percent=3.0, frames=30, missing=4), failed("x")]
    report = summary(clips, messages=["m"], protocol={}, startup=1.5, more={"licences": {"h": "l"}})
    assert (report["ok"], report["inputs"], report["done"]) == (False, 3, 2)
    assert (report["frames"], report["missing"], report["reprojection_percent_iod"]) == (40, 4, 2.0)
    assert report["seconds_per_frame"]["detect"] == pytest.approx(0.2)
    assert report["jitter"] == {"detected": 1.0, "fitted": 0.5, "rotation_deg": 0.25}
    assert (report["failed"], report["licences"]) == ({"x": "x: no face"}, {"h": "l"})


def test_a_large_run_is_summed_in_one_pass_and_listed_in_part():
    """Entries come from a generator, which can be read once; failures and notes are counted beyond the
    list.
    """

    def clips() -> Iterator[dict]:
        for number in range(3 * LISTED):
            yield failed(f"f{number}") if number % 3 == 0 else entry(f"c{number}", messages=["note"])

    report = summary(clips(), messages=[], protocol={}, startup=0.0, more={})
    assert (report["inputs"], report["done"], report["frames"]) == (3 * LISTED, 2 * LISTED, 20 * LISTED)
    assert [len(report[name]) for name in ("clips", "failed")] == [LISTED, LISTED]
    assert len(report["messages"]) <= LISTED + 1
    assert (
        report["messages"][0]
        == f"{3 * LISTED} inputs: the first {LISTED} are listed, manifest.jsonl holds all"
    )
    shown = describe(report).splitlines()
    assert len(shown) <= 2 * SHOWN + 5
    assert any("more: report.json, manifest.jsonl" in line for line in shown)
    assert f"{2 * LISTED} of {3 * LISTED} input(s)" in shown[-1]


def test_every_models_licence_is_named(head):
    found = licences(head, "mediapipe")
    assert found[head.model_id] == "Apache-2.0"
    assert "Apache-2.0" in found["landmarks"]
    assert licences(head, "points.npy")["landmarks"] == "points from points.npy: the user's own"


# identity


def shaped(head: HeadModel, frames: int, seed: int, *, noise: float = 0.3) -> HeadFit:
    """A turning person whose landmarks were found to ``noise`` pixels."""
    generator = torch.Generator().manual_seed(seed)
    shape = 1.5 * torch.randn(head.shape_basis.shape[2], generator=generator)
    rotation = torch.zeros(frames, 3)
    rotation[:, 1] = torch.linspace(-0.6, 0.6, frames)
    return toy_fit(head, frames, shape=shape, rotation=rotation, residual=noise)


def test_two_halves_of_one_person_agree(head):
    apart = halves_apart(head, shaped(head, 40, 1))
    assert apart is not None
    assert 0 < apart < 1.5


def test_two_persons_in_one_clip_do_not(head):
    first, second = shaped(head, 20, 1), shaped(head, 20, 2)
    both = dataclasses.replace(
        toy_fit(head, 40),
        landmarks=torch.cat([first.landmarks, second.landmarks]),
        residual=torch.cat([first.residual, second.residual]),
    )
    assert halves_apart(head, both) > 3 * halves_apart(head, shaped(head, 40, 1))


def test_short_clips_are_not_halved(head):
    assert halves_apart(head, shaped(head, 12, 1)) is None
    assert measures(head, shaped(head, 12, 1), FitConfig())["identity_halves_mm"] is None


def test_the_spread_is_within_against_between(head, tmp_path):
    """Shapes one unit of the first mode apart: that mode's displacement is the distance."""
    clips = []
    for number in range(3):
        shape = torch.zeros(head.shape_basis.shape[2])
        shape[0] = float(number)
        path = toy_fit(head, 1, shape=shape).save(tmp_path / f"{number}.npz")
        clips.append(entry(f"p{number}", output=path, identity_halves_mm=1.0 + number))
    mode = head.shape_basis[head.faces[head.landmarks["mediapipe"].faces], :, 0]
    mode = (mode * head.landmarks["mediapipe"].bary[..., None]).sum(1)
    unit = 1000 * float(mode.square().sum(1).mean().sqrt())
    spread = identity_spread(head, iter([*clips, failed("x")]))
    assert spread["within_mm"] == pytest.approx(2.0)
    assert spread["between_mm"] == pytest.approx(unit * (1 + 1 + 2) / 3, rel=1e-4)
    assert spread["ratio"] == pytest.approx(2.0 / spread["between_mm"])
    one_person = [{**clip, "name": f"id1#{clip['name']}"} for clip in clips]
    assert identity_spread(head, one_person)["between_mm"] is None
    gone = [{**clip, "output": tmp_path / "gone.npz"} for clip in clips]
    assert identity_spread(head, gone)["between_mm"] is None


def test_many_clips_are_compared_in_part(head, tmp_path):
    path = toy_fit(head, 1).save(tmp_path / "a.npz")
    spread = identity_spread(head, (entry(f"c{i}", output=path) for i in range(2000)))
    assert spread["compared"] <= 256
    assert spread["between_mm"] == 0


def test_persons_are_told_by_names():
    assert person_of("a/id1#xyz#0#9") == "id1"
    assert person_of("vox/id10283/abc/00001") == "id10283"
    assert person_of("vox/clip") == "vox/clip"


# pictures


def test_curves_show_a_blink_and_missing_frames(head):
    params = varied(head, 30)
    fit = toy_fit(head, 30, **params)
    fit.status[10:15] = MISSING
    picture = fit_curves(head, fit, "a clip")
    assert picture.shape[1:] == (960, 3)
    assert (picture == (238, 224, 224)).all(-1).any()
    assert (picture == (220, 60, 60)).all(-1).any()


def test_the_worst_clips_are_chosen_then_even_ones():
    clips = [entry(f"{i}", percent=1.0 + (i == 57) + 2 * (i == 980)) for i in range(1000)]
    clips[3] = failed("3")
    found = chosen_clips(iter(clips), worst=2, even=4)
    assert found[:2] == [980, 57]
    assert len(found) == 6
    assert np.ptp(found[2:]) > 400
    assert chosen_clips([failed("a")]) == []
    assert chosen_clips([entry("a")]) == [0]


def test_missing_frames_and_a_bad_frame_count():
    good = badness(entry(percent=1.0))
    assert badness(entry(percent=1.0, detected=5)) == good + 5
    assert badness(entry(percent=1.0, worst_frame={"frame": 0, "percent": 9.0})) == good + 2
    assert badness(entry(percent=1.0, worst_frame=None)) < good


def test_the_sheet_marks_bad_fits(head, tmp_path):
    """Two clips and a photo through the real reading; the second clip's mesh is 5 % off."""
    entries, inputs = [], []
    for name, frames, off in (("good", 8, 0.0), ("bad", 8, 0.05), ("photo", 1, 0.0)):
        fit = posed_fit(head, np.linspace(0, 20, frames).tolist())
        distance = eye_distance(head) * float(fit.camera.scale[0])
        fit = dataclasses.replace(fit, residual=torch.full_like(fit.residual, off * distance / 2**0.5))
        clip = write_clip(tmp_path / f"{name}.mp4", moving_frames(max(frames, 2), *fit.size))
        entries.append(
            entry(name, percent=100 * off, frames=frames, output=fit.save(tmp_path / f"{name}.npz"))
        )
        inputs.append(Input(str(clip), clip.name))
    rows, told = open_rows(entries, inputs, head)
    assert told == []
    write_sheet(tmp_path / "sheet.png", list(rows.values()), 3)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    red = (sheet == (215, 40, 40)).all(-1)
    assert red.any()
    assert np.nonzero(red)[0].max() < sheet.shape[0] / 2  # the bad one stands first
    write_sheet(tmp_path / "none.png", [], 1)
    assert not (tmp_path / "none.png").exists()


def test_an_input_that_is_gone_is_told(head, tmp_path):
    fit = posed_fit(head, [0.0, 5.0])
    entries = [entry("gone", frames=2, output=fit.save(tmp_path / "gone.npz"))]
    _, told = open_rows(entries, [Input(str(tmp_path / "gone.mp4"), "gone.mp4")], head)
    assert len(told) == 1
    assert told[0].startswith("sheet.png lacks gone: ")


def test_photos_share_rows():
    picture = np.zeros((fit_sheet.TILE, fit_sheet.TILE, 3), np.uint8)
    photo = Row(("p",), False, ((picture, "0: 1.0 %", False),))
    clip = Row(("c", "residual"), False, ((picture, "0", False), (picture, "1", True)))
    rows = together([photo] * 4 + [clip] + [photo] * 3)
    assert [len(row.tiles) for row in rows] == [2, 5, 2]
    assert rows[1].tiles[0][1] == "p: 1.0 %"
    sheet = draw_sheet(rows * 3, "t")
    assert sheet.shape[1] > 2 * 5 * fit_sheet.TILE  # two columns
    assert BAD_PERCENT > 1


def test_a_head_without_face_mesh_landmarks_has_an_eye_distance():
    toy = toy_head()
    toy.landmarks = {}
    assert eye_distance(toy) == pytest.approx(1.5 * 0.06, rel=1e-3)
