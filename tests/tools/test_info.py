"""``headwarp info``: every kind of file is named, nothing inside is run, damage is a sentence."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from flame_schema import write_flame_pickle
from toy_head import toy_head

from headwarp.flame.io import save_head_npz
from headwarp.flame.params import DETECTED, INTERPOLATED, MISSING, HeadFit, HeadParams
from headwarp.geom.cameras import WeakPerspective
from headwarp.geom.errors import HeadwarpError
from headwarp.tools.info import Info, describe, run
from headwarp.training.data.media import write_image
from headwarp.training.data.provenance import Provenance


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def info(path: Path) -> dict:
    return run(Info(file=path))


def test_fit(tmp_path):
    frames, landmarks = 4, 3
    fit = HeadFit(
        params=HeadParams.neutral(6, 5, frames),
        camera=WeakPerspective(torch.ones(frames), torch.zeros(frames, 2)),
        size=(120, 160),
        model_id="toy-0123456789ab",
        landmark_indices=torch.arange(landmarks),
        landmarks=torch.zeros(frames, landmarks, 2),
        residual=torch.zeros(frames, landmarks, 2),
        status=torch.tensor([DETECTED, DETECTED, INTERPOLATED, MISSING], dtype=torch.int8),
        confidence=torch.ones(frames),
        covariance=torch.zeros(frames, 6, 6),
        report={"reprojection_percent_iod": 3.5},
    )
    report = info(fit.save(tmp_path / "f.npz"))
    counts = {key: report[key] for key in ("frames", "detected", "interpolated", "missing", "landmarks")}
    assert counts == {"frames": 4, "detected": 2, "interpolated": 1, "missing": 1, "landmarks": 3}
    assert (report["kind"], report["size"], report["model_id"]) == ("fit", "160 x 120", "toy-0123456789ab")
    assert report["report"] == {"reprojection_percent_iod": 3.5}
    assert report["arrays"]["expression"] == "float32 (4, 5)"
    assert "  detected: 2\n" in describe(report)


def test_own_head(tmp_path):
    head = toy_head()
    report = info(save_head_npz(head, tmp_path / "h.npz"))
    assert (report["kind"], report["name"], report["model_id"]) == ("head", "toy", head.model_id)
    assert (report["vertices"], report["shape_count"], report["expression_count"]) == (156, 6, 5)
    assert report["landmarks"]["mediapipe"] > 0


def test_flame_pickle(tmp_path):
    path = tmp_path / "generic_model.pkl"
    write_flame_pickle(path)
    report = info(path)
    assert report["kind"] == "head"
    assert report["joints"] == "root, neck, jaw, left_eye, right_eye"


def test_nothing_in_a_pickle_is_run(tmp_path):
    proof, trap = tmp_path / "proof", tmp_path / "trap.pkl"
    trap.write_bytes(pickle.dumps({"v_template": Touch(proof)}))
    with pytest.raises(HeadwarpError, match=r"trap\.pkl"):
        info(trap)
    assert not proof.exists()
    pickle.loads(trap.read_bytes())
    assert proof.exists(), "the trap itself must work"


def test_object_arrays_are_named_not_read(tmp_path):
    proof = tmp_path / "proof"
    np.savez(tmp_path / "o.npz", trap=np.array([Touch(proof)], dtype=object), x=np.zeros((2, 3)))
    report = info(tmp_path / "o.npz")
    assert report["arrays"] == {"trap": "Python objects (not read) (1,)", "x": "float64 (2, 3)"}
    assert not proof.exists()


def test_arrays(tmp_path):
    np.save(tmp_path / "landmarks.npy", np.zeros((7, 478, 3), np.float32))
    report = info(tmp_path / "landmarks.npy")
    assert report["kind"] == "arrays"
    assert describe(report).endswith("  arrays:\n    landmarks: float32 (7, 478, 3)")


def test_photo_with_its_provenance(tmp_path):
    target = tmp_path / "p.png"
    write_image(target, np.zeros((20, 30, 3), np.uint8), provenance=Provenance.now("geometry"))
    report = info(target)
    assert (report["kind"], report["size"], report["provenance"]["animator"]) == (
        "photo",
        "30 x 20",
        "geometry",
    )
    assert "    animator: geometry" in describe(report)


def test_folder_of_pictures_is_a_clip(tmp_path):
    for number in range(3):
        write_image(tmp_path / f"{number}.png", np.zeros((8, 8, 3), np.uint8))
    report = info(tmp_path)
    assert (report["kind"], report["frames"]) == ("video", 3)


def test_private_clip(test_data):
    report = info(test_data / "dev" / "clips" / "c01_studio_headturns.mp4")
    assert (report["kind"], report["frames"], report["fps"]) == ("video", 400, 25.0)


@pytest.mark.parametrize("name", ["README.md", "x.npz", "x.npy", "x.pkl", "x.png", "x.mp4", "x"])
@pytest.mark.parametrize(
    "content", [b"", b"hello world", b"PK\x03\x04 no archive", b"\x93NUMPY\x01", b"\x80\x04"]
)
def test_anything_else_is_one_sentence(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(HeadwarpError) as caught:
        info(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_archive(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(1000))
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(HeadwarpError, match=r"a\.npz: not a sound \.npz file"):
        info(tmp_path / "a.npz")


def test_archive_of_something_else(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "z.npz", "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    with pytest.raises(HeadwarpError, match="expected arrays of numpy"):
        info(tmp_path / "z.npz")


def test_missing_file_says_where_it_was_sought(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HeadwarpError, match=f"no.npz: no such file; sought in {tmp_path}"):
        info(Path("no.npz"))
