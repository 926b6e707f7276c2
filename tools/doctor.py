"""``headwarp doctor``: what works on this machine, tried rather than guessed, and how to mend the rest."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .. import __version__
from ..geom.errors import HeadwarpError
from ._remedies import graphics, missing_of_extras, own_requirements, system_remedy

CORE = {
    "numpy": "numpy",
    "scipy": "scipy",
    "kornia": "kornia",
    "trimesh": "trimesh",
    "skimage": "scikit-image",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "tyro": "tyro",
    "tqdm": "tqdm",
    "threadpoolctl": "threadpoolctl",
    "jaxtyping": "jaxtyping",
}
"""Import name -> distribution name of the plain core dependencies."""

PYTORCH3D_LINE = "pip install --no-build-isolation git+https://github.com/facebookresearch/pytorch3d.git"
_DETECT = (
    "import mediapipe, numpy; from headwarp.flame.detect import detect_faces;"
    "detect_faces(numpy.zeros((64, 64, 3), numpy.uint8))"
)
_IMPORT_SECONDS = 120
MEDIAPIPE = "pip install 'mediapipe==0.10.21'"
MEDIAPIPE_PYTHONS = ((3, 9), (3, 12))
ENCODERS, DECODERS = ("libx264", "aac"), ("h264", "hevc", "vp9", "libdav1d")
AGAIN = "pip install --force-reinstall --only-binary av av"


@dataclass(frozen=True)
class Doctor:
    """Show what works on this machine and the command that mends what does not."""


@dataclass(frozen=True)
class Check:
    """The outcome of one trial.

    Attributes:
        name: what was tried.
        state: ``works``; ``absent`` (optional and not installed); ``untried`` (cannot be tried here);
            or ``broken`` (needed, or installed, and does not work).
        detail: versions and what was seen.
        remedy: a command or setting that mends it; empty where nothing needs mending.
    """

    name: str
    state: Literal["works", "absent", "untried", "broken"]
    detail: str
    remedy: str = ""


def run(config: Doctor) -> dict[str, Any]:
    """Try everything; ``ok`` is False if something needed or installed does not work.

    Example:
        >>> report = run(Doctor())
        >>> report["checks"][0]["name"]
        'python'
    """
    checks = [_tried(name, check) for name, check in CHECKS.items()]
    return {
        "ok": all(check.state != "broken" for check in checks),
        "headwarp_version": __version__,
        "checks": [asdict(check) for check in checks],
    }


def describe(report: Mapping[str, Any]) -> str:
    """The report as a table; every remedy stands below its line."""
    checks = [Check(**check) for check in report["checks"]]
    width = max(len(check.name) for check in checks)
    lines = [f"headwarp {report['headwarp_version']}"]
    for check in checks:
        lines.append(f"  {check.state:<8} {check.name:<{width}}  {check.detail}")
        if check.remedy:
            lines.append(f"  {'':<8} {'':<{width}}  -> {check.remedy}")
    broken = [check.name for check in checks if check.state == "broken"]
    lines.append(f"broken: {', '.join(broken)}" if broken else "nothing is broken")
    if not broken and any(check.name == "mediapipe" and check.state == "absent" for check in checks):
        lines[-1] += ", but without mediapipe edit, animate and swap take no picture"
    return "\n".join(lines)


def _tried(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except ModuleNotFoundError as error:
        if error.name == "torch":  # said once, by its own check
            return Check(name, "untried", "needs torch")
        return Check(name, "broken", _last_line(str(error)), f"pip install {error.name}")
    except Exception as error:  # noqa: BLE001 (a check must not stop the others; its error is its outcome)
        return Check(name, "broken", f"{type(error).__name__}: {_last_line(str(error))}")


def check_python() -> Check:
    """The interpreter, the machine and its processor cores."""
    detail = (
        f"{platform.python_version()} on {platform.system()} {platform.machine()}, {usable_cores()} cores"
    )
    return Check("python", "works", detail)


def check_torch() -> Check:
    """torch and the threads that it uses."""
    try:
        import torch
    except ImportError as error:
        said = _last_line(str(error))
        return Check("torch", "broken", said, system_remedy(said, "pip install torch"))
    threads = (
        f"{torch.get_num_threads()} threads (OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')})"
    )
    return Check("torch", "works", f"{torch.__version__}, {threads}")


def check_device() -> Check:
    """CUDA: the device's rasteriser against the reference, where there is a device that torch can use."""
    import torch

    if not torch.cuda.is_available():
        return _unused_device(torch.version.cuda, graphics())
    name = torch.cuda.get_device_name()
    if not _draws_like_the_reference("torch", "cuda"):
        return Check(
            "device", "broken", f"{name}: its rasteriser differs from the reference", "use --device cpu"
        )
    return Check("device", "works", f"{name}: its rasteriser agrees with the reference")


def _unused_device(built_for: str | None, found: tuple[str, bool] | None) -> Check:
    """Why torch sees no CUDA device; all of headwarp works without one."""
    if found is None:
        return Check("device", "untried", "no CUDA device")
    device, has_driver = found
    if not has_driver:
        return Check("device", "absent", f"{device} without its driver", "apt-get install nvidia-driver")
    if built_for is None:
        remedy = "pip uninstall --yes torch; pip install torch (on Linux the index's own build has CUDA)"
        return Check("device", "absent", f"{device}, but this torch is a build for CPUs", remedy)
    remedy = "apt-get install --only-upgrade nvidia-driver, or a torch that was built for an older CUDA"
    return Check("device", "absent", f"{device} does not serve torch's CUDA {built_for}", remedy)


def check_core() -> Check:
    """The plain dependencies of the package."""
    missing = [package for module, package in CORE.items() if importlib.util.find_spec(module) is None]
    if missing:
        return Check(
            "core packages", "broken", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}"
        )
    return Check("core packages", "works", ", ".join(f"{name} {_version(name)}" for name in CORE.values()))


def check_rasterizer() -> Check:
    """numba, and a triangle drawn by it."""
    try:
        import numba
    except ImportError as error:  # a numba older than the numpy beside it says so here
        return Check("rasterizer", "broken", _last_line(str(error)), "pip install --upgrade numba")
    if not _draws_like_the_reference("numba", "cpu"):
        return Check(
            "rasterizer", "broken", "numba draws another picture than the reference", "report this as a bug"
        )
    detail = f"numba {numba.__version__} agrees with the reference"
    if _kernel_folder() is None:
        detail += "; no folder for its compiled code can be written, so that every command compiles it anew"
        return Check("rasterizer", "works", detail, "export NUMBA_CACHE_DIR=/path/to/a/writable/folder")
    return Check("rasterizer", "works", detail)


def _kernel_folder() -> str | None:
    """Where compiled kernels are kept; None where nowhere."""
    from ..geom._kernels import band_rows

    path: str | None = band_rows.stats.cache_path
    return path


def check_media() -> Check:
    """PyAV, the encoders that clips are written with, and the decoders of the usual clips."""
    try:
        import av
    except ImportError as error:
        said = _last_line(str(error))
        return Check("video files", "broken", said, system_remedy(said, "pip install --force-reinstall av"))
    unwritten = [codec for codec in ENCODERS if not _has_codec(codec, "w")]
    unread = [codec for codec in DECODERS if not _has_codec(codec, "r")]
    if unwritten or unread:
        lacking = [*unwritten, *(f"{codec} (to read)" for codec in unread)]
        detail = f"PyAV {av.__version__} was built without {', '.join(lacking)}"
        return Check("video files", "broken", detail, AGAIN)
    detail = f"PyAV {av.__version__} writes {' and '.join(ENCODERS)}, reads {', '.join(DECODERS)}"
    return Check("video files", "works", detail)


def _has_codec(name: str, mode: Literal["r", "w"]) -> bool:
    import av

    try:
        av.Codec(name, mode)
    except (av.FFmpegError, ValueError):  # its error of an unknown codec is a ValueError
        return False
    return True


def check_builtin_head() -> Check:
    """The head that ships with the package."""
    from ..flame.io import load_head

    return Check("built-in head", "works", load_head("builtin").model_id)


def check_named_head() -> Check:
    """The head named by HEADWARP_HEAD, if any."""
    named = os.environ.get("HEADWARP_HEAD")
    if not named:
        remedy = "export HEADWARP_HEAD=/path/to/generic_model.pkl (README: where to get FLAME)"
        return Check("HEADWARP_HEAD", "absent", "not set: the built-in head is used", remedy)
    from ..flame.io import load_head

    try:
        return Check("HEADWARP_HEAD", "works", f"{named}: {load_head(named).model_id}")
    except HeadwarpError as error:
        return Check("HEADWARP_HEAD", "broken", str(error), "correct or unset HEADWARP_HEAD")


def check_weights() -> Check:
    """Files of pretrained networks in the folders of HEADWARP_WEIGHTS; they are not read."""
    from ..geom.nets.weights import KNOWN, VARIABLE, find_weights, places

    folders, remedy = places(), "headwarp weights list"
    if not folders:
        return Check(VARIABLE, "absent", "not set: losses and metrics take files by their options", remedy)
    gone = [str(folder) for folder in folders if not folder.is_dir()]
    if gone:
        return Check(VARIABLE, "broken", f"no such folder: {', '.join(gone)}", f"correct or unset {VARIABLE}")
    found = [known.name for known in KNOWN if find_weights(known) is not None]
    detail = f"found {', '.join(found) or 'none'} of {len(KNOWN)} known files"
    return Check(VARIABLE, "works" if found else "absent", detail, "" if found else remedy)


def check_mediapipe() -> Check:
    """The default landmark detector, run on an empty picture in a process of its own."""
    if importlib.util.find_spec("mediapipe") is None:
        detail = "not installed: no faces are found, no persons masked; landmarks from files can be fitted"
        return Check("mediapipe", "absent", detail, _mediapipe_line(sys.version_info[:2]))
    error = _error_of(_DETECT)
    if error is None:
        return Check("mediapipe", "works", f"{_version('mediapipe')} detects")
    again = MEDIAPIPE.replace("install", "install --force-reinstall")  # its models lie in this wheel alone
    return Check("mediapipe", "broken", error, system_remedy(error, again))


def _mediapipe_line(python: tuple[int, int]) -> str:
    first, last = MEDIAPIPE_PYTHONS
    if first <= python <= last:
        return MEDIAPIPE
    return (
        f"it has no wheel for Python {python[0]}.{python[1]}: use Python 3.10 to {last[0]}.{last[1]}, or "
        "pip install face-alignment and --landmarks face-alignment"
    )


def check_face_alignment() -> Check:
    """The other landmark detector."""
    return _optional(
        "face-alignment", "face_alignment", "import face_alignment", "pip install face-alignment"
    )


def check_pytorch3d() -> Check:
    """The optional rasteriser backend."""
    return _optional("pytorch3d", "pytorch3d", "from pytorch3d import _C", PYTORCH3D_LINE)


def check_extras() -> Check:
    """The other optional extras, by what the package's metadata says of them."""
    requirements = own_requirements()
    if requirements is None:
        return Check("extras", "untried", "headwarp is not installed", "pip install . (in its folder)")
    missing = missing_of_extras(requirements)
    absent = {extra: names for extra, names in missing.items() if names}
    there = ", ".join(extra for extra in missing if extra not in absent)
    if not absent:
        return Check("extras", "works", f"{there}: all of them" if there else "none to check")
    lacking = "; ".join(f"{extra} without {', '.join(names)}" for extra, names in absent.items())
    detail = f"{there} installed; {lacking}" if there else lacking
    return Check("extras", "absent", detail, f"pip install 'headwarp[{','.join(absent)}]'")


def _optional(package: str, module: str, trial: str, remedy: str) -> Check:
    if importlib.util.find_spec(module) is None:
        return Check(package, "absent", "optional, not installed", remedy)
    error = _error_of(trial)
    if error is None:
        return Check(package, "works", _version(package))
    return Check(package, "broken", error, system_remedy(error, remedy))


def _draws_like_the_reference(backend: str, device: str) -> bool:
    """Whether a backend draws two overlapping triangles as the plain-torch reference does."""
    import torch

    from ..geom.rasterizer import rasterize

    corners = [
        [1.0, 1.0, 3.0],
        [1.5, 14.0, 3.0],
        [13.0, 2.0, 9.0],
        [2.0, 15.0, 1.0],
        [15.0, 15.0, 6.0],
        [9.0, 0.5, 5.0],
    ]
    verts, faces = torch.tensor([corners]), torch.tensor([[0, 1, 2], [3, 4, 5]])
    expected = rasterize(verts, faces, (16, 16), backend="reference")
    drawn = rasterize(verts.to(device), faces.to(device), (16, 16), backend=backend)
    same_faces = torch.equal(drawn.face.cpu(), expected.face)
    return same_faces and torch.allclose(drawn.bary.cpu(), expected.bary, atol=1e-4)


def _error_of(code: str) -> str | None:
    """The last line that code writes to stderr in a fresh interpreter, or None if it succeeds."""
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_IMPORT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {_IMPORT_SECONDS} s"
    return None if done.returncode == 0 else _last_line(done.stderr) or f"exit code {done.returncode}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


CHECKS: dict[str, Callable[[], Check]] = {
    "python": check_python,
    "torch": check_torch,
    "device": check_device,
    "core packages": check_core,
    "rasterizer": check_rasterizer,
    "video files": check_media,
    "built-in head": check_builtin_head,
    "HEADWARP_HEAD": check_named_head,
    "HEADWARP_WEIGHTS": check_weights,
    "mediapipe": check_mediapipe,
    "face-alignment": check_face_alignment,
    "pytorch3d": check_pytorch3d,
    "extras": check_extras,
}
"""Everything that is tried, in the order of the table."""
