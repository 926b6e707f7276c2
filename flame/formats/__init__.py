"""Other trackers' files: one module a format, reading and writing; nothing untrusted is unpickled.

`sniff` names the format of a file or folder by its content, `describe` says what is in it, `read_fit` makes a
`HeadFit` of it and `write_fit` writes one. All but our own hold FLAME's parameters, so both take the user's
FLAME head: parameters of FLAME 2020 and 2023 are not interchangeable, and the files do not say whose they
are. What a format cannot hold is said in the notes of the result, in a sentence each.

==============  ==============================================  ==================  ======================
name            what                                            columns             camera
==============  ==============================================  ==================  ======================
headwarp        this library's ``.npz``                         the head's          weak or perspective
vhap            VHAP ``tracked_flame_params_N.npz``             300 + 100           one focal, axis centred
vhap-dataset    ``transforms.json``, ``flame_param/`` (Gaus-    300 + 100           perspective a frame
                sianAvatars and followers)
deca            DECA codedict                                   100 + 50            orthographic in a crop
emoca           EMOCA folders or dict, with the camera          100 + 50            orthographic in a crop
smirk           SMIRK encoder output                            300 + 50, eyelids   orthographic in a crop
metrical        metrical-tracker ``.frame``                     300 + 100, eyelids  perspective a frame
pixel3dmm       pixel3dmm ``.frame``                            300 + 100, eyelids  perspective a frame
==============  ==============================================  ==================  ======================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from ...geom.errors import ModelFileError
from ..model import HeadModel
from ..params import HeadFit
from . import deca, emoca, headwarp, metrical, nerf_dataset, pixel3dmm, smirk, vhap
from ._bridge import largest_difference
from ._content import Content, sentence
from ._files import whole_folder
from ._source import Source, find_source, read_arrays
from ._tree import shapes
from ._types import Format, Reading, ReadOptions, WriteOptions, Writing

_Result = TypeVar("_Result")
__all__ = [
    "FORMATS",
    "Format",
    "ReadOptions",
    "Reading",
    "WriteOptions",
    "Writing",
    "describe",
    "get_format",
    "largest_difference",
    "read_arrays",
    "read_fit",
    "sniff",
    "whole_folder",
    "write_fit",
]

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        module.FORMAT.name: module.FORMAT
        for module in (headwarp, nerf_dataset, vhap, pixel3dmm, metrical, smirk, deca, emoca)
    }
)
"""Formats by name, in the order in which a content is held against them."""


def sniff(path: str | Path) -> str | None:
    """The name of the format of a file or folder, told by its content; None for anything else, damage too.

    Nothing in the file is run, whatever it is.

    Example:
        >>> sniff("/nowhere") is None
        True
    """
    try:
        source = find_source(Path(path))
        return _format_of(source, source.content())
    except ModelFileError:
        return None


def describe(path: str | Path) -> dict[str, object]:
    """What is in a file or folder of one of the formats, for people.

    Returns:
        ``format`` (name), ``title``, ``frames``, ``shape``, ``expression`` (columns), ``camera``, ``size``
        where it is known, ``parts`` (files of a folder), ``arrays`` (name -> dtype and shape, of the first
        file).

    Raises:
        ModelFileError: damaged, or none of the formats.
    """
    source = find_source(Path(path))
    content = source.content()
    name = _format_of(source, content)
    if name is None:
        raise ModelFileError(_unknown(source, content))
    facts: dict[str, object] = {"format": name, "title": FORMATS[name].title}
    facts |= _named(source, lambda: FORMATS[name].summary(source, content))
    if source.per_frame and len(source.parts) > 1:
        facts["parts"] = len(source.parts)
    if content.container != "json":
        facts["arrays"] = shapes(content.tree)
    return facts


def read_fit(
    path: str | Path, head: HeadModel, *, name: str | None = None, options: ReadOptions | None = None
) -> Reading:
    """A fit from another tracker's file or folder.

    Args:
        path: what `find_source` takes.
        head: the FLAME head that the parameters are of (for our own fits: any head's).
        name: of the format; None: as its content says.
        options: what the file leaves unsaid.

    Raises:
        ModelFileError: damaged, none of the formats, of another head, or the head is no FLAME.
    """
    source = find_source(Path(path))
    content = source.content()
    chosen = name or _format_of(source, content)
    if chosen is None:
        raise ModelFileError(_unknown(source, content))
    return _named(source, lambda: get_format(chosen).read(source, head, options or ReadOptions()))


def write_fit(
    fit: HeadFit, head: HeadModel, path: str | Path, *, name: str, options: WriteOptions | None = None
) -> Writing:
    """A fit as another tracker's file or folder, whole or not at all.

    Args:
        fit: of ``head``.
        head: a FLAME head (for our own format: any).
        path: a file whose suffix the format knows, or a folder that is not there yet.
        name: of the format.
        options: choices that the format leaves open.

    Raises:
        ModelFileError: the fit is of another head, the head no FLAME, the format cannot hold the fit, or the
            path cannot be written.
    """
    return get_format(name).write(fit, head, Path(path), options or WriteOptions())


def get_format(name: str) -> Format:
    """A format by name.

    Raises:
        ModelFileError: there is none of that name.

    Example:
        >>> get_format("deca").title
        'DECA codedict'
    """
    if name not in FORMATS:
        raise ModelFileError(f"format: expected one of {', '.join(FORMATS)}, got {name!r}")
    return FORMATS[name]


def _format_of(source: Source, content: Content) -> str | None:
    return next((f.name for f in FORMATS.values() if f.matches(source, content)), None)


def _unknown(source: Source, content: Content) -> str:
    if deca.is_opdict(content):
        return (
            f"{source.path}: this is what DECA decoded (opdict): vertices and pictures, without the "
            "parameters; save the codedict that encode() returns"
        )
    keys = ", ".join(sorted(map(str, content.tree))[:10]) or "none"
    return f"{source.path}: expected a file of {', '.join(FORMATS)}, got one with keys {keys}"


def _named(source: Source, work: Callable[[], _Result]) -> _Result:
    """The work's result; its errors begin with the path."""
    try:
        return work()
    except ModelFileError as error:
        text = sentence(str(error))
        known = text.startswith(str(source.path)) or text.startswith("head:")
        raise ModelFileError(text if known else f"{source.path}: {text}") from error.__cause__
