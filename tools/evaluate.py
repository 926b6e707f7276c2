"""`headwarp evaluate`: animators measured on clips or pairs, baselines beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, arg

from ..flame.model import HeadModel
from ..geom.errors import HeadwarpError
from ..warping.guides import NETWORK_KINDS
from .evaluation import report as tables
from .evaluation.animators import load_animators, names_of
from .evaluation.clips import parse_share
from .evaluation.kept import read_kept
from .evaluation.measure import SHOWN, Setting
from .evaluation.networks import load_networks
from .evaluation.options import check_again, check_unused, keeps_pictures, pair_options, sees_sources_alone
from .evaluation.page import write_evaluation_page
from .evaluation.pair_options import labels, open_list
from .evaluation.protocols import evaluate_clips, evaluate_pairs, evaluate_pictures
from .evaluation.report import check_against
from .evaluation.sources import describe_sources
from .guidance import GuidanceName, guided_each
from .heads import ready_head
from .landmark_motion import common_count
from .performance import Precision, check_device, check_output, check_window, inference_of

__all__ = ["Evaluate", "describe", "evaluate", "run"]


@dataclass(frozen=True)
class Evaluate:
    """Measure animators beside baselines: clips that drive their own first face, or pairs of persons.

    Every number is printed with its definition.
    """

    clips: Path | None = None
    """A clip, or a folder of clips: the clip's frames are the truth. Files, folders of numbered frames, and
    packs of a training."""
    pairs: Path | None = None
    """A list (.csv) of source and driving, columns source, driving and frame as wanted."""
    root: Path | None = None
    """Folder in which the names of the list are found; that of the list where not given."""
    animator: tuple[str, ...] = ("geometry",)
    """The animators to measure; copy, similarity and tps stand beside them."""
    checkpoint: tuple[Path, ...] = ()
    """Weights, each of the animator that its file names; several of one are measured each."""
    guidance: tuple[GuidanceName, ...] = ()
    """What guides those that take guidance: mesh (and codes, both: what weights were trained with), depth,
    keypoints, landmarks; several are measured each, beside each other. Where not given, each is guided by
    what its weights were trained with."""
    depth_checkpoint: Path | None = None
    """Weights for --guidance depth, of headwarp train depth."""
    keypoints_checkpoint: Path | None = None
    """Weights for --guidance keypoints, of fomm or dagan."""
    guide_side: int | None = None
    """Longer side of the pictures that these networks see, best that of their training; where not given, what
    they saw when the animator was trained, else 256."""
    sources: FlagCreatePairsOff[bool] = False
    """Of clips of headwarp synth: the geometry sources themselves beside each other, flow and head pose of
    each against the truth."""
    source_checkpoint: tuple[Path, ...] = ()
    """With --sources: trained networks beside the others, of headwarp train depth, fomm or dagan; where not
    given, those that guide animators."""
    head: str = "builtin"
    """Built-in, or a head file."""
    stride: int = 1
    """Every how many frames are measured (fits always see the whole clip)."""
    frames: str = "0:1"
    """Share of every clip that is measured, START:END in 0..1; the source stays the first frame."""
    relative: FlagCreatePairsOff[bool] = False
    """Of pairs: add the driver's change to the source's own pose; the default for clips."""
    absolute: FlagCreatePairsOff[bool] = False
    """Of pairs: take the driver's pose and expression themselves; both may be given."""
    same_person: FlagCreatePairsOff[bool] = False
    """Of pairs: both are frames of one clip, and the driving ones are the truth."""
    per_pair: int = 24
    """Of pairs: driving frames, in runs of three neighbours spread over the clip."""
    size: int = 256
    """Of pairs: side of the window in pixels; with --no-faces, of the frames' middle square."""
    still_camera: bool = False
    """Do not follow the background's motion."""
    faces: bool = True
    """Of clips: seek faces and fit heads; without (--no-faces) animators that take pictures alone are
    measured on pictures alone, whatever they show. Where no clip shows a face, that is done anyhow."""
    json: Path | None = None
    """Write the report here as JSON, and beside it what --from needs."""
    sheet: Path | None = None
    """Write a contact sheet here."""
    html: Path | None = None
    """Write a page for a browser here: numbers and what they mean, every clip with pictures and curves."""
    again: Annotated[Path | None, arg(name="from")] = None
    """Measure nothing: the page of --html from the report that --json wrote and what lies beside it."""
    videos: Path | None = None
    """Folder for a video of every clip or pair: source, driver, every animator, where it is wrong and by how
    much so far."""
    against: str | None = None
    """An animator; the others are compared with it, with 95 % intervals."""
    arcface: Path | None = None
    """Weights of a face recognition network, for csim and aed_id."""
    inception: Path | None = None
    """Weights of Inception-V3, for fid."""
    lpips: Path | None = None
    """Weights of LPIPS."""
    device: str = "cpu"
    """Where animators and networks work: cpu, cuda."""
    compile: bool = False
    """torch.compile the animators' networks, anew for every size of clip: a minute each."""
    precision: Precision = "32"
    """Of compiled networks; bf16 is quicker where the device computes in it."""


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


def describe(report: Mapping[str, Any]) -> str:
    """The table for a person, the definitions under it, and the geometry sources where they are compared."""
    return "\n".join([tables.describe(report), *describe_sources(report.get("sources"))])


def evaluate(
    clips: str | Path,
    animator: str | Sequence[str] = "geometry",
    *,
    head: str | Path | HeadModel = "builtin",
    stride: int = 1,
    frames: str = "0:1",
    checkpoint: str | Path | Sequence[str | Path] | None = None,
    guides: Mapping[GuidanceName, str | Path | None] | None = None,
    still_camera: bool = False,
    faces: bool = True,
    sheet: str | Path | None = None,
) -> dict[str, Any]:
    """Measure animators and the baselines on clips whose frames are the truth; `Evaluate` has more options,
    pairs of persons among them.

    Args:
        clips: a clip, or a folder of clips: files, folders of numbered frames, packs of a training.
        animator: names of those to measure; `copy`, `similarity` and `tps` stand beside them.
        head: ``"builtin"``, a head file, a loaded model.
        stride: every how many frames are measured; fits see the whole clip.
        frames: share of every clip that is measured, ``"START:END"`` in 0..1; the source stays the first
            frame.
        checkpoint: weights, each of the animator that its file names; several of one are measured each.
        guides: what guides those that take guidance, each measured, with the file of its network:
            ``{"mesh": None, "depth": "depth.safetensors"}``; None: what each was trained with.
        still_camera: do not follow the background's motion.
        faces: seek faces and fit heads; False: animators that look at pictures alone are measured on pictures
            alone.
        sheet: a contact sheet is written here.

    Returns:
        A report with ``protocol``, ``metrics`` by animator, ``clips`` by name, ``failed`` with the reason of
        each clip that could not be measured (``ok`` is then False), and ``definitions``.

    Raises:
        HeadwarpError: nothing to measure, an unknown animator, or options that contradict each other.
    """
    guides = guides or {}
    if odd := [name for name, file in guides.items() if file is not None and name not in NETWORK_KINDS]:
        raise HeadwarpError(f"guides: expected no file for {odd[0]}, got {guides[odd[0]]}; give None")
    depth, keypoints = guides.get("depth"), guides.get("keypoints")
    files = [] if checkpoint is None else [checkpoint] if isinstance(checkpoint, (str, Path)) else checkpoint
    config = Evaluate(
        clips=Path(clips),
        animator=(animator,) if isinstance(animator, str) else tuple(animator),
        checkpoint=tuple(Path(file) for file in files),
        guidance=tuple(guides),
        depth_checkpoint=None if depth is None else Path(depth),
        keypoints_checkpoint=None if keypoints is None else Path(keypoints),
        stride=stride,
        frames=frames,
        still_camera=still_camera,
        faces=faces,
        sheet=None if sheet is None else Path(sheet),
    )
    return _evaluated(config, head)


def _evaluated(config: Evaluate, head: str | Path | HeadModel) -> dict[str, Any]:
    if config.again is not None:
        return _made_again(config, config.again)
    if (config.clips is None) == (config.pairs is None):
        got = "neither" if config.clips is None else "both"
        raise HeadwarpError(f"expected --clips or --pairs, got {got}")
    check_unused(config)
    parse_share(config.frames)
    if config.stride < 1:
        raise HeadwarpError(f"--stride: expected 1 or more, got {config.stride}")
    if config.html is not None:
        check_output(config.html, (".html", ".htm"), what="a page", option="--html")
    names = names_of(config.animator)
    device = check_device(config.device)
    chosen = inference_of(compile=config.compile, precision=config.precision)
    animators = load_animators(names, config.checkpoint, device=device, inference=chosen)
    guiding = replace(config, guide_side=None) if sees_sources_alone(config) else config
    animators = guided_each(animators, guiding, device=device)
    common_count(animators)  # animators that do not go together are told before the long work
    networks = load_networks(
        arcface=config.arcface, inception=config.inception, lpips=config.lpips, device=device
    )
    if config.pairs is None:
        shown = SHOWN * keeps_pictures(config)
        setting = Setting(animators, ready_head(head), networks, device, shown)
        return evaluate_clips(config, setting) if config.faces else evaluate_pictures(config, setting)
    check_against(config.against, labels(pair_options(config), animators))
    for name, animator in animators.items():
        check_window(animator, config.size, name=name)
    facts = open_list(pair_options(config))
    shown = int(keeps_pictures(config))
    return evaluate_pairs(config, facts, Setting(animators, ready_head(head), networks, device, shown))


def _made_again(config: Evaluate, path: Path) -> dict[str, Any]:
    check_again(config)
    assert config.html is not None
    check_output(config.html, (".html", ".htm"), what="a page", option="--html")
    report, kept = read_kept(path)
    write_evaluation_page(config.html, report, kept)
    return {**report, "ok": True}  # what is asked for is the page
