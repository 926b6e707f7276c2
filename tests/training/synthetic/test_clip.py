"""Clips are the same bits every time, frame by frame, person by person, and say what they were made from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from headwarp.flame.io import load_head
from headwarp.flame.params import HeadFit
from headwarp.flame.posing import head_pose, posed_vertices
from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.training.data.media import VideoReader
from headwarp.training.data.pairs.pack import open_packs
from headwarp.training.data.synthetic import (
    Recipe,
    clip_name,
    load_clip,
    load_truth,
    synthesise,
    true_fit,
    truth_of,
    write_clip,
)
from headwarp.training.data.synthetic.clip import recipe_from_json
from headwarp.training.data.synthetic.files import truth_arrays
from headwarp.training.data.synthetic.motion import FACE_LENGTH, LEAST_DISTANCE, _lens
from headwarp.training.data.synthetic.traits import STYLES, draw_traits
from headwarp.training.data.vox import list_clips, parse_name

RECIPE = Recipe(seed=3, number=11, frames=6, size=48)  # whose camera moves


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


@pytest.fixture(scope="module")
def clip(head):
    return synthesise(head, RECIPE)


def test_a_frame_is_the_same_bits_whatever_was_drawn_before_and_however_long_the_clip(head, clip):
    clip.picture(0)
    long = synthesise(head, dataclasses.replace(RECIPE, frames=200))
    assert np.array_equal(clip.picture(5), long.picture(5))
    assert torch.equal(clip.view(5).verts, long.view(5).verts)
    assert not np.array_equal(clip.picture(5), clip.picture(4))


def test_persons_differ_and_seeds_differ(head):
    first = [draw_traits(87, seed=0, number=n) for n in range(40)]
    again = draw_traits(87, seed=0, number=39)
    assert str(again) == str(first[-1])
    assert len({t.hair_style for t in first}) >= 6 <= len(STYLES)
    assert len({t.skin for t in first}) > 30
    assert draw_traits(87, seed=1, number=0).skin != first[0].skin
    assert sum(bool(draw_traits(87, seed=0, number=n, occluders=0).occluder) for n in range(40)) == 0


def test_a_focal_length_that_is_asked_for_is_kept_to(head, clip):
    lenses = [_lens(np.random.default_rng(n), (0.8, 3.0)) for n in range(50)]
    distances, lengths = np.array(lenses).T
    assert 0.8 <= lengths.min() < 1 < 2.5 < lengths.max() <= 3
    assert distances.min() == LEAST_DISTANCE
    assert (lengths * FACE_LENGTH / distances).max() <= 0.6
    asked = dataclasses.replace(RECIPE, focal=(0.8, 3.0), frames=1)
    assert recipe_from_json(asked.as_json("x"), "x") == asked
    assert "focal" not in RECIPE.as_json("x")
    motion = synthesise(head, asked).motion
    assert 0.75 < float(motion.camera.focal[0, 0]) / RECIPE.size < 3.1
    assert not torch.equal(motion.params.translation, clip.motion.params.translation[:1])
    with pytest.raises(HeadwarpError, match=r"expected two of 0\.3 to 100 frame widths"):
        dataclasses.replace(RECIPE, focal=(3.0, 0.8))


def test_the_fit_is_that_of_the_drawn_head(clip):
    fit = true_fit(clip)
    verts = posed_vertices(clip.person.head, fit)
    count = verts.shape[1]
    for frame in range(RECIPE.frames):
        assert torch.allclose(verts[frame, :, :2], clip.view(frame).verts[0, :count, :2], atol=1e-4)
    assert (fit.status == 2).all()
    assert fit.residual.abs().max() == 0
    assert head_pose(fit.params).abs().max() < 60


def test_written_and_read_again(head, clip, tmp_path):
    name = write_clip(clip, tmp_path, partition="train", kind="mp4")
    (found,) = list_clips(tmp_path, partition="train")
    assert found.path.stem == name == clip_name(RECIPE)
    assert parse_name(name).identity == "syn0003-00011"
    assert parse_name(name).end == 6
    frames = [frame.copy() for frame in VideoReader(found.path)]
    assert len(frames) == 6
    assert np.abs(frames[3].astype(float) - clip.picture(3)).mean() < 6
    fit = HeadFit.load(found.path.with_suffix(".npz"))
    assert fit.frames == 6
    assert fit.model_id == head.model_id
    truth = load_truth(tmp_path / "truth" / f"{name}.npz", head)
    assert truth.recipe == RECIPE
    now = truth_of(clip.view(2))
    assert np.array_equal(truth.label[2], now.label.numpy())
    assert np.allclose(truth.depth[2], now.depth.numpy(), rtol=1e-3)
    again = load_clip(tmp_path / "truth" / f"{name}.npz", head)
    assert np.array_equal(again.picture(4), clip.picture(4))


def test_pictures_without_loss(clip, tmp_path):
    name = write_clip(clip, tmp_path, partition="test", kind="png")
    (found,) = list_clips(tmp_path, partition="test")
    assert found.path.name == name
    assert len(list(found.path.glob("*.png"))) == 6
    frames = list(VideoReader(found.path))
    assert np.array_equal(frames[3], clip.picture(3))


def test_a_pack_is_ready_to_train_on(head, clip, tmp_path):
    name = write_clip(clip, tmp_path, partition="train", kind="pack")
    (pack,) = open_packs(tmp_path / "train", head=head)
    assert (pack.index.clip, pack.index.person, len(pack)) == (name, "syn0003-00011", 6)
    assert np.abs(pack.frame(3).astype(float) - clip.picture(3)).mean() < 3
    person = truth_of(clip.view(3)).person.numpy()
    assert ((pack.mask(3) > 127) == person).mean() > 0.99
    assert not np.array_equal(pack.mask(0), pack.mask(5))
    assert torch.equal(pack.fit().params.rotation, true_fit(clip).params.rotation)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"frames": 0}, "frames: expected 1 or more, got 0"),
        ({"size": 8}, "size: expected 32 to 2048 pixels, got 8"),
        ({"fps": float("nan")}, "fps: expected above 0"),
        ({"occluders": 1.5}, "occluders: expected a share"),
        ({"seed": -1}, "seed: expected 0 or more, got -1"),
    ],
)
def test_recipes_that_make_no_sense(change, named):
    with pytest.raises(HeadwarpError, match=named):
        dataclasses.replace(RECIPE, **change)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("recipe", np.array("{"), "expected a JSON object, got '{'"),
        ("recipe", np.array("{}"), "recipe: expected version"),
        ("depth", np.zeros((6, 8, 8), np.float16), r"depth: expected \(6, 48, 48\), got float16 \(6, 8, 8\)"),
        ("visible", np.zeros((6, 677), np.int64), "visible: expected"),
        ("window", None, "expected a truth file with keys window"),
    ],
)
def test_damaged_truth_is_refused_with_its_name(head, clip, tmp_path, key, value, named):
    arrays = truth_arrays(clip) | {key: value}
    path = tmp_path / "truth.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ModelFileError, match=f"truth.npz: .*{named}"):
        load_truth(path, head)


def test_a_recipe_of_odd_numbers_is_refused(head):
    text = RECIPE.as_json(head.model_id)
    for other in (text.replace('"frames": 6', '"frames": 0'), text.replace('"frames": 6', '"frames": "x"')):
        with pytest.raises(ModelFileError, match="expected the numbers of a clip"):
            recipe_from_json(other, head.model_id)


def test_a_recipe_of_another_head_is_refused():
    with pytest.raises(ModelFileError, match="expected model_id flame, got builtin"):
        recipe_from_json(RECIPE.as_json("builtin"), "flame")
