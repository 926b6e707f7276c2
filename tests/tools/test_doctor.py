"""``headwarp doctor``: honest about what works, what is missing and what was never tried."""

from __future__ import annotations

import importlib.util

import pytest

from headwarp.tools import doctor
from headwarp.tools.doctor import Check, Doctor, describe, run


def without(monkeypatch, module):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == module else find(name, *rest)
    )


def test_the_core_works_here():
    for check in (
        doctor.check_python,
        doctor.check_torch,
        doctor.check_core,
        doctor.check_rasterizer,
        doctor.check_media,
        doctor.check_builtin_head,
    ):
        outcome = check()
        assert outcome.state == "works", outcome


def test_report_and_table(monkeypatch):
    checks = {
        "a": lambda: Check("a", "works", "1.0"),
        "b": lambda: Check("b", "absent", "optional, not installed", "pip install b"),
        "c": lambda: Check("c", "untried", "no device"),
    }
    monkeypatch.setattr(doctor, "CHECKS", checks)
    report = run(Doctor())
    assert report["ok"] is True
    assert [check["state"] for check in report["checks"]] == ["works", "absent", "untried"]
    lines = describe(report).splitlines()
    assert lines[3].split("->")[1].strip() == "pip install b"
    assert lines[-1] == "nothing is broken"


def test_a_broken_part_fails_the_report(monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", {"a": lambda: Check("a", "broken", "gone", "pip install a")})
    report = run(Doctor())
    assert report["ok"] is False
    assert describe(report).endswith("broken: a")


def test_a_check_that_raises_is_an_outcome(monkeypatch):
    def raises():
        raise OSError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(doctor, "CHECKS", {"a": raises, "b": lambda: Check("b", "works", "")})
    report = run(Doctor())
    assert report["checks"][0]["detail"] == "OSError: libGL.so.1: cannot open shared object file"
    assert report["checks"][1]["state"] == "works"


def test_missing_core_package_is_broken(monkeypatch):
    without(monkeypatch, "skimage")
    outcome = doctor.check_core()
    assert (outcome.state, outcome.remedy) == ("broken", "pip install scikit-image")


@pytest.mark.parametrize(
    ("check", "module", "remedy"),
    [
        (doctor.check_mediapipe, "mediapipe", "pip install 'mediapipe==0.10.21'"),
        (doctor.check_face_alignment, "face_alignment", "pip install face-alignment"),
        (doctor.check_pytorch3d, "pytorch3d", doctor.PYTORCH3D_LINE),
    ],
)
def test_missing_extra_is_absent_with_its_pip_line(monkeypatch, check, module, remedy):
    without(monkeypatch, module)
    outcome = check()
    assert (outcome.state, outcome.remedy) == ("absent", remedy)


def test_installed_extra_that_does_not_import_is_broken(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(doctor, "_DETECT", "raise ImportError('libGL.so.1: cannot open shared object file')")
    outcome = doctor.check_mediapipe()
    assert outcome.state == "broken"
    assert outcome.detail == "ImportError: libGL.so.1: cannot open shared object file"
    assert outcome.remedy == "apt-get install libgl1 libegl1"


def test_crash_in_a_trial_is_told(monkeypatch):
    assert doctor._error_of("import os; os._exit(7)") == "exit code 7"
    monkeypatch.setattr(doctor, "_IMPORT_SECONDS", 0.2)
    assert doctor._error_of("import time; time.sleep(60)") == "no answer within 0.2 s"


def test_wrong_rasterizer_is_seen(monkeypatch):
    monkeypatch.setattr(doctor, "_draws_like_the_reference", lambda backend, device: False)
    assert doctor.check_rasterizer().state == "broken"


def test_named_head(monkeypatch, tmp_path):
    monkeypatch.delenv("HEADWARP_HEAD", raising=False)
    assert doctor.check_named_head().state == "absent"
    monkeypatch.setenv("HEADWARP_HEAD", str(tmp_path / "generic_model.pkl"))
    outcome = doctor.check_named_head()
    assert outcome.state == "broken"
    assert "generic_model.pkl" in outcome.detail
    monkeypatch.setenv("HEADWARP_HEAD", "builtin")
    assert doctor.check_named_head().state == "works"


def test_no_device_is_said(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    outcome = doctor.check_device()
    assert (outcome.state, outcome.detail) == ("untried", "no CUDA device")


def test_mediapipe_detects_where_it_is_installed():
    if importlib.util.find_spec("mediapipe") is None:
        pytest.skip("mediapipe is not installed: pip install 'mediapipe==0.10.21'")
    assert doctor.check_mediapipe().state == "works"


def test_folders_of_weights(monkeypatch, tmp_path):
    monkeypatch.delenv("HEADWARP_WEIGHTS", raising=False)
    assert doctor.check_weights().state == "absent"
    monkeypatch.setenv("HEADWARP_WEIGHTS", str(tmp_path))
    assert doctor.check_weights().detail.startswith("found none of")
    (tmp_path / "vgg19-dcbb9e9d.pth").write_bytes(b"")
    outcome = doctor.check_weights()
    assert outcome.state == "works"
    assert outcome.detail.startswith("found vgg19 of")
    monkeypatch.setenv("HEADWARP_WEIGHTS", f"{tmp_path}:{tmp_path / 'gone'}")
    outcome = doctor.check_weights()
    assert outcome.state == "broken"
    assert outcome.detail == f"no such folder: {tmp_path / 'gone'}"
