"""Texture spaces: the three files of the field, colours, sampling, coordinates beside a head, bad files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from flame_schema import flame_arrays, write_flame_pickle

from headwarp.flame import _npz_stream
from headwarp.flame.io import load_head, save_head_npz
from headwarp.flame.texture import load_texture
from headwarp.geom.errors import ModelFileError, ShapeError

SKIN = np.array([0.6, 0.45, 0.3])  # RGB
FACES = len(flame_arrays()["f"])


def coordinates() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {"vt": draw.random((70, 2)), "ft": draw.integers(0, 70, (FACES, 3)).astype(np.uint32)}


def write_texture(path: Path, kind: str, *, side: int = 4, count: int = 6, blue_first: bool = True) -> None:
    """A picture of skin, redder towards the top, that each direction lightens in one channel."""
    draw = np.random.default_rng(1)
    mean = np.tile(SKIN, (side, side, 1)) + np.linspace(0.1, 0, side)[:, None, None] * [1, 0, 0]
    basis = draw.normal(0, 0.02, (side, side, 3, count))
    if blue_first:
        mean, basis = mean[..., ::-1], basis[..., ::-1, :]
    if kind == "flame":
        content = {"mean": 255 * mean, "tex_dir": 255 * basis}
    else:
        content = {"MU": mean.astype(np.float32), "PC": basis.astype(np.float32)}
    if kind == "albedo-mm":
        content |= {"specMU": 0.2 * mean, "specPC": 0.1 * basis}
    np.savez(path, **content, **({} if kind == "bfm" else coordinates()))


@pytest.mark.parametrize("kind", ["flame", "bfm", "albedo-mm"])
def test_the_files_of_the_field_become_rgb(tmp_path: Path, kind: str) -> None:
    write_texture(tmp_path / "t.npz", kind)
    space = load_texture(tmp_path / "t.npz")
    assert (space.name, space.channels, space.linear) == (kind, "bgr", kind == "albedo-mm")
    np.testing.assert_allclose(space.mean[-1, 0].numpy(), SKIN, atol=1e-6)
    assert space.mean[0, 0, 0] > space.mean[-1, 0, 0], "row 0 is the top"
    assert space.basis.shape == (4, 4, 3, 6)
    draw = np.random.default_rng(1).normal(0, 0.02, (4, 4, 3, 6))
    np.testing.assert_allclose(space.basis.numpy(), draw, atol=1e-6)
    assert (space.uv is None) == (kind == "bfm")
    assert (space.specular_mean is None) == (kind != "albedo-mm")
    if space.specular_mean is not None:
        np.testing.assert_allclose(space.specular_mean[-1, 0].numpy(), 0.2 * SKIN, atol=1e-6)


def test_only_the_wanted_directions_are_read(tmp_path: Path) -> None:
    write_texture(tmp_path / "t.npz", "flame", count=120, side=8)
    whole, default, few = (load_texture(tmp_path / "t.npz", count=count) for count in (None, 50, 3))
    assert [s.basis.shape[3] for s in (whole, default, few)] == [120, 50, 3]
    assert torch.equal(whole.basis[..., :3], few.basis)
    assert torch.equal(whole.basis[..., :50], default.basis)


def test_colours_the_other_way_round_are_told(tmp_path: Path) -> None:
    write_texture(tmp_path / "t.npz", "flame", blue_first=False)
    space = load_texture(tmp_path / "t.npz")
    assert space.channels == "rgb"
    np.testing.assert_allclose(space.mean[-1, 0].numpy(), SKIN, atol=1e-6)
    forced = load_texture(tmp_path / "t.npz", channels="bgr")
    assert torch.equal(forced.mean, space.mean.flip(-1))


def test_flat_arrays_are_the_same_space(tmp_path: Path) -> None:
    write_texture(tmp_path / "t.npz", "bfm")
    with np.load(tmp_path / "t.npz") as content:
        np.savez(tmp_path / "flat.npz", MU=content["MU"].reshape(1, -1), PC=content["PC"].reshape(-1, 6))
    flat, space = load_texture(tmp_path / "flat.npz"), load_texture(tmp_path / "t.npz")
    assert torch.equal(flat.mean, space.mean)
    assert torch.equal(flat.basis, space.basis)


def test_samples(tmp_path: Path) -> None:
    write_texture(tmp_path / "t.npz", "flame")
    space = load_texture(tmp_path / "t.npz")
    assert torch.equal(space.sample()[0].permute(1, 2, 0), space.mean)
    coefficients = torch.tensor([[0.0, 1.0], [2.0, 0.0]], requires_grad=True)
    images = space.sample(coefficients)
    assert images.shape == (2, 3, 4, 4)
    wanted = space.mean + space.basis[..., 1]
    assert torch.allclose(images[0].permute(1, 2, 0), wanted, atol=1e-6)
    images.sum().backward()
    assert torch.allclose(coefficients.grad[0], space.basis[..., :2].sum((0, 1, 2)), atol=1e-5)
    assert space.sample(torch.full((1, 6), 1000.0)).max() == 1
    with pytest.raises(
        ShapeError, match=r"coefficients: expected \(B, 6\), fewer columns allowed, got \(1, 7\)"
    ):
        space.sample(torch.zeros(1, 7))


def test_texture_coordinates_beside_a_head_are_picked_up(tmp_path: Path) -> None:
    write_flame_pickle(tmp_path / "flame.pkl", flame_arrays())
    assert load_head(tmp_path / "flame.pkl").uv is None
    write_texture(tmp_path / "FLAME_texture.npz", "flame")
    head = load_head(tmp_path / "flame.pkl")
    np.testing.assert_allclose(head.uv.numpy(), coordinates()["vt"], atol=1e-7)
    np.testing.assert_array_equal(head.uv_faces.numpy(), coordinates()["ft"])
    save_head_npz(head, tmp_path / "own.npz")
    assert torch.equal(load_head(tmp_path / "own.npz").uv_faces, head.uv_faces)
    np.savez(tmp_path / "FLAME_texture.npz", vt=np.zeros((3, 2)), ft=np.zeros((5, 3), int))
    with pytest.raises(ModelFileError, match=r"FLAME_texture\.npz: ft: expected \(84, 3\), got \(5, 3\)"):
        load_head(tmp_path / "flame.pkl")


PICTURE, BASIS = np.zeros((4, 4, 3)), np.zeros((4, 4, 3, 2))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"mean": PICTURE}, "expected mean and tex_dir, or MU and PC; got mean"),
        ({"mean": PICTURE, "tex_dir": BASIS[:2]}, r"tex_dir: expected \(4, 4, 3, \*\), got \(2, 4, 3, 2\)"),
        ({"mean": PICTURE[..., :2], "tex_dir": BASIS}, r"mean: expected \(\*, \*, 3\), got \(4, 4, 2\)"),
        ({"MU": PICTURE + np.nan, "PC": BASIS}, "MU: expected finite numbers, got NaN"),
        ({"MU": PICTURE, "PC": np.array(["a"])}, "PC: not a sound array: expected numbers"),
        ({"MU": PICTURE, "PC": BASIS, "vt": PICTURE, "ft": PICTURE}, r"vt: expected \(\*, 2\), got"),
        (
            {"MU": PICTURE, "PC": BASIS, "vt": BASIS[0, 0], "ft": np.ones((2, 3))},
            "whole numbers, got float64",
        ),
        (
            {"MU": PICTURE, "PC": BASIS, "vt": BASIS[0, 0], "ft": np.full((2, 3), 9)},
            r"below 3 \(rows of vt\)",
        ),
    ],
)
def test_wrong_textures_are_named(tmp_path: Path, content: dict[str, np.ndarray], text: str) -> None:
    np.savez(tmp_path / "bad.npz", **content)
    with pytest.raises(ModelFileError, match=text) as caught:
        load_texture(tmp_path / "bad.npz")
    assert str(tmp_path / "bad.npz") in str(caught.value)


def test_damaged_textures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no such texture file; known are FLAME_texture\.npz"):
        load_texture(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ModelFileError, match=r"text\.npz: not a sound \.npz"):
        load_texture(tmp_path / "text.npz")
    write_texture(tmp_path / "t.npz", "flame")
    data = (tmp_path / "t.npz").read_bytes()
    for length in range(1, len(data), len(data) // 9):
        (tmp_path / "cut.npz").write_bytes(data[:length])
        with pytest.raises(ModelFileError, match="cut"):
            load_texture(tmp_path / "cut.npz")
    np.savez(tmp_path / "objects.npz", mean=np.array([{}], dtype=object), tex_dir=BASIS)
    with pytest.raises(ModelFileError, match="mean: not a sound array"):
        load_texture(tmp_path / "objects.npz")


def test_damaged_bytes_never_escape_as_other_errors(tmp_path: Path) -> None:
    write_texture(tmp_path / "t.npz", "albedo-mm")
    data = (tmp_path / "t.npz").read_bytes()
    draw = np.random.default_rng(0)
    places = [*draw.integers(0, 300, 60), *draw.integers(0, len(data), 40), *range(len(data) - 60, len(data))]
    for place in places:
        bad = data[:place] + bytes([data[place] ^ 0x15]) + data[place + 1 :]
        (tmp_path / "bad.npz").write_bytes(bad)
        with contextlib.suppress(ModelFileError):
            load_texture(tmp_path / "bad.npz")


def test_absurd_sizes_are_refused_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_texture(tmp_path / "t.npz", "flame")
    monkeypatch.setattr(_npz_stream, "MAX_BYTES", 200)
    with pytest.raises(ModelFileError, match=r"mean: .*expected at most 200 bytes unpacked"):
        load_texture(tmp_path / "t.npz")
