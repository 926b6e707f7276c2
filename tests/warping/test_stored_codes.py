"""The neural codes of a checkpoint are found whatever network learned them; anything else is refused."""

import pytest
import torch
from torch import nn
from toy_mesh import sheet, sheet_faces

from headwarp.geom.codes import TexelCodes, VertexCodes
from headwarp.geom.errors import ModelFileError
from headwarp.warping.animators.copy import CopyConfig
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.stored_codes import load_codes

FACES, VERTS = sheet_faces(), sheet((3, 3, 25, 20))
UV = VERTS[0, :, :2] / 40


class Network(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        for name, part in parts.items():
            setattr(self, name, part)


def saved(tmp_path, weights):
    return save_checkpoint(tmp_path / "n.safetensors", weights, config=CopyConfig(), name="copy")


@pytest.mark.parametrize(
    "learned",
    [VertexCodes(25, 5), TexelCodes(UV, FACES, faces=FACES, channels=4, resolution=8)],
    ids=["vertex", "texel"],
)
@pytest.mark.parametrize("nested", [True, False])
def test_codes_come_back_and_draw_the_same(tmp_path, learned, nested):
    path = saved(tmp_path, Network(codes=learned) if nested else learned)
    found = load_codes(path)
    assert type(found) is type(learned)
    assert torch.equal(found.table, learned.table)
    assert torch.equal(found(VERTS, FACES, (24, 28)), learned(VERTS, FACES, (24, 28)))
    assert not any(value.requires_grad for value in found.parameters())


@pytest.mark.parametrize(
    ("network", "got"),
    [
        (Network(), "got none"),
        (Network(one=VertexCodes(25), two=VertexCodes(25)), "got one.codes, two.codes"),
    ],
)
def test_none_or_two_are_refused(tmp_path, network, got):
    with pytest.raises(ModelFileError) as caught:
        load_codes(saved(tmp_path, network))
    assert str(caught.value).endswith(
        f"expected one set of neural codes among the weights of copy, {got}; "
        "take a network that is guided by codes"
    )


def test_a_texture_without_its_triangles_is_not_one_of_codes(tmp_path):
    state = TexelCodes(UV, FACES, faces=FACES, channels=4, resolution=8).state_dict()
    for missing in ("faces", "corners"):
        with pytest.raises(ModelFileError, match="got none"):
            load_codes(saved(tmp_path, {key: value for key, value in state.items() if key != missing}))
    with pytest.raises(ModelFileError, match="got none"):
        load_codes(saved(tmp_path, state | {"corners": state["corners"][1:]}))
