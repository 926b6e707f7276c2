"""`pwm/residual`: geometry's picture before training, all of it learnable, any size, flows in float32."""

import dataclasses

import pytest
import torch
from toy_mesh import texture
from toy_scene import SIZE, driving, source

from headwarp.geom.errors import HeadwarpError
from headwarp.warping.animators import load_animator, registration
from headwarp.warping.animators.geometry import GeometryAnimator, GeometryConfig
from headwarp.warping.posed_layers import compose, stack_layers
from headwarp.warping.residual import ResidualConfig, ResidualWarping, base_flow

SMALL = ResidualConfig(channels=(8, 8, 12, 16), detail=4, trust=0.0, shade=0)
SHIFTS = torch.tensor([[0.0, 0], [3, -1], [-6, 4]])


def posed(shifts=SHIFTS, **fields):
    """Source picture and geometry's layers of the toy scene."""
    animator = GeometryAnimator(GeometryConfig())
    return source(**fields).image, animator.layers(animator.encode([source(**fields)]), driving(shifts))


def network(config=SMALL, *, trained=0.0):
    """A network; ``trained`` is the size of random values in its heads, which start at zero."""
    torch.manual_seed(3)
    made = ResidualWarping(config)
    for head in (*made.moves, made.paint):
        torch.nn.init.normal_(head.weight, std=trained)
        torch.nn.init.normal_(head.bias, std=trained)
    return made


@pytest.mark.parametrize("masked", [True, False])
def test_the_untrained_animator_is_geometry_bit_for_bit(masked):
    fields = {} if masked else {"mask": None}
    pictures, flows, shown = [], [], []
    for name in ("geometry", "pwm"):
        animator = load_animator(name, config=registration(name).config())
        made = animator.animate(animator.encode([source(**fields)]), driving(SHIFTS))
        pictures.append(made.image)
        flows.append(made.flow)
        shown.append(made.occlusion)
    assert torch.equal(*pictures)
    assert torch.equal(*flows)
    assert torch.equal(*shown)  # or a photo would not keep its bits around the person


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        ResidualConfig(channels=(8, 8, 8, 12, 16), stem=2, detail=4),
        ResidualConfig(channels=(8, 8, 8, 8, 12, 16), stem=1, detail=4),
        dataclasses.replace(SMALL, move=False),
        dataclasses.replace(SMALL, guidance="none"),
    ],
)
def test_the_untrained_network_is_geometry_in_every_size_and_mode(config):
    image, layers = posed()
    with torch.no_grad():  # with gradients the plain twin composes
        made = network(config)(image.expand(3, -1, -1, -1), layers)
    assert torch.equal(made.image, compose(layers).image.clamp(0, 1))
    assert torch.equal(made.flow, layers.flow)
    assert len(made.flows) == len(config.channels)


@pytest.mark.parametrize("base", ["gated", "rendered", "none"])
def test_the_untrained_network_warps_by_its_base(base):
    image, layers = posed()
    made = network(dataclasses.replace(SMALL, base=base))(image.expand(3, -1, -1, -1), layers)
    assert torch.equal(made.flow, base_flow(layers, base))
    assert torch.equal(made.warped, compose(layers, flow=made.flow).image)


@pytest.mark.parametrize("size", [(32, 32), (96, 64), SIZE, (50, 33)])
def test_any_size_is_taken(size):
    image, layers = posed()

    def cut(tensor):
        return tensor if tensor.shape[2:] == (1, 1) else texture_like(tensor, size)

    smaller = layers.map(cut)
    made = network(trained=0.05)(texture_like(image, size).expand(3, -1, -1, -1), smaller)
    assert made.image.shape == (3, 3, *size)
    assert made.flow.shape == (3, 2, *size)
    assert made.paint.shape == (3, 1, *size)


def texture_like(tensor, size):
    return torch.nn.functional.interpolate(tensor, size=size, mode="bilinear", align_corners=False)


def test_one_source_serves_a_batch_as_it_serves_each_frame():
    image, layers = posed()
    net = network(trained=0.05).eval()
    features = net.encode(image, layers.matte)
    together = net.decode(features, layers)
    for frame in range(3):
        one = layers.map(lambda t, frame=frame: t[frame : frame + 1] if len(t) == 3 else t)
        alone = net.decode(features, one)
        torch.testing.assert_close(alone.image[0], together.image[frame], rtol=0, atol=1e-5)
        torch.testing.assert_close(alone.flow[0], together.flow[frame], rtol=0, atol=1e-4)


def test_every_parameter_learns_after_the_first_step():
    image, layers = posed()
    net, target = network(), texture(SIZE, cell=5).expand(3, -1, -1, -1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):  # the heads alone at first: they start at zero
        optimizer.zero_grad()
        (net(image.expand(3, -1, -1, -1), layers).image - target).abs().mean().backward()
        optimizer.step()
    still = [name for name, p in net.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert not still


def test_it_learns_a_shift_that_geometry_does_not_know():
    image, layers = posed(torch.zeros(1, 2))
    target = torch.roll(image, (1, 2), (2, 3))
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(90):
        optimizer.zero_grad()
        loss = (net(image, layers).image - target).abs().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_without_moves_only_paint_is_learned():
    image, layers = posed()
    made = network(dataclasses.replace(SMALL, move=False), trained=0.1)(image.expand(3, -1, -1, -1), layers)
    assert torch.equal(made.flow, layers.flow)
    assert torch.equal(made.warped, compose(layers).image)
    assert not torch.equal(made.image, made.warped.clamp(0, 1))


def test_guidance_reaches_the_picture_and_none_does_not():
    image, layers = posed()
    other = dataclasses.replace(layers, covered=1 - layers.covered)  # guides, but composes nothing
    for guidance, same in (("displacement", False), ("none", True)):
        net = network(dataclasses.replace(SMALL, guidance=guidance), trained=0.1)
        pictures = [net(image.expand(3, -1, -1, -1), each).image for each in (layers, other)]
        assert torch.equal(*pictures) is same


def test_paint_is_strong_where_nothing_is_seen():
    image, layers = posed()
    seen = network()(image.expand(3, -1, -1, -1), layers).paint
    assert bool((seen[layers.known > 0.5] < 0.2).all())
    assert bool((seen[layers.known < 0.5] > 0.8).all())


def test_flows_and_picture_stay_in_single_precision_under_autocast():
    image, layers = posed()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = network(trained=0.02)(image.expand(3, -1, -1, -1), layers)
    exact = network(trained=0.02)(image.expand(3, -1, -1, -1), layers)
    for field in dataclasses.fields(made):
        values = getattr(made, field.name)
        for value in values if isinstance(values, tuple) else (values,):
            assert value.dtype == torch.float32
    torch.testing.assert_close(made.flow, exact.flow, rtol=0, atol=0.1)


def test_codes_must_be_given_where_they_guide_and_nowhere_else():
    image, layers = posed()
    codes = torch.rand(3, 16, *SIZE)
    with pytest.raises(HeadwarpError, match="guidance 'both': expected posed neural codes, got none"):
        network(dataclasses.replace(SMALL, guidance="both"))(image.expand(3, -1, -1, -1), layers)
    with pytest.raises(HeadwarpError, match="guidance 'displacement': expected no neural codes, got some"):
        network()(image.expand(3, -1, -1, -1), layers, codes, codes)


@pytest.mark.parametrize(("stem", "channels"), [(4, (8, 8)), (3, (8,) * 4), (1, (8,) * 5)])
def test_levels_reach_from_the_stem_to_32(stem, channels):
    with pytest.raises(HeadwarpError, match="one number for each stride from stem"):
        ResidualConfig(channels=channels, stem=stem)


def test_layers_stack_and_compose_as_they_do_alone():
    _, layers = posed()
    whole = layers.map(lambda t: t.expand(3, *t.shape[1:]))
    twice = stack_layers([whole, whole])
    assert torch.equal(compose(twice).image[3:], compose(layers).image)


def test_shading_keeps_the_detail_of_what_is_seen():
    image, layers = posed()
    known = torch.ones_like(layers.known)
    layers = dataclasses.replace(layers, known=known)
    net = network(dataclasses.replace(SMALL, shade=8, move=False), trained=0.03)
    made = net(image.expand(3, -1, -1, -1), layers)
    free = network(dataclasses.replace(SMALL, move=False), trained=0.03)(image.expand(3, -1, -1, -1), layers)

    def detail(picture):
        added = (picture - made.warped.clamp(0, 1)).detach()
        return float(added.diff(dim=3).abs().mean() + added.diff(dim=2).abs().mean())

    assert detail(made.image) < 0.3 * detail(free.image)
    hidden = dataclasses.replace(layers, known=torch.zeros_like(known))  # nothing is seen: paint is free
    shaded, loose = (
        network(dataclasses.replace(SMALL, shade=shade, move=False), trained=0.03)(
            image.expand(3, -1, -1, -1), hidden
        ).image
        for shade in (8, 0)
    )
    assert torch.equal(shaded, loose)


def test_trusted_geometry_is_moved_only_where_it_was_filled_in():
    image, layers = posed()
    made = network(dataclasses.replace(SMALL, trust=1.0), trained=0.1)(image.expand(3, -1, -1, -1), layers)
    change = (made.flow - layers.flow).abs().amax(1, keepdim=True)
    inside = 1 - torch.nn.functional.max_pool2d(1 - layers.known, 13, 1, 6)  # well within what is known
    assert bool(inside.any())
    assert float((change * inside).detach().max()) < 1e-4
    assert float(change.detach().max()) > 0.1
