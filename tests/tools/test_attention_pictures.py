"""Query crosses and maps over pictures, on random weights: places, columns, depth beside self attention."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.errors import HeadwarpError
from headwarp.geom.guidance import Driving, Source
from headwarp.tools.attention_pictures import (
    FACE_POINTS,
    RED,
    attention_picture,
    attention_row,
    attention_sheet,
    cross,
)
from headwarp.tools.panels import panels
from headwarp.training.data.portrait import to_frame
from headwarp.warping.animators import load_animator
from headwarp.warping.keypoint_network import (
    KeypointNetwork,
    dagan,
    fomm,
    tiny,
    with_attention,
    with_depth_keypoints,
)

SIZE = 64
CONFIGS = {
    "none": fomm(),
    "self": with_attention(fomm(), "self"),
    "depth keypoints": with_depth_keypoints(fomm()),
    "both": dagan(),
}
ROWS = {  # of the squares in the third row, which are not blank
    "none": [],
    "self": [False, False, True, True],
    "depth keypoints": [True, True, False, False],
    "both": [True] * 4,
}


def network(kind: str) -> KeypointNetwork:
    torch.manual_seed(0)
    made = KeypointNetwork(tiny(with_attention(dagan() if kind == "depth" else fomm(), kind))).eval()
    sharpen(made)
    return made


@torch.no_grad()
def sharpen(network: KeypointNetwork) -> None:
    """Attention, if there is any, that looks here more than there."""
    if network.config.attention != "none":
        for layer in (network.generator.AttnModule.query_conv, network.generator.AttnModule.key_conv):
            layer.weight.normal_(0, 4)


def pair():
    torch.manual_seed(1)
    return torch.rand(2, 1, 3, SIZE, SIZE).unbind(0)


def red(frame):
    return (torch.from_numpy(frame.copy()).long() == torch.tensor(RED)).all(-1)


def test_the_brightest_place_is_the_largest_weight():
    weights = torch.full((8, 8), 0.001)
    weights[2, 6] = 0.2
    drawn = attention_picture(torch.zeros(1, 3, SIZE, SIZE), weights).sum(0)
    y, x = divmod(int(drawn.argmax()), SIZE)
    assert abs(y - 20) <= 1
    assert abs(x - 52) <= 1
    assert drawn[40:, :40].max() < 0.1
    torch.testing.assert_close(drawn, attention_picture(torch.zeros(1, 3, SIZE, SIZE), 5 * weights).sum(0))


def test_where_nothing_looks_the_picture_is_seen():
    picture, weights = torch.rand(1, 3, SIZE, SIZE), torch.zeros(8, 8)
    weights[0, 0] = 1
    drawn = attention_picture(picture, weights)
    torch.testing.assert_close(drawn[:, 32:, 32:], picture[0, :, 32:, 32:] / 2)


@pytest.mark.parametrize("point", [(0.0, 0.0), (-0.5, 0.25), (1.0, 1.0)])
def test_a_cross_lies_on_its_point(point):
    frame = to_frame(torch.zeros(1, 3, 96, 128))
    marked = red(cross(frame, point))
    rows, columns = marked.nonzero().T
    inside = max(abs(point[0]), abs(point[1])) < 0.9
    if inside:
        assert abs(float(columns.float().mean()) + 0.5 - (point[0] + 1) * 64) < 1
        assert abs(float(rows.float().mean()) + 0.5 - (point[1] + 1) * 48) < 1
    assert 0 < marked.float().mean() < 0.02
    assert not red(frame).any()


@pytest.mark.parametrize("kind", ["depth", "self"])
def test_a_row_shows_the_network_s_own_map(kind):
    made, (source, driving) = network(kind), pair()
    points = torch.tensor([[-0.5, -0.5], [0.7, 0.1]])
    result, *maps = attention_row(made, source, driving, points)
    with torch.no_grad():
        features, found = made.encode(source), made.detect(driving)
        output = made.decode(features, found).image
        rows = made.attention_map(features, found, points[None])[0]
    assert (result == to_frame(output)).all()
    for frame, weights, (x, y) in zip(maps, rows, points.tolist(), strict=True):
        assert (frame == cross(to_frame(attention_picture(output, weights)[None]), (x, y))).all()
    assert not (maps[0] == maps[1]).all()


def test_depth_beside_self_attention():
    source, driving = pair()
    sheet = attention_sheet({"depth": network("depth"), "self": network("self")}, source, driving)
    rows = sheet[-2 * 128 :]  # below the names of columns
    assert len(sheet) > len(rows)
    tiles = torch.from_numpy(rows.copy()).unflatten(0, (2, 128)).unflatten(2, (3 + len(FACE_POINTS), 128))
    assert red(rows).unflatten(1, (-1, 128)).any(2).any(0).tolist() == [False] * 3 + [True] * 4
    assert tiles[0, :, 1].float().std() > 5  # depth in colours
    assert tiles[1, :, 1].float().std() == 0  # the network by its features alone has none
    assert not torch.equal(tiles[0, :, 3], tiles[1, :, 3])


def test_panels_have_a_third_row_where_there_is_depth_or_attention():
    source, driving = pair()
    shapes = {}
    for name, config in CONFIGS.items():
        animator = load_animator("dagan", config=tiny(config))
        sharpen(animator.network)
        cache = animator.encode([Source(image=source)])
        maps = animator.explain(cache, Driving(image=driving))
        shown = torch.from_numpy(panels(maps, source, driving))
        shapes[name] = shown.shape[0] // SIZE
        colourful = [
            bool((square.float().std((0, 1)) > 1).any())
            for square in shown[2 * SIZE :].split(SIZE, dim=1)
            if shapes[name] == 3
        ]
        assert colourful == ROWS[name]
    assert shapes == {"none": 2, "self": 3, "depth keypoints": 3, "both": 3}


def test_what_has_no_attention_is_refused():
    source, driving = pair()
    plain = KeypointNetwork(tiny(fomm())).eval()
    with pytest.raises(HeadwarpError, match="this network has no attention"):
        attention_sheet({"none": plain}, source, driving)
    with pytest.raises(HeadwarpError, match="expected at least one network"):
        attention_sheet({}, source, driving)
