"""What every animator promises, whatever is inside: run over all registered names."""

import copy
import dataclasses

import pytest
import torch
from toy_animators import LEARNED, loaded
from toy_scene import BODY, SIZE, VERTS, driving, source

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.guidance import PRODUCERS, Driving, Source
from headwarp.warping import animators
from headwarp.warping.animators import animator_names, frame_multiple, load_animator, register, registration

NAMES = animator_names()
SHIFTS = torch.tensor([[0.0, 0], [3, -1], [-6, 4], [500, 0]])
FUSING = ["heser"]  # animators that take several pictures of a person
STEPPED = [name for name in LEARNED if frame_multiple(loaded(name)) > 1]
KNOWING = [name for name in NAMES if name not in LEARNED]  # they show the source without having learned
MOVING = [name for name in KNOWING if name != "copy"]


def needs(kind):
    """(animator, field) pairs."""
    return [(name, need) for name in NAMES for need in getattr(registration(name).build, f"needs_{kind}")]


def animated(name, drive=None, **fields):
    animator = loaded(name)
    return animator.animate(animator.encode([source(**fields)]), driving() if drive is None else drive)


def tensors(value):
    """Every tensor inside a cache, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if dataclasses.is_dataclass(value):
        return [t for f in dataclasses.fields(value) for t in tensors(getattr(value, f.name))]
    if isinstance(value, (list, tuple)):
        return [t for item in value for t in tensors(item)]
    if isinstance(value, dict):
        return [t for item in value.values() for t in tensors(item)]
    return []


# What is registered


def test_the_names_are_the_files_and_hold_the_embedded_default():
    assert {"copy", "geometry", "similarity", "tps"} <= set(NAMES)
    assert list(NAMES) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_config_is_frozen_and_needs_are_fields_with_producers(name):
    entry = registration(name)
    assert entry.config.__dataclass_params__.frozen
    animator = loaded(name)
    assert set(animator.needs_source) <= {f.name for f in dataclasses.fields(Source)} & set(PRODUCERS)
    assert set(animator.needs_driving) <= {f.name for f in dataclasses.fields(Driving)} & set(PRODUCERS)
    if name not in LEARNED:
        assert load_animator(name, config=entry.config()).needs_source == animator.needs_source


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(HeadwarpError, match=r"animator: expected one of copy, .*tps.*, got 'nobody'"):
        load_animator("nobody")


@pytest.mark.parametrize("name", ["_private", "", "..flow"])
def test_a_name_is_not_a_path(name):
    with pytest.raises(HeadwarpError, match="animator: expected one of"):
        load_animator(name)


def test_a_foreign_config_is_refused():
    with pytest.raises(
        HeadwarpError, match="animator 'tps': expected a config of class TpsConfig, got CopyConfig"
    ):
        load_animator("tps", config=registration("copy").config())


def test_register_takes_config_dataclasses_alone():
    with pytest.raises(TypeError, match="expected a config dataclass"):
        register(dict)


@pytest.mark.parametrize("name", LEARNED)
def test_an_animator_that_has_to_learn_wants_a_checkpoint(name):
    with pytest.raises(
        HeadwarpError, match=f"{name}: expected a checkpoint, got none: .*headwarp train {name}"
    ):
        load_animator(name)


@pytest.mark.parametrize("name", STEPPED)
def test_frames_of_another_multiple_are_refused(name):
    animator = loaded(name)
    step = frame_multiple(animator)
    with pytest.raises(
        ShapeError, match=f"expected sides that are multiples of {step}, got {step} x {step + 1}"
    ):
        animator.encode([Source(image=torch.rand(1, 3, step, step + 1))])


def test_importing_the_folder_loads_no_animator():
    assert set(animators._REGISTRY.found) <= set(NAMES)


# What is needed


@pytest.mark.parametrize(("name", "need"), needs("source"))
def test_a_missing_need_of_the_source_names_its_producer(name, need):
    with pytest.raises(HeadwarpError) as caught:
        loaded(name).encode([source(**{need: None})])
    assert f"{name}: Source.{need}: expected a tensor, got None" in str(caught.value)
    assert PRODUCERS[need] in str(caught.value)


@pytest.mark.parametrize(("name", "need"), needs("driving"))
def test_a_missing_need_of_the_driver_names_its_producer(name, need):
    with pytest.raises(HeadwarpError) as caught:
        animated(name, driving(**{need: None, "keypoints": None}))
    assert f"{name}: Driving.{need}: expected a tensor, got None" in str(caught.value)
    assert PRODUCERS[need] in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_declared_suffices(name):
    animator, full_source, full_driving = loaded(name), source(), driving()
    bare_source = Source(**{need: getattr(full_source, need) for need in animator.needs_source})
    bare_driving = Driving(**{need: getattr(full_driving, need) for need in animator.needs_driving})
    image = animator.animate(animator.encode([bare_source]), bare_driving).image
    assert image.shape == (1, 3, *SIZE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [0, 2])
def test_the_wrong_number_of_sources_is_an_error(name, count):
    if count and name in FUSING:
        animator = loaded(name)
        together, alone = (animator.encode([source()] * n) for n in (count, 1))
        made = [animator.animate(cache, driving()).image for cache in (together, alone)]
        torch.testing.assert_close(*made, rtol=0, atol=1e-5)
        return
    with pytest.raises(HeadwarpError, match=f"{name}: expected one source picture( or more)?, got {count}"):
        loaded(name).encode([source()] * count)


# What is made


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("masked", [True, False])
def test_shapes_and_ranges(name, masked):
    result = animated(name, driving(SHIFTS), **({} if masked else {"mask": None}))
    assert result.image.shape == (4, 3, *SIZE)
    assert result.image.dtype == torch.float32
    assert result.image.min() >= 0
    assert result.image.max() <= 1
    if result.flow is not None:
        assert result.flow.shape == (4, 2, *SIZE)
        assert torch.isfinite(result.flow).all()
    if result.occlusion is not None:
        assert result.occlusion.shape == (4, 1, *SIZE)
        assert result.occlusion.min() >= 0
        assert result.occlusion.max() <= 1


@pytest.mark.parametrize("name", KNOWING)
@pytest.mark.parametrize("masked", [True, False])
def test_the_sources_own_pose_reproduces_the_source(name, masked):
    scene = source() if masked else source(mask=None)
    animator = load_animator(name, config=registration(name).config())  # untrained, where weights are shipped
    image = animator.animate(animator.encode([scene]), driving()).image
    assert (image - scene.image).abs().mean() < 1 / 255


@pytest.mark.parametrize("name", MOVING)
def test_a_shift_of_the_head_shifts_the_face(name):
    scene, shift = source(), torch.tensor([[4.0, -3.0]])
    result = animated(name, driving(shift))
    face = result.image[..., 20:38, 32:50]
    assert (face - scene.image[..., 23:41, 28:46]).abs().mean() < 0.01
    assert (face - scene.image[..., 20:38, 32:50]).abs().mean() > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_drivers_is_its_frames(name):
    together = animated(name, driving(SHIFTS))
    for index in range(len(SHIFTS)):
        alone = animated(name, driving(SHIFTS[index : index + 1]))
        for part in ("image", "flow", "occlusion"):
            whole, single = getattr(together, part), getattr(alone, part)
            assert (whole is None) == (single is None)
            if whole is not None:
                torch.testing.assert_close(whole[index], single[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_encode_once_animate_many_leaves_cache_and_input_alone(name):
    animator, scene, drive = loaded(name), source(), driving(SHIFTS[1:2])
    cache = animator.encode([scene])
    before = [t.clone() for t in tensors(cache) + tensors(scene) + tensors(drive)]
    first = animator.animate(cache, drive)
    animator.animate(cache, driving(SHIFTS[2:3]))
    animator.explain(cache, driving())
    again = animator.animate(cache, drive)
    assert torch.equal(first.image, again.image)
    after = tensors(cache) + tensors(scene) + tensors(drive)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert tensors(cache)


@pytest.mark.parametrize("name", NAMES)
def test_two_animators_make_the_same_picture_bit_for_bit(name):
    first, second = (animated(name, driving(SHIFTS)) for _ in range(2))
    assert torch.equal(first.image, second.image)
    assert first.flow is None or torch.equal(first.flow, second.flow)


@pytest.mark.parametrize("name", NAMES)
def test_a_cache_survives_a_copy(name):
    animator = loaded(name)
    cache = animator.encode([source()])
    image = animator.animate(cache, driving(SHIFTS[1:2])).image
    assert torch.equal(loaded(name).animate(copy.deepcopy(cache), driving(SHIFTS[1:2])).image, image)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("masked", [True, False])
def test_explain_gives_named_maps(name, masked):
    animator = loaded(name)
    maps = animator.explain(animator.encode([source() if masked else source(mask=None)]), driving(SHIFTS[:2]))
    assert maps
    for key, value in maps.items():
        assert isinstance(key, str)
        assert value.ndim == 4
        assert value.shape[0] in (1, 2)
        assert torch.isfinite(value).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (8, 200)])
def test_frames_of_any_size(name, size):
    animator = loaded(name)
    step = frame_multiple(animator)
    size = tuple(-(-side // step) * step for side in size)
    scene = source(
        image=torch.rand(1, 3, *size),
        mask=torch.ones(1, 1, *size),
        guidance=None,
        depth=None,
        region_map=None,
    )
    seen = torch.rand(1, 3, *size) if name in FUSING else None  # the others make do without
    drive = driving(image=seen, mask=None, depth=None, region_map=None, guidance=None)
    image = animator.animate(animator.encode([scene]), drive).image
    assert image.shape == (1, 3, *size)
    assert torch.isfinite(image).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wild", ["far", "huge", "mirrored", "tiny"])
def test_wild_poses_stay_finite(name, wild):
    verts = {
        "far": VERTS + 1e5,
        "huge": VERTS * 1e3,
        "mirrored": VERTS * torch.tensor([-1.0, 1, 1]) + torch.tensor([74.0, 0, 0]),
        "tiny": VERTS * 1e-3 + torch.tensor([36.0, 32, 0]),
    }[wild]
    result = animated(name, driving(posed_vertices=verts, landmarks=verts[:, :68, :2]))
    assert torch.isfinite(result.image).all()
    assert result.image.min() >= 0
    assert result.image.max() <= 1


# The geometry animator's own invariants, whatever its layers are


def geometry(drive, **fields):
    return animated("geometry", drive, **fields)


def test_hidden_vertices_are_not_known():
    animator = load_animator("geometry")
    turned = VERTS.clone()
    turned[..., 0] = 37 - (VERTS[..., 0] - 37)  # seen from behind: the source shows none of it
    cache = animator.encode([source(posed_vertices=turned, mask=None)])
    maps = animator.explain(cache, driving())
    assert maps["covered"].any()
    assert not maps["known"].any()


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("missing", ["skull", "body", "cavity"])
def test_optional_fields_are_optional(masked, missing):
    fields = {missing: None} if masked else {missing: None, "mask": None}
    image = geometry(driving(SHIFTS[1:2]), **fields).image
    assert torch.isfinite(image).all()


def test_without_motions_the_camera_and_the_body_rest():
    still = geometry(driving(SHIFTS[1:2]))
    bare = geometry(driving(SHIFTS[1:2], camera_motion=None, body_motion=None))
    torch.testing.assert_close(bare.image, still.image, rtol=0, atol=1e-4)


@pytest.mark.parametrize("mask", [0.0, 1.0])
def test_a_mask_of_nobody_or_of_everything_gives_a_picture(mask):
    scene = source(mask=torch.full((1, 1, *SIZE), mask))
    animator = load_animator("geometry")
    cache = animator.encode([scene])
    image = animator.animate(cache, driving()).image
    assert (image - scene.image).abs().mean() < 1 / 255
    assert torch.isfinite(animator.animate(cache, driving(SHIFTS)).image).all()


@pytest.mark.parametrize("masked", [True, False])
def test_what_is_around_the_face_goes_with_it(masked):
    shift = torch.tensor([[6.0, 0.0]])
    flow = geometry(driving(shift), **({} if masked else {"mask": None})).flow[0]
    left, right = (
        flow[0, 26:36, 26:29].mean(),
        flow[0, 26:36, 57:60].mean(),
    )  # two to five pixels off the mesh
    assert -6.2 < left < -2
    assert -6.2 < right < -2
    assert flow[0].min() > -6.2
    assert flow[0].max() < 0.5


def test_the_background_stays_while_the_head_moves():
    scene = source()
    moved = geometry(driving(SHIFTS[1:2])).image
    corner = (..., slice(0, 8), slice(0, 8))
    torch.testing.assert_close(moved[corner], scene.image[corner], rtol=0, atol=1e-3)


def test_the_body_row_is_really_below():
    assert VERTS[0, BODY, 1].min() > VERTS[0, ~BODY, 1].max()
