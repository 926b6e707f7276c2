"""Pairs to train on, of the shipped photograph turned: computed, read again; how long a training waits."""

from __future__ import annotations

import functools
import itertools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...flame.model import HeadModel
    from ...training.data.pairs.flat import FlatBatch
    from ...training.data.pairs.guidance import Keep
    from ...training.data.pairs.pack import Pack
    from ...training.data.pairs.sampler import Mode, PairSampler
    from .suites import Case

    Clip = tuple[HeadModel, list[Pack]]

SIZE = 256
FRAMES = 24
MOST_YAW_DEG = 18.0
BATCH = 2
HANDED, KEPT = 8, 12
"""Pairs of a batch that is handed over, and different batches."""
STEPS = 40
STEP_SECONDS = (0.0, 0.1)


def pair_cases() -> Sequence[Case]:
    """One pair of a clip of 24 frames: read where it was kept, computed beside it; from the first frame,
    whose layers are at hand, and between any two frames, whose source's are not.

    The facts are the share of its time that a loop waits for batches of two which one worker makes, if it
    works 0 or 100 ms on each. Then what a worker does for a batch of kept, changed pairs that a device makes,
    beside the same batch made by the worker, with the bytes that each hands over, per pair.
    """
    from .suites import Case

    scratch = tempfile.TemporaryDirectory(prefix="headwarp-bench-")  # gone with the cases
    clip = functools.cache(lambda: _photograph_as_clip(Path(scratch.name)))
    cases = []
    for mode in ("first", "random"):
        kept, computed = (_pairs(clip, mode, keep) for keep in ("pairs", "nothing"))
        waiting = _waiting_shares(clip, mode)
        cases.append(Case(f"pairs/{mode}", SIZE, 1, kept, ("computed", computed), waiting))
    handed, made = (_handed(clip, compact=compact) for compact in (True, False))

    def sizes() -> Mapping[str, float]:
        named = {"bytes_a_pair": handed, "bytes_a_pair_made_by_the_worker": made}
        return {name: step().data.nbytes / HANDED for name, step in named.items()}

    cases.append(Case("pairs/handed_over", SIZE, HANDED, handed, ("made by the worker", made), sizes))
    return cases


def _photograph_as_clip(folder: Path) -> Clip:
    from skimage.data import astronaut

    from ...flame.params import Pose
    from ...flame.posing import apply_pose
    from ...training.data.pairs.pack import ClipLabel, PackConfig, pack_clip
    from ...training.data.portrait import to_frame
    from ...warping.animators import load_animator
    from ..portrait import open_portrait

    portrait = open_portrait(astronaut(), size=SIZE)
    share = [2 * abs((number / FRAMES) % 1 - 0.5) for number in range(FRAMES)]
    fit = apply_pose(
        portrait.head, portrait.fit, [Pose(yaw=MOST_YAW_DEG * (s - 0.5), jaw=s / 4) for s in share]
    )
    animator = load_animator("geometry")
    cache = animator.encode([portrait.source()])
    frames = (
        to_frame(animator.animate(cache, portrait.driving(fit.select([number]))).image)
        for number in range(FRAMES)
    )
    label, config = ClipLabel("astronaut", "turned"), PackConfig(SIZE)
    return portrait.head, [
        pack_clip(frames, fit, head=portrait.head, folder=folder, label=label, config=config)
    ]


def _sampler(packs: Sequence[Pack], mode: Mode) -> PairSampler:
    from ...training.data.pairs.sampler import PairConfig, PairSampler

    return PairSampler([pack.index for pack in packs], config=PairConfig(mode))


def _pairs(clip: Callable[[], Clip], mode: Mode, keep: Keep) -> Callable[[], object]:
    """Pair after pair; those that are kept were all made before, and sources are forgotten at once."""
    from ...training.data.pairs.guidance import MakerConfig, PairMaker

    @functools.cache
    def ready() -> tuple[PairMaker, PairSampler]:
        """Before any call that counts."""
        head, packs = clip()
        config = MakerConfig(keep=keep, sources=1 if mode == "random" else 32)
        maker, sampler = PairMaker(packs, head, config=config), _sampler(packs, mode)
        if keep == "pairs":
            for pair in {sampler.pair(number, 0) for number in range(30 * FRAMES**2)}:
                maker.make(pair)
        return maker, sampler

    steps = itertools.count()

    def one() -> object:
        maker, sampler = ready()
        return maker.make(sampler.pair(next(steps), 0))

    return one


def _handed(clip: Callable[[], Clip], *, compact: bool) -> Callable[[], FlatBatch]:
    """Step after step of a worker; the pairs of `KEPT` steps come again and again and were kept before."""
    from ...training.data.pairs.augment import AugmentConfig
    from ...training.data.pairs.guidance import MakerConfig
    from ...training.data.pairs.loader import LoaderConfig, StepPairs

    @functools.cache
    def ready() -> StepPairs:
        head, packs = clip()
        config = LoaderConfig(maker=MakerConfig(keep="pairs"), augment=AugmentConfig(), compact=compact)
        steps = StepPairs(packs, head, _sampler(packs, "random"), HANDED, config)
        for number in range(KEPT):
            steps[number]
        return steps

    numbers = itertools.cycle(range(KEPT))

    def one() -> FlatBatch:
        made = ready()[next(numbers)]
        if isinstance(made, Exception):
            raise made
        return made

    return one


def _waiting_shares(clip: Callable[[], Clip], mode: Mode) -> Callable[[], Mapping[str, float]]:
    from ...training.data.pairs.loader import PairLoader
    from ...training.data.pairs.waiting import Waiting

    def share(seconds: float) -> float:
        head, packs = clip()
        loader = PairLoader(packs, head, _sampler(packs, mode), batch_size=BATCH, workers=1)
        waiting = Waiting(iter(loader), warmup=4)
        for _ in itertools.islice(waiting, STEPS):
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:  # busy, as a training on this core is
                pass
        return waiting.report().share

    return lambda: {f"waiting_{round(1000 * s)}_ms": share(s) for s in STEP_SECONDS}
