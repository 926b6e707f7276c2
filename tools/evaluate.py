"""`headwarp evaluate`: animators measured on clips or pairs, baselines beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from tyro.conf import FlagCreatePairsOff

from ..flame.model import HeadModel
from ..flame.residual import ResidualField
from ..geom.errors import HeadwarpError, MediaError, ModelFileError, NoFaceError, ShapeError
from ..training.data.frames.clips import find_frame_clips
from ..training.data.inputs import names_by_path
from ..warping.guides import NETWORK_KINDS
from .evaluation import report as tables
from .evaluation.animators import load_animators, names_of
from .evaluation.clips import parse_share, prepare_clip, with_count
from .evaluation.footage import clip_paths, footage, pack_paths
from .evaluation.measure import SHOWN, Outcome, Setting
from .evaluation.networks import load_networks
from .evaluation.page import write_evaluation_page
from .evaluation.pair_options import ListFacts, PairOptions, labels, open_list
from .evaluation.pairs import measure_pairs
from .evaluation.pictures import picture_animators, prepare_pictures
from .evaluation.report import check_against, progress, report_of, write_sheet_of
from .evaluation.source_networks import checkpoint_rows, network_rows
from .evaluation.source_rows import Row
from .evaluation.sources import Errors, compared_sources, describe_sources, sources_report
from .evaluation.videos import Video, measure_shown, plan_videos, videos_report
from .guidance import SIDE, GuidanceName, guided_each
from .heads import ready_head
from .landmark_motion import common_count
from .performance import Precision, check_device, check_output, check_window, inference_of

__all__ = ["Evaluate", "describe", "evaluate", "run"]

OF_PAIRS: tuple[str, ...] = ("root", "relative", "absolute", "same_person", "per_pair", "size")
OF_CLIPS: tuple[str, ...] = ("stride", "frames", "faces", "sources", "source_checkpoint")
OF_FACES: tuple[str, ...] = ("head", "still_camera", "arcface", "sources", "source_checkpoint")


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
    sheet: Path | None = None
    """Write a contact sheet here."""
    html: Path | None = None
    """Write a page for a browser here: numbers and what they mean, every clip with pictures and curves."""
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
        The report: ``protocol``, ``metrics`` by animator, ``clips`` by name, ``failed`` with the reason of
        each clip that could not be measured (``ok`` is then False), ``definitions``.

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
    if (config.clips is None) == (config.pairs is None):
        got = "neither" if config.clips is None else "both"
        raise HeadwarpError(f"expected --clips or --pairs, got {got}")
    _check_unused(config)
    parse_share(config.frames)
    if config.stride < 1:
        raise HeadwarpError(f"--stride: expected 1 or more, got {config.stride}")
    if config.html is not None:
        check_output(config.html, (".html", ".htm"), what="a page", option="--html")
    names = names_of(config.animator)
    device = check_device(config.device)
    chosen = inference_of(compile=config.compile, precision=config.precision)
    animators = load_animators(names, config.checkpoint, device=device, inference=chosen)
    guiding = replace(config, guide_side=None) if _sees_sources_alone(config) else config
    animators = guided_each(animators, guiding, device=device)
    common_count(animators)  # animators that do not go together are told before the long work
    networks = load_networks(
        arcface=config.arcface, inception=config.inception, lpips=config.lpips, device=device
    )
    if config.pairs is None:
        shown = SHOWN * _shows(config)
        setting = Setting(animators, ready_head(head), networks, device, shown)
        return _evaluate_clips(config, setting) if config.faces else _evaluate_pictures(config, setting)
    check_against(config.against, labels(_pair_options(config), animators))
    for name, animator in animators.items():
        check_window(animator, config.size, name=name)
    facts = open_list(_pair_options(config))
    shown = int(_shows(config))
    return _evaluate_pairs(config, facts, Setting(animators, ready_head(head), networks, device, shown))


def _check_unused(config: Evaluate) -> None:
    """Refuse options that the protocol does not read, rather than drop them."""
    if config.pairs is None:
        unread, other = OF_PAIRS[: None if config.faces else -1], "--pairs"  # the size counts without faces
    else:
        unread, other = OF_CLIPS if config.same_person else (*OF_CLIPS, "still_camera"), "--clips"
    for field in fields(config):
        given, option = getattr(config, field.name) != field.default, field.name.replace("_", "-")
        if given and field.name in unread:
            raise HeadwarpError(f"--{'no-' * (option == 'faces')}{option}: belongs to {other}; leave it out")
        if given and field.name in OF_FACES and not config.faces:
            raise HeadwarpError(f"--{option}: says nothing with --no-faces; leave it out")


def _sees_sources_alone(config: Evaluate) -> bool:
    """Whether the side of the pictures that networks see is that of the sources' and of no guide."""
    guides = {"depth", "keypoints"}.intersection(config.guidance)
    files = (config.depth_checkpoint, config.keypoints_checkpoint)
    return bool(config.source_checkpoint) and not guides and files == (None, None)


def _network_rows(config: Evaluate, setting: Setting) -> dict[str, Row]:
    """The trained networks among the sources.

    Raises:
        HeadwarpError: files, and sources are not compared; or what `checkpoint_rows` raises.
    """
    if not config.sources:
        if config.source_checkpoint:
            raise HeadwarpError("--source-checkpoint: belongs to --sources; add that or leave it out")
        return {}
    if not config.source_checkpoint:
        return network_rows(setting.animators)
    return checkpoint_rows(config.source_checkpoint, side=config.guide_side or SIDE)


def _pair_options(config: Evaluate) -> PairOptions:
    if config.pairs is None:
        raise HeadwarpError("expected --pairs")
    shared = {f.name: getattr(config, f.name) for f in fields(PairOptions)}
    return PairOptions(**shared)


def _evaluate_pairs(config: Evaluate, facts: ListFacts, setting: Setting) -> dict[str, Any]:
    options = _pair_options(config)
    footage = {name: [pair.source.path, pair.driving.path] for name, pair in facts.pairs.items()}
    videos = _planned(config, footage)
    outcomes, failed = measure_pairs(facts, options, setting, videos)
    names = labels(options, setting.animators)
    protocol = {
        "source": "the list's, in a square window around its head",
        "truth": options.same_person,
        "motion": options.motion,
        "per_pair": options.per_pair,
        "size": options.size,
        "stride": 1,
        "head": setting.model.model_id,
        "pairs": facts.protocol(),
    }
    report = report_of(
        outcomes,
        names,
        setting.networks,
        failed={**facts.failed(), **failed},
        protocol=protocol,
        against=config.against,
    )
    report |= videos_report(videos, outcomes, options.modes)
    return _shown(config, report, outcomes)


def _evaluate_clips(config: Evaluate, setting: Setting) -> dict[str, Any]:
    check_against(config.against, list(setting.animators))
    share = parse_share(config.frames)
    failed: dict[str, str] = {}
    outcomes: dict[str, Outcome] = {}
    compared: dict[str, Errors] = {}
    rows = _network_rows(config, setting)
    faceless = 0
    field: ResidualField | None = None  # the same for all clips: one head, one detector
    paths = clip_paths(Path(config.clips or "."))
    names = names_by_path(paths)
    videos = _planned(config, {name: [path] for path, name in names.items()})
    for path, name in progress(names.items(), "clip"):
        try:
            clip = prepare_clip(
                footage(path),
                setting.model,
                field,
                stride=config.stride,
                share=share,
                still_camera=config.still_camera,
                name=path.name,
            )
            field = clip.portrait.field
            trial = with_count(clip, setting.landmarks)
            outcomes[name] = measure_shown(trial, setting, videos.get(name))
            if config.sources:
                compared[name] = compared_sources(path, clip, setting.model, rows)
        except (NoFaceError, MediaError, ModelFileError) as error:
            failed[name] = str(error)
            faceless += isinstance(error, NoFaceError)
        except ShapeError as error:  # a network that takes no frames of this size
            failed[name] = f"{name}: {error}"
    if faceless == len(paths) and _need_no_faces(config, setting):
        return _evaluate_pictures(config, setting)
    facts = {"source": "first frame with the face", "head": setting.model.model_id, "faces": True}
    report = _clips_report(config, setting, outcomes, failed, {**facts, "still": config.still_camera})
    report |= sources_report(compared) if config.sources else {}
    report |= videos_report(videos, outcomes)
    return _shown(config, report, outcomes)


def _evaluate_pictures(config: Evaluate, setting: Setting) -> dict[str, Any]:
    """No face is sought: animators that take pictures alone, and what pictures alone tell."""
    setting = replace(setting, animators=picture_animators(setting.animators, names_of(config.animator)))
    check_against(config.against, list(setting.animators))
    for name, animator in setting.animators.items():
        check_window(animator, config.size, name=name)
    share = parse_share(config.frames)
    failed: dict[str, str] = {}
    outcomes: dict[str, Outcome] = {}
    clips = _picture_clips(config.clips or Path("."))
    videos = _planned(config, {name: [path] for name, path in clips.items()})
    for name, path in progress(clips.items(), "clip"):
        try:
            trial = prepare_pictures(path, size=config.size, stride=config.stride, share=share)
            outcomes[name] = measure_shown(trial, setting, videos.get(name))
        except (MediaError, ModelFileError, ShapeError) as error:
            failed[name] = f"{name}: {str(error).removeprefix(f'{name}: ')}"
    facts = {"source": "first frame", "head": None, "faces": False, "size": config.size}
    report = _clips_report(config, setting, outcomes, failed, facts) | videos_report(videos, outcomes)
    return _shown(config, report, outcomes)


def _picture_clips(place: Path) -> dict[str, Path]:
    """Clips in which no face is sought by name: packs where there are some, else what training takes."""
    if packs := pack_paths(place):
        return {name: path for path, name in names_by_path(packs).items()}
    return {clip.name: clip.path for clip in find_frame_clips(place)}


def _need_no_faces(config: Evaluate, setting: Setting) -> bool:
    """Whether all animators that were asked for take pictures alone."""
    try:
        picture_animators(setting.animators, names_of(config.animator))
    except HeadwarpError:
        return False
    return True


def _clips_report(
    config: Evaluate,
    setting: Setting,
    outcomes: dict[str, Outcome],
    failed: dict[str, str],
    facts: dict[str, Any],
) -> dict[str, Any]:
    if not outcomes:
        reasons = "; ".join(failed.values())
        raise HeadwarpError(f"expected at least one clip that can be measured, got none: {reasons}")
    return report_of(
        outcomes,
        list(setting.animators),
        setting.networks,
        failed=failed,
        protocol={**facts, "truth": True, "stride": config.stride, "frames": config.frames},
        against=config.against,
    )


def _planned(config: Evaluate, footage: Mapping[str, Sequence[Path]]) -> dict[str, Video]:
    """The videos that are asked for, by clip or pair."""
    return {} if config.videos is None else plan_videos(config.videos, footage)


def _shows(config: Evaluate) -> bool:
    """Whether pictures are kept."""
    return config.sheet is not None or config.html is not None


def _shown(config: Evaluate, report: dict[str, Any], outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """The report, its sheet and page written where they are asked for."""
    write_sheet_of(config.sheet, outcomes, list(report["metrics"]))
    if config.html is not None:
        write_evaluation_page(config.html, report, outcomes, options=_given(config))
    return report


def _given(config: Evaluate) -> dict[str, str]:
    """Options that were given; of files and folders the last names, for a page is passed on."""
    values = {f.name: getattr(config, f.name) for f in fields(config) if getattr(config, f.name) != f.default}
    told = {}
    for name, value in values.items():
        items = value if isinstance(value, tuple) else (value,)
        shown = [(item.name or str(item)) if isinstance(item, Path) else str(item) for item in items]
        told[f"--{name.replace('_', '-')}"] = " ".join(shown)
    return told
