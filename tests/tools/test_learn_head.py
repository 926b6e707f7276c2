"""`learn-head`: what it refuses, and that what it writes is a head that fits."""

import numpy as np
import pytest
import torch

from headwarp.flame.builtin.load import load_builtin
from headwarp.flame.fitting import fit_landmarks
from headwarp.flame.io import load_head
from headwarp.flame.model import landmark_points, pose_vertices
from headwarp.geom.errors import HeadwarpError
from headwarp.tools import learn_head as command


def _person(head, seed, frames=14):
    """Landmarks (T, 478, 3) of a synthetic person in pixels, as the face mesh gives them (y down, z
    forward).
    """
    rng = np.random.default_rng(seed)
    normal = lambda *shape: torch.from_numpy(rng.normal(size=shape)).float()  # noqa: E731
    verts = pose_vertices(head, normal(87), 0.7 * normal(frames, 69), jaw=torch.tensor([[0.1, 0, 0]]))
    points = landmark_points(head, verts, "mediapipe") * torch.tensor([900.0, -900.0, -900.0]) + 128
    return points.numpy()


@pytest.fixture
def persons(monkeypatch):
    head = load_builtin()
    tracks = {f"p{k}.mp4": _person(head, k) for k in range(6)}

    def measured(path, frames):
        if path.name not in tracks:
            raise HeadwarpError(f"{path.name}: no face")
        return tracks[path.name]

    monkeypatch.setattr(command, "measured_landmarks", measured)
    return tracks


def test_written_head_fits_its_persons_better_with_fewer_coefficients(persons, tmp_path):
    out = tmp_path / "mine.npz"
    report = command.learn_head(persons, out, shape_count=6, expression_count=10)
    learned = load_head(str(out))
    assert report["ok"]
    assert report["persons"] == 6
    assert learned.model_id == report["model_id"]
    assert learned.shape_basis.shape[2] == 6
    assert learned.expression_basis.shape[2] == 10
    track = persons["p0.mp4"][..., :2]
    own = fit_landmarks(learned, track, (256, 256)).report["reprojection_percent_iod"]
    assert own < 1.5


def test_unusable_clips_are_reported_and_the_rest_goes_on(persons, tmp_path):
    report = command.learn_head(
        [*persons, "broken.mp4"], tmp_path / "h.npz", shape_count=4, expression_count=4
    )
    assert not report["ok"]
    assert list(report["failed"].values()) == ["broken.mp4: no face"]
    assert "not used: broken.mp4" in command.describe(report)


def test_too_few_clips_and_impossible_counts_write_nothing(persons, tmp_path):
    out = tmp_path / "h.npz"
    with pytest.raises(HeadwarpError, match=r"at least 3 usable clips.*got 2"):
        command.learn_head(["p0.mp4", "p1.mp4"], out)
    with pytest.raises(HeadwarpError, match="--shape-count: expected 1 to 12"):
        command.learn_head(persons, out, shape_count=13)
    with pytest.raises(HeadwarpError, match="--expression-count"):
        command.learn_head(persons, out, shape_count=4, expression_count=10_000)
    assert not out.exists()
