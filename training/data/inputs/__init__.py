"""What the words on a command line stand for: files, folders, trees, patterns, lists and tar shards.

`list_inputs` turns them into `Input` after `Input`, `output_names` gives each a name of its own, and `opened`
gives the path at which one can be read.
"""

from __future__ import annotations

from .csv_list import read_list
from .listing import CLIPS, PHOTOS, is_numbered, list_inputs, natural_order
from .naming import names_by_path, output_names
from .tar_shards import opened, shard_members
from .types import Input, Member

__all__ = [
    "CLIPS",
    "PHOTOS",
    "Input",
    "Member",
    "is_numbered",
    "list_inputs",
    "names_by_path",
    "natural_order",
    "opened",
    "output_names",
    "read_list",
    "shard_members",
]
