"""No file may crash, hang, swell or command its reader: every reader against edits of what it reads.

``HEADWARP_FUZZ=1000`` tries so many edits of each file, new ones every time.
"""

from __future__ import annotations

import os
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dataset_readers import DATASET_READERS
from flame_schema import Call
from hostile import Edit, bomb, edited, edits, npy_header, read_hostile, repacked, resealed, watched
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import HEAD_READERS, Reader

from headwarp.flame._arrays import npy_array
from headwarp.flame.detect import read_landmarks
from headwarp.flame.formats import sniff
from headwarp.flame.io import load_head
from headwarp.flame.params import HeadFit
from headwarp.flame.texture import load_texture
from headwarp.geom.errors import HeadwarpError

READERS = {**HEAD_READERS, **DATASET_READERS}
EXAMPLES = int(os.environ.get("HEADWARP_FUZZ", "10"))
PICTURES = {"megabytes": 400.0}  # the largest that a small file may hold by its header


@pytest.mark.parametrize("name", READERS)
def test_edits_of_a_valid_file(name: str, tmp_path: Path) -> None:
    reader: Reader = READERS[name]
    path = tmp_path / reader.seed
    path.parent.mkdir(exist_ok=True)
    reader.make(path)
    valid = path.read_bytes()
    reader.read(path)  # it is valid
    limits = PICTURES if name.split()[0] in ("photo", "animation", "clip") else {}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize="HEADWARP_FUZZ" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(edits(), st.booleans())
    def attack(changes: list[Edit], inside: bool) -> None:
        change = repacked if reader.packed else resealed if reader.seed.endswith(".tar") else edited
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_hostile((change if inside else edited)(valid, changes), path, reader.read, **limits)

    attack()


NPZ_READERS = {
    "head": (load_head, "v_template.npy"),
    "fit": (HeadFit.load, "schema_version.npy"),
    "tracker": (sniff, "shape.npy"),
    "landmarks": (read_landmarks, "landmarks.npy"),
    "texture": (load_texture, "MU.npy"),
}


@pytest.mark.parametrize("kind", NPZ_READERS)
def test_bombs(kind: str, tmp_path: Path) -> None:
    """An archive of some kilobytes that unpacks to 300 megabytes, which its directory owns up to or not."""
    read, member = NPZ_READERS[kind]
    header = npy_header("(78643200,)")
    honest = bomb(member, 300, head=header)
    place = honest.rindex(b"PK\x01\x02")
    assert len(honest) < 2_000_000
    lying = bytearray(honest)
    struct.pack_into("<I", lying, place + 24, len(header) + 400)  # its unpacked size
    with watched(tmp_path, megabytes=64):
        (tmp_path / "lying.npz").write_bytes(lying)
        read(tmp_path / "lying.npz")
    huge = bytearray(honest)
    struct.pack_into("<I", huge, place + 24, 2**32 - 2)
    with watched(tmp_path, megabytes=64):
        (tmp_path / "huge.npz").write_bytes(huge)
        read(tmp_path / "huge.npz")


@pytest.mark.parametrize("kind", NPZ_READERS)
@pytest.mark.parametrize("shape", ["(1099511627776,)", "(2**40, 3)", "(0, 10**30)", "(-1,)", "((((1,),),),)"])
def test_headers_that_lie(kind: str, shape: str, tmp_path: Path) -> None:
    read, member = NPZ_READERS[kind]
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(member, npy_header(shape))
        archive.writestr("two.npy", npy_header("(1,)", "<U0"))
    with watched(tmp_path):
        assert read(tmp_path / "a.npz") is None, "sniff alone answers, that it is nothing"


@pytest.mark.parametrize("letter", [0x110000, 2**32 - 1, 0xD800])
def test_text_of_no_characters(letter: int) -> None:
    """Numpy takes any number for a letter; making a string of it raises SystemError."""
    with pytest.raises(HeadwarpError, match="no characters"):
        npy_array(npy_header("()", "<U1") + struct.pack("<I", letter))
    assert npy_array(npy_header("()", "<U1") + struct.pack("<I", 0x10FFFF)).item() == "\U0010ffff"


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if name not in DATASET_READERS])
def test_planted_calls_are_not_made(name: str, tmp_path: Path) -> None:
    """A pickle that runs a command, in place of every kind of file and inside every kind of container."""
    reader = READERS[name]
    path = tmp_path / reader.seed
    path.parent.mkdir(exist_ok=True)
    reader.make(path)
    witness = tmp_path / "witness"
    payload = Call(os.system, f"touch {witness}")
    planted = np.array([payload], dtype=object)
    np.save(tmp_path / "planted.npy", planted, allow_pickle=True)
    np.savez(tmp_path / "planted.npz", v_template=planted, schema_version=planted, allow_pickle=True)
    contents = [pickle.dumps(payload, protocol) for protocol in (0, 2, 4)]
    contents += [(tmp_path / f"planted.{suffix}").read_bytes() for suffix in ("npy", "npz")]
    for content in contents:
        read_hostile(content, path, reader.read)
    assert not witness.exists()
    pickle.loads(contents[0])
    assert witness.exists(), "the payload must be a live one"


def test_a_pickle_of_millions_of_nothings_ends_soon(tmp_path: Path) -> None:
    (tmp_path / "long.pkl").write_bytes(b"\x80\x02" + b"N0" * 4_000_000 + b"N.")
    with watched(tmp_path, seconds=10), pytest.raises(HeadwarpError, match="more than 1000000 opcodes"):
        load_head(tmp_path / "long.pkl")


def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    def writes_elsewhere() -> None:
        (tmp_path.parent / "elsewhere").write_text("x")

    def runs() -> None:
        os.system("true")

    def swells() -> None:
        np.zeros(10**8)

    def crashes() -> None:
        raise RecursionError("deep")

    from hostile import Breach

    for act, text in ((writes_elsewhere, "open"), (runs, "os.system"), (swells, "took 7")):
        with pytest.raises(Breach, match=text), watched(tmp_path):
            act()
    with pytest.raises(RecursionError), watched(tmp_path):
        crashes()
    with watched(tmp_path):
        (tmp_path / "here").write_text("x")
        raise HeadwarpError("what files are refused with")
