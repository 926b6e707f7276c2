"""What `headwarp evaluate` measures: pairs, clips, clips as pictures alone; and what is written of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...flame.residual import ResidualField
from ...geom.errors import HeadwarpError, MediaError, ModelFileError, NoFaceError, ShapeError
from ...training.data.frames.clips import find_frame_clips
from ...training.data.inputs import names_by_path
from ..guidance import SIDE
from ..performance import check_window
from .animators import names_of
from .clips import parse_share, prepare_clip, with_count
from .footage import clip_paths, footage, pack_paths
from .kept import Kept, page_pictures, write_kept
from .measure import Outcome, Setting
from .options import given, pair_options
from .page import write_evaluation_page
from .pair_options import ListFacts, labels
from .pairs import measure_pairs
from .pictures import picture_animators, prepare_pictures
from .report import check_against, progress, report_of, write_sheet_of
from .source_networks import checkpoint_rows, network_rows
from .source_rows import Row
from .sources import Errors, compared_sources, sources_report
from .videos import Video, measure_shown, plan_videos, videos_report

if TYPE_CHECKING:
    from ..evaluate import Evaluate


def evaluate_pairs(config: Evaluate, facts: ListFacts, setting: Setting) -> dict[str, Any]:
    """A list of pairs, measured and reported."""
    options = pair_options(config)
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


def evaluate_clips(config: Evaluate, setting: Setting) -> dict[str, Any]:
    """Clips that drive their own first face, or as pictures alone where none shows one."""
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
        return evaluate_pictures(config, setting)
    facts = {"source": "first frame with the face", "head": setting.model.model_id, "faces": True}
    report = _clips_report(config, setting, outcomes, failed, {**facts, "still": config.still_camera})
    report |= sources_report(compared) if config.sources else {}
    report |= videos_report(videos, outcomes)
    return _shown(config, report, outcomes)


def evaluate_pictures(config: Evaluate, setting: Setting) -> dict[str, Any]:
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


def _shown(config: Evaluate, report: dict[str, Any], outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """The report; it, its sheet and its page are written where they are asked for."""
    from ... import __version__
    from ...training.data.atomic import write_json
    from ..bench.timing import versions

    kept = None
    if config.html is not None or config.json is not None:
        made = {"headwarp": __version__, **versions()}
        kept = Kept(outcomes, page_pictures(outcomes), given(config), made)
    if config.json is not None and kept is not None:
        write_json(config.json, report)
        write_kept(config.json, kept, videos=report.get("videos", {}))
    write_sheet_of(config.sheet, outcomes, list(report["metrics"]))
    if config.html is not None and kept is not None:
        write_evaluation_page(config.html, report, kept)
    return report
