"""``headwarp convert checkpoint``: weights of other projects become our own ``.safetensors``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ..geom.errors import HeadwarpError


@dataclass(frozen=True)
class ConvertCheckpoint:
    """Turn weights of the public code of progressive warping (GDPW, .pth) into a .safetensors of ours.

    Strict: every weight is loaded, or left out for a reason that is shown; otherwise nothing is written.
    """

    input: Positional[Path]
    """The file: PWM_geom_disp.pth, PWM_neural_codes.pth or PWM_both.pth."""
    output: Path
    """Name of the .safetensors to write."""


def run(config: ConvertCheckpoint) -> dict[str, Any]:
    """The command: see :func:`convert_checkpoint`."""
    return convert_checkpoint(config.input, config.output)


def convert_checkpoint(source: Path, output: Path) -> dict[str, Any]:
    """Read a checkpoint of another project key by key, and write it as ours if nothing is amiss.

    Returns:
        ``ok`` (False: nothing was written), ``input``, ``output`` (None if not written), ``name`` of the
        animator, ``config`` (of its network), ``step``, ``table`` (for a person), ``loaded`` (key of our
        network -> key in the file), ``missing``, ``unexpected``, ``mismatched`` (key -> expected and got),
        ``dropped`` (key -> reason), ``messages``.

    Raises:
        ModelFileError: the file is not of a kind that is known.
        HeadwarpError: the output has another suffix or cannot be written.
    """
    from ..warping.checkpoints import save_checkpoint
    from ..warping.importers.gdpw import import_gdpw
    from ..warping.importers.torch_files import read_torch_file

    if output.suffix != ".safetensors":
        raise HeadwarpError(f"{output}: expected a name that ends in .safetensors")
    imported = import_gdpw(read_torch_file(source), name=str(source))
    report = imported.report
    written = None
    if report.complete:
        weights, config = imported.animator_weights(), imported.animator_config()
        written = save_checkpoint(output, weights, config=config, name="pwm", step=imported.step)
    return {
        "ok": report.complete,
        "input": str(source),
        "output": None if written is None else str(written),
        "name": "pwm",
        "config": asdict(imported.config),
        "step": imported.step,
        "table": report.table(),
        "loaded": {own: key for key, own in report.loaded},
        "missing": list(report.missing),
        "unexpected": list(report.unexpected),
        "mismatched": {key: f"expected {wanted}, got {got}" for key, wanted, got in report.mismatched},
        "dropped": dict(report.dropped),
        "messages": list(imported.notes),
    }


def describe(report: Mapping[str, Any]) -> str:
    """The table, and what was written or why not."""
    config = report["config"]
    size = f"guidance {config['guidance']}, {config['levels']} levels from {config['width']} channels"
    if report["ok"]:
        last = f"{report['output']}: {report['name']}, {size}, step {report['step']}"
    else:
        last = (
            f"nothing was written: {report['input']} does not give every weight of {report['name']} ({size})"
        )
    notes = [f"note: {text}" for text in report["messages"]]
    return "\n".join([report["table"], *notes, last])
