"""What guided an animator's training, as its checkpoint records it: the source, and the network's file.

A file is known by its content: where it lies and what it is called may change, its SHA-256 may not. Files
without a record are of the time when the mesh alone guided.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..geom.errors import HeadwarpError
from ..geom.nets.weights import sha256_of
from ._config_json import config_from_json

if TYPE_CHECKING:
    from .guides import GuideConfig

RecordKind = Literal["mesh", "codes", "both", "depth", "keypoints", "landmarks"]
OF_NETWORKS = ("depth", "keypoints")
"""Kinds that a trained network makes: their records name its file and the file's SHA-256."""
SHOWN = 12  # digits of a hash that a person compares


@dataclass(frozen=True)
class GuideRecord:
    """What guided a training.

    Attributes:
        kind: the mesh's displacement (``mesh``), neural codes on it, both; or what stood in place of the
            mesh.
        file: name of the file of the network that guided, without its folder; None where there was none.
        sha256: of that file's content, in lower-case hexadecimal.
        side: longer side in pixels of the pictures that the network saw at most; None: as they were, or there
            was no network.
        aligned: whether motion of a depth network was made better by the pictures, see
            `guides.GuideConfig`; None: the guide was none, or the file does not say.

    Raises:
        HeadwarpError: an unknown kind, a network without its file or digest, or a file where none guides.
    """

    kind: RecordKind = "mesh"
    file: str | None = None
    sha256: str | None = None
    side: int | None = None
    aligned: bool | None = None

    def __post_init__(self) -> None:
        kinds = get_args(RecordKind)
        if self.kind not in kinds:
            raise HeadwarpError(f"kind: expected one of {', '.join(kinds)}, got {self.kind!r}")
        if self.kind in OF_NETWORKS:
            if not self.file or re.fullmatch("[0-9a-f]{64}", self.sha256 or "") is None:
                raise HeadwarpError(
                    f"guide {self.kind}: expected the name and the SHA-256 of the network's file, got "
                    f"{self.file!r} and {self.sha256!r}; make the record by record_of"
                )
        elif self.file is not None or self.sha256 is not None:
            raise HeadwarpError(f"guide {self.kind}: expected no file of a network, got {self.file!r}")
        if self.aligned is not None and self.kind != "depth":
            raise HeadwarpError(f"guide {self.kind}: aligned: expected None, got {self.aligned}")

    @property
    def named(self) -> str:
        """The file for a person: its name and the first digits of its hash."""
        return f"{self.file} (SHA-256 {(self.sha256 or '')[:SHOWN]}...)"


def record_from_json(plain: Any) -> GuideRecord:
    """The record that a header holds; those of before it was recorded say nothing of alignment.

    Raises:
        HeadwarpError: it is no record.
    """
    return config_from_json(GuideRecord, {"aligned": None, **plain} if isinstance(plain, Mapping) else plain)


def record_of(guide: GuideConfig | None, guidance: str = "displacement") -> GuideRecord:
    """The record of a training.

    Args:
        guide: in place of the mesh; None: the mesh itself.
        guidance: of the network, where the mesh guides: ``codes``, ``both``, or anything else for its
            displacement.

    Raises:
        ModelFileError: the guide's file cannot be read.
    """
    if guide is None:
        return GuideRecord("codes" if guidance == "codes" else "both" if guidance == "both" else "mesh")
    if guide.checkpoint is None:
        return GuideRecord(guide.kind)  # nothing looked at pictures, whatever the side
    aligned = guide.aligned if guide.kind == "depth" else None
    return GuideRecord(guide.kind, guide.checkpoint.name, sha256_of(guide.checkpoint), guide.side, aligned)
