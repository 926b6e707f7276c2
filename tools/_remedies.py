"""What mends what `doctor` finds: the system's libraries, graphics drivers, the package's own extras."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Callable, Iterable
from pathlib import Path

LIBRARIES = {
    "libGLESv2": "libgles2",
    "libGL": "libgl1",
    "libEGL": "libegl1",
    "libgthread": "libglib2.0-0",
    "libglib": "libglib2.0-0",
    "libgomp": "libgomp1",
    "libstdc++": "libstdc++6",
    "libSM": "libsm6",
    "libICE": "libice6",
    "libXext": "libxext6",
    "libXrender": "libxrender1",
    "libX11": "libx11-6",
    "libxcb": "libxcb1",
}
"""Shared library that a package from the index may miss on a bare system -> Debian's and Ubuntu's package."""

OWN_CHECKS = ("dev", "face-alignment", "mediapipe")
"""Extras that are not told of by their packages alone: tried by themselves, or for those who work on it."""


def system_remedy(error: str, else_: str) -> str:
    """The line that installs what an import error misses, or ``else_``.

    Example:
        >>> system_remedy("ImportError: libGL.so.1: cannot open shared object file", "pip install av")
        'apt-get install libgl1 libegl1'
        >>> system_remedy("ModuleNotFoundError: No module named 'av'", "pip install av")
        'pip install av'
    """
    if "NumPy" in error or "numpy" in error:
        return "pip install 'numpy<2'" if "NumPy 1.x" in error or "_ARRAY_API" in error else else_
    missing = re.search(r"(lib[\w+-]+?)(?:-[\d.]+)?\.so[.\d]*: cannot open shared object file", error)
    if missing is None:
        return else_
    package = LIBRARIES.get(missing[1])
    if package is None:
        return f"install the system's package that holds {missing[1]}.so (apt-file search {missing[1]}.so)"
    # OpenCV's and mediapipe's wheels want both; the second would be missed next.
    return (
        "apt-get install libgl1 libegl1" if package in ("libgl1", "libegl1") else f"apt-get install {package}"
    )


def graphics(root: Path = Path("/")) -> tuple[str, bool] | None:
    """An NVIDIA device of this machine and whether its driver is loaded; None where there is none.

    Args:
        root: of the file system.
    """
    version = root / "proc/driver/nvidia/version"
    if version.is_file():
        found = re.search(r"Kernel Module\D*([\d.]+)", version.read_text(errors="replace"))
        return f"an NVIDIA device with driver {found[1] if found else 'of unknown version'}", True
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        if _line(device / "vendor") == "0x10de" and _line(device / "class").startswith("0x03"):
            return "an NVIDIA device", False
    return None


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def missing_of_extras(
    requirements: Iterable[str] | None, installed: Callable[[str], bool] | None = None
) -> dict[str, list[str]]:
    """Distributions that each optional extra lacks, from the package's own metadata.

    Args:
        requirements: lines such as ``ray>=2.30; extra == "cluster"``; None where the package is not
            installed.
        installed: whether a distribution is there.

    Example:
        >>> missing_of_extras(['ray>=2.30; extra == "cluster"', "numpy>=1.26"], lambda name: False)
        {'cluster': ['ray']}
    """
    installed = installed or is_installed
    missing: dict[str, list[str]] = {}
    for line in requirements or ():
        extra, name = re.search(r"extra == ['\"]([\w-]+)['\"]", line), re.match(r"[\w.-]+", line)
        if extra is None or name is None or extra[1] in OWN_CHECKS:
            continue
        lacking = missing.setdefault(extra[1], [])
        if not installed(name[0]):
            lacking.append(name[0])
    return missing


def is_installed(distribution: str) -> bool:
    """Whether a distribution is installed, by its metadata."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def own_requirements() -> list[str] | None:
    """What headwarp's metadata asks for; None where it is used from its folder, uninstalled."""
    try:
        return importlib.metadata.requires("headwarp")
    except importlib.metadata.PackageNotFoundError:
        return None
