"""Head swaps with learned engines: tiny untrained networks from their files, on a small scene."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from toy_mesh import bulge, sheet, sheet_faces, texture

from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.geom.guidance import Driving, Source
from headwarp.warping.animators import load_animator
from headwarp.warping.blending_unet import ResidualUNetConfig
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.heser_aligner import HeserAlignerConfig, tiny
from headwarp.warping.heser_blender import HeserBlender, HeserBlenderConfig
from headwarp.warping.swap_engines import HeadRegions, SwapSource, SwapTarget, load_engine
from headwarp.warping.swap_engines._framing import Framing

SIDE = 64
FACES = sheet_faces(9, 9)
VERTS = bulge(sheet((20, 16, 44, 46), rows=9, columns=9), 8.0)
ROWS = torch.arange(VERTS.shape[1]) // 9
HOLLOW = torch.zeros(VERTS.shape[1], dtype=torch.bool)


def regions(shift: int = 0) -> HeadRegions:
    """A face under hair, a neck below it."""
    labels = torch.zeros(1, SIDE, SIDE, dtype=torch.long)
    labels[:, 44:, 26:38] = 14
    labels[:, 18:46, 20:44] = 1
    labels[:, 12:20, 18:46] = 17
    labels = labels.roll(shift, 2)
    return HeadRegions(((labels == 1) | (labels == 17)).float()[:, None], labels)


def given() -> SwapSource:
    seen = regions()
    mask = (seen.labels > 0).float()[:, None]
    source = Source(
        image=texture((SIDE, SIDE)),
        mask=mask,
        posed_vertices=VERTS,
        faces=FACES,
        cavity=HOLLOW,
        region_map=seen.labels,
    )
    return SwapSource(source, seen.head, ROWS < 7, (ROWS < 8).float(), HOLLOW)


def target(**changes) -> SwapTarget:
    seen, image = regions(4), texture((SIDE, SIDE)).flip(1)
    shifted = VERTS + torch.tensor([4.0, 0, 0])
    driving = Driving(image=image, posed_vertices=shifted, region_map=seen.labels)
    person = (seen.labels > 0).float()[:, None]
    frame = SwapTarget(image, seen.head, shifted, driving, person, segment=lambda _: regions(4))
    return dataclasses.replace(frame, **changes)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("swap")
    small = tiny(HeserAlignerConfig(identity="trained"))
    small = dataclasses.replace(small, generator=dataclasses.replace(small.generator, size=SIDE))
    animator = load_animator("heser", config=small)
    aligner = save_checkpoint(folder / "a.safetensors", animator, config=small, name="heser")
    unet = ResidualUNetConfig((8, 8), norm="group", spectral_norm=False)
    config = HeserBlenderConfig(unet=unet, channels=32)
    blender = save_checkpoint(
        folder / "b.safetensors",
        HeserBlender(config),
        config=config,
        name="heser_blender",
        kind="blender",
    )
    return aligner, blender


@pytest.fixture(scope="module")
def engines(files):
    return {"aligner": load_engine("aligner", files[0]), "heser": load_engine("heser", files)}


@pytest.mark.parametrize("name", ["aligner", "heser"])
def test_the_head_is_made_where_the_regions_say_and_the_rest_stays(engines, name):
    engine, frame = engines[name], target()
    with torch.no_grad():
        made = engine.swap(engine.encode([given()]), frame)
    same = made.changed == 0
    assert 0.2 < float(same.float().mean()) < 0.8
    assert torch.equal(made.image[same.expand(1, 3, -1, -1)], frame.image[same.expand(1, 3, -1, -1)])
    assert float(made.head[0, 0, 24:40, 28:44].min()) > 0.9  # the face, 4 px further right
    assert float(made.head[0, 0, 24:40, :14].max()) == 0
    assert made.image.aminmax()[0] >= 0
    assert made.image.aminmax()[1] <= 1
    assert SIDE % engine.window_multiple == 0


def test_the_aligner_shows_its_network_in_the_targets_colours(engines):
    engine = engines["aligner"]
    frame = target()
    with torch.no_grad():
        cache = engine.encode([given(), given()])
        bright, dark = (
            engine.swap(cache, dataclasses.replace(frame, image=frame.image * light)).image
            for light in (1.0, 0.4)
        )
        network = engine.animator.animate(cache.cache, Framing().cut(frame.driving)).image
    face = (slice(None), slice(None), slice(24, 40), slice(28, 44))
    assert float(dark[face].mean()) < 0.6 * float(bright[face].mean())
    shown = Framing().put_back(network, SIDE)[face][0].flatten(1)  # (3, N)
    for wanted, found in zip(shown, bright[face][0].flatten(1), strict=True):  # one curve a channel
        assert float(torch.corrcoef(torch.stack([wanted, found]))[0, 1]) > 0.9


def test_the_blender_takes_the_targets_own_labels(engines):
    engine = engines["heser"]
    with torch.no_grad():
        cache = engine.encode([given()])
        here, there = (
            engine.swap(
                cache,
                target(driving=dataclasses.replace(target().driving, region_map=regions(s).labels)),
            )
            for s in (4, 12)
        )
    gone = (slice(None), slice(None), slice(24, 40), slice(50, 56))  # beside the head that is put in
    assert float(there.changed[gone].min()) == 1
    assert float(here.changed[0, 0, 24:40, 54:].max()) == 0


def test_a_framing_is_undone():
    framing, image = Framing(zoom=1.6, lowered=0.05), texture((SIDE, SIDE))
    left, top, inner = framing.box(SIDE)
    assert (left, top, inner) == (12, 15, 40)
    seen = framing.cut(Source(image=image, posed_vertices=VERTS, faces=FACES))
    assert torch.equal(seen.posed_vertices[0, 0], VERTS[0, 0] - torch.tensor([12.0, 15.0, 0.0]))
    inside = framing.inside(SIDE, like=image)
    assert float(inside.sum()) == inner**2
    assert torch.equal(framing.put_back(seen.image, SIDE) * inside, image * inside)
    with pytest.raises(HeadwarpError, match=r"Driving\.image"):
        framing.cut(Driving())


def test_bad_checkpoints_are_a_sentence(files, tmp_path):
    aligner, blender = files
    for name, given_files, text in (
        ("aligner", None, "--engine aligner: expected --checkpoint ALIGNER, got none"),
        ("aligner", files, "expected --checkpoint ALIGNER, got 2"),
        ("heser", (), "--engine heser: expected --checkpoint ALIGNER BLENDER, got none"),
        ("heser", aligner, "expected --checkpoint ALIGNER BLENDER, got 1"),
    ):
        with pytest.raises(HeadwarpError, match=text):
            load_engine(name, given_files)
    for name, given_files, text in (
        ("aligner", tmp_path / "none.safetensors", "no such checkpoint"),
        ("aligner", blender, "expected a checkpoint of kind 'animator', got 'blender'"),
        ("heser", (blender, aligner), "expected a checkpoint of kind 'animator', got 'blender'"),
        ("heser", (aligner, aligner), "expected a checkpoint of kind 'blender', got 'animator'"),
    ):
        with pytest.raises(ModelFileError, match=text):
            load_engine(name, given_files)


def test_a_target_without_a_segmenter_is_refused(engines):
    engine = engines["aligner"]
    cache = engine.encode([given()])
    with pytest.raises(HeadwarpError, match=r"SwapTarget\.segment: expected a function"):
        engine.swap(cache, target(segment=None))
    with pytest.raises(HeadwarpError, match="at least one source"):
        engine.encode([])
