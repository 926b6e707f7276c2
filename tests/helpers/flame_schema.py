"""Small synthetic files in FLAME's schema, pickled as the released ones are, without chumpy installed."""

from __future__ import annotations

import pickle
import struct
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from scipy.sparse import csc_matrix

ROOT_PARENT = 4294967295  # -1 as uint32


class _Chumpy:
    """Has the state of ``chumpy.ch.Ch``: the array in ``x`` among bookkeeping."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x
        self._dirty_vars = {"x"}
        self._itr = None
        self._depends_on_deps: dict[str, object] = {}


class _OldSparse:
    """Has the state of ``scipy.sparse.csc.csc_matrix`` as it was pickled in 2017."""

    def __init__(self, matrix: csc_matrix) -> None:
        self._shape, self.maxprint = matrix.shape, 50
        self.indptr, self.indices, self.data = matrix.indptr, matrix.indices, matrix.data


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


@contextmanager
def pretend_modules() -> Iterator[None]:
    """``chumpy.ch.Ch`` and ``scipy.sparse.csc.csc_matrix`` can be pickled by name inside."""
    names = {"chumpy.ch": ("Ch", _Chumpy), "scipy.sparse.csc": ("csc_matrix", _OldSparse)}
    before = {name: sys.modules.get(name) for name in ("chumpy", *names)}
    sys.modules["chumpy"] = types.ModuleType("chumpy")
    own = {kind: (kind.__module__, kind.__qualname__) for _, kind in names.values()}
    for module, (name, kind) in names.items():
        sys.modules[module] = types.ModuleType(module)
        setattr(sys.modules[module], name, kind)
        kind.__module__, kind.__name__, kind.__qualname__ = module, name, name
    try:
        yield
    finally:
        for kind, (module, name) in own.items():
            kind.__module__, kind.__name__, kind.__qualname__ = module, name, name
        for module_name, module_before in before.items():
            if module_before is None:
                del sys.modules[module_name]
            else:
                sys.modules[module_name] = module_before


class _Python2Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes bytes and ASCII text as Python 2 wrote its ``str``: without an encoding."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]  # noqa: RUF012

    def save_python2_str(self, value: bytes | str) -> None:
        raw = value.encode("ascii") if isinstance(value, str) else value
        if len(raw) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(raw)]) + raw)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[bytes] = save_python2_str
    dispatch[str] = save_python2_str


def flame_arrays(
    *, rows: int = 7, columns: int = 8, shape_count: int = 300, expression_count: int = 100, seed: int = 0
) -> dict[str, np.ndarray]:
    """A curved sheet of ``rows x columns`` vertices as large as a face, with random bases and skinning."""
    draw = np.random.default_rng(seed)
    v, u = np.meshgrid(np.linspace(-0.1, 0.1, rows), np.linspace(-0.07, 0.07, columns), indexing="ij")
    template = np.stack([u, v, 0.08 - 6 * u**2 - 2 * v**2], -1).reshape(-1, 3)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    lower = np.stack([corner, corner + 1, corner + columns], -1)
    upper = np.stack([corner + 1, corner + columns + 1, corner + columns], -1)
    count = rows * columns
    likely = draw.dirichlet(np.full(5, 0.4), count)
    likely[: count // 4, 2] = 0  # the first quarter of the list knows no jaw
    likely /= likely.sum(1, keepdims=True)
    regressor = draw.dirichlet(np.ones(6), 5)
    dense = np.zeros((5, count))
    for joint in range(5):
        dense[joint, draw.choice(count, 6, replace=False)] = regressor[joint]
    return {
        "v_template": template,
        "f": np.concatenate([lower, upper]).astype(np.uint32),
        "shapedirs": draw.normal(0, 1e-3, (count, 3, shape_count + expression_count)),
        "posedirs": draw.normal(0, 1e-3, (count, 3, 36)),
        "J_regressor": dense,
        "kintree_table": np.array([[ROOT_PARENT, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.uint32),
        "weights": draw.multinomial(64, likely) / 64,  # rows sum to 1 exactly, in float32 too
        "J": dense @ template,
    }


def flame_arrays_of(head: object) -> dict[str, np.ndarray]:
    """A head of this library as the arrays of a FLAME file: 300 identity and 100 expression columns."""
    arrays = {key: value.double().numpy() for key, value in head.state_dict().items()}  # type: ignore[attr-defined]
    wide = [
        np.pad(
            arrays[f"{name}_basis"][..., :count],
            ((0, 0), (0, 0), (0, max(0, count - arrays[f"{name}_basis"].shape[2]))),
        )
        for name, count in (("shape", 300), ("expression", 100))
    ]
    return {
        "v_template": arrays["template"],
        "f": arrays["faces"].astype(np.uint32),
        "shapedirs": np.concatenate(wide, axis=2),
        "posedirs": arrays["pose_basis"],
        "J_regressor": arrays["joint_regressor"],
        "kintree_table": np.array([[ROOT_PARENT, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.uint32),
        "weights": arrays["weights"],
        "J": arrays["joint_regressor"] @ arrays["template"],
    }


def write_flame_pickle(
    path: Path,
    arrays: dict[str, np.ndarray] | None = None,
    *,
    python2: bool = True,
    protocol: int = 2,
    extra: dict[str, object] | None = None,
) -> dict[str, np.ndarray]:
    """Writes a FLAME-schema pickle and returns its plain arrays.

    ``python2``: as the released files (scipy's old module, byte strings without encoding); otherwise as
    re-saved from Python 3. Keys set to None in ``arrays`` are left out.
    """
    arrays = flame_arrays() if arrays is None else arrays
    content: dict[str, object] = {key: value for key, value in arrays.items() if value is not None}
    with pretend_modules():
        for key in ("shapedirs", "posedirs"):
            if key in content:
                content[key] = _Chumpy(arrays[key])
        if "J_regressor" in content:
            sparse = csc_matrix(arrays["J_regressor"])
            content["J_regressor"] = _OldSparse(sparse) if python2 else sparse
        content |= {"bs_style": "lbs", "bs_type": "lrotmin"} | (extra or {})
        with path.open("wb") as file:
            pickler = _Python2Pickler(file, protocol) if python2 else pickle.Pickler(file, protocol)
            pickler.dump(content)
    return arrays


def write_landmark_files(folder: Path, face_count: int, *, seed: int = 0) -> dict[str, Path]:
    """The embedding files that the field passes around: mediapipe (105), static (51), DECA's with tensors."""
    import torch

    draw = np.random.default_rng(seed)

    def points(*shape: int) -> tuple[np.ndarray, np.ndarray]:
        return draw.integers(0, face_count, shape).astype(np.uint32), draw.dirichlet(np.ones(3), shape)

    mediapipe, static = points(105), points(51)
    paths = {
        "mediapipe": folder / "mediapipe_landmark_embedding.npz",
        "static": folder / "flame_static_embedding.pkl",
        "deca": folder / "landmark_embedding.npy",
    }
    indices = np.sort(draw.choice(468, 105, replace=False))
    np.savez(
        paths["mediapipe"], lmk_face_idx=mediapipe[0], lmk_b_coords=mediapipe[1], landmark_indices=indices
    )
    with paths["static"].open("wb") as file:
        _Python2Pickler(file, 2).dump({"lmk_face_idx": static[0], "lmk_b_coords": static[1]})
    inner, full, dynamic = points(51), points(1, 68), points(79, 17)
    deca = {
        "static_lmk_faces_idx": inner[0].astype(np.int64),
        "static_lmk_bary_coords": inner[1],
        "dynamic_lmk_faces_idx": torch.from_numpy(dynamic[0].astype(np.int64)),
        "dynamic_lmk_bary_coords": torch.from_numpy(dynamic[1].astype(np.float32)),
        "full_lmk_faces_idx": full[0].astype(np.int64),
        "full_lmk_bary_coords": full[1],
    }
    np.save(paths["deca"], np.array(deca, dtype=object), allow_pickle=True)
    return paths
