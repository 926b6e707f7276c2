"""LZ4 frames: some that the reference implementation wrote, and plain ones made here."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from headwarp.training.data._xxhash import xxh32

TEXT = b"".join(b"line %d of a text that repeats, " % number for number in range(12))
SQUARES = (bytes(i * i % 256 for i in range(300)) * 250)[:66000]

# lz4 1.9 through python-lz4 4.4: content, then what compress() made of it.
REFERENCE = {
    "linked, every checksum, size": (
        TEXT,
        "04224d187c407601000000000000f85f000000f1106c696e652030206f6620612074657874207468617420726570656174732c"
        "201f001f311f000b1f321f000b1f331f000b1f341f000b1f351f000b1f361f000b1f371f000b1f381f000b1f391f000b1f31"
        "37010d0f380102506174732c205ae9580000000000fc13085d",
    ),
    "independent, bare": (
        TEXT[:70],
        "04224d186040822e000000f1106c696e652030206f6620612074657874207468617420726570656174732c201f001f311f0009"
        "50652032206f00000000",
    ),
    "two blocks, the second copies from the first": (
        SQUARES,
        "04224d184c40d001010000000000b495010000ff7100010409101924314051647990a9c4e10021446990b9e4114071a4d91049"
        "84c1004184c91059a4f14091e43990e944a10061c42990f964d140b124991089048100810489109924b140d164f99029c46100"
        "a144e99039e49140f1a45910c9844100c1844910d9a4714011e4b99069442100e1c4a99079645140312419100904018000990f"
        "ac00990fac016d0f2c01"
        + "ff" * 254
        + "8e5009101924310f0000000ff8ff910f4cfeff1550f14091e43900000000f5537b3a",
    ),
    "no copies": (
        bytes((i * i * 7 + i // 3) % 251 for i in range(40)) + bytes(range(200, 240)),
        "04224d1868405000000000000000a35000008000071c4071b0035ec744c96108b7794a28140f172d5284c41874de5ce27b23d3"
        "9668473430395076c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeef0000"
        "0000",
    ),
}
# A flat mesh of 5 x 6 vertices in float16, as `posed_vertices` makes it.
MESH = bytes.fromhex(
    "04224d186840c40000000000000058ab000000f00917000000020000001e000000030000008053405200b80055060020405606"
    "00208057060020605806002000590600408053b05424000006002040560600208057060020605806002000590600408053405624"
    "000006002040560600208057060020605806002000590600408053d057240000060020405606002080570600206058060020"
    "00590600408053b058240000060020405606002080570600c06058b05800b80059b05800b800000000"
)


def stored(content: bytes, *, flags: int = 0x60) -> bytes:
    """A frame of one block that is not compressed, without checksums but the header's."""
    descriptor = bytes([flags, 0x40])
    head = struct.pack("<I", 0x184D2204) + descriptor + bytes([xxh32(descriptor) >> 8 & 0xFF])
    return head + struct.pack("<I", len(content) | 1 << 31) + content + bytes(4)


def compressed(block: bytes, *, flags: int = 0x60) -> bytes:
    """A frame of one block with these compressed bytes."""
    frame = stored(block, flags=flags)
    return frame[:7] + struct.pack("<I", len(block)) + frame[11:]


def posed_vertices(values: np.ndarray) -> bytes:
    """A file of posed vertices."""
    head = struct.pack(f"<{2 + values.ndim}i", values.dtype.num, values.ndim, *values.shape)
    return stored(head + values.tobytes())


def write_gdpw_clip(
    root: Path, place: str, *, frames: int = 3, size: int = 64, vertices: int = 30
) -> list[np.ndarray]:
    """A clip with pictures and posed vertices, which are returned as they were written."""
    from PIL import Image

    folder, random = root / place, np.random.default_rng(len(place))
    folder.mkdir(parents=True)
    meshes = []
    for number in range(frames):
        pixels = random.integers(0, 255, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:07d}_img.jpg")
        mesh = random.uniform(0, size, (vertices, 3)).astype(np.float32)
        (folder / f"{number:07d}_posed_vertx.lz4").write_bytes(posed_vertices(mesh))
        meshes.append(mesh)
    return meshes
