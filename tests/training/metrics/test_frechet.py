"""FID's distance: scipy's formula, known answers, few vectors, and joining of batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headwarp.geom.errors import ShapeError
from headwarp.training.metrics import FeatureStatistics, feature_statistics, frechet_distance


def features(count: int, width: int, *, seed: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64) / width**0.5
    plain = torch.randn(count, width, generator=generator, dtype=torch.float64)
    return plain @ mix * scale + shift


def scipys(first: torch.Tensor, second: torch.Tensor) -> float:
    """The formula as it is usually written."""
    from scipy.linalg import sqrtm

    one, two = first.numpy(), second.numpy()
    covariances = [np.cov(x, rowvar=False) for x in (one, two)]
    shift = ((one.mean(0) - two.mean(0)) ** 2).sum()
    root = sqrtm(covariances[0] @ covariances[1]).real
    return float(shift + np.trace(covariances[0] + covariances[1] - 2 * root))


def distance(first: torch.Tensor, second: torch.Tensor) -> float:
    return frechet_distance(feature_statistics([first]), feature_statistics([second]))


@pytest.mark.parametrize("width", [1, 5, 64])
def test_value_is_that_of_scipys_square_root(width: int) -> None:
    first, second = features(300, width, seed=1), features(250, width, seed=2, scale=1.3, shift=0.2)
    if width == 1:
        spread = first.std() - second.std()
        assert distance(first, second) == pytest.approx(
            float((first.mean() - second.mean()) ** 2 + spread**2), rel=1e-9
        )
    else:
        assert distance(first, second) == pytest.approx(scipys(first, second), rel=1e-8)


def test_value_is_that_of_torchmetrics() -> None:
    image = pytest.importorskip("torchmetrics.image.fid")

    class Flat(torch.nn.Module):
        num_features = 12

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return pictures.flatten(1)

    generator = torch.Generator().manual_seed(0)
    real, made = (torch.rand(40, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    metric = image.FrechetInceptionDistance(feature=Flat(), normalize=True, input_img_size=(3, 2, 2))
    metric = metric.set_dtype(torch.float64)
    metric.inception = Flat()
    metric.update((real.flatten(1) * 255).byte().view_as(real).double() / 255, real=True)
    metric.update((made.flatten(1) * 255).byte().view_as(made).double() / 255, real=False)
    seen = [metric.real_features_cov_sum, metric.fake_features_cov_sum]
    assert all(tensor.dtype == torch.float64 for tensor in seen)
    statistics = [
        _statistics(metric.real_features_sum, metric.real_features_cov_sum, 40),
        _statistics(metric.fake_features_sum, metric.fake_features_cov_sum, 40),
    ]
    assert frechet_distance(*statistics) == pytest.approx(metric.compute().item(), rel=1e-6)


def _statistics(total: torch.Tensor, squares: torch.Tensor, count: int) -> FeatureStatistics:
    mean = total.double().flatten() / count
    covariance = (squares.double() - count * torch.outer(mean, mean)) / (count - 1)
    return FeatureStatistics(mean, covariance, count)


def test_known_answers() -> None:
    same = features(50, 8, seed=3)
    assert distance(same, same) == pytest.approx(0, abs=1e-9)
    assert distance(same, same + 2) == pytest.approx(4 * 8, rel=1e-9)  # the shift alone
    spread = (same - same.mean(0)).square().sum().item() / 49
    assert distance(same, same.mean(0) + 3 * (same - same.mean(0))) == pytest.approx(4 * spread, rel=1e-9)


def test_fewer_vectors_than_features() -> None:
    """Covariances without full rank: the trace is that of the vectors' own Gram matrix."""
    first, second = features(20, 128, seed=4), features(30, 128, seed=5)
    loose = [(x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (first, second)]
    root = torch.linalg.svdvals(loose[0] @ loose[1].T).sum()
    expected = (first.mean(0) - second.mean(0)).square().sum() - 2 * root
    expected = expected + sum(part.square().sum() for part in loose)
    assert distance(first, second) == pytest.approx(expected.item(), rel=1e-6)
    assert distance(first, second) == pytest.approx(distance(second, first), rel=1e-9)
    assert distance(first, first) == pytest.approx(0, abs=1e-6)


def test_batches_give_what_the_whole_gives_even_far_from_zero() -> None:
    whole = features(101, 6, seed=6, shift=1e6)
    parts = [whole[:1], whole[1:40], whole[40:40], whole[40:]]
    joined, once = feature_statistics(parts), feature_statistics([whole])
    assert joined.count == once.count == 101
    torch.testing.assert_close(joined.mean, once.mean)
    torch.testing.assert_close(joined.covariance, torch.cov(whole.T), rtol=1e-6, atol=1e-9)
    assert feature_statistics([whole[:50].float()]).mean.dtype == torch.float64


@pytest.mark.parametrize(
    ("batches", "text"),
    [
        ([], "expected at least two vectors for a covariance, got 0"),
        ([torch.zeros(1, 4)], "expected at least two vectors for a covariance, got 1"),
        ([torch.zeros(2, 4), torch.zeros(2, 5)], r"expected \(N, 4\) as before, got \(2, 5\)"),
        ([torch.full((2, 4), torch.nan)], "expected finite numbers"),
        ([torch.zeros(2, 4, dtype=torch.long)], r"expected floats \(N, D\)"),
        ([torch.zeros(4)], r"expected floats \(N, D\)"),
    ],
)
def test_what_has_no_statistics_is_an_error(batches: list[torch.Tensor], text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        feature_statistics(batches)


def test_widths_must_agree() -> None:
    with pytest.raises(ShapeError, match="expected two sets of one width, got 3 and 4"):
        distance(features(9, 3, seed=0), features(9, 4, seed=0))
