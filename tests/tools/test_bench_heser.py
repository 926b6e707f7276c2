"""The studies of HeSer: what each counts on made-up pictures, the files they leave, what is missing."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from toy_animators import ALIGNER, loaded
from toy_fit import toy_fit, varied
from toy_head import toy_head
from toy_mesh import texture
from toy_packs import ToySegmenter, toy_pack

import headwarp.flame.detect
import headwarp.flame.detect.mediapipe
import headwarp.training.data.blends.maker
from headwarp.flame.io import load_head, save_head_npz
from headwarp.geom.errors import HeadwarpError, NoFaceError
from headwarp.geom.guidance import Driving, Source
from headwarp.tools.bench import Bench, describe, run
from headwarp.tools.bench.heser import HeserStudies
from headwarp.tools.bench.heser.attention import PARTS, REGIONS, attention_of, attention_table
from headwarp.tools.bench.heser.inpainting import FILLS, ring_fills, ring_rows
from headwarp.tools.bench.heser.shots import (
    STAND_IN,
    ShotClip,
    animated,
    cache_of,
    compared,
    read_clip,
    shots_figure,
)
from headwarp.tools.bench.heser.study import summary
from headwarp.tools.evaluation.measure import fitted_heads
from headwarp.tools.evaluation.networks import Networks
from headwarp.tools.evaluation.sights import Sight
from headwarp.training.data.blends.batch import blank_blends
from headwarp.training.data.media import VideoWriter
from headwarp.training.data.portrait import to_frame, to_image
from headwarp.warping.blending_unet import ResidualUNetConfig
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.heser_blender import HeserBlender, HeserBlenderConfig

BLENDER = HeserBlenderConfig(channels=16, unet=ResidualUNetConfig((8, 8), "group"))
SIDE = 48


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


def frames(count, seed=0):
    """A texture that moves; its brightest pixel tells nothing."""
    wall = texture((SIDE, SIDE), cell=12, seed=seed)
    return [to_frame(wall.roll(4 * n, -1) * 0.5 + 0.25) for n in range(count)]


@pytest.fixture(scope="module")
def faces(head):
    """Points of three heads of one person, (478, 3) each, as a detector gives them in `SIDE` pixels."""
    landmarks = head.landmarks["mediapipe"]
    fit = toy_fit(head, 3, **varied(head, 3, 0))
    points = np.zeros((3, 478, 3), np.float32)
    points[:, landmarks.indices.numpy(), :2] = fit.landmarks.numpy() * (SIDE / max(fit.size))
    return points


def rolled(points, degrees):
    """Turned clockwise about their middle."""
    turn = np.deg2rad(degrees)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = points[:, :2].mean(0)
    return np.concatenate([(points[:, :2] - middle) @ matrix.T + middle, points[:, 2:]], 1).astype(np.float32)


@pytest.fixture
def detected(monkeypatch, faces):
    """A face at each place it is sought, in black pictures none, in white ones turned by ten degrees; in
    whole frames the three in turn.
    """
    calls = iter(range(1000))

    def near(picture, place):
        if picture.max() == 0:
            return place, 0.0
        return (rolled(place, 10.0) if picture.min() == 255 else place), 1.0

    def detect(picture, *, max_faces):
        points = faces[next(calls) % 3]
        return [headwarp.flame.detect.Detection(points, 1.0, np.zeros(4, np.float32), True)]

    monkeypatch.setattr(headwarp.flame.detect.mediapipe, "landmarks_in_roi", near)
    monkeypatch.setattr(headwarp.flame.detect, "detect_faces", detect)


def clip_of(head, faces):
    drivers = frames(3)
    params = fitted_heads(head, faces, (SIDE, SIDE))
    return ShotClip("toy", frames(4), drivers, [Sight(points) for points in faces], params)


def test_pictures_are_compared_with_their_drivers(head, faces, detected):
    clip = clip_of(head, faces)
    same = compared(clip.drivers, clip, head, Networks())
    assert same["l1"] == [0.0] * 3
    assert max(same["pose_error_deg"]) < 1e-3
    assert same["shape_mm"] == [pytest.approx(0.0, abs=1e-3)]
    black, white = np.zeros_like(clip.drivers[0]), np.full_like(clip.drivers[0], 255)
    other = compared([white, white, black], clip, head, Networks())
    assert other["missing_face_rate"] == [0.0, 0.0, 1.0]
    assert other["pose_error_deg"] == pytest.approx(
        [10 / 3**0.5] * 2, rel=0.2
    )  # of three angles one is off, mostly
    assert compared([white, black, black], clip, head, Networks()).keys() >= {"pose_error_deg"}
    assert "shape_mm" not in compared([white, black, black], clip, head, Networks())
    assert "pose_error_deg" not in compared([black] * 3, clip, head, Networks())


def test_embeddings_become_a_cosine(head, faces, detected):
    code = torch.tensor([3.0, 4.0])
    networks = Networks(arcface=lambda pictures: code[None])
    clip = clip_of(head, faces)
    clip = dataclasses.replace(clip, seen=[dataclasses.replace(s, embedding=code) for s in clip.seen])
    assert compared(clip.drivers, clip, head, networks)["csim"] == pytest.approx([1.0] * 3)


def test_codes_of_some_sources_are_their_mean():
    animator, sources, drivers = loaded("heser"), frames(4), frames(2, seed=1)
    made = list(animated(animator, cache_of(animator, sources), [3, 1], drivers))
    direct = animator.encode([Source(image=to_image(sources[n])) for n in (3, 1)])
    for picture, driver in zip(made, drivers, strict=True):
        expected = to_frame(animator.animate(direct, Driving(image=to_image(driver))).image)
        assert picture.shape == (SIDE, SIDE, 3)
        assert np.abs(picture.astype(int) - expected).max() <= 1
    other = list(animated(animator, cache_of(animator, sources), [0], drivers))
    assert any((a != b).any() for a, b in zip(made, other, strict=True))


def test_shots_from_a_clip_to_files(head, detected, tmp_path):
    with VideoWriter(tmp_path / "toy.mp4", 10, crf=12) as writer:
        for picture in frames(10):
            writer.write(picture)
    aligner = tmp_path / "a.safetensors"
    save_checkpoint(aligner, loaded("heser"), config=ALIGNER, name="heser")
    asked = HeserStudies(aligner=aligner, tuned=aligner, clips=tmp_path / "toy.mp4", shots=(1, 2, 32))
    asked = dataclasses.replace(asked, draws=1, frames="0.7:1", sources="0:0.7", output=tmp_path / "out")
    report = run(Bench(suite="heser", heser=asked))
    json.dumps(report, allow_nan=False)
    assert report["results"] == []
    shots = report["studies"]["shots"]
    assert shots["curves"]["meta"] == shots["curves"]["tuned"]  # the same draws for all
    curve = shots["curves"]["meta"]["pose_error_deg"]
    assert [(row["shots"], row["count"]) for row in curve] == [(1, 3), (2, 3)]
    assert shots["curves"]["meta"]["shape_mm"][0]["count"] == 1
    assert shots["notes"] == [STAND_IN, "toy: 7 frames to draw from, more shots are left out"]
    assert (shots["same_person_mm"]["count"], shots["other_clips_mm"]["count"]) == (1, 0)
    assert set(report["missing"]) == {"attention", "colours", "inpainting"}
    with (tmp_path / "out" / "shots.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["checkpoint"] for row in rows} == {"meta", "tuned"}
    assert float(rows[0]["mean"]) == curve[0]["mean"]
    assert (tmp_path / "out" / "shots.png").is_file()
    told = describe(report)
    assert "K 2:" in told
    assert STAND_IN in told
    assert "missing: attention, colours and inpainting need --heser.blender" in told


def test_the_figure_shows_likeness_by_what_there_is():
    rows = [{"shots": 1, **summary([1.0, 2.0])}, {"shots": 2, **summary([])}]
    report = {
        "curves": {"meta": {"l1": rows, "shape_mm": rows}},
        "same_person_mm": summary([0.5]),
        "copy": {},
    }
    plain = shots_figure(report)
    known = shots_figure({**report, "curves": {"meta": {"l1": rows, "shape_mm": rows, "csim": rows}}})
    assert plain.shape == known.shape  # csim stands in shape_mm's place
    assert (plain != known).any()


def test_clips_without_faces_or_frames_are_told(head, detected, tmp_path, monkeypatch):
    path = tmp_path / "toy.mp4"
    with VideoWriter(path, 10) as writer:
        for picture in frames(3):
            writer.write(picture)
    with pytest.raises(HeadwarpError, match=r"in both parts, 0:0\.1 and 0\.8:1\.0, of 3 frames"):
        read_clip(path, HeserStudies(sources="0:0.1"), head, Networks())
    monkeypatch.setattr(headwarp.flame.detect, "detect_faces", lambda picture, max_faces: [])
    with pytest.raises(NoFaceError, match="no face found in the frames that drive"):
        read_clip(path, HeserStudies(frames="0.5:1"), head, Networks())


@pytest.fixture(scope="module")
def blended():
    """A batch of two, its blend by an untrained network, and what that one encoded."""
    torch.manual_seed(0)
    network, batch = HeserBlender(BLENDER).eval(), blank_blends(64).joined(blank_blends(64))
    with torch.no_grad():
        target = network.encode(batch.reference)
        return network, batch, network.blend(batch.animated, target, scene=batch.truth), target


def test_attention_is_the_softmax_over_all_cells(blended):
    network, _, blend, target = blended
    found = attention_of(network, blend, target)
    scores = torch.einsum("bcn,bcm->bnm", blend.query.flatten(2), target.key.flatten(2))
    weights = (scores / network.config.temperature).softmax(-1)  # (B, N, M)
    skin = (blend.labels == 1).flatten(1).float()
    expected = torch.einsum("bn,bnm->bm", skin, weights) / skin.sum(1, keepdim=True)
    torch.testing.assert_close(found.maps[:, 0].flatten(1), expected)
    of_skin = (target.labels == 1).flatten(1).float()
    torch.testing.assert_close(found.mass[:, 0, 0], (expected * of_skin).sum(1))
    torch.testing.assert_close(found.mass[:, 0].sum(1), torch.ones(2))
    assert found.mass[:, REGIONS.index("nose")].isnan().all()  # the head has none
    network.limit_mb, whole = 0.02, network.limit_mb
    torch.testing.assert_close(attention_of(network, blend, target).maps, found.maps)
    network.limit_mb = whole


def test_features_that_tell_the_label_look_at_their_own(blended):
    network, _, blend, target = blended

    def told(labels):
        return torch.nn.functional.one_hot(labels, 21).movedim(-1, 1).float()

    sure = dataclasses.replace(blend, query=told(blend.labels))
    found = attention_of(network, sure, dataclasses.replace(target, key=told(target.labels)))
    table = attention_table([found, found])
    for region in ("skin", "hair"):
        row = REGIONS.index(region)
        assert float(table.mass[row, PARTS.index(region)]) == pytest.approx(1.0)
        assert int(table.count[row]) == 4
        assert 0 < float(table.share[row]) < 1
    even = attention_of(network, dataclasses.replace(blend, query=torch.zeros_like(blend.query)), target)
    torch.testing.assert_close(even.mass[:, 0], even.share)


def test_rings_are_measured_where_they_are(blended):
    _, batch, blend, _ = blended
    flat = dataclasses.replace(batch, truth=torch.full_like(batch.truth, 0.4))
    made = dataclasses.replace(blend, filling=torch.full_like(blend.filling, 0.5), image=flat.truth)
    fills = ring_fills(flat, made)
    assert tuple(fills) == FILLS
    assert torch.equal(torch.where(blend.ring, 0.4, fills["carried"]), flat.truth)
    rows = ring_rows(flat, made, fills)
    assert [row["pixels"] for row in rows] == blend.ring.sum((1, 2, 3)).tolist()
    assert rows[0]["carried"]["l1"] == pytest.approx(0.1, abs=1e-6)
    for name in ("blender", "push_pull", "harmonic"):
        assert rows[0][name]["l1"] == pytest.approx(0, abs=1e-6)
        assert rows[0][name]["delta_e"] < 1e-2 < rows[0]["carried"]["delta_e"]
    assert not ring_rows(flat, dataclasses.replace(made, ring=torch.zeros_like(made.ring)), fills)


def test_a_blender_and_packs_to_files(tmp_path, monkeypatch):
    toy = toy_head()
    save_head_npz(toy, tmp_path / "head.npz")
    toy_pack(tmp_path / "packs", toy)
    monkeypatch.setattr(headwarp.training.data.blends.maker, "RenderedSegmenter", ToySegmenter)
    torch.manual_seed(0)
    blender = tmp_path / "b.safetensors"
    save_checkpoint(blender, HeserBlender(BLENDER), config=BLENDER, name="heser_blender", kind="blender")
    asked = HeserStudies(blender=blender, data=tmp_path / "packs", frames="0:1", count=2)
    asked = dataclasses.replace(asked, head=str(tmp_path / "head.npz"), output=tmp_path / "out")
    report = run(Bench(suite="heser", heser=asked))
    json.dumps(report, allow_nan=False)
    studies = report["studies"]
    assert {row["region"] for row in studies["attention"]["regions"]} == {"skin", "hair"}
    assert studies["attention"]["notes"][0].startswith("features: surface")
    ways = studies["colours"]["ways"]
    assert ways["statistics"]["mean_colour"]["mean"] < ways["input"]["mean_colour"]["mean"]
    assert studies["inpainting"]["samples"] == studies["colours"]["samples"] == 2
    names = {path.name for path in (tmp_path / "out").iterdir()}
    kinds = ("attention", "colours", "inpainting")
    assert names == {f"{kind}{end}" for kind in kinds for end in (".csv", ".png", "_sheet.png")}
    assert "shots needs --heser.clips" in report["missing"]["shots"]
    assert "attention of a region on itself" in describe(report)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (Bench(suite="heser"), "nothing to study; shots needs --heser.clips, and --heser.aligner"),
        (Bench(suite="fill", heser=HeserStudies(draws=2)), "--heser: belongs to --suite heser"),
    ],
)
def test_what_cannot_be_studied_is_told(config, told):
    with pytest.raises(HeadwarpError, match=told):
        run(config)


def test_numbers_of_draws_are_checked(tmp_path):
    from headwarp.tools.bench.heser.shots import run_shots

    with pytest.raises(HeadwarpError, match="expected shots, draws and pictures of at least 1"):
        run_shots(HeserStudies(shots=(0,)), {}, toy_head(), Networks())
