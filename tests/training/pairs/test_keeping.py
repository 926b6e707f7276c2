"""What is kept of pairs is read as it was used, and near what it was made of."""

import dataclasses
import itertools
import struct
import zlib

import pytest
import torch
from toy_head import toy_head
from toy_packs import toy_pack

from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.training.data.pairs import records
from headwarp.training.data.pairs.guidance import MakerConfig, PairMaker
from headwarp.training.data.pairs.loader import LoaderConfig, PairLoader
from headwarp.training.data.pairs.records import KeptPose, read_pose, stored_pose, stored_source, write_pose
from headwarp.training.data.pairs.sampler import PairConfig, PairIndex, PairSampler
from headwarp.training.data.pairs.thin import thinned
from headwarp.warping.animators.geometry import GeometryAnimator, GeometryConfig
from headwarp.warping.posed_layers import PosedLayers, compose

PAIRS = [PairIndex(0, source, 0, driving) for source, driving in ((1, 4), (1, 2), (0, 5), (4, 1))]
TENSORS = ("source", "driving", "driving_mask", "source_verts", "driving_verts", "faces")
LAYERS = [field.name for field in dataclasses.fields(PosedLayers)]


@pytest.fixture(scope="module")
def head():
    return toy_head(22, 23)


@pytest.fixture
def packs(head, tmp_path):
    return [toy_pack(tmp_path, head), toy_pack(tmp_path, head, "run", seed=5)]


def maker(packs, head, keep="pairs", **options):
    return PairMaker(packs, head, config=MakerConfig(keep=keep, **options))


def same(a, b):
    for name in TENSORS:
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=0)
    for name in LAYERS:
        torch.testing.assert_close(getattr(a.layers, name), getattr(b.layers, name), rtol=0, atol=0)


@pytest.mark.parametrize("keep", ["sources", "pairs"])
def test_kept_pairs_are_read_as_they_were_used(packs, head, keep, monkeypatch):
    made = [maker(packs, head, keep).make(pair) for pair in PAIRS]
    monkeypatch.setattr(GeometryAnimator, "split", lambda *_: pytest.fail("split again"))
    if keep == "pairs":
        monkeypatch.setattr(GeometryAnimator, "layers", lambda *_: pytest.fail("computed again"))
    again = maker(packs, head, keep)
    for before, pair in zip(made, PAIRS, strict=True):
        same(again.make(pair), before)


def test_kept_pairs_are_near_fresh_ones(packs, head):
    """Half a 255th for colours, a 65,000th of the largest motion for flow, all else exact."""
    for pair in PAIRS:
        fresh, kept = PairMaker(packs, head).make(pair), maker(packs, head).make(pair)
        for name in TENSORS:
            torch.testing.assert_close(getattr(kept, name), getattr(fresh, name), rtol=0, atol=0)
        step = float(fresh.layers.flow.abs().max()) / 32767
        tolerances = {"matte": 0.002, "colours": 0.002, "background": 0.002, "residual": 0.008}
        tolerances |= {"flow": 0.51 * step, "displacement": 0.51 * step, "person": 2e-7, "hollow": 2e-7}
        for name in LAYERS:
            value, target = getattr(kept.layers, name), getattr(fresh.layers, name)
            torch.testing.assert_close(value, target, rtol=0, atol=tolerances.get(name, 0.0))
        torch.testing.assert_close(compose(kept.layers).image, compose(fresh.layers).image, rtol=0, atol=0.02)


def test_the_source_in_its_own_pose_is_still_exact(packs, head):
    made = maker(packs, head).make(PairIndex(0, 2, 0, 2))
    assert made.layers.flow.abs().max() < 1e-3
    exact = made.layers.matte * made.layers.colours + (1 - made.layers.matte) * made.layers.background
    torch.testing.assert_close(exact + made.layers.residual, made.source, rtol=0, atol=1e-6)


def test_the_background_is_moved_by_the_cameras_kept_motion(packs, head, monkeypatch):
    motion = torch.tensor([[[1.0, 0.0, 3.0], [0.0, 1.0, -2.0]]])
    monkeypatch.setattr("headwarp.training.data.camera_motion.CameraMotion.of_frame", lambda *_: motion)
    before = maker(packs, head).make(PAIRS[0])
    after = maker(packs, head).make(PAIRS[0])
    same(after, before)
    still = maker(packs, head, still_camera=True).make(PAIRS[0])
    moved = still.layers.background[..., :-2, 3:]  # what lies 3 to the right and 2 above
    torch.testing.assert_close(after.layers.background[..., 2:, :-3], moved, rtol=0, atol=1e-5)
    assert (after.layers.background - still.layers.background).abs().max() > 0.01


def test_other_settings_do_not_read_what_was_kept(packs, head):
    maker(packs, head).make(PAIRS[0])
    wide = GeometryConfig(margin=0.2)
    changed = maker(packs, head, geometry=wide).make(PAIRS[0])
    fresh = PairMaker(packs, head, config=MakerConfig(geometry=wide)).make(PAIRS[0])
    torch.testing.assert_close(changed.layers.colours, fresh.layers.colours, rtol=0, atol=0.002)
    assert len(list(packs[0].folder.glob("guidance-*"))) == 2


def test_a_pack_that_is_made_again_forgets_what_was_kept(packs, head, tmp_path):
    maker(packs, head).make(PAIRS[0])
    assert list(packs[0].folder.glob("guidance-*/*.shard"))
    toy_pack(tmp_path, head, seed=9)
    assert not list(packs[0].folder.glob("guidance-*"))


def test_elsewhere_an_older_pack_is_told_from_a_new_one(packs, head, tmp_path):
    elsewhere = tmp_path / "kept"
    first = maker(packs, head, kept_in=elsewhere).make(PAIRS[0])
    assert not list(packs[0].folder.glob("guidance-*"))
    assert len(list(elsewhere.glob("walk-*/guidance-*/*.shard"))) == 1
    same(maker(packs, head, kept_in=elsewhere).make(PAIRS[0]), first)
    again = [toy_pack(tmp_path, head, seed=9), packs[1]]
    changed = maker(again, head, kept_in=elsewhere).make(PAIRS[0])
    fresh = PairMaker(again, head).make(PAIRS[0])
    torch.testing.assert_close(changed.layers.flow, fresh.layers.flow, rtol=0, atol=1e-3)
    assert len(list(elsewhere.glob("walk-*"))) == 2


def test_elsewhere_some_frames_of_a_pack_are_told_from_others(packs, head, tmp_path):
    elsewhere = tmp_path / "kept"
    for kept in ((0, 2, 4), (1, 3, 5)):
        some = [thinned(packs[0], kept)]
        made = maker(some, head, kept_in=elsewhere).make(PairIndex(0, 0, 0, 2))
        fresh = PairMaker(some, head).make(PairIndex(0, 0, 0, 2))
        torch.testing.assert_close(made.layers.flow, fresh.layers.flow, rtol=0, atol=1e-3)
    assert len(list(elsewhere.glob("walk-*"))) == 2


def test_damage_is_mended(packs, head):
    before = maker(packs, head).make(PAIRS[0])
    for path in packs[0].folder.glob("guidance-*/*.shard"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    same(maker(packs, head).make(PAIRS[0]), before)


def test_pairs_across_clips_are_made_and_not_kept(packs, head):
    across = PairIndex(0, 1, 1, 2)
    first = maker(packs, head).make(across)
    same(maker(packs, head).make(across), first)
    (folder,) = packs[0].folder.glob("guidance-*")
    kept = sum(path.stat().st_size for path in folder.iterdir())
    maker(packs, head).make(PairIndex(0, 1, 1, 3))
    assert sum(path.stat().st_size for path in folder.iterdir()) == kept


def test_nothing_is_kept_unless_asked_for(packs, head):
    PairMaker(packs, head).make(PAIRS[0])
    assert not list(packs[0].folder.glob("guidance-*"))
    with pytest.raises(HeadwarpError, match="keep: expected one of nothing, sources, pairs, got 'all'"):
        MakerConfig(keep="all")


def test_a_loader_that_keeps_gives_the_same_batches_from_any_step(packs, head):
    sampler = PairSampler([pack.index for pack in packs], config=PairConfig(mode="first"))
    config = LoaderConfig(maker=MakerConfig(keep="pairs"))
    whole = list(itertools.islice(PairLoader(packs, head, sampler, batch_size=2, config=config), 4))
    later = PairLoader(packs, head, sampler, batch_size=2, start_step=2, config=config)
    for before, after in zip(whole[2:], itertools.islice(later, 2), strict=True):
        same(after, before)


# Records


def read_pose_of(block):
    return read_pose(stored_pose(block))


def pose(flow, known, covered, **changes):
    ones = torch.ones(1, 1, *flow.shape[2:])
    fields = {
        "flow": flow,
        "displacement": flow * covered,
        "covered": covered,
        "known": known,
        "person": ones,
        "hollow": ones * 0,
        "verts": torch.rand(1, 5, 3),
        "motion": None,
    }
    return KeptPose(**{**fields, **changes})


def test_the_meshs_own_flow_is_kept_where_it_is_not_known_and_nowhere_else():
    flow = torch.randn(1, 2, 9, 7) * 20
    covered = (torch.rand(1, 1, 9, 7) > 0.3).float()
    known = covered * (torch.rand(1, 1, 9, 7) > 0.5)
    mesh = torch.where(known > 0.5, flow, torch.randn(1, 2, 9, 7) * 50) * covered
    kept = pose(flow, known, covered, displacement=mesh)
    back = read_pose_of(write_pose(kept))
    step = max(float(flow.abs().max()), float(mesh.abs().max())) / records.STEPS
    torch.testing.assert_close(back.flow, flow, rtol=0, atol=0.51 * step)
    torch.testing.assert_close(back.displacement, mesh, rtol=0, atol=0.51 * step)
    torch.testing.assert_close(back.verts, kept.verts, rtol=0, atol=0)
    assert back.motion is None


@pytest.mark.parametrize("shares", [9, 6, 4])
def test_shares_of_pixels_are_kept_to_the_last_bit_but_one(shares):
    part = torch.randint(0, shares + 1, (1, 1, 8, 8)).float() / shares
    flat = torch.zeros(1, 2, 8, 8)
    back = read_pose_of(
        write_pose(pose(flat, part.round(), torch.ones(1, 1, 8, 8), person=part, hollow=part))
    )
    torch.testing.assert_close(back.person, part, rtol=2e-7, atol=0)
    torch.testing.assert_close(back.hollow, part, rtol=2e-7, atol=0)
    assert not back.flow.any()


def test_a_motion_is_kept_exactly():
    motion = torch.randn(1, 2, 3)
    ones = torch.ones(1, 1, 4, 4)
    back = read_pose_of(write_pose(pose(torch.ones(1, 2, 4, 4), ones, ones, motion=motion)))
    torch.testing.assert_close(back.motion, motion, rtol=0, atol=0)


@pytest.mark.parametrize("block", [b"", b"\x00" * 40, b"\x09\x00\x01" + b"\x00" * 20])
def test_a_block_of_another_layout_is_told(block):
    with pytest.raises(ModelFileError, match="guidance: expected a block of this layout"):
        read_pose_of(block)


@pytest.mark.parametrize("array", [torch.zeros(3), torch.zeros(7, 1), torch.zeros(7).to(torch.int16)])
def test_a_pose_whose_last_array_is_another_is_told(array):
    ones = torch.ones(1, 1, 4, 4)
    block = write_pose(pose(torch.ones(1, 2, 4, 4), ones, ones))
    arrays = records._arrays(block, records._POSE)
    other = records._block([(part, 0) for part in [*arrays[:-1], array.numpy()]])
    with pytest.raises(ModelFileError, match=r"motion and step: expected <f4 of shape .7,., got"):
        stored_pose(other)


@pytest.mark.parametrize(
    ("place", "array", "told"),
    [
        (4, torch.zeros(3), "dark, reach and torso_line: expected <f4 of shape .5,., got <f4 of .3,."),
        (3, torch.zeros(6, 2), "verts: expected <f4 of shape .'*', 3., got <f4 of .6, 2."),
        (1, torch.zeros(1, 1, 4, 4).to(torch.uint8), "colours: expected u1 of shape"),
    ],
)
def test_a_source_with_another_array_is_told(place, array, told):
    byte = torch.zeros(1, 3, 4, 4).to(torch.uint8)
    parts = [byte[:, :1], byte, byte, torch.zeros(6, 3), torch.arange(5.0)]
    block = records._block([(part.numpy(), 0) for part in parts])
    assert stored_source(block).torso_line.flatten().tolist() == [4.0]
    parts[place] = array
    with pytest.raises(ModelFileError, match=told.replace("*", "[*]")):
        stored_source(records._block([(part.numpy(), 0) for part in parts]))


def test_a_block_that_would_fill_the_memory_is_told():
    bomb = zlib.compress(bytes(1 << 24), 9)
    short = struct.pack("<BBBI1I", 0, 1, 1, len(bomb), 64) + bomb  # says 64 bytes, holds 16 million
    with pytest.raises(ModelFileError, match="expected 8 arrays, got 1"):
        read_pose_of(short)
    huge = struct.pack("<BBBI2I", 0, 1, 2, len(bomb), 2**31, 2**31) + bomb
    with pytest.raises(ModelFileError, match="an array of 4611686018427387904 bytes"):
        read_pose_of(huge)
