"""``headwarp export``: the networks of an animator as ONNX or TorchScript, for programs without headwarp."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tyro.conf import Positional

from ..geom.errors import HeadwarpError
from ..training.data.atomic import atomic_folder, write_json
from ..warping.animators import animator_names, load_animator, shipped_weights
from ..warping.checkpoints import ANIMATOR, load_checkpoint
from ..warping.graphs import OPSET, Graph, Port, graphs_of
from .inputs import check_folder

RECORD = "export.json"
Format = Literal["onnx", "torchscript"]
_SUFFIX = {"onnx": ".onnx", "torchscript": ".pt"}
_CHECKED = (1, 3)
"""Frames together in the comparison with the network."""


@dataclass(frozen=True)
class ExportNetwork:
    """Write an animator's networks as ONNX or TorchScript, compared with the network.

    Fits become glTF, OBJ and ARKit by ``headwarp convert fit``.
    """

    network: Positional[str]
    """A checkpoint (.safetensors), or an animator whose weights come with the package: pwm."""
    output: Path
    """Folder of the graphs and export.json, which says what goes in and comes out."""
    format: Format = "onnx"
    """onnx (needs headwarp[export]), or torchscript for torch.jit.load."""
    size: tuple[int, int] = (256, 256)
    """Height and width of the frames in pixels; the number of driving frames is free."""


def run(config: ExportNetwork) -> dict[str, Any]:
    """The command: see :func:`export_network`."""
    return export_network(config.network, config.output, format=config.format, size=config.size)


def export_network(
    network: str | Path,
    output: str | Path,
    *,
    format: Format = "onnx",
    size: tuple[int, int] = (256, 256),
) -> dict[str, Any]:
    """Write the graphs of an animator's networks, whole or not at all, each compared with the network.

    Args:
        network: a checkpoint, or the name of an animator that ships with weights.
        output: a folder: a new or empty one, or that of an earlier export, which is replaced.
        format: ``onnx`` or ``torchscript``.
        size: (H, W) of the frames.

    Returns:
        What ``export.json`` holds, and ``output``.

    Raises:
        HeadwarpError: a checkpoint or size that does not fit, a network that cannot be a graph, a folder that
            holds something else.
        MissingDependencyError: onnx, onnxscript or onnxruntime is not installed.
    """
    output = Path(output)
    _check_output(output)
    if format not in _SUFFIX:
        raise HeadwarpError(f"--format: expected onnx or torchscript, got {format!r}")
    path, name, guide = _source(network)
    animator = load_animator(name, path)
    graphs = graphs_of(animator, (int(size[0]), int(size[1])))
    with atomic_folder(output) as folder:
        written = [_written(graph, folder, format) for graph in graphs]
        record = {
            "animator": name,
            "format": format,
            "opset": OPSET if format == "onnx" else None,
            "size": list(size),
            "sampling": _sampling(animator),
            "guided_by": guide,
            "source": {"file": path.name, "sha256": _sha256(path), **_provenance(path)},
            "versions": _versions(),
            "graphs": written,
        }
        write_json(folder / RECORD, record)
    return {**record, "output": output}


def _source(network: str | Path) -> tuple[Path, str, Any]:
    """The checkpoint that is meant, its animator, and what guided its training."""
    shipped = shipped_weights(str(network)) if str(network) in animator_names() else None
    if shipped is None and str(network) in animator_names():
        raise HeadwarpError(
            f"{network}: expected a checkpoint: no weights of it come with the package (those of pwm do); "
            "an animator without a network has nothing to export"
        )
    path = Path(network) if shipped is None else shipped
    stored = load_checkpoint(path)
    if stored.kind != ANIMATOR:
        raise HeadwarpError(
            f"{path}: expected the checkpoint of an animator, got one of kind {stored.kind!r}; its network "
            "is not exported by itself"
        )
    return path, stored.name, stored.guide


def _written(graph: Graph, folder: Path, format: Format) -> dict[str, Any]:
    from ..warping.graphs.program import difference, program_of, write_onnx, write_torchscript

    path = folder / f"{graph.name}{_SUFFIX[format]}"
    program = program_of(graph)
    (write_onnx if format == "onnx" else write_torchscript)(program, graph, path)
    found = max(difference(graph, path, batch=batch) for batch in _CHECKED)
    return {
        "file": path.name,
        "runs": f"once a {graph.runs}",
        "meaning": graph.meaning,
        "inputs": [_described(port) for port in graph.inputs],
        "outputs": [_described(port) for port in graph.outputs],
        "max_abs_difference": found,
        "megabytes": round(path.stat().st_size / 1e6, 2),
    }


def _described(port: Port) -> dict[str, Any]:
    return {
        "name": port.name,
        "shape": list(port.shape),
        "type": "float32",
        "range": None if port.span is None else list(port.span),
        "meaning": port.meaning,
    }


def _sampling(animator: Any) -> dict[str, Any]:
    """How places are meant, for whoever makes or reads flows and points."""
    own = {
        "pixel_centres": "at +0.5; (0, 0) is the frame's outer top-left corner",
        "flow": "backward, driving to source: x then y, in pixels of the frame",
    }
    motion = getattr(animator.config, "motion", None)
    if motion is None:
        return {**own, "points": "-1 and 1 at the frame's outer edges"}
    corners = "the outermost pixels' centres" if motion.align_corners else "the frame's outer edges"
    facts = {"align_corners": motion.align_corners, "sample_align_corners": motion.sample_align_corners}
    return {**own, "points": f"-1 and 1 at {corners}", **facts, "padding_mode": motion.padding_mode}


def _provenance(path: Path) -> dict[str, Any]:
    """What a record beside the checkpoint says of it, such as its licence."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {"licence": "of the checkpoint's authors; the file does not say"}
    try:
        told = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"licence": "of the checkpoint's authors; the file does not say"}
    kept = ("licence", "people", "recipe", "machine")
    return {key: told[key] for key in kept if isinstance(told, dict) and key in told}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _versions() -> dict[str, str]:
    from .. import __version__

    return {"headwarp": __version__, "torch": str(torch.__version__)}


def _check_output(output: Path) -> None:
    """Refuse a folder that holds something else, before the work is done."""
    if output.suffix in _SUFFIX.values():
        raise HeadwarpError(
            f"--output: expected a folder, for several graphs and {RECORD}, got {output}; take "
            f"{output.with_suffix('')}"
        )
    check_folder(output)
    if output.is_dir() and any(output.iterdir()) and not (output / RECORD).is_file():
        raise HeadwarpError(
            f"--output: expected a new folder or one of an earlier export, got {output}, which holds "
            "something else; name another one"
        )


def describe(report: Mapping[str, Any]) -> str:
    """The graphs, and how near they are."""
    height, width = report["size"]
    opset = f", opset {report['opset']}" if report["opset"] else ""
    lines = [f"{report['output']}: {report['animator']}, {report['format']}{opset}, {height} x {width} px"]
    for graph in report["graphs"]:
        lines.append(
            f"  {graph['file']}: {graph['meaning']}, {graph['runs']}; {graph['megabytes']} MB, at most "
            f"{graph['max_abs_difference']:.1e} from the network"
        )
    return "\n".join([*lines, f"  {RECORD}: inputs, outputs, ranges, conventions, provenance"])
