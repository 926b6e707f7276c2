"""Texts for `headwarp info`: JSON and its kinds, manifests line by line, CSV and its kinds."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..geom.errors import HeadwarpError
from ._info_arrays import opened, tracked
from ._info_meshes import MAX_JSON, explain_gltf, parsed

_MAX_LINE = 1 << 24
_REASONS = 5  # commonest failures that are named


def explain_json(path: Path) -> dict[str, Any]:
    """A JSON file: glTF, a tracker's dataset, a report, keyframes; a manifest, whose lines are JSON each."""
    with opened(path) as file:
        if path.stat().st_size > MAX_JSON:
            first = file.readline(_MAX_LINE)
        else:
            text = file.read()
            first = text.partition(b"\n")[0]
    header = _object_or_none(first)
    if header is not None and {"manifest", "kind"} <= header.keys():
        return explain_manifest(path, header)
    if path.stat().st_size > MAX_JSON:
        raise HeadwarpError(f"{path}: expected at most {MAX_JSON} bytes of JSON, got {path.stat().st_size}")
    content = parsed(path, text)
    if isinstance(content, list):
        return _keyframes(content) or {"kind": "JSON", "entries": len(content)}
    if not isinstance(content, dict):
        return {"kind": "JSON", "value": type(content).__name__}
    return _json_kind(path, content)


def _json_kind(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    from ..flame.formats import sniff

    if isinstance(content.get("asset"), dict) and "version" in content["asset"]:
        return explain_gltf(path, content)
    if "frames" in content and sniff(path):
        return tracked(path)
    for names, explain in _REPORTS:
        if names <= content.keys():
            return explain(content)
    if isinstance(content.get("keyframes"), list):
        return _keyframes(content["keyframes"]) or {"kind": "JSON", "keys": ", ".join(content)}
    return {"kind": "JSON", "keys": {str(key): _shape_of(value) for key, value in content.items()}}


def _shape_of(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return f"{len(value)} {'entries' if isinstance(value, list) else 'keys'}"
    return repr(value)[:80]


def _object_or_none(line: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _keyframes(rows: list[Any]) -> dict[str, Any] | None:
    """A pose track."""
    if not rows or not all(isinstance(row, dict) and row.keys() & {"time", "frame"} for row in rows):
        return None
    channels = dict.fromkeys(name for row in rows for name in row if name not in ("time", "frame"))
    return {"kind": "pose track", "keyframes": len(rows), "channels": ", ".join(channels)}


def _fit_report(content: Mapping[str, Any]) -> dict[str, Any]:
    wanted = (
        "frames",
        "detected",
        "interpolated",
        "missing",
        "reprojection_percent_iod",
        "jitter",
        "identity",
    )
    return {
        "kind": "report of headwarp fit",
        "all_done": content.get("ok"),
        **{name: content.get(name) for name in wanted},
        "inputs": _shape_of(content["clips"]),
        "failed_inputs": _shape_of(content["failed"]) if content.get("failed") else None,
        "licences": content.get("licences"),
        "protocol": content.get("protocol"),
    }


def _evaluation(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "report of headwarp evaluate", **{k: content[k] for k in ("protocol", "metrics")}}


def _bench(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": "report of headwarp bench",
        "results": _shape_of(content["results"]),
        "versions": content["versions"],
    }


_REPORTS: tuple[tuple[set[str], Callable[[Mapping[str, Any]], dict[str, Any]]], ...] = (
    ({"clips", "reprojection_percent_iod"}, _fit_report),
    ({"protocol", "metrics"}, _evaluation),
    ({"results", "versions"}, _bench),
)


def explain_manifest(path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest of work over many inputs; of several lines for one of them the last counts."""
    from ..training.data.jobs.manifest import parse_record

    settled: dict[str, str | None] = {}
    damaged = 0
    with opened(path) as file:
        file.readline(_MAX_LINE)
        for line in iter(lambda: file.readline(_MAX_LINE), b""):
            record = parse_record(line) if line.endswith(b"\n") else None
            if record is None:
                damaged += 1
            else:
                settled[record.key] = None if record.ok else str(record.error)
    reasons = Counter(error for error in settled.values() if error is not None)
    return {
        "kind": f"manifest of headwarp {header['kind']}",
        "version": header["manifest"],
        "written_by": f"headwarp {header.get('headwarp')}",
        "inputs": len(settled),
        "done": len(settled) - reasons.total(),
        "failed_inputs": reasons.total(),
        "damaged_lines": damaged,
        "failures": dict(reasons.most_common(_REASONS)) or None,
        "options": header.get("fingerprint"),
    }


def explain_csv(path: Path) -> dict[str, Any]:
    """A CSV: ARKit blendshapes, a pose track, or columns and rows."""
    rows = _rows(path)
    try:
        header = [name.strip() for name in next(rows, [])]
        if not any(header):
            raise HeadwarpError(f"{path}: expected a CSV, got no header line")
        lowered = {name.lower() for name in header}
        if {"timecode", "eyeblinkleft"} <= lowered:
            return _arkit(header, rows)
        count = sum(1 for row in rows if row)
    except csv.Error as error:
        raise HeadwarpError(f"{path}: not a sound CSV: {error}") from error
    if lowered & {"time", "frame"} and lowered & {"yaw", "pitch", "roll", "jaw", "blink", "gaze_x", "gaze_y"}:
        return {"kind": "pose track", "keyframes": count, "channels": ", ".join(header)}
    shown = ", ".join(header[:40]) + (f", .. ({len(header)} in all)" if len(header) > 40 else "")
    return {"kind": "CSV", "rows": count, "columns": shown}


def _rows(path: Path) -> Iterator[list[str]]:
    with opened(path) as file:
        lines = iter(lambda: file.readline(_MAX_LINE).decode("utf-8", "replace").lstrip("\ufeff"), "")
        yield from csv.reader(lines)


def _arkit(header: list[str], rows: Iterator[list[str]]) -> dict[str, Any]:
    """ARKit blendshapes in the layout of Live Link Face."""
    from ..flame.export._arkit_tables import ARKIT_NAMES

    lowered = {name.lower(): column for column, name in enumerate(header)}
    known = [name for name in ARKIT_NAMES if name.lower() in lowered]
    most = dict.fromkeys(known, 0.0)
    first = last = None
    count = empty = 0
    for row in rows:
        if not row:
            continue
        count += 1
        first, last = first or row[0], row[0]
        empty += len(row) < len(header)
        for name in known:
            column = lowered[name.lower()]
            most[name] = max(most[name], _number(row[column]) if column < len(row) else 0.0)
    ranked = sorted(most.items(), key=lambda item: -item[1])
    return {
        "kind": "ARKit blendshapes (Live Link Face)",
        "frames": count,
        "frames_without_numbers": empty,
        "timecode": f"{first} .. {last}",
        "blendshapes": len(known),
        "other_columns": ", ".join(n for n in header if n.lower() not in {k.lower() for k in known}),
        "largest": {name: round(value, 3) for name, value in ranked[:10] if value > 0},
        "always_zero": ", ".join(name for name, value in most.items() if value == 0) or None,
    }


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
