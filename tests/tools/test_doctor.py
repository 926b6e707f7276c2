"""``headwarp doctor``: honest about what works, what is missing and what was never tried."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from headwarp.tools import _remedies, doctor
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


def test_kernels_that_compile_anew_in_every_process_are_told(monkeypatch):
    import numba

    from headwarp.geom import _kernels

    assert doctor.check_rasterizer().remedy == ""
    monkeypatch.setattr(
        _kernels, "band_rows", numba.njit(lambda job: job)
    )  # as where no folder can be written
    outcome = doctor.check_rasterizer()
    assert (outcome.state, outcome.remedy) == (
        "works",
        "export NUMBA_CACHE_DIR=/path/to/a/writable/folder",
    )
    assert "every command compiles it anew" in outcome.detail


def test_what_most_commands_need_is_told_at_the_end(monkeypatch):
    for state, end in (("absent", "take no picture"), ("works", "nothing is broken")):
        monkeypatch.setattr(doctor, "CHECKS", {"mediapipe": lambda s=state: Check("mediapipe", s, "")})
        assert describe(run(Doctor())).endswith(end)


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
        (doctor.check_mediapipe, "mediapipe", doctor._mediapipe_line(sys.version_info[:2])),
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


@pytest.mark.parametrize(
    ("built_for", "found", "told", "mends"),
    [
        (None, ("an NVIDIA device", False), "without its driver", "apt-get install nvidia-driver"),
        ("13.0", ("an NVIDIA device", False), "without its driver", "apt-get install nvidia-driver"),
        (None, ("an NVIDIA device with driver 550.1", True), "a build for CPUs", "pip install torch"),
        (
            "13.0",
            ("an NVIDIA device with driver 470.2", True),
            "driver 470.2 does not serve",
            "--only-upgrade",
        ),
    ],
)
def test_a_device_that_torch_does_not_use(monkeypatch, built_for, found, told, mends):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", built_for)
    monkeypatch.setattr(doctor, "graphics", lambda: found)
    outcome = doctor.check_device()
    assert outcome.state == "absent"  # all works without
    assert told in outcome.detail
    assert mends in outcome.remedy


def test_graphics_are_read_from_the_system(tmp_path):
    assert _remedies.graphics(tmp_path) is None
    for name, vendor, kind in (("0", "0x8086", "0x030000"), ("1", "0x10de", "0x040300")):
        place = tmp_path / "sys/bus/pci/devices" / name
        place.mkdir(parents=True)
        (place / "vendor").write_text(f"{vendor}\n")
        (place / "class").write_text(f"{kind}\n")
    assert _remedies.graphics(tmp_path) is None  # another maker's screen, and the sound of an NVIDIA card
    (tmp_path / "sys/bus/pci/devices/1/class").write_text("0x030200\n")
    assert _remedies.graphics(tmp_path) == ("an NVIDIA device", False)
    version = tmp_path / "proc/driver/nvidia/version"
    version.parent.mkdir(parents=True)
    version.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n")
    assert _remedies.graphics(tmp_path) == ("an NVIDIA device with driver 535.183.01", True)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("ImportError: libGL.so.1: cannot open shared object file", "apt-get install libgl1 libegl1"),
        ("ImportError: libEGL.so.1: cannot open shared object file", "apt-get install libgl1 libegl1"),
        ("ImportError: libGLESv2.so.2: cannot open shared object file", "apt-get install libgles2"),
        ("libgthread-2.0.so.0: cannot open shared object file: No such", "apt-get install libglib2.0-0"),
        ("OSError: libgomp.so.1: cannot open shared object file", "apt-get install libgomp1"),
        ("OSError: libwhat.so.7: cannot open shared object file", "apt-file search libwhat.so"),
        ("AttributeError: _ARRAY_API not found, compiled using NumPy 1.x", "pip install 'numpy<2'"),
        ("ImportError: Numba needs NumPy 2.3 or less. Got NumPy 2.9.", "else"),
        ("ModuleNotFoundError: No module named 'av'", "else"),
    ],
)
def test_what_mends_an_import(error, remedy):
    assert remedy in _remedies.system_remedy(error, "else")


def test_a_library_that_face_alignment_misses(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(
        doctor, "_error_of", lambda code: "libgthread-2.0.so.0: cannot open shared object file"
    )
    assert doctor.check_face_alignment().remedy == "apt-get install libglib2.0-0"


@pytest.mark.parametrize(
    ("codec", "mode", "told"), [("libx264", "w", "without libx264"), ("libdav1d", "r", "libdav1d (to read)")]
)
def test_codecs_that_are_not_there(monkeypatch, codec, mode, told):
    has = doctor._has_codec
    monkeypatch.setattr(
        doctor, "_has_codec", lambda name, way: (name, way) != (codec, mode) and has(name, way)
    )
    outcome = doctor.check_media()
    assert (outcome.state, outcome.remedy) == ("broken", doctor.AGAIN)
    assert outcome.detail.endswith(told)


def test_codecs_are_asked_for_by_what_they_do():
    assert doctor._has_codec("aac", "w")
    assert not doctor._has_codec("libdav1d", "w")  # it reads alone
    assert not doctor._has_codec("nonsense", "r")


def test_mediapipe_has_wheels_for_some_pythons():
    assert doctor._mediapipe_line((3, 12)) == doctor.MEDIAPIPE
    assert "no wheel for Python 3.13" in doctor._mediapipe_line((3, 13))


def test_extras_are_those_of_the_package(monkeypatch):
    lines = ['ray>=2.30; extra == "cluster"', 'lightning>=2.4; extra == "train"', "numpy>=1.26"]
    lines += ['av>=12; extra == "train"', 'ruff; extra == "dev"', 'mediapipe==0.10.21; extra == "mediapipe"']
    monkeypatch.setattr(doctor, "own_requirements", lambda: lines)
    there = {"ray", "av"}
    monkeypatch.setattr(_remedies, "is_installed", lambda name: name in there)
    outcome = doctor.check_extras()
    assert (outcome.state, outcome.remedy) == ("absent", "pip install 'headwarp[train]'")
    assert outcome.detail == "cluster installed; train without lightning"
    there.add("lightning")
    assert doctor.check_extras().detail == "cluster, train: all of them"
    monkeypatch.setattr(doctor, "own_requirements", lambda: None)
    assert doctor.check_extras().state == "untried"


def test_distributions_are_found_by_their_metadata():
    assert _remedies.is_installed("numpy")
    assert not _remedies.is_installed("headwarp-of-another-name")


def test_without_torch_one_line_says_so(tmp_path):
    """In a process of its own, in which torch cannot be imported."""
    folder = Path(doctor.__file__).resolve().parents[2]
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "class Without:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'torch': raise ModuleNotFoundError('No module named torch', name='torch')\n"
        "sys.meta_path.insert(0, Without())\n"
        "import headwarp; headwarp.__all__\n"
        "from headwarp.tools import cli, doctor\n"
        "doctor.CHECKS = {name: doctor.CHECKS[name] for name in ('torch', 'device', 'built-in head')}\n"
        "assert cli.main(['--version']) == cli.main(['--help']) == 0\n"
        "sys.exit(cli.main(['doctor']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    lines = [line.split() for line in done.stdout.splitlines()[-6:]]
    assert done.returncode == 1, done.stderr
    assert ["->", "pip", "install", "torch"] in lines
    assert ["untried", "device", "needs", "torch"] in lines
    assert lines[-1] == ["broken:", "torch"]


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
