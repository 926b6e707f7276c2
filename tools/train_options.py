"""What the options of `headwarp train` mean for the data, and which of them a recipe has no use for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..flame.model import HeadModel
from ..geom.errors import HeadwarpError
from ..training.data.frames.augment import FrameAugment
from ..training.data.frames.pack import FramePackConfig
from ..training.data.frames.presets import FramePreset, frame_preset
from ..training.data.frames.sampler import PAIR, FrameConfig, Order
from ..training.data.pairs.augment import AugmentConfig
from ..training.data.pairs.pack import PackConfig
from ..training.data.pairs.sampler import PairConfig
from ..training.recipes import Recipe, RecipeEntry
from .blend_supply import BlendOptions, BlendSupply
from .frame_packs import FrameDataConfig
from .frame_supply import FrameOptions, FrameSupply
from .pack import DataConfig
from .supply import PairSupply
from .training_data import BatchOptions

if TYPE_CHECKING:
    from .train import Train

GEOMETRY = (
    "fits",
    "head",
    "across",
    "pool",
    "reuse",
    "still_camera",
    "guidance",
    "codes",
    "depth_checkpoint",
    "keypoints_checkpoint",
    "guide_side",
)
FRAMES = ("preset", "frame_step", "frame_step_most", "time_flip", "shape")
UNGUIDED = ("reuse", "still_camera", "guidance", "codes", *GEOMETRY[-3:], "augment", "flip")
_COLOURS: dict[str, Any] = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
_PUBLIC = FramePreset()


def check_options(config: Train, entry: RecipeEntry) -> None:
    """Raise HeadwarpError for an option that the recipe has no use for."""
    foreign, kind = {
        "geometry": (FRAMES, "needs geometry"),
        "frames": (GEOMETRY, "needs no geometry"),
        "regions": ((*FRAMES, *UNGUIDED), "is guided by the regions of two pictures"),
    }[entry.needs]
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for name in foreign:
        if getattr(config, name) != defaults[name]:
            option = name.replace("_", "-")
            other = "recipes that train on frames alone, such as fomm" if name in FRAMES else "pwm"
            raise HeadwarpError(f"--{option}: belongs to {other}; {entry.name} {kind}: leave it out")
    if config.frame_step_most is not None and config.frame_step_most < config.frame_step:
        raise HeadwarpError(
            f"--frame-step-most: expected at least --frame-step, {config.frame_step}, got "
            f"{config.frame_step_most}; frames are drawn from the one to the other apart"
        )


def changes_of(config: Train, entry: RecipeEntry) -> tuple[str, ...]:
    """Fields of the recipe's config that are set, those of the preset before those by name."""
    preset, network = _preset(config), getattr(entry.config, "network", None)
    single = preset is not None and preset.single_jacobian and hasattr(network, "keypoints")
    return (*(("network.keypoints.jacobians=single",) if single else ()), *config.set)


def pair_supply(config: Train, head: HeadModel, share: tuple[float, float]) -> PairSupply:
    """Pairs as the command line asks for them.

    Args:
        config: of the command.
        head: the head of the fits.
        share: part of each clip that is trained on, start and end in 0..1.
    """
    data, cache, held_out = _paths(config)
    packing = PackConfig(config.size, config.codec)
    asked = DataConfig(data, cache, config.fits, config.persons, config.exclude, packing)
    other = dataclasses.replace(asked, data=held_out, exclude=None) if held_out else None
    mode = config.pairs or "random"
    pairs = PairConfig(mode, config.min_gap, share, across=config.across, pool=config.pool)
    options = BatchOptions(
        batch=batch_of(config),
        workers=config.workers,
        seed=config.seed,
        pairs=pairs,
        augment=_pair_augmentation(config),
        still_camera=config.still_camera,
        keep="nothing" if config.reuse == "auto" else config.reuse,
        device=config.device,
    )
    return PairSupply(head, asked, other, options, config.reuse == "auto", config.held_out_pairs)


def blend_supply(config: Train, recipe: Recipe, head: HeadModel, share: tuple[float, float]) -> BlendSupply:
    """Heads to be blended as the command line and the recipe's ``changes`` ask for them.

    Args:
        config: of the command.
        recipe: that is trained.
        head: the head of the fits.
        share: part of each clip that is trained on, start and end in 0..1.
    """
    pairs = pair_supply(config, head, share)
    options = BlendOptions(
        batch=batch_of(config),
        workers=config.workers,
        seed=config.seed,
        pairs=pairs.options.pairs,
        changes=recipe.config.changes,
        device=config.device,
    )
    return BlendSupply(head, pairs.asked, pairs.held_out, options, config.held_out_pairs)


def frame_supply(config: Train, recipe: Recipe, share: tuple[float, float]) -> FrameSupply:
    """Frames as the command line asks for them.

    Args:
        config: of the command.
        recipe: that is trained.
        share: part of each clip that is trained on, start and end in 0..1.

    Raises:
        HeadwarpError: options that do not go together.
    """
    data, cache, held_out = _paths(config)
    preset = _preset(config)
    shape = config.shape or ("crop" if preset is None else preset.shape)
    packing = FramePackConfig(config.size, config.codec, shape)
    asked = FrameDataConfig(data, cache, config.persons, config.exclude, packing)
    other = dataclasses.replace(asked, data=held_out, exclude=None) if held_out else None
    options = FrameOptions(
        batch=batch_of(config),
        workers=config.workers,
        seed=config.seed,
        sampling=_sampling(config, recipe.frames, share),
        augment=_frame_augmentation(config),
        device=config.device,
    )
    return FrameSupply(asked, other, options, config.held_out_pairs)


def published(config: Train, clips: int) -> dict[str, Any] | None:
    """What the public code does with a preset's data, for ``--check``; None without one."""
    preset = _preset(config)
    if preset is None:
        return None
    game = "with" if preset.game else "without"
    return {"name": config.preset, "steps": preset.steps(clips), "batch": preset.batch, "game": game}


def batch_of(config: Train) -> int:
    """Samples of a step."""
    return config.batch if config.batch is not None else 16 if config.device.startswith("cuda") else 4


def _preset(config: Train) -> FramePreset | None:
    return None if config.preset is None else frame_preset(config.preset)


def _paths(config: Train) -> tuple[Path | tuple[Path, ...], Path, Path | tuple[Path, ...] | None]:
    """Data, cache, and the clips to measure on."""
    data = config.data[0] if len(config.data) == 1 else config.data
    held_out = config.held_out[0] if len(config.held_out) == 1 else config.held_out
    return data, config.cache or config.output / "cache", held_out or None


def _pair_augmentation(config: Train) -> AugmentConfig | None:
    """Colours and mirroring as asked for; None for neither."""
    flip = config.flip if config.flip is not None else 0.5 if config.pairs in (None, "random") else 0.0
    amounts = AugmentConfig() if config.augment else AugmentConfig(**_COLOURS)
    return dataclasses.replace(amounts, flip=flip) if config.augment or flip else None


def _sampling(config: Train, count: int, share: tuple[float, float]) -> FrameConfig:
    """Which frames: three as they follow each other, two as ``--pairs`` or the preset has them."""
    preset, pairs = _preset(config), config.pairs
    identity = preset is None or preset.sampling.identity
    if count != PAIR:
        if pairs not in (None, "random") or config.min_gap != 1:
            raise HeadwarpError(
                f"--pairs, --min-gap: the recipe takes {count} frames; --frame-step and --frame-step-most "
                "say how far apart"
            )
        steps = (config.frame_step, config.frame_step_most)
        return FrameConfig(count, step=steps[0], most_step=steps[1], share=share, identity=identity)
    if config.frame_step != 1 or config.frame_step_most is not None:
        raise HeadwarpError(
            "--frame-step: belongs to recipes of three frames or more, such as depth; leave it out"
        )
    if pairs == "official" or (pairs is None and preset is not None):
        drawn = _PUBLIC.sampling if preset is None else preset.sampling
        return dataclasses.replace(drawn, share=share, identity=identity, min_gap=config.min_gap)
    order: Order = "first" if pairs == "first" else "random"
    return FrameConfig(PAIR, order, min_gap=config.min_gap, share=share, identity=identity)


def _frame_augmentation(config: Train) -> FrameAugment | None:
    """Colours, scale, mirroring and order as asked for; None for none of them."""
    preset, first = _preset(config), config.pairs == "first"
    own = _PUBLIC.augment if config.pairs == "official" else FrameAugment()
    amounts = own if preset is None else preset.augment
    if not config.augment:
        amounts = dataclasses.replace(amounts, **_COLOURS, zoom=(1.0, 1.0))
    flip = config.flip if config.flip is not None else 0.0 if first else amounts.flip
    turned = config.time_flip if config.time_flip is not None else 0.0 if first else amounts.time_flip
    made = dataclasses.replace(amounts, flip=flip, time_flip=turned)
    return made if config.augment or flip or turned else None
