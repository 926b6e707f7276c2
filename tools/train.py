"""`headwarp train`: a recipe trained on clips, from its last checkpoint if there is one."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from tyro.conf import Positional

from ..flame.model import HeadModel
from ..geom.errors import HeadwarpError
from ..training.engine.config import EngineConfig, check_config, fingerprint
from ..training.engine.dry_run import DryRun, check_memory, dry_run
from ..training.engine.loop import train
from ..training.engine.parallel import check_device
from ..training.engine.pictures import HeldOut
from ..training.engine.state import RunRecord, identity_of
from ..training.engine.store import check_same, newest
from ..training.recipes import Recipe, recipe_entry
from ..warping.checkpoints import Checkpoint
from ..warping.guide_record import record_from_json
from .evaluation.clips import parse_share
from .guidance import GuidanceOptions, guidance_of, guide_of, settled
from .heads import ready_head
from .inputs import check_folder
from .recipes import CodesKind, Guides, ModelSize, RecipeOptions, recipe_of
from .supply import Supply
from .train_options import (
    batch_of,
    blend_supply,
    changes_of,
    check_options,
    frame_supply,
    pair_supply,
    published,
)


@dataclass(frozen=True)
class Train:
    """Train a recipe on clips; run again, it goes on from its last checkpoint.

    Clips are packed once into --cache; for pwm, sparse2dense and heser_blender they are fitted where no fit
    is at hand, the other recipes need no face. OUTPUT holds checkpoints, log.jsonl, pictures of held-out
    pairs, report.json and animator.safetensors, which --checkpoint of other commands takes (heser_blender:
    blender.safetensors). Several processes: torchrun --nproc-per-node N -m headwarp.tools.cli train ...
    """

    recipe: Positional[str]
    """pwm, sparse2dense, heser_aligner, heser_blender, fomm, dagan or depth; or one of their modes, such as
    pwm/personal (one person's clips), pwm/paper or pwm/official."""
    data: tuple[Path, ...]
    """Clips, folders of them, a VoxCeleb tree, a .csv list; or folders of packs."""
    output: Path
    """Folder of the run."""
    fits: Path | None = None
    """Folder of fits that headwarp fit made; fits that lie beside the clips are found too."""
    cache: Path | None = None
    """Where packs and fits are kept; without it, cache in the output."""
    persons: Path | None = None
    """CSV list (name, person) that says who is in the clips: pairs are drawn person by person."""
    exclude: Path | None = None
    """CSV list whose persons are left out, such as those of a test set."""
    held_out: tuple[Path, ...] = ()
    """Clips to measure on; without them, the frames that --frames leaves out."""
    head: str | None = None
    """builtin, or a head file; without it, what $HEADWARP_HEAD names, else builtin."""
    size: int = 256
    """Side of the frames in pixels, a multiple of 32."""
    codec: Literal["raw", "jpeg"] = "raw"
    """How packs keep frames: raw is quick and large."""
    frames: str = "0:1"
    """Part of every clip that is trained on, START:END in 0..1."""
    pairs: Literal["random", "first", "official"] | None = None
    """Which two frames: any (random), the clip's first as source, or any in order of time, as the public code
    draws them; without it, any, or as --preset has it."""
    min_gap: int = 1
    """Least distance of the two in frames."""
    across: float = 0.0
    """Share of pairs whose frames come from two clips of the person."""
    pool: int = 0
    """Draw from so many fixed pairs of each clip, which are computed once and kept; 0: from all pairs."""
    augment: bool = True
    """Change the colours of both frames at random, alike."""
    flip: float | None = None
    """Share of the pairs that are mirrored; without it, half of them, none with --pairs first (for pwm, nor
    with --pairs official)."""
    preset: Literal["vox", "taichi", "nemo", "bair", "mgif"] | None = None
    """Draw and change frames as the public code of first-order motion does for one of its data sets."""
    frame_step: int = 1
    """Distance in frames of three that follow each other; of depth/own's five the least from the target."""
    frame_step_most: int | None = None
    """Largest such distance; every one from --frame-step on is drawn. Without it, of three --frame-step
    alone, of five any."""
    time_flip: float | None = None
    """Share of the samples of frames whose order is turned round; without it, half of them."""
    shape: Literal["crop", "pad", "stretch"] | None = None
    """What becomes of frames without faces that are no squares: the middle is taken (crop), the border
    repeats (pad), or they lose their proportions (stretch)."""
    reuse: Literal["auto", "nothing", "sources", "pairs"] = "auto"
    """What geometry computed is kept beside the packs: auto keeps whole pairs where they come again (--pool,
    --pairs first), else sources."""
    still_camera: bool = False
    """Do not measure the background's motion."""
    model_size: ModelSize | None = None
    """Size of the networks; without it, tiny for pwm/residual and personal, the paper's for the others."""
    guidance: Guides | None = None
    """What guides the network: displacement of the mesh, posed neural codes, both, or in place of the mesh
    depth or keypoints of a frozen network, or the head's 68 landmarks. Where not given, what the run was
    begun with, else displacement."""
    depth_checkpoint: Path | None = None
    """Weights for --guidance depth, of headwarp train depth."""
    keypoints_checkpoint: Path | None = None
    """Weights for --guidance keypoints, of fomm or dagan."""
    guide_side: int | None = None
    """Longer side of the pictures that this network sees, at most that of the frames; 256 where not given."""
    codes: CodesKind | None = None
    """Where codes guide: one a vertex of the head, the default, or one a texel of its texture."""
    vgg: Path | None = None
    """File of VGG-19's weights for the perceptual loss, or auto: the one in the folders of weights; without
    it a fixed loss stands in."""
    weights_dir: Path | None = None
    """Folder that --vgg auto looks in before those of $HEADWARP_WEIGHTS."""
    set: tuple[str, ...] = ()
    """Fields of the recipe's config as KEY=VALUE, such as pixel_weight=2 or network.network.stem=8."""
    learning_rate: float | None = None
    """In place of the recipe's."""
    steps: int | None = None
    """Steps in all."""
    minutes: float | None = None
    """Minutes in all, over every session of the run."""
    batch: int | None = None
    """Pairs of a step, for each process; without it, 4 on a CPU and 16 on CUDA."""
    accumulate: int = 1
    """Batches for a step."""
    workers: int = 0
    """Processes that make batches ahead."""
    seed: int = 0
    """Of weights, pairs and everything else that is drawn by lot."""
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    """Of the networks' forward passes."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Of the learning rate; cosine falls to zero at the end, which is then part of what the run is."""
    warmup: int = 100
    """Steps over which the learning rate rises."""
    clip: float = 1.0
    """Largest norm of a network's gradients; 0 clips nothing."""
    ema: float = 0.999
    """Decay of the moving average that is shown and saved; 0 keeps none."""
    ema_from: int = 0
    """Step at which the average begins."""
    compile: bool = False
    """torch.compile the networks."""
    channels_last: bool = False
    """Memory order of pictures, often quicker."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """What happens at a loss that is NaN or infinite."""
    checkpoint_every: int = EngineConfig.checkpoint_every
    """Steps between checkpoints; one is written every five minutes too."""
    keep: int = EngineConfig.keep
    """Checkpoints that are kept."""
    log_every: int = EngineConfig.log_every
    """Steps between lines of the log."""
    pictures_every: int = EngineConfig.pictures_every
    """Steps between pictures, and between measurements of held-out pairs."""
    held_out_pairs: int = 16
    """How many pairs are measured."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    check: bool = False
    """Only try: data, weights, memory and one step; nothing is written."""
    restart: bool = False
    """Begin anew; an old run is set aside in OUTPUT/before-N."""


@dataclass(frozen=True)
class Planned:
    """A training whose settings, recipe, data and memory are checked.

    Attributes:
        recipe: to be run.
        engine: how.
        supply: the data.
        found: of the trial step; None where a run goes on or other processes share the work.
        facts: for the report of ``--check``.
    """

    recipe: Recipe
    engine: EngineConfig
    supply: Supply
    found: DryRun | None
    facts: Mapping[str, Any]


def run(config: Train) -> dict[str, Any]:
    """The command.

    Raises:
        HeadwarpError: anything that would keep the training from its end, before any long work; or a loss
            that is not finite.
    """
    planned = plan(config)
    if config.check:
        return {"ok": True, "check": True, **planned.facts}
    check_folder(config.output)
    data = planned.supply.ready()
    report = train(
        planned.recipe,
        data.batches,
        output=config.output,
        config=planned.engine,
        held_out=data.held_out,
        facts=data.facts,
        restart=config.restart,
        say=say,
    )
    return {**report, "left_out": data.left_out}


def plan(config: Train) -> Planned:
    """Check everything that can be checked in seconds.

    Raises:
        HeadwarpError: settings, recipe, weights, data, another run's folder, memory.
    """
    engine = _engine_config(config)
    check_config(engine)
    check_device(engine.device)
    share = parse_share(config.frames)
    if config.size % 32 or config.size < 32:
        raise HeadwarpError(f"--size: expected a multiple of 32 pixels, got {config.size}")
    if batch_of(config) < 1 or config.workers < 0 or config.held_out_pairs < 1:
        raise HeadwarpError("--batch, --workers, --held-out-pairs: expected at least 1, 0 and 1")
    entry = recipe_entry(config.recipe)
    check_options(config, entry)
    head = None if entry.needs == "frames" else ready_head(config.head)
    begun = _begun(config)
    guidance = _guidance(config, begun)
    choice = RecipeOptions(
        entry.name,
        config.model_size,
        cast(Guides, guidance.name or "displacement"),
        config.vgg,
        weights_dir=config.weights_dir,
        codes=config.codes,
        guide=guide_of(guidance),
        side=config.size,
    )
    recipe = recipe_of(choice, head, changes=changes_of(config, entry), learning_rate=config.learning_rate)
    if begun is not None:
        _check_run(begun, recipe, engine)
    goes_on = begun is not None
    supply = _supply(config, recipe, head, share)
    data = supply.planned()
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    found = None if (goes_on and not config.check) or not alone else _trial(recipe, supply, engine, config)
    as_published = published(config, data.clips["packed"] + data.clips["to_pack"])
    facts = {
        "recipe": recipe.name,
        "stand_ins": list(recipe.stand_ins),
        "goes_on": goes_on,
        "data": data.clips,
        "held_out": data.held_out,
        **({} if as_published is None else {"preset": as_published}),
        **({} if found is None else _facts(found, config)),
    }
    return Planned(recipe, engine, supply, found, facts)


def describe(report: Mapping[str, Any]) -> str:
    """What a person reads."""
    if rank := int(os.environ.get("RANK", "0")):
        return f"process {rank} is done"
    lines = [f"{report['recipe']}", *(f"stands in: {text}" for text in report["stand_ins"])]
    if report.get("check"):
        data = report["data"]
        to_do = f"{data['to_pack']} to pack ({data['to_fit']} of them to fit: about {data['seconds']} s)"
        disk = f"{data['disk_bytes'] / 1e9:.1f} GB of disk"
        lines.append(f"data: {data['packed']} packed, {to_do}, {len(data['left_out'])} left out; {disk}")
        lines += _left_out(data["left_out"])
        if preset := report.get("preset"):
            lines.append(
                f"{preset['name']}: on so many clips the public code trains {preset['steps']} steps of "
                f"{preset['batch']}, {preset['game']} a game"
            )
        if "memory" in report:
            memory = report["memory"]
            lines.append(f"memory: about {memory['needed_gb']:.1f} GB of {memory['free_gb']:.1f} GB free")
            lines.append(f"one step of one pair: {report['seconds_per_pair']:.2f} s")
        return "\n".join([*lines, "nothing was written; without --check the training begins"])
    lines.append(f"{report['steps']} steps in {report['minutes']:.1f} minutes; ended by {report['stopped']}")
    if report["final"] is not None:
        lines.append(f"held out: {HeldOut(**report['final']).text}")
    if left_out := report["left_out"]:
        lines += [f"{len(left_out)} clips were left out", *_left_out(left_out)]
    return "\n".join([*lines, f"{report['kind']}: {report['made']}"])


def _left_out(reasons: Mapping[str, str]) -> list[str]:
    return [f"  left out: {clip}: {reason}" for clip, reason in list(reasons.items())[:5]]


def _engine_config(config: Train) -> EngineConfig:
    """The engine's part: the options of the same names."""
    names = {field.name for field in dataclasses.fields(EngineConfig)} & set(vars(config))
    chosen = {name: getattr(config, name) for name in names}
    return EngineConfig(**{**chosen, "ema": config.ema or None, "clip": config.clip or None})


Begun = tuple[Checkpoint, RunRecord]


def _begun(config: Train) -> Begun | None:
    """The last checkpoint of the run that the folder holds; None where there is none to go on with."""
    folder = config.output / "checkpoints"
    return None if config.restart or not folder.is_dir() else newest(folder, say=say)


def _guidance(config: Train, begun: Begun | None) -> GuidanceOptions:
    """What guides: as asked for, else as the run was begun.

    Raises:
        HeadwarpError: the network that guided the run is missing, or is another one.
    """
    options = guidance_of(config)
    recorded = None if begun is None else begun[1].identity.get("guide")
    if options.name is not None or recorded is None:
        return options
    record = record_from_json(recorded)
    chosen = settled(options, record, name=f"the run in {config.output}", fixed=True)
    return chosen if record.kind == "mesh" else dataclasses.replace(chosen, name=record.kind)


def _supply(config: Train, recipe: Recipe, head: HeadModel | None, share: tuple[float, float]) -> Supply:
    """The data that the recipe needs."""
    if head is None:
        return frame_supply(config, recipe, share)
    if recipe.needs == "regions":
        return blend_supply(config, recipe, head, share)
    return pair_supply(config, head, share)


def _check_run(begun: Begun, recipe: Recipe, engine: EngineConfig) -> None:
    """Raise HeadwarpError if the run to go on with is another one."""
    checkpoint, record = begun
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    settings = {**fingerprint(engine), "processes": processes}
    check_same(record, identity_of(recipe, record.identity["data"], settings), checkpoint.path)


def _trial(recipe: Recipe, supply: Supply, engine: EngineConfig, config: Train) -> DryRun:
    found = dry_run(recipe, supply.blank(), engine)
    check_memory(found, batch_of(config), workers=config.workers)
    return found


def _facts(found: DryRun, config: Train) -> dict[str, Any]:
    return {
        "memory": check_memory(found, batch_of(config), workers=config.workers),
        "seconds_per_pair": found.seconds,
        "losses": found.losses,
    }


def say(text: str) -> None:
    """A line of progress, on the error stream."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
