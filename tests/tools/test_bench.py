"""``headwarp bench``: the arithmetic of times, the cases, the report; never how fast this machine is."""

from __future__ import annotations

import json

import pytest
import torch

from headwarp.geom.errors import HeadwarpError
from headwarp.tools.bench import Bench, describe, run, suites
from headwarp.tools.bench.suites import SUITES, Case, cases_of, sphere
from headwarp.tools.bench.timing import Timing, measure, probe_machine, summarise, versions


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def small(monkeypatch):
    cases = [
        Case("toy/a", 8, 1, lambda: None, ("b", lambda: sum(range(1000)))),
        Case("toy/c", 8, 2, lambda: None),
    ]
    monkeypatch.setattr(suites, "SUITES", {"toy": lambda: cases})


def test_measure_counts_only_the_timed_calls():
    clock = Clock()
    timing = measure(lambda: clock.wait(0.25), warmup=3, seconds=2.0, clock=clock)
    assert timing == Timing(median_ms=250.0, p10_ms=250.0, p90_ms=250.0, runs=8)


def test_measure_calls_five_times_however_slow():
    clock = Clock()
    assert measure(lambda: clock.wait(10.0), warmup=0, seconds=1.0, clock=clock).runs == 5


def test_median_and_deciles_of_a_skewed_sample():
    assert summarise([1.0] * 9 + [100.0, 100.0]) == Timing(1.0, 1.0, 100.0, 11)


def test_garbage_collection_is_switched_on_again():
    import gc

    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 / 0, warmup=0)
    assert gc.isenabled()


def test_probes_are_positive():
    assert all(value > 0 for value in probe_machine(seconds=0.01).values())


def test_versions_name_what_times_depend_on():
    assert {"python", "torch", "numba", "numpy"} <= set(versions())


def test_sphere_is_closed_round_and_covers_most_of_the_frame():
    verts, faces = sphere(500, 64)
    assert verts.shape == (1, 500, 3)
    assert faces.shape == (996, 3)
    torch.testing.assert_close((verts[0] - 32).norm(dim=1), torch.full((500,), 0.874 * 32))
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(edges.unique(dim=0)) == len(edges)  # every half-edge once ...
    assert torch.equal(
        edges.unique(dim=0), edges.flip(1).unique(dim=0)
    )  # ... and its opposite: closed, oriented
    corners = (verts[0] - 32)[faces]
    assert (torch.linalg.det(corners) > 0).all()  # counter-clockwise seen from outside


@pytest.mark.parametrize("suite", sorted(set(SUITES) - {"clips", "device", "swap", "view"}))
def test_every_case_is_named_after_its_suite(suite):
    cases = cases_of(suite)
    assert cases
    assert all(case.name.startswith(f"{suite}/") for case in cases)
    assert len({(case.name, case.size, case.batch) for case in cases}) == len(cases)


def test_the_device_suite_needs_a_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HeadwarpError, match="expected a CUDA device, torch sees none"):
        cases_of("device")


def test_the_view_suite_needs_a_browser(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(HeadwarpError, match=r"not installed: .*chromium"):
        cases_of("view")


def test_rasterizer_cases_run_and_agree_with_their_rival():
    from headwarp.geom.rasterizer import rasterize

    verts, faces = sphere(200, 32)
    fast, slow = (rasterize(verts, faces, (32, 32), backend=name) for name in ("auto", "reference"))
    assert torch.equal(fast.face, slow.face)
    for case in suites._rasterizer_at(16):
        case.function()


def test_public_is_all_suites(small):
    assert [case.name for case in cases_of("public")] == ["toy/a", "toy/c"]


def test_report_has_the_stable_keys(small):
    report = run(Bench(seconds=0.01, threads=1))
    entry = report["results"][0]
    assert {"name", "size", "batch", "threads", "median_ms", "p10_ms", "p90_ms"} <= set(entry)
    assert entry["times_faster"] == entry["rival_median_ms"] / entry["median_ms"]
    assert "rival" not in report["results"][1]
    assert {"results", "versions", "probes"} <= set(report)
    json.dumps(report, allow_nan=False)
    table = describe(report)
    assert "x faster than b" in table
    assert "GMAC/s" in table


def test_threads_are_given_back(small):
    before = torch.get_num_threads()
    assert run(Bench(seconds=0.01, threads=2))["results"][0]["threads"] == 2
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (Bench(suite="fats"), "--suite: expected public, .*; got 'fats'"),
        (Bench(seconds=0.0), "--seconds: expected more than 0"),
        (Bench(seconds=float("nan")), "--seconds"),
        (Bench(threads=0), "--threads: expected at least 1"),
    ],
)
def test_nonsense_is_refused(config, text):
    with pytest.raises(HeadwarpError, match=text):
        run(config)


def test_networks_are_made_one_at_a_time_and_only_when_they_run(monkeypatch):
    """With networks of a few channels; nothing is compiled."""
    import dataclasses

    from headwarp.geom.nets import vgg
    from headwarp.tools.bench import networks
    from headwarp.warping import inference, progressive

    made = []

    def narrow(kind="displacement"):
        return dataclasses.replace(progressive.paper(kind), width=2, max_channels=8, min_channels=4)

    def counted(config):
        made.append(config)
        torch.manual_seed(0)
        return progressive.ProgressiveWarping(config).eval()

    monkeypatch.setattr(progressive, "official", narrow)
    monkeypatch.setattr(progressive, "tiny", narrow)
    monkeypatch.setattr(networks, "_network", counted)
    monkeypatch.setattr(networks, "_SIZE", 64)
    monkeypatch.setattr(inference.torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(vgg.Vgg19, "taps", lambda self, image, names: (image,))
    cases = {case.name: case for case in networks.network_cases()}
    assert not made
    tiny, frame = cases["networks/pwm_tiny"], cases["networks/pwm_official"]
    for case in (tiny, tiny, frame, frame, tiny):
        case.function()
    assert len(made) == 3
    assert frame.function().image.shape == (1, 3, 64, 64)
    compiled = cases["networks/pwm_official_compiled"]
    expected = compiled.rival[1]()
    torch.testing.assert_close(compiled.function().image, expected.image, rtol=0, atol=1e-5)
    assert float(cases["networks/pwm_official_step"].function()) > 0


def test_keypoint_networks_are_timed_from_picture_to_picture(monkeypatch):
    """With networks of a few channels; nothing is compiled."""
    from headwarp.tools.bench import keypoint_networks
    from headwarp.warping import inference, keypoint_network

    fomm, tiny = keypoint_network.fomm, keypoint_network.tiny
    monkeypatch.setattr(keypoint_network, "fomm", lambda: tiny(fomm()))
    monkeypatch.setattr(keypoint_networks, "_SIZE", 64)
    monkeypatch.setattr(inference.torch, "compile", lambda function, **_: function)
    cases = {case.name: case for case in keypoint_networks.keypoint_network_cases()}
    assert {"keypoints/fomm", "keypoints/fomm_compiled", "keypoints/dagan"} <= set(cases)
    frame = cases["keypoints/fomm"]
    made, expected = frame.function(), frame.rival[1]()
    assert made.image.shape == (1, 3, 64, 64)
    torch.testing.assert_close(made.image, expected.image, rtol=0, atol=1e-4)
    compiled = cases["keypoints/fomm_compiled"]
    torch.testing.assert_close(compiled.function().image, expected.image, rtol=0, atol=1e-4)


def test_a_network_of_landmarks_is_timed_from_numbers_to_picture(monkeypatch):
    from headwarp.tools.bench import keypoint_networks, landmark_networks
    from headwarp.warping import sparse2dense

    small = sparse2dense.tiny(sparse2dense.paper())
    monkeypatch.setattr(sparse2dense, "paper", lambda: small)
    monkeypatch.setattr(landmark_networks, "_SIZE", 64)
    (case,) = [c for c in keypoint_networks.keypoint_network_cases() if c.name == "keypoints/sparse2dense"]
    made, expected = case.function(), case.rival[1]()
    assert made.image.shape == (1, 3, 64, 64)
    torch.testing.assert_close(made.image, expected.image, rtol=0, atol=1e-4)
