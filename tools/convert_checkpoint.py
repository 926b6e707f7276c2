"""``headwarp convert checkpoint``: weights of other projects become our own ``.safetensors``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from ..geom.errors import HeadwarpError


@dataclass(frozen=True)
class ConvertCheckpoint:
    """Turn weights of other projects into a .safetensors of ours; their keys say whose they are.

    FOMM (vox-cpk.pth.tar and the like), DaGAN (its checkpoint with encoder.pth and depth.pth of its depth
    network, which become one file), that depth network alone (with pose_encoder.pth and pose.pth),
    progressive warping (GDPW's PWM_*.pth), aligner and blender of HeSer's public code. Strict: every weight
    is loaded, or left out for a reason that is shown; otherwise nothing is written. Nothing inside the files
    is run.
    """

    input: Positional[tuple[Path, ...]]
    """The files of one animator or depth network, in any order."""
    output: Path
    """Name of the .safetensors to write."""
    sampling: Literal["trained", "corners", "centres"] = "trained"
    """FOMM, DaGAN: how grids are sampled. trained: as the published checkpoints were (FOMM corners, DaGAN
    centres); corners: for a training under torch below 1.3; centres: under torch 1.3 or later."""


def run(config: ConvertCheckpoint) -> dict[str, Any]:
    """The command: see :func:`convert_checkpoint`."""
    return convert_checkpoint(config.input, config.output, sampling=config.sampling)


def convert_checkpoint(
    sources: Path | Sequence[Path],
    output: Path,
    *,
    sampling: Literal["trained", "corners", "centres"] = "trained",
) -> dict[str, Any]:
    """Read the files of another project key by key, and write one checkpoint of ours if nothing is amiss.

    Args:
        sources: the files of one animator or depth network.
        output: name of the ``.safetensors``.
        sampling: see `ConvertCheckpoint`.

    Returns:
        ``ok`` (False: nothing was written), ``input`` (the file that it is about), ``inputs`` (all),
        ``output`` (None if not written), ``name`` (an animator's, or depth), ``config`` (of its network),
        ``step``, ``table`` (for a person), ``loaded`` (key of our network -> key in the file), ``missing``,
        ``unexpected``, ``mismatched`` (key -> expected and got), ``dropped`` (key -> reason), ``supplied``
        (ours that the file may lack), ``messages``.

    Raises:
        ModelFileError: a file is not of a kind that is known, or the files do not belong together.
        HeadwarpError: the output has another suffix or cannot be written.
    """
    from ..warping.checkpoints import save_checkpoint
    from ..warping.importers.conversion import convert
    from ..warping.importers.torch_files import read_torch_file

    if output.suffix != ".safetensors":
        raise HeadwarpError(f"{output}: expected a name that ends in .safetensors")
    paths = [sources] if isinstance(sources, Path) else list(sources)
    made = convert({str(path): read_torch_file(path) for path in paths}, sampling=sampling)
    report = made.report
    written = None
    if report.complete:
        written = save_checkpoint(
            output, made.weights, config=made.config, name=made.name, step=made.step, kind=made.kind
        )
    return {
        "ok": report.complete,
        "input": made.main,
        "inputs": [str(path) for path in paths],
        "output": None if written is None else str(written),
        "name": made.name,
        "config": asdict(made.network),
        "step": made.step,
        "table": report.table(),
        "loaded": {own: key for key, own in report.loaded},
        "missing": list(report.missing),
        "unexpected": list(report.unexpected),
        "mismatched": {key: f"expected {wanted}, got {got}" for key, wanted, got in report.mismatched},
        "dropped": dict(report.dropped),
        "supplied": list(report.supplied),
        "messages": list(made.notes),
    }


def describe(report: Mapping[str, Any]) -> str:
    """The table, and what was written or why not."""
    size = _size(report["name"], report["config"])
    if report["ok"]:
        last = f"{report['output']}: {report['name']}, {size}, step {report['step']}"
    else:
        last = (
            f"nothing was written: {report['input']} does not give every weight of {report['name']} ({size})"
        )
    notes = [f"note: {text}" for text in report["messages"]]
    return "\n".join([report["table"], *notes, last])


def _size(name: str, config: Mapping[str, Any]) -> str:
    """What a network is, in a few words."""
    if name == "pwm":
        return f"guidance {config['guidance']}, {config['levels']} levels from {config['width']} channels"
    if name == "heser":
        generator = config["generator"]
        return f"{generator['size']} px from {config['portrait']['outputs']} numbers of the portrait"
    if name == "heser_blender":
        return f"{config['channels']} channels correlated, {config['unet']['widths'][0]} of the first stage"
    if name == "depth":
        depth, pose = config["depth"], config["pose"]
        return f"ResNet-{depth['layers']} of width {depth['width']}, pose of ResNet-{pose['layers']}"
    keypoints, generator = config["keypoints"], config["generator"]
    attention = "" if config["attention"] == "none" else f", attention to {config['attention']}"
    return (
        f"{keypoints['count']} keypoints of {keypoints['channels']} channels, {generator['decoder']} "
        f"generator of {generator['width']} channels{attention}"
    )
