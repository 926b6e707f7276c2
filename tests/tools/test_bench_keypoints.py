"""The figure of keypoints that spread or not: made of a toy clip."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from toy_frames import moving_frames

from headwarp.tools.bench.keypoint_figure import Row, curves
from headwarp.tools.bench.keypoints import SpreadConfig, run, summary
from headwarp.training.data.media import write_image


def test_every_variant_is_trained_alike_and_drawn(tmp_path):
    frames = moving_frames(10, size=(64, 64))
    write_image(tmp_path / "clip.png", np.concatenate(frames, axis=1), provenance=None)
    out = tmp_path / "out"
    config = SpreadConfig(
        (tmp_path / "clip.png",),
        out,
        steps=2,
        every=1,
        batch=2,
        held_out=2,
        variants=("live", "none", "published"),
    )
    report = run(config)
    rows = list(csv.DictReader((out / "keypoints.csv").open()))
    assert [(row["variant"], row["step"]) for row in rows] == [
        (variant, str(step)) for variant in ("live", "none", "published") for step in range(3)
    ]
    by_variant = {name: [r for r in rows if r["variant"] == name] for name in config.variants}
    numbers = {name: [float(r["pairwise"]) for r in own] for name, own in by_variant.items()}
    assert numbers["live"][0] == numbers["none"][0]  # the same weights
    assert numbers["live"] != numbers["none"]
    assert numbers["published"] == numbers["none"]  # it has no gradient
    assert json.loads((out / "report.json").read_text())["results"] == report["results"]
    assert Image.open(out / "curves.png").width == 960
    assert Image.open(out / "keypoints.png").size[0] == 3 * 128


def test_the_summary_says_how_far_it_fell():
    rows = [Row("live", 0, 0.2, 0.5, 0.1), Row("live", 5, 0.1, 0.3, 0.1), Row("live", 9, 0.04, 0.4, 0.2)]
    found = summary(rows)["live"]
    assert found["fell"] == pytest.approx(5)
    assert (found["pairwise_end"], found["pairwise_least"]) == (0.4, 0.3)
    assert curves(rows, title="t").shape[1] == 960
