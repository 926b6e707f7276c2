"""LPIPS: keys and shapes of the published files, a plain twin over functional layers, its behaviour."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import ModelFileError, ShapeError
from headwarp.training.metrics.lpips import Lpips, backbone_of, load_lpips

ALEX = {"slice1.0": (64, 3, 11), "slice2.3": (192, 64, 5), "slice3.6": (384, 192, 3)}
ALEX |= {"slice4.8": (256, 384, 3), "slice5.10": (256, 256, 3)}
VGG = {"slice1.0": (64, 3), "slice1.2": (64, 64), "slice2.5": (128, 64), "slice2.7": (128, 128)}
VGG |= {"slice3.10": (256, 128), "slice3.12": (256, 256), "slice3.14": (256, 256), "slice4.17": (512, 256)}
VGG |= {f"slice{s}": (512, 512) for s in ("4.19", "4.21", "5.24", "5.26", "5.28")}


def filled(backbone: str) -> Lpips:
    torch.manual_seed(0)
    network = Lpips(backbone)
    for index in range(5):
        torch.nn.init.uniform_(network.get_submodule(f"lin{index}.model.1").weight, 0, 1)
    return network.eval()


def pictures(size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    first = torch.rand(2, 3, size, size, generator=generator)
    return first, (first + 0.2 * torch.randn(first.shape, generator=generator)).clamp(0, 1)


def test_keys_and_shapes_are_those_of_the_published_files() -> None:
    alex, vgg = Lpips("alex").state_dict(), Lpips("vgg").state_dict()
    for name, (out, inner, size) in ALEX.items():
        assert tuple(alex[f"net.{name}.weight"].shape) == (out, inner, size, size)
        assert tuple(alex[f"net.{name}.bias"].shape) == (out,)
    for name, shape in VGG.items():
        assert tuple(vgg[f"net.{name}.weight"].shape) == (*shape, 3, 3)
    for state, widths in ((alex, (64, 192, 384, 256, 256)), (vgg, (64, 128, 256, 512, 512))):
        for index, width in enumerate(widths):
            assert tuple(state[f"lin{index}.model.1.weight"].shape) == (1, width, 1, 1)
        assert tuple(state["scaling_layer.shift"].shape) == (1, 3, 1, 1)
    assert len(alex) == 2 * len(ALEX) + 7
    assert len(vgg) == 2 * len(VGG) + 7
    assert backbone_of(set(alex)) == "alex"
    assert backbone_of(set(vgg)) == "vgg"


def test_weightings_of_torchmetrics_fit() -> None:
    module = pytest.importorskip("torchmetrics.functional.image.lpips")
    for backbone in ("alex", "vgg"):
        file = Path(module.__file__).parent / "lpips_models" / f"{backbone}.pth"
        state = torch.load(file, map_location="cpu", weights_only=True)
        own = Lpips(backbone).state_dict()
        assert state.keys() <= own.keys()
        assert all(own[key].shape == value.shape for key, value in state.items())


def plain_alex(network: Lpips, picture: torch.Tensor) -> list[torch.Tensor]:
    weights = network.state_dict()
    x = (2 * picture - 1 - weights["scaling_layer.shift"]) / weights["scaling_layer.scale"]
    depths = []
    for name, stride, padding in (("1.0", 4, 2), ("2.3", 1, 2), ("3.6", 1, 1), ("4.8", 1, 1), ("5.10", 1, 1)):
        if name in ("2.3", "3.6"):
            x = F.max_pool2d(x, 3, 2)
        key = f"net.slice{name}"
        x = F.conv2d(x, weights[f"{key}.weight"], weights[f"{key}.bias"], stride, padding).relu()
        depths.append(x)
    return depths


def test_value_is_that_of_the_formula() -> None:
    network, (first, second) = filled("alex"), pictures()
    total = torch.zeros(2)
    for index, (x, y) in enumerate(zip(plain_alex(network, first), plain_alex(network, second), strict=True)):
        weight = network.get_submodule(f"lin{index}.model.1").weight[0, :, 0, 0]
        total += ((F.normalize(x) - F.normalize(y)) ** 2 * weight[:, None, None]).sum(1).mean((1, 2))
    with torch.no_grad():
        torch.testing.assert_close(network(first, second), total, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backbone", ["alex", "vgg"])
def test_equal_pictures_are_at_distance_zero_and_noise_is_further(backbone: str) -> None:
    network, (first, second) = filled(backbone), pictures(48)
    with torch.no_grad():
        assert network(first, first).tolist() == [0, 0]
        near = network(first, first + 0.25 * (second - first))
        far = network(first, second)
        assert bool((near > 0).all() and (near < far).all())
        assert network(second, first).tolist() == pytest.approx(far.tolist(), rel=1e-5)


def published(network: Lpips) -> dict[str, torch.Tensor]:
    """What the `lpips` package saves: the weightings stand there twice."""
    state = network.state_dict()
    twice = {f"lins.{i}.model.1.weight": state[f"lin{i}.model.1.weight"] for i in range(5)}
    return {**state, **twice}


def test_a_published_file_loads_and_measures_as_before(tmp_path: Path) -> None:
    network, (first, second) = filled("alex"), pictures()
    torch.save(published(network), tmp_path / "alex.pth")
    loaded = load_lpips(tmp_path / "alex.pth")
    assert loaded.backbone == "alex"
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    with torch.no_grad():
        torch.testing.assert_close(loaded(first, second), network(first, second))


def test_files_of_other_weights_are_refused(tmp_path: Path) -> None:
    state = published(filled("alex"))
    lins = {key: value for key, value in state.items() if key.startswith("lin")}
    torch.save(lins, tmp_path / "lins.pth")
    with pytest.raises(ModelFileError, match=r"features included; 10 of 17 keys"):
        load_lpips(tmp_path / "lins.pth")
    torch.save({**state, "lin0.model.1.weight": torch.zeros(1, 65, 1, 1)}, tmp_path / "shape.pth")
    with pytest.raises(ModelFileError, match=r"lin0\.model\.1\.weight"):
        load_lpips(tmp_path / "shape.pth")
    with pytest.raises(ModelFileError, match="no such file; expected LPIPS weights"):
        load_lpips(tmp_path / "nothing.pth")


def test_pictures_are_checked() -> None:
    network = filled("alex")
    with pytest.raises(ShapeError, match=r"at least 32 x 32 pixels for five depths, got \(31, 40\)"):
        network(torch.rand(1, 3, 31, 40), torch.rand(1, 3, 31, 40))
    with pytest.raises(ShapeError, match="of one shape"):
        network(torch.rand(1, 3, 64, 64), torch.rand(2, 3, 64, 64))
