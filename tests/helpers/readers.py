"""Readers of heads, fits, meshes and weights that come from elsewhere, with small valid files for each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from flame_fits import flame_fit, flame_head
from flame_schema import flame_arrays, write_flame_pickle, write_landmark_files
from keypoint_cases import fomm_checkpoint
from toy_fit import toy_fit, varied
from toy_head import toy_head

from headwarp.flame._obj import read_mesh, read_text
from headwarp.flame.formats import describe, read_fit, sniff, write_fit
from headwarp.flame.io import load_head, save_head_npz
from headwarp.flame.params import HeadFit
from headwarp.flame.texture import load_texture
from headwarp.geom.mesh import load_mesh, save_mesh
from headwarp.warping.animators.copy import CopyConfig
from headwarp.warping.checkpoints import load_checkpoint, save_checkpoint
from headwarp.warping.importers.conversion import convert
from headwarp.warping.importers.torch_files import read_torch_file


@dataclass(frozen=True)
class Reader:
    """A reader and what it reads.

    Attributes:
        seed: name of the valid file.
        make: writes it into a folder under that name.
        read: reads a file.
        packed: whether the file is a zip archive, whose members are changed too.
    """

    seed: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    packed: bool = False


_SMALL = {"rows": 3, "columns": 3, "shape_count": 300, "expression_count": 2}


def _flame(path: Path, **options: object) -> None:
    write_flame_pickle(path, flame_arrays(**_SMALL), **options)  # type: ignore[arg-type]


def _flame_npz(path: Path) -> None:
    np.savez(path, **flame_arrays(**_SMALL))


def _own_npz(path: Path) -> None:
    save_head_npz(toy_head(), path)


def _beside(name: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        _flame(path.parent / "generic_model.pkl")
        return load_head(path.parent / "generic_model.pkl", landmarks=path)

    return read


def _landmark_file(kind: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        faces = len(flame_arrays(**_SMALL)["f"])
        write_landmark_files(path.parent, faces)[kind].rename(path)

    return make


def _fit(path: Path) -> None:
    head = toy_head()
    toy_fit(head, 3, **varied(head, 3)).save(path)


_FLAME = flame_head()


def _other_fit(name: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        write_fit(flame_fit(_FLAME.model, frames=2), _FLAME.model, path, name=name)

    return make


def _read_other(path: Path) -> object:
    sniff(path)
    try:
        describe(path)
    finally:
        return read_fit(path, _FLAME.model)  # noqa: B012


def _part_of(name: str, part: str) -> Callable[[Path], object]:
    """One file of a tracker's folder; the others lie beside it."""

    def make(path: Path) -> None:
        root = path.parents[len(Path(part).parts) - 1]
        write_fit(flame_fit(_FLAME.model, frames=2), _FLAME.model, root / "made", name=name)
        shutil.copytree(root / "made", root, dirs_exist_ok=True)
        shutil.rmtree(root / "made")
        assert path.is_file()

    return make


def _read_folder(path: Path) -> object:
    return _read_other(path.parent)


def _texture(path: Path) -> None:
    draw = np.random.default_rng(1)
    np.savez(path, MU=draw.random((3, 3, 3), np.float32), PC=draw.random((3, 3, 3, 2), np.float32))


def _obj(path: Path) -> None:
    path.write_text(
        "# head\nv 0 0 0\nv 1 0 0.5\nv 1e-1 1 0\nv 0 -1 2\nvt 0 0\nf 1/1 2/1 3/1\nf 1/1 2/1 3/1 4/1\n"
    )


def _mesh(path: Path) -> None:
    save_mesh(path, np.eye(3), np.array([[0, 1, 2]]))


def _checkpoint(path: Path) -> None:
    save_checkpoint(path, {"weight": torch.ones(2, 2)}, config=CopyConfig(), name="copy")


def _torch_checkpoint(path: Path, *, new: bool = True) -> None:
    torch.save(fomm_checkpoint(width=2), path, _use_new_zipfile_serialization=new)


def _old_torch_checkpoint(path: Path) -> None:
    _torch_checkpoint(path, new=False)


def _converted(path: Path) -> object:
    return convert({path.name: read_torch_file(path)})


HEAD_READERS = {
    "FLAME pickle of Python 2": Reader("old.pkl", _flame, load_head),
    "FLAME pickle of Python 3": Reader(
        "new.pkl", lambda path: _flame(path, python2=False, protocol=4), load_head
    ),
    "FLAME npz": Reader("flame.npz", _flame_npz, load_head, packed=True),
    "own head": Reader("own.npz", _own_npz, load_head, packed=True),
    "mediapipe embedding": Reader("e.npz", _landmark_file("mediapipe"), _beside("e.npz"), packed=True),
    "static embedding": Reader("e.pkl", _landmark_file("static"), _beside("e.pkl")),
    "DECA embedding": Reader("e.npy", _landmark_file("deca"), _beside("e.npy")),
    "own fit": Reader("fit.npz", _fit, HeadFit.load, packed=True),
    "VHAP": Reader("tracked_flame_params_1.npz", _other_fit("vhap"), _read_other, packed=True),
    "DECA": Reader("deca.npz", _other_fit("deca"), _read_other, packed=True),
    "DECA pickle": Reader("deca.pkl", _other_fit("deca"), _read_other),
    "EMOCA": Reader("emoca.npz", _other_fit("emoca"), _read_other, packed=True),
    "SMIRK": Reader("smirk.npz", _other_fit("smirk"), _read_other, packed=True),
    "SMIRK npy": Reader("smirk.npy", _other_fit("smirk"), _read_other),
    "SMIRK MATLAB": Reader("smirk.mat", _other_fit("smirk"), _read_other),
    "SMIRK torch": Reader("smirk.pt", _other_fit("smirk"), _read_other, packed=True),
    "metrical frame": Reader("00000.frame", _part_of("metrical", "00000.frame"), _read_folder, packed=True),
    "pixel3dmm frame": Reader("00001.frame", _part_of("pixel3dmm", "00001.frame"), _read_folder, packed=True),
    "EMOCA folder": Reader(
        "000000_000/exp.npy", _part_of("emoca", "000000_000/exp.npy"), lambda path: _read_folder(path.parent)
    ),
    "dataset transforms": Reader(
        "transforms.json", _part_of("vhap-dataset", "transforms.json"), _read_folder
    ),
    "dataset frame": Reader(
        "flame_param/00001.npz",
        _part_of("vhap-dataset", "flame_param/00001.npz"),
        lambda path: _read_folder(path.parent),
        packed=True,
    ),
    "head sidecar": Reader("headwarp.json", _part_of("metrical", "headwarp.json"), _read_folder),
    "texture": Reader("texture.npz", _texture, load_texture, packed=True),
    "OBJ of a head": Reader("neutral.obj", _obj, lambda path: read_mesh(read_text(path), path)),
    "checkpoint": Reader("a.safetensors", _checkpoint, load_checkpoint),
    "checkpoint of torch": Reader("a.pth", _torch_checkpoint, _converted, packed=True),
    "old checkpoint of torch": Reader("b.pth", _old_torch_checkpoint, _converted),
    "mesh obj": Reader("mesh.obj", _mesh, load_mesh),
    "mesh ply": Reader("mesh.ply", _mesh, load_mesh),
    "mesh glb": Reader("mesh.glb", _mesh, load_mesh),
}
