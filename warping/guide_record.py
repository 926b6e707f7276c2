"""What guided an animator's training, as its checkpoint records it: the source, and the network's file.

A file is known by its content: where it lies and what it is called may change, its SHA-256 may not. Files
without a record are of the time when the mesh alone guided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from ..geom.errors import HeadwarpError
from ..geom.nets.weights import sha256_of

if TYPE_CHECKING:
    from .guides import GuideConfig

RecordKind = Literal["mesh", "codes", "both", "depth", "keypoints", "landmarks"]
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
    """

    kind: RecordKind = "mesh"
    file: str | None = None
    sha256: str | None = None
    side: int | None = None

    def __post_init__(self) -> None:
        kinds = get_args(RecordKind)
        if self.kind not in kinds:
            raise HeadwarpError(f"kind: expected one of {', '.join(kinds)}, got {self.kind!r}")

    @property
    def named(self) -> str:
        """The file for a person: its name and the first digits of its hash."""
        return f"{self.file} (SHA-256 {(self.sha256 or '')[:SHOWN]}...)"


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
    return GuideRecord(guide.kind, guide.checkpoint.name, sha256_of(guide.checkpoint), guide.side)
