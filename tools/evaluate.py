"""`headwarp evaluate`: animators measured on clips, baselines beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..flame.model import HeadModel
from ..flame.residual import ResidualField
from ..geom.errors import HeadwarpError, MediaError, NoFaceError
from ..training.data.inputs import names_by_path
from .evaluation.animators import load_animators, names_of
from .evaluation.clips import clip_paths, parse_share, prepare_clip
from .evaluation.measure import Outcome, Setting, measure
from .evaluation.networks import Networks
from .evaluation.report import check_against, describe, progress, report_of, write_sheet_of
from .heads import ready_head
from .performance import check_device

__all__ = ["Evaluate", "describe", "evaluate", "run"]


@dataclass(frozen=True)
class Evaluate:
    """Measure animators and the baselines on clips: each clip's first face is driven by the clip.

    Attributes:
        clips: a clip, or a folder of clips: the clip's frames are the truth.
        animator: the animators to measure; copy, similarity and tps stand beside them.
        checkpoint: weights, each of the animator that its file names; several of one are measured each.
        head: built-in, or a head file.
        stride: every how many frames are measured (fits always see the whole clip).
        frames: share of every clip that is measured, START:END in 0..1; the source stays the first frame.
        still_camera: do not follow the background's motion.
        sheet: write a contact sheet here.
        against: an animator; the others are compared with it, with 95 % intervals.
        device: where animators and networks work: cpu, cuda.
    """

    clips: Path
    animator: tuple[str, ...] = ("geometry",)
    checkpoint: tuple[Path, ...] = ()
    head: str = "builtin"
    stride: int = 1
    frames: str = "0:1"
    still_camera: bool = False
    sheet: Path | None = None
    against: str | None = None
    device: str = "cpu"


def run(config: Evaluate) -> dict[str, Any]:
    """The command.

    Returns:
        The report: ``protocol``, ``metrics`` per animator, ``clips`` per clip or pair, ``failed`` with the
        reason per clip that could not be measured (``ok`` is False then), ``definitions``; see
        `tools.evaluation.report.report_of`.

    Raises:
        HeadwarpError: nothing to measure, an unknown animator, or options that contradict each other.
    """
    return _evaluated(config, config.head)


def evaluate(
    clips: str | Path,
    animator: str | Sequence[str] = "geometry",
    *,
    head: str | Path | HeadModel = "builtin",
    stride: int = 1,
    frames: str = "0:1",
    checkpoint: str | Path | Sequence[str | Path] | None = None,
    still_camera: bool = False,
    sheet: str | Path | None = None,
) -> dict[str, Any]:
    """Measure animators and the baselines on clips; see `Evaluate` for the arguments and more, `run` for what
    is returned and raised.
    """
    files = [] if checkpoint is None else [checkpoint] if isinstance(checkpoint, (str, Path)) else checkpoint
    config = Evaluate(
        clips=Path(clips),
        animator=(animator,) if isinstance(animator, str) else tuple(animator),
        checkpoint=tuple(Path(file) for file in files),
        stride=stride,
        frames=frames,
        still_camera=still_camera,
        sheet=None if sheet is None else Path(sheet),
    )
    return _evaluated(config, head)


def _evaluated(config: Evaluate, head: str | Path | HeadModel) -> dict[str, Any]:
    parse_share(config.frames)
    if config.stride < 1:
        raise HeadwarpError(f"--stride: expected 1 or more, got {config.stride}")
    names = names_of(config.animator)
    device = check_device(config.device)
    animators = load_animators(names, config.checkpoint, device=device)
    setting = Setting(animators, ready_head(head), Networks(), device)
    return _evaluate_clips(config, setting)


def _evaluate_clips(config: Evaluate, setting: Setting) -> dict[str, Any]:
    check_against(config.against, list(setting.animators))
    share = parse_share(config.frames)
    failed: dict[str, str] = {}
    outcomes: dict[str, Outcome] = {}
    field: ResidualField | None = None  # the same for all clips: one head, one detector
    for path, name in progress(names_by_path(clip_paths(config.clips)).items(), "clip"):
        try:
            clip = prepare_clip(
                path,
                setting.model,
                field,
                stride=config.stride,
                share=share,
                still_camera=config.still_camera,
            )
        except (NoFaceError, MediaError) as error:
            failed[name] = str(error)
            continue
        field = clip.portrait.field
        outcomes[name] = measure(clip, setting)
    if not outcomes:
        reasons = "; ".join(failed.values())
        raise HeadwarpError(f"evaluate: expected at least one clip with a face, got none: {reasons}")
    write_sheet_of(config.sheet, outcomes, list(setting.animators))
    protocol = {
        "source": "first frame with the face",
        "truth": True,
        "stride": config.stride,
        "frames": config.frames,
        "head": setting.model.model_id,
        "still": config.still_camera,
    }
    return report_of(
        outcomes,
        list(setting.animators),
        setting.networks,
        failed=failed,
        protocol=protocol,
        against=config.against,
    )
