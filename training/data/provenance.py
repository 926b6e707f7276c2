"""What a made picture or clip says about its making, in terms that other software reads.

The IPTC digital source type tells whether a medium is captured, altered or synthesised; picture agencies,
browsers and platforms read it from XMP. It is written into PNG and JPEG (XMP packet and plain text), into MP4
(comment and description), and into a JSON file beside the medium, which survives tools that strip metadata.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from ...geom.errors import MediaError
from .atomic import write_json

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

__all__ = [
    "COMPOSITE_WITH_TRAINED",
    "ENHANCED",
    "Provenance",
    "read_provenance",
    "sha256_of",
    "sidecar_path",
    "write_sidecar",
]

_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
COMPOSITE_WITH_TRAINED = _IPTC + "compositeWithTrainedAlgorithmicMedia"
"""A real photo or clip with parts made by a trained model: reenactment, head swap, learned animators."""
ENHANCED = _IPTC + "algorithmicallyEnhanced"
"""A real photo altered by an algorithm: an edit that only moves the photo's own pixels."""
_KEY = "headwarp"  # PNG text key; also the JSON's member that marks it as ours
_SCHEMA = 1


@dataclass(frozen=True)
class Provenance:
    """Who made a medium, how, when and from what.

    Attributes:
        animator: registered name of what made the pixels, such as ``geometry``.
        tool: name of the software.
        version: its version.
        digital_source_type: IPTC address, :data:`COMPOSITE_WITH_TRAINED` or :data:`ENHANCED`.
        inputs: SHA-256 of the input files, in hex; no names, they may be private.
        created: time in UTC, ISO 8601 to the second.
    """

    animator: str
    tool: str
    version: str
    digital_source_type: str
    inputs: tuple[str, ...]
    created: str

    @classmethod
    def now(
        cls,
        animator: str,
        *,
        inputs: Sequence[str | os.PathLike[str]] = (),
        digital_source_type: str = COMPOSITE_WITH_TRAINED,
    ) -> Provenance:
        """The record of something that this package makes at this moment.

        Args:
            animator: registered name of what makes the pixels.
            inputs: input files; their SHA-256 is taken. Folders are left out: they have no one content.
            digital_source_type: :data:`COMPOSITE_WITH_TRAINED` (default) or :data:`ENHANCED`.

        Raises:
            MediaError: an input cannot be read.

        Example:
            >>> Provenance.now("geometry", digital_source_type=ENHANCED).tool
            'headwarp'
        """
        from ... import __version__

        created = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        hashes = tuple(sha256_of(path) for path in inputs if not os.path.isdir(path))
        return cls(animator, "headwarp", __version__, digital_source_type, hashes, created)

    def sentence(self) -> str:
        """One line for people."""
        kind = self.digital_source_type.rsplit("/", 1)[-1]
        return f"Made with {self.tool} {self.version} ({self.animator}); digital source type: {kind}."

    def as_json(self, **extra: object) -> str:
        """One line for programs; ``extra`` members stand beside the record."""
        return json.dumps({_KEY: _SCHEMA, **dataclasses.asdict(self), **extra}, separators=(",", ":"))


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file in hex.

    Raises:
        MediaError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise MediaError(f"{os.fspath(path)}: cannot be read ({error.strerror or error}).") from error
    return digest.hexdigest()


def sidecar_path(path: str | os.PathLike[str]) -> Path:
    """``NAME.ext.json`` beside ``NAME.ext``.

    Example:
        >>> sidecar_path("out/anna.mp4").as_posix()
        'out/anna.mp4.json'
    """
    return Path(f"{os.fspath(path)}.json")


def write_sidecar(path: str | os.PathLike[str], provenance: Provenance, **facts: object) -> None:
    """Write the JSON file beside ``path``, which must exist: the record, the file's SHA-256 and ``facts``.

    Args:
        path: of the file that the record is about.
        provenance: the record.
        **facts: further fields.

    Raises:
        HeadwarpError: the file cannot be written.
    """
    record = {_KEY: _SCHEMA, **dataclasses.asdict(provenance)}
    write_json(sidecar_path(path), {**record, "file": Path(path).name, "sha256": sha256_of(path), **facts})


def read_provenance(path: str | os.PathLike[str]) -> Provenance | None:
    """The record inside a picture or clip, else the one in its sidecar, else None.

    A sidecar counts only if its SHA-256 is that of the file: one left over from an older file says nothing.

    Args:
        path: a file written by this package, or any other.

    Raises:
        MediaError: no such file.
    """
    if not os.path.isfile(path):
        raise MediaError(f"{os.fspath(path)}: no such file (sought in {Path(path).absolute().parent}).")
    embedded = _parse(_picture_text(path) or _clip_text(path))
    if embedded is not None:
        return embedded
    try:
        text = sidecar_path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    record = _parse(text)
    return record if record and json.loads(text).get("sha256") == sha256_of(path) else None


def _parse(text: str | None) -> Provenance | None:
    """The record in a JSON text, or None where it is not ours."""
    try:
        content = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, Mapping) or _KEY not in content:
        return None
    names = [field.name for field in dataclasses.fields(Provenance)]
    if any(name not in content for name in names) or not isinstance(content["inputs"], list):
        return None
    values = {name: str(content[name]) for name in names if name != "inputs"}
    return Provenance(**values, inputs=tuple(str(item) for item in content["inputs"]))


def _picture_text(path: str | os.PathLike[str]) -> str | None:
    from ._images import open_image

    try:
        with open_image(path) as image:
            comment = image.info.get(_KEY) or image.info.get("comment")
    except MediaError:
        return None
    return comment.decode("utf-8", "replace") if isinstance(comment, bytes) else comment


def _clip_text(path: str | os.PathLike[str]) -> str | None:
    import av

    try:
        with av.open(os.fspath(path), metadata_errors="replace") as container:
            return {key.lower(): value for key, value in container.metadata.items()}.get("comment")
    except av.FFmpegError:
        return None


def png_metadata(provenance: Provenance) -> PngInfo:
    """Text chunks of a PNG: the XMP packet, our record, and the plain keys that picture viewers show."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp_packet(provenance))
    info.add_text("Software", f"{provenance.tool} {provenance.version}")
    info.add_text("Description", provenance.sentence())
    info.add_itxt(_KEY, provenance.as_json())
    return info


def jpeg_metadata(provenance: Provenance) -> dict[str, bytes]:
    """Keyword arguments of PIL's JPEG writer: the XMP packet and our record as the comment."""
    return {"xmp": xmp_packet(provenance).encode(), "comment": provenance.as_json().encode()}


def clip_metadata(provenance: Provenance | None, **facts: object) -> dict[str, str]:
    """Metadata of a container: our record and ``facts`` as ``comment``, a sentence as ``description``."""
    if provenance is None:
        return {"comment": json.dumps(facts, separators=(",", ":"))} if facts else {}
    return {"comment": provenance.as_json(**facts), "description": provenance.sentence()}


def xmp_packet(provenance: Provenance) -> str:
    """XMP with the IPTC digital source type, the creator tool, the date and a description."""
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/">
   <Iptc4xmpExt:DigitalSourceType>{escape(provenance.digital_source_type)}</Iptc4xmpExt:DigitalSourceType>
   <xmp:CreatorTool>{escape(f"{provenance.tool} {provenance.version}")}</xmp:CreatorTool>
   <xmp:CreateDate>{escape(provenance.created)}</xmp:CreateDate>
   <dc:description><rdf:Alt>
    <rdf:li xml:lang="x-default">{escape(provenance.sentence())}</rdf:li>
   </rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
