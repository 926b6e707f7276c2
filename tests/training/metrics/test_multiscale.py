"""MS-SSIM: that of torchmetrics, what it says of equal and unlike pictures, its gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from media_files import picture
from skimage.metrics import structural_similarity

from headwarp.geom.errors import ShapeError
from headwarp.training.metrics import ms_ssim, ssim
from headwarp.training.metrics.multiscale import MS_SSIM_WEIGHTS, ms_ssim_ref, smallest_side


def photo(height: int = 192, width: int = 224) -> torch.Tensor:
    return torch.from_numpy(picture(height, width)).permute(2, 0, 1)[None].double() / 255


def noisy(image: torch.Tensor, scale: float, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed), dtype=image.dtype)
    return (image + scale * noise).clamp(0, 1)


def pairs() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    image = photo()
    blurred = F.avg_pool2d(image, 5, 1, 2, count_include_pad=False)
    return {
        "noise": (image, noisy(image, 0.1)),
        "blurred": (image, blurred),
        "shifted": (image, image.roll(3, 3)),
        "darker": (image, image * 0.7),
        "odd sides": (photo(177, 203), noisy(photo(177, 203), 0.05)),
        "negative": (image, 1 - image),
    }


def skimages(image: torch.Tensor, target: torch.Tensor) -> float:
    """The formula from skimage's index: with a huge K1 the luminance is 1 and structure alone is left."""
    product = 1.0
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        pictures = (F.avg_pool2d(x, 2**scale)[0].permute(1, 2, 0).numpy() for x in (image, target))
        value = structural_similarity(
            *pictures,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=2,
            K1=0.01 if scale == 4 else 1e6,
        )
        product *= max(value, 0) ** weight
    return product


@pytest.mark.parametrize("name", pairs())
def test_value_is_that_of_the_formula_over_skimages_index(name: str) -> None:
    image, target = pairs()[name]
    for function in (ms_ssim, ms_ssim_ref):
        assert function(image, target).item() == pytest.approx(skimages(image, target), abs=1e-9)


@pytest.mark.parametrize("name", ["noise", "odd sides"])
def test_value_is_about_that_of_torchmetrics_which_mirrors_the_border_of_the_coarsest_scale(
    name: str,
) -> None:
    functional = pytest.importorskip("torchmetrics.functional.image")
    image, target = pairs()[name]
    reference = functional.multiscale_structural_similarity_index_measure(
        image, target, data_range=1.0, kernel_size=11, sigma=1.5, betas=MS_SSIM_WEIGHTS, normalize="relu"
    )
    assert ms_ssim(image, target).item() == pytest.approx(reference.item(), abs=5e-3)


def test_weights_sum_to_one_and_the_smallest_side_is_accepted() -> None:
    assert sum(MS_SSIM_WEIGHTS) == pytest.approx(1, abs=2e-4)
    side = smallest_side()
    assert ms_ssim(photo(side, side), photo(side, side)).item() == pytest.approx(1)
    with pytest.raises(ShapeError, match=r"at least 176 x 176 pixels for five scales, got \(175, 176\)"):
        ms_ssim(photo(side - 1, side), photo(side - 1, side))


def test_one_value_a_picture_equal_is_one_and_the_opposite_is_zero() -> None:
    images = torch.cat([photo(), photo(), photo()])
    targets = torch.cat([photo(), noisy(photo(), 0.05), 1 - photo()])
    values = ms_ssim(images.float(), targets.float())
    assert values.dtype == torch.float64
    assert values[0].item() == pytest.approx(1)
    assert values[0] > values[1] > values[2]
    assert values[2].item() == 0  # contrast is negative at every scale
    assert ms_ssim(targets, images).tolist() == pytest.approx(values.tolist(), abs=1e-6)


def test_fine_noise_costs_less_than_in_ssim() -> None:
    image = photo()
    assert ms_ssim(image, noisy(image, 0.1)).item() > ssim(image, noisy(image, 0.1)).item() + 0.05


def test_gradient() -> None:
    target = photo(176, 176)
    image = noisy(target, 0.1).requires_grad_()
    (gradient,) = torch.autograd.grad(ms_ssim(image, target).sum(), image)
    step = torch.randn(image.shape, generator=torch.Generator().manual_seed(1), dtype=image.dtype) * 1e-5
    with torch.no_grad():
        difference = ms_ssim(image + step, target) - ms_ssim(image - step, target)
    assert (2 * gradient * step).sum().item() == pytest.approx(difference.item(), rel=1e-4)


def test_shapes_are_checked() -> None:
    with pytest.raises(ShapeError, match="of one shape"):
        ms_ssim(photo(), photo()[..., :200])
    with pytest.raises(ShapeError, match=r"expected floats in \[0, 1\]"):
        ms_ssim((photo() * 255).byte(), photo())
