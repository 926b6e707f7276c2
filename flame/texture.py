"""Texture spaces for FLAME's mesh: a mean picture, directions to change it, and where it lies on the mesh.

Three files of the field are read, told by their keys: ``FLAME_texture.npz`` (``mean``, ``tex_dir``;
0 .. 255); ``FLAME_albedo_from_BFM.npz`` and ``albedoModel2020_FLAME_albedoPart.npz`` (``MU``, ``PC``;
0 .. 1; the second in linear light, with ``specMU``, ``specPC``). They store blue first, as OpenCV does. None
comes with this library and none is free of conditions: FLAME's is for non-commercial research, BFM's and
AlbedoMM's have licences of their own.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..geom.errors import ModelFileError, ShapeError
from ._flame_files import expect_shape
from ._npz_stream import member_names, read_member
from .model import HeadModel

# Picked up where they lie beside a FLAME file, for their texture coordinates; the first wins.
TEXTURE_FILES = ("FLAME_texture.npz", "albedoModel2020_FLAME_albedoPart.npz", "FLAME_albedo_from_BFM.npz")
DEFAULT_COUNT = 50  # what DECA and its kin use
Channels = Literal["auto", "bgr", "rgb"]


@dataclass(frozen=True)
class TextureSpace:
    """Textures as a mean and K directions of unit variance.

    Attributes:
        name: what kind of file it was: ``flame``, ``bfm``, ``albedo-mm``.
        mean: ``(H, W, 3)`` RGB; 0 .. 1. Row 0 is the top of the picture, where v is 1.
        basis: ``(H, W, 3, K)`` change by one unit of each coefficient.
        uv: ``(N, 2)`` in [0, 1], v up; None where the file has none.
        uv_faces: ``(F, 3)`` rows of ``uv`` for each triangle of the mesh.
        linear: whether values are linear light (albedo) and not display colours.
        channels: the order in which the file was taken to hold its colours, ``bgr`` or ``rgb``.
        specular_mean, specular_basis: of the specular albedo, where the file has it.
    """

    name: str
    mean: Float[Tensor, "H W 3"]
    basis: Float[Tensor, "H W 3 K"]
    uv: Float[Tensor, "N 2"] | None = None
    uv_faces: Int[Tensor, "F 3"] | None = None
    linear: bool = False
    channels: str = "bgr"
    specular_mean: Float[Tensor, "H W 3"] | None = None
    specular_basis: Float[Tensor, "H W 3 K"] | None = None

    def sample(self, coefficients: Float[Tensor, "B k"] | None = None) -> Float[Tensor, "B 3 H W"]:
        """Textures of coefficients (standard normal; k <= K, leading directions), clipped to [0, 1].

        Without coefficients the mean, a batch of one. Differentiable where nothing is clipped.

        Raises:
            ShapeError: more coefficients than directions, or no batch axis.

        Example:
            >>> space = TextureSpace("flame", torch.full((2, 2, 3), 0.5), torch.full((2, 2, 3, 4), 0.1))
            >>> space.sample(torch.tensor([[1.0, 2.0]])).unique()
            tensor([0.8000])
        """
        if coefficients is None:
            coefficients = self.mean.new_zeros(1, 0)
        if coefficients.ndim != 2 or coefficients.shape[1] > self.basis.shape[3]:
            raise ShapeError(
                f"coefficients: expected (B, {self.basis.shape[3]}), fewer columns allowed, "
                f"got {tuple(coefficients.shape)}"
            )
        used = self.basis[..., : coefficients.shape[1]]
        images = self.mean + torch.einsum("hwck,bk->bhwc", used, coefficients.to(used))
        return images.permute(0, 3, 1, 2).clamp(0, 1)  # (B, 3, H, W)


def load_texture(
    path: str | Path, *, count: int | None = DEFAULT_COUNT, channels: Channels = "auto"
) -> TextureSpace:
    """Read a texture space; only the wanted directions are kept in memory.

    Args:
        path: one of the files above.
        count: leading directions, None for all (half a gigabyte and more for the real files).
        channels: order of the colours in the file. ``auto``: blue first, as these files have it, unless the
            mean would then be bluer than red, which no skin is; `TextureSpace.channels` says which it was.

    Raises:
        ModelFileError: missing, damaged, none of these files, of wrong shapes, or NaN.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ModelFileError(
            f"{path}: no such texture file; known are {', '.join(TEXTURE_FILES)}: the first from "
            "https://flame.is.tue.mpg.de, the second from AlbedoMM's releases, the third by BFM_to_FLAME"
        )
    names = set(member_names(path))
    if {"mean", "tex_dir"} <= names:
        name, keys, scale = "flame", ("mean", "tex_dir"), 1 / 255
    elif {"MU", "PC"} <= names:
        name, keys, scale = ("albedo-mm" if "specMU" in names else "bfm"), ("MU", "PC"), 1.0
    else:
        raise ModelFileError(
            f"{path}: expected mean and tex_dir, or MU and PC; got {', '.join(sorted(names)[:12]) or 'none'}"
        )
    mean, basis = _stored(path, keys, count)
    order = channels if channels != "auto" else _order(mean)
    specular: list[Tensor | None] = [None, None]
    if {"specMU", "specPC"} <= names:
        specular = [_in_rgb(values, scale, order) for values in _stored(path, ("specMU", "specPC"), count)]
    uv, uv_faces = _coordinates(path, names)
    return TextureSpace(
        name=name,
        mean=_in_rgb(mean, scale, order),
        basis=_in_rgb(basis, scale, order),
        uv=uv,
        uv_faces=uv_faces,
        linear=name == "albedo-mm",
        channels=order,
        specular_mean=specular[0],
        specular_basis=specular[1],
    )


def with_texture_coordinates(model: HeadModel, space: TextureSpace) -> HeadModel:
    """The head, arrays shared, with the texture's own coordinates; the head itself where the file has none.

    Args:
        model: any head.
        space: of the texture file.

    Raises:
        ModelFileError: the texture is of another mesh, or neither has coordinates.
    """
    if space.uv is None or space.uv_faces is None:
        if model.uv is None:
            raise ModelFileError(
                f"texture: head {model.model_id} has no texture coordinates, nor has the file"
            )
        return model
    if len(space.uv_faces) != len(model.faces):
        raise ModelFileError(
            f"texture: expected one of {len(model.faces)} triangles, like head {model.model_id}, "
            f"got {len(space.uv_faces)}"
        )
    twin = copy.copy(model)
    twin.uv, twin.uv_faces = space.uv.to(model.template), space.uv_faces.to(model.faces)
    return twin


def uv_beside(folder: Path, face_count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Texture coordinates and their faces from a texture file in the folder of a head, if it has any.

    Raises:
        ModelFileError: the file is damaged, or of another mesh.
    """
    for path in (folder / name for name in TEXTURE_FILES):
        if not path.is_file():
            continue
        names = set(member_names(path))
        if {"vt", "ft"} <= names:
            uv, faces = read_member(path, "vt"), read_member(path, "ft")
            _check_coordinates(path, uv, faces)
            expect_shape(f"{path}: ft", faces, (face_count, 3))
            return uv, faces.astype(np.int64)
    return None


def _stored(path: Path, keys: tuple[str, str], count: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``(H, W, 3)`` and directions ``(H, W, 3, K)`` as the file has them; it may hold them flat."""
    mean = read_member(path, keys[0]).astype(np.float32)
    basis = read_member(path, keys[1], columns=count if count is not None else 1 << 30)
    if mean.ndim != 3 and mean.size % 3 == 0:
        side = round((mean.size // 3) ** 0.5)
        if side * side * 3 == mean.size:
            mean = mean.reshape(side, side, 3)
    expect_shape(f"{path}: {keys[0]}", mean, (None, None, 3))
    if basis.ndim == 2 and len(basis) == mean.size:
        basis = basis.reshape(*mean.shape, -1)
    expect_shape(f"{path}: {keys[1]}", basis, (*mean.shape, None))
    for key, values in zip(keys, (mean, basis), strict=True):
        if not np.isfinite(values).all():
            raise ModelFileError(f"{path}: {key}: expected finite numbers, got NaN or infinity")
    return mean, basis


def _order(mean: np.ndarray) -> str:
    return "bgr" if mean[..., 2].mean() >= mean[..., 0].mean() else "rgb"


def _in_rgb(values: np.ndarray, scale: float, order: str) -> Tensor:
    turned = np.flip(values, 2) if order == "bgr" else values
    return torch.from_numpy(np.ascontiguousarray(turned)) * scale


def _coordinates(path: Path, names: set[str]) -> tuple[Tensor | None, Tensor | None]:
    if not {"vt", "ft"} <= names:
        return None, None
    uv, faces = read_member(path, "vt"), read_member(path, "ft")
    _check_coordinates(path, uv, faces)
    return torch.from_numpy(uv.astype(np.float32)), torch.from_numpy(faces.astype(np.int64))


def _check_coordinates(path: Path, uv: np.ndarray, faces: np.ndarray) -> None:
    expect_shape(f"{path}: vt", uv, (None, 2))
    expect_shape(f"{path}: ft", faces, (None, 3))
    if faces.dtype.kind not in "iu" or uv.dtype.kind != "f" or not np.isfinite(uv).all():
        raise ModelFileError(
            f"{path}: vt, ft: expected finite floats and whole numbers, got {uv.dtype} and {faces.dtype}"
        )
    if faces.size and not 0 <= int(faces.min()) <= int(faces.max()) < len(uv):
        got = f"{faces.min()}..{faces.max()}"
        raise ModelFileError(f"{path}: ft: expected indices below {len(uv)} (rows of vt), got {got}")
