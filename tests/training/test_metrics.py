"""Metrics: known answers, the reference implementation, degenerate input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from media_files import picture
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from headwarp.geom.errors import ShapeError
from headwarp.training.metrics import (
    DEFINITIONS,
    HIGHER_IS_BETTER,
    akd,
    akd_l1,
    definition_id,
    definitions_of,
    l1,
    mean_over_clips,
    missing_face_rate,
    missing_keypoint_rate,
    psnr,
    ssim,
    temporal_jitter,
    to_256,
)
from headwarp.training.metrics.image import ssim_ref


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()


def noise(like: torch.Tensor, scale: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.dtype) * scale


def photo() -> torch.Tensor:
    return torch.from_numpy(picture(96, 128)).permute(2, 0, 1)[None].float() / 255


def blocks() -> torch.Tensor:
    """Black and white squares: the hardest case for variances in float32."""
    return (random(1, 3, 8, 8) > 0.5).float().repeat_interleave(16, 2).repeat_interleave(16, 3)


def skimage_ssim(image: torch.Tensor, target: torch.Tensor) -> float:
    return structural_similarity(
        image.double().permute(1, 2, 0).numpy(),
        target.double().permute(1, 2, 0).numpy(),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
        channel_axis=2,
    )


def pairs() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    image, square = photo(), blocks()
    white = torch.ones_like(image)
    return {
        "noise": (image, (image + noise(image, 0.05)).clamp(0, 1)),
        "slight noise": (image, (image + noise(image, 0.002)).clamp(0, 1)),
        "mirrored": (image, image.flip(3)),
        "white": (white, white - noise(white, 0.001).abs()),
        "white and black": (white, torch.zeros_like(white)),
        "blocks": (square, (square + noise(square, 0.001)).clamp(0, 1)),
        "blocks shifted": (square, square.roll(7, 2)),
        "independent": (random(1, 3, 40, 30), random(1, 3, 40, 30, seed=1)),
        "equal": (image, image),
        "smallest": (image[..., :11, :11], image.flip(3)[..., :11, :11]),
    }


@pytest.mark.parametrize("name", pairs())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ssim_is_that_of_skimage(name: str, dtype: torch.dtype) -> None:
    image, target = pairs()[name]
    expected = skimage_ssim(image[0], target[0])
    for function in (ssim, ssim_ref):
        value = function(image.to(dtype), target.to(dtype))
        assert value.dtype == torch.float64
        assert value.item() == pytest.approx(expected, abs=1e-10)


def test_ssim_of_other_types_and_layouts() -> None:
    image, target = pairs()["noise"]
    expected = ssim_ref(image, target).item()
    assert ssim(image.double(), target).item() == pytest.approx(expected, abs=1e-10)
    twice = ssim(image.expand(2, -1, -1, -1), target.expand(2, -1, -1, -1))
    assert twice.tolist() == pytest.approx([expected, expected], abs=1e-10)
    assert ssim(image.transpose(2, 3), target.transpose(2, 3)).item() == pytest.approx(expected, abs=1e-10)
    assert ssim(image.half(), target.half()).item() == pytest.approx(expected, abs=1e-2)


def test_image_metrics_are_per_frame_and_keep_layouts_apart() -> None:
    images = torch.cat([photo(), photo().flip(2), photo() * 0.5])
    targets = torch.cat([photo(), photo(), photo()])
    for metric in (l1, psnr, ssim):
        together = metric(images, targets)
        frames = zip(images.split(1), targets.split(1), strict=True)
        alone = [metric(image, target).item() for image, target in frames]
        assert together.shape == (3,)
        assert together.tolist() == pytest.approx(alone, abs=1e-12)
        nhwc = images.contiguous(memory_format=torch.channels_last)
        assert metric(nhwc, targets).tolist() == pytest.approx(alone, abs=1e-6)
        assert metric(targets, images).tolist() == pytest.approx(alone, abs=1e-6)  # symmetric
        assert metric(images[:0], targets[:0]).shape == (0,)


def test_values_for_equal_pictures() -> None:
    image = photo()
    assert l1(image, image).item() == 0
    assert psnr(image, image).item() == 100
    assert ssim(image, image).item() == 1


def test_l1_and_psnr_known_answers() -> None:
    image = torch.full((1, 3, 16, 16), 0.25, dtype=torch.float64)
    assert l1(image, image + 0.5).item() == pytest.approx(0.5)
    assert psnr(image, image + 0.1).item() == pytest.approx(20.0)
    half = image.clone()
    half[:, 0] += 0.3
    assert l1(image, half).item() == pytest.approx(0.1)
    other = (photo() + noise(photo(), 0.1)).clamp(0, 1)
    expected = peak_signal_noise_ratio(photo().double().numpy(), other.double().numpy(), data_range=1.0)
    assert psnr(photo(), other).item() == pytest.approx(expected, abs=1e-5)


def test_ssim_gradient() -> None:
    image = random(1, 3, 11, 12).double().requires_grad_()
    target = random(1, 3, 11, 12, seed=1).double()
    assert torch.autograd.gradcheck(ssim, (image, target))
    (gradient,) = torch.autograd.grad(ssim(image, target).sum(), image)
    assert gradient.abs().sum() > 0


def test_ssim_falls_with_distortion_and_with_a_shift() -> None:
    image = photo()
    values = [ssim(image, (image + noise(image, scale)).clamp(0, 1)).item() for scale in (0.01, 0.05, 0.2)]
    assert 1 > values[0] > values[1] > values[2] > 0
    assert ssim(image, 1 - image).item() < 0


def test_nan_is_not_hidden() -> None:
    image = photo()
    image[0, 0, 40, 40] = float("nan")
    for metric in (l1, psnr, ssim, ssim_ref):
        assert math.isnan(metric(image, photo()).item())


def test_image_shape_errors() -> None:
    image = photo()
    for metric in (l1, psnr, ssim):
        with pytest.raises(ShapeError, match=r"expected two \(B, 3, H, W\) of one shape, got \(3, 96, 128\)"):
            metric(image[0], image)
        with pytest.raises(ShapeError, match="of one shape"):
            metric(image, image[..., :64])
        with pytest.raises(ShapeError, match=r"expected floats in \[0, 1\], got torch.uint8"):
            metric((image * 255).byte(), image)
    for function in (ssim, ssim_ref):
        with pytest.raises(ShapeError, match=r"at least 11 x 11 pixels for the window, got \(96, 10\)"):
            function(image[..., :10], image[..., :10])


# ---- landmarks ----

TRUTH = np.random.default_rng(0).uniform(0, 256, (6, 68, 2))


def test_akd_known_answers() -> None:
    generated = TRUTH + [3.0, 4.0]
    every = np.ones(6, dtype=bool)
    score = akd(generated, TRUTH, every, copied=TRUTH[0])
    assert (score.mean, score.detected_only, score.missing) == (pytest.approx(5.0), pytest.approx(5.0), 0)
    assert akd_l1(generated, TRUTH, every, copied=TRUTH[0]).mean == pytest.approx(3.5)
    assert akd(TRUTH, TRUTH, every, copied=TRUTH[0]).mean == 0


def test_missing_face_counts_with_the_distance_of_copy() -> None:
    generated = TRUTH + [3.0, 4.0]
    found = np.array([True, True, False, True, False, True])
    generated[~found] = np.nan
    copied = TRUTH + np.array([0.0, 9.0])
    score = akd(generated, TRUTH, found, copied=copied)
    np.testing.assert_allclose(score.per_frame, [5, 5, 9, 5, 9, 5])
    assert score.mean == pytest.approx((4 * 5 + 2 * 9) / 6)
    assert score.detected_only == pytest.approx(5)
    assert score.missing == 2
    assert akd_l1(generated, TRUTH, found, copied=copied).mean == pytest.approx((4 * 3.5 + 2 * 4.5) / 6)
    # the source's points stand for every frame of copy
    source = akd(generated, TRUTH, found, copied=TRUTH[0]).per_frame
    assert source[2] == pytest.approx(np.linalg.norm(TRUTH[0] - TRUTH[2], axis=-1).mean())


def test_frames_without_a_true_face_are_not_scored() -> None:
    truth = TRUTH.copy()
    truth_found = np.array([True, False, True, False, True, True])
    truth[~truth_found] = np.nan
    found = np.array([True, True, False, False, True, True])
    score = akd(TRUTH + [6.0, 8.0], truth, found, copied=TRUTH + [0.0, 2.0], truth_found=truth_found)
    assert np.isnan(score.per_frame).tolist() == [False, True, False, True, False, False]
    assert score.mean == pytest.approx((10 + 2 + 10 + 10) / 4)
    assert (score.detected_only, score.missing) == (pytest.approx(10), 1)
    assert missing_face_rate(found, truth_found) == 0.25


def test_no_face_at_all() -> None:
    none = np.zeros(6, dtype=bool)
    nothing = np.full_like(TRUTH, np.nan)
    score = akd(nothing, TRUTH, none, copied=TRUTH + [0.0, 1.0])
    assert score.mean == pytest.approx(1.0)
    assert math.isnan(score.detected_only)
    empty = akd(nothing, nothing, none, copied=TRUTH[0], truth_found=none)
    assert math.isnan(empty.mean)
    assert math.isnan(missing_face_rate(none, none))
    assert missing_face_rate(none) == 1.0
    assert missing_face_rate(~none) == 0.0


def test_missing_keypoints_are_counted_among_those_that_are_truly_there() -> None:
    truth = np.array([[True, True, False], [True, False, False]])
    assert missing_keypoint_rate(truth, truth) == 0
    assert missing_keypoint_rate(~truth, truth) == 1
    one = truth.copy()
    one[0, 1] = False
    assert missing_keypoint_rate(one, truth) == pytest.approx(1 / 3)
    assert math.isnan(missing_keypoint_rate(truth, np.zeros_like(truth)))
    for found in (truth[0], truth.astype(int), truth[:, :2]):
        with pytest.raises(ShapeError, match=r"expected two \(T, K\) of bool"):
            missing_keypoint_rate(found, truth)


def test_landmark_errors() -> None:
    every = np.ones(6, dtype=bool)
    with pytest.raises(ShapeError, match="generated, truth: expected two"):
        akd(TRUTH[:5], TRUTH, every, copied=TRUTH[0])
    with pytest.raises(ShapeError, match=r"copied: expected \(68, 2\) or \(6, 68, 2\), got \(2, 2\)"):
        akd(TRUTH, TRUTH, every, copied=TRUTH[0, :2])
    with pytest.raises(ShapeError, match=r"found: expected \(6,\) of bool"):
        akd(TRUTH, TRUTH, np.ones(6), copied=TRUTH[0])
    with pytest.raises(ShapeError, match="generated: a point of a frame with a face is not finite"):
        akd(np.full_like(TRUTH, np.nan), TRUTH, every, copied=TRUTH[0])
    with pytest.raises(ShapeError, match="copied: a point"):
        akd(TRUTH, TRUTH, ~every, copied=TRUTH[0] * np.nan)
    with pytest.raises(ShapeError, match=r"points: expected \(T, L, 2\)"):
        temporal_jitter(TRUTH[0])


def test_temporal_jitter() -> None:
    steady = np.arange(8.0)[:, None, None] * np.ones((8, 68, 2)) * 5 + TRUTH[0]
    assert temporal_jitter(steady) == pytest.approx(0, abs=1e-12)
    shaky = steady.copy()
    shaky[::2, :, 0] += 1.0  # second differences of +-2
    assert temporal_jitter(shaky) == pytest.approx(2.0)
    found = np.ones(8, dtype=bool)
    found[3] = False
    shaky[3] = np.nan
    assert temporal_jitter(shaky, found) == pytest.approx(2.0)
    found[[1, 5, 6]] = False
    assert math.isnan(temporal_jitter(shaky, found))
    assert math.isnan(temporal_jitter(steady[:2]))


def test_to_256() -> None:
    np.testing.assert_allclose(to_256(TRUTH * 2, (512, 300)), TRUTH)
    np.testing.assert_allclose(to_256(TRUTH, (256, 256)), TRUTH)


# ---- words and means ----


def test_every_definition_is_a_sentence_and_unknown_ids_are_errors() -> None:
    for name, text in DEFINITIONS.items():
        assert text[0].isupper(), name
        assert text.endswith("."), name
    assert list(definitions_of(["psnr", "akd"])) == ["mean", "psnr", "akd"]
    assert list(definitions_of(iter(["mean", "l1"]))) == ["mean", "l1"]
    with pytest.raises(KeyError, match="no definition of beauty"):
        definitions_of(["beauty"])


def test_a_definition_says_which_way_is_better_and_the_table_says_the_same() -> None:
    for name, text in DEFINITIONS.items():
        if "higher is better" in text or "lower is better" in text:
            assert ("higher is better" in text) == (name in HIGHER_IS_BETTER), name
    assert set(DEFINITIONS) >= HIGHER_IS_BETTER


def test_a_definition_id_names_what_a_number_depends_on() -> None:
    bases = {
        "head": "builtin-01",
        "arcface": "arcface-23",
        "inception": "inception-45",
        "lpips": "alex-67",
        "body": "pose-89",
    }
    ids = {name: definition_id(name, bases) for name in DEFINITIONS}
    assert ids["l1"] == "l1"
    assert ids["akd"] == "akd/mesh68"
    assert ids["aed_exp_l1"] == "aed_exp_l1/builtin-01"
    assert (ids["csim"], ids["fid"], ids["lpips"]) == ("csim/arcface-23", "fid/inception-45", "lpips/alex-67")
    assert len(set(ids.values())) == len(DEFINITIONS)
    with pytest.raises(KeyError, match="arcface"):
        definition_id("csim", {})
    with pytest.raises(KeyError, match="no definition of beauty"):
        definition_id("beauty", {})


def test_mean_over_clips_weighs_clips_alike() -> None:
    assert mean_over_clips({"a": [1.0] * 10, "b": np.array([4.0])}) == 2.5
    assert mean_over_clips({"a": torch.tensor([1.0, 3.0]), "b": [math.nan, 4.0], "c": [math.nan]}) == 3.0
    assert math.isnan(mean_over_clips({}))
