"""`headwarp tune`: a network tuned to one person from a clip of them."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ..flame.model import HeadModel
from ..geom.errors import HeadwarpError, ModelFileError
from ..training.data.atomic import atomic_path, write_json
from ..training.data.inputs import PHOTOS
from ..training.data.pairs.batch import PairBatch
from ..training.data.pairs.blank import blank_pair
from ..training.data.pairs.pack import Pack, PackConfig
from ..training.data.pairs.sampler import PairConfig
from ..training.data.pairs.thin import spread, thinned
from ..training.engine.config import EngineConfig, check_config
from ..training.engine.dry_run import check_memory, dry_run
from ..training.engine.loop import train
from ..training.engine.parallel import check_device
from ..training.engine.pictures import HeldOut, measure
from ..training.recipes._guides import PointsOf
from ..training.recipes.pwm import MODES, PwmRecipe, PwmRecipeConfig
from ..warping._config_json import config_from_json
from ..warping.checkpoints import ANIMATOR, Checkpoint, load_checkpoint, load_weights
from ..warping.guide_record import record_of
from ..warping.guides import GUIDE_KINDS
from ..warping.progressive import ProgressiveConfig
from ..warping.pwm import PwmConfig
from .guidance import GuidanceName, GuidanceOptions, guidance_of, guide_of, settled
from .heads import ready_head
from .pack import DataConfig, packs_at, plan_packs
from .recipes import ModelSize, RecipeOptions, landmarks_of, recipe_of
from .train import say
from .training_data import BatchOptions, PackedBatches, facts_of, held_out_batches, keep_of, locked_packs

PERSON = "person"
GENTLE = 0.3
"""Of the recipe's learning rate, where a trained network is tuned."""
LEAST_TRAINED = 2


@dataclass(frozen=True)
class Tune:
    """Tune a network to one person from a clip of them, measured on the clip's end.

    Starts from --checkpoint, or from the untrained pwm/personal, which makes the geometry animator's
    pictures. Frames of the clip's first part are trained on, the rest is only measured. OUTPUT is for
    --animator pwm --checkpoint OUTPUT; OUTPUT.json says what was gained, and the folder OUTPUT.run holds
    pictures, log and checkpoints: run again, the command goes on from there. A single photo is refused: it
    shows one pose, from which nothing about others can be learned.
    """

    source: tuple[Path, ...]
    """A clip of the person, or several."""
    output: Path
    """The tuned checkpoint, NAME.safetensors."""
    checkpoint: Path | None = None
    """Where to start; without it, the untrained pwm/personal."""
    frames: int | None = None
    """Train on so many frames of each clip, evenly spread; without it, all of its first part."""
    held_out: float = 0.2
    """Share at the end of every clip that is only measured."""
    minutes: float | None = None
    """Minutes in all; without it and --steps, 10."""
    steps: int | None = None
    """Steps in all."""
    fits: Path | None = None
    """Folder of fits that headwarp fit made; fits that lie beside the clips are found too."""
    cache: Path | None = None
    """Where packs and fits are kept; without it, in OUTPUT.run."""
    guidance: GuidanceName | None = None
    """What guides the network; what --checkpoint was trained with where not given, else the mesh."""
    depth_checkpoint: Path | None = None
    """Weights for --guidance depth, of headwarp train depth."""
    keypoints_checkpoint: Path | None = None
    """Weights for --guidance keypoints, of fomm or dagan."""
    guide_side: int | None = None
    """Longer side of the pictures that this network sees; where not given, what it saw before, else 256."""
    head: str | None = None
    """builtin, or a head file; without it, what $HEADWARP_HEAD names, else builtin."""
    size: int = 256
    """Side of the frames in pixels, a multiple of 32."""
    model_size: ModelSize = "tiny"
    """Size of an untrained network."""
    batch: int = 4
    """Pairs of a step."""
    workers: int = 0
    """Processes that make batches ahead."""
    pairs: Literal["random", "first"] = "random"
    """Which two frames: any, or the clip's first as source."""
    seed: int = 0
    """Of weights, pairs and everything else that is drawn by lot."""
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    """Of the networks' forward passes."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    restart: bool = False
    """Begin anew; an old run is set aside."""


class TunedRecipe(PwmRecipe):
    """The recipe of a network that starts from given weights."""

    def __init__(
        self, config: PwmRecipeConfig, start: Checkpoint | None, points_of: PointsOf | None = None
    ) -> None:
        super().__init__(config, None, points_of)
        self._start = start

    def networks(self) -> Mapping[str, nn.Module]:
        """The generator with the weights that it starts from."""
        made = super().networks()
        if self._start is not None:
            own = {key.removeprefix("network."): value for key, value in self._start.tensors.items()}
            load_weights(made["generator"], own, name=str(self._start.path))
        return made


def run(config: Tune) -> dict[str, Any]:
    """The command.

    Raises:
        HeadwarpError: a photo, a clip with too few frames, a foreign checkpoint, wrong settings, too little
            memory; before any long work where that can be known.
    """
    engine = _engine_config(config)
    _check(config, engine)
    head = ready_head(config.head)
    recipe = tuned_recipe(config, head)
    folder = config.output.with_name(f"{config.output.stem}.run")
    asked = _data(config, folder)
    if packs_at(asked, head) is None:
        plan_packs(asked, head)
    check_memory(dry_run(recipe, blank_pair(head, config.size), engine), config.batch, workers=config.workers)
    packs = [_of_one_person(pack) for pack in locked_packs(asked, head)[0]]
    trained = [_trained(pack, config) for pack in packs]
    held_out = _held_out(packs, head, config)
    before = _before(recipe, held_out)
    options = BatchOptions(
        config.batch,
        config.workers,
        config.seed,
        PairConfig(config.pairs, across=0.2 if len(trained) > 1 else 0.0),
        device=config.device,
    )
    options = dataclasses.replace(options, keep=keep_of(packs, options.pairs))
    report = train(
        recipe,
        PackedBatches(trained, head, options),
        output=folder,
        config=engine,
        held_out=held_out,
        facts={**facts_of(trained, options), "start": _digest(config.checkpoint)},
        restart=config.restart,
        say=say,
    )
    with atomic_path(config.output) as temporary:
        shutil.copyfile(report["animator"], temporary)
    made = {**report, **_gain(report, before), "frames": [len(pack) for pack in trained], "run": folder}
    made["animator"] = config.output
    write_json(config.output.with_suffix(".json"), made)
    return made


def describe(report: Mapping[str, Any]) -> str:
    """What was gained, for a person."""
    frames = ", ".join(map(str, report["frames"]))
    final, before, gain = report["final"], report["before"], report["gain_percent"]
    verdict = f"{gain:.1f} % below" if gain > 0 else "nothing gained against"
    lines = [
        f"{report['recipe']}: {report['steps']} steps on {frames} frames in {report['minutes']:.1f} minutes",
        f"held-out frames: L1 {final['l1']:.5f}, {verdict} the start's {before['l1']:.5f}; "
        f"geometry {final['geometry_l1']:.5f}",
    ]
    if gain <= 0:
        lines.append("train longer, or on a clip that shows more")
    return "\n".join([*lines, f"animator: {report['animator']}"])


def tuned_recipe(config: Tune, head: HeadModel) -> TunedRecipe:
    """The recipe, with the network of the checkpoint if there is one, more gently trained and without a game.

    Raises:
        ModelFileError: the checkpoint is of another animator, or damaged.
    """
    asked = guidance_of(config)
    if config.checkpoint is None:
        _check_guidance(asked, None)
        options = RecipeOptions("pwm/personal", config.model_size, guide=guide_of(asked))
        return TunedRecipe(recipe_of(options, head).config, None, landmarks_of(head))
    start = load_checkpoint(config.checkpoint, kind=ANIMATOR)
    if start.name != "pwm":
        raise ModelFileError(
            f"{config.checkpoint}: expected a network of 'pwm', the only one that is tuned, got "
            f"{start.name!r}; fomm, dagan and sparse2dense go on with headwarp train {start.name} --data "
            "CLIP --set start=FILE"
        )
    network = config_from_json(PwmConfig, start.config)
    own = record_of(None, network.network.guidance)
    _check_guidance(asked, own.kind)
    guide = guide_of(settled(asked, start.guide or own, name=str(config.checkpoint)))
    mode = MODES["official" if isinstance(network.network, ProgressiveConfig) else "personal"]
    gentle = dataclasses.replace(
        mode, network=network, adversarial=None, learning_rate=GENTLE * mode.learning_rate, guide=guide
    )
    recipe = TunedRecipe(gentle, start, landmarks_of(head))
    recipe.networks()  # weights that do not fit are told now
    return recipe


def _check_guidance(asked: GuidanceOptions, own: str | None) -> None:
    """Raise HeadwarpError for codes that the network has not, or no codes where it has some."""
    mesh = own or "mesh"
    if asked.name is not None and asked.name not in GUIDE_KINDS and asked.name != mesh:
        raise HeadwarpError(f"--guidance {asked.name}: the network is guided by {mesh}; leave it out")


def _check(config: Tune, engine: EngineConfig) -> None:
    """Raise HeadwarpError for what cannot work."""
    check_config(engine)
    check_device(engine.device)
    photos = [path for path in config.source if path.suffix.lower() in PHOTOS]
    if photos:
        raise HeadwarpError(
            f"--source {photos[0]}: a photo shows one pose, and nothing about other poses can be learned "
            "from it (its mirror image is another face): give a clip of a few seconds, or animate the photo "
            "as it is with --animator geometry or an already trained --checkpoint"
        )
    if config.output.suffix != ".safetensors":
        raise HeadwarpError(f"--output {config.output}: expected a name that ends in .safetensors")
    if config.batch < 1 or config.workers < 0:
        raise HeadwarpError(
            f"--batch, --workers: expected at least 1 and 0, got {config.batch} and {config.workers}"
        )
    if config.size % 32 or config.size < 32:
        raise HeadwarpError(f"--size: expected a multiple of 32 pixels, got {config.size}")
    if not 0 < config.held_out < 1:
        raise HeadwarpError(f"--held-out: expected a share between 0 and 1, got {config.held_out:g}")
    if config.frames is not None and config.frames < LEAST_TRAINED:
        raise HeadwarpError(f"--frames: expected {LEAST_TRAINED} or more, got {config.frames}")


def _engine_config(config: Tune) -> EngineConfig:
    minutes = 10.0 if config.minutes is None and config.steps is None else config.minutes
    return EngineConfig(
        steps=config.steps,
        minutes=minutes,
        seed=config.seed,
        precision=config.precision,
        schedule="cosine",
        warmup=20,
        clip=1.0,
        ema=0.99,
        pictures_every=200,
        device=config.device,
    )


def _data(config: Tune, folder: Path) -> DataConfig:
    source = config.source[0] if len(config.source) == 1 else config.source
    return DataConfig(source, config.cache or folder / "cache", config.fits, packing=PackConfig(config.size))


def _of_one_person(pack: Pack) -> Pack:
    return dataclasses.replace(pack, index=dataclasses.replace(pack.index, person=PERSON))


def _trained(pack: Pack, config: Tune) -> Pack:
    """The frames that are trained on."""
    positions = spread(pack.index, (0.0, 1 - config.held_out), config.frames)
    if len(positions) < LEAST_TRAINED:
        raise HeadwarpError(
            f"{pack.index.clip}: expected {LEAST_TRAINED} usable frames before its last "
            f"{config.held_out:.0%}, got {len(positions)}; give a longer clip"
        )
    return thinned(pack, positions)


def _held_out(packs: Sequence[Pack], head: HeadModel, config: Tune) -> list[PairBatch]:
    """Pairs of the last part, the clip's first frame as source."""
    share = (1 - config.held_out, 1.0)
    made = held_out_batches(packs, head, share=share, count=16, still_camera=False)
    if not made:
        raise HeadwarpError(
            f"--held-out {config.held_out:g}: no usable frame in the last part of the clip; take more"
        )
    return made


def _before(recipe: TunedRecipe, held_out: Sequence[PairBatch]) -> HeldOut:
    """What the network makes of the held-out pairs before it is tuned."""
    found = measure(recipe, recipe.networks(), held_out, torch.device("cpu"))
    assert found is not None
    return found


def _gain(report: Mapping[str, Any], before: HeldOut) -> dict[str, Any]:
    gain = 100 * (1 - report["final"]["l1"] / before.l1) if before.l1 else 0.0
    return {"before": dataclasses.asdict(before), "gain_percent": gain}


def _digest(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()[:16]
