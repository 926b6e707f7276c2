"""`headwarp info` of other projects' checkpoints: whose they are and how they are converted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..geom.errors import ModelFileError

if TYPE_CHECKING:
    from torch import Tensor

OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""A file of ``torch.save`` before torch 1.6 begins with this number."""


def explain_weights(path: Path) -> dict[str, Any] | None:
    """A checkpoint that ``headwarp convert checkpoint`` knows; None for any other file of torch."""
    from ..warping.importers.kinds import TITLES, kind_of
    from ..warping.importers.torch_files import read_torch_file

    try:
        content = read_torch_file(path)
    except ModelFileError:
        return None
    kind = kind_of(content)
    if kind is None:
        return None
    tensors = list(_tensors(content))
    return {
        "kind": TITLES[kind],
        "read_by": f"headwarp convert checkpoint {path.name}",
        "entries": ", ".join(content) if any(isinstance(v, Mapping) for v in content.values()) else None,
        "tensors": len(tensors),
        "parameters": sum(value.numel() for value in tensors),
    }


def _tensors(content: Mapping[str, Any]) -> Iterator[Tensor]:
    """Of the networks; not of optimisers, whose state lies deeper."""
    from torch import Tensor

    for value in content.values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping):
            yield from (inner for inner in value.values() if isinstance(inner, Tensor))
