"""The same numbers on a CUDA device as on the CPU: posing, drawing, gradients, fill, refinement."""

import pytest
import torch
from lit_heads import biased_landmarks, lit_head

from headwarp.flame.fitting import fit_landmarks
from headwarp.flame.fitting.photometric import PhotometricConfig, refine_photometric
from headwarp.flame.io import load_head
from headwarp.flame.model import pose_vertices
from headwarp.flame.posing import posed_vertices
from headwarp.geom.fill import harmonic_fill
from headwarp.geom.flow import warp
from headwarp.geom.rasterizer import interpolate, rasterize

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
SIZE = 160


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


@pytest.fixture(scope="module")
def on_device():
    return load_head("builtin").cuda()


@pytest.fixture(scope="module")
def lit(head):
    return lit_head(head, (-18.0, 2.0, 15.0), size=SIZE)


def test_posing(head, on_device):
    generator = torch.Generator().manual_seed(0)
    shape = torch.randn(head.shape_basis.shape[2], generator=generator)
    expression = torch.randn(4, head.expression_basis.shape[2], generator=generator)
    turns = {name: 0.2 * torch.randn(4, 3, generator=generator) for name in ("rotation", "jaw", "neck")}
    here = pose_vertices(head, shape, expression, **turns)
    there = pose_vertices(
        on_device, shape.cuda(), expression.cuda(), **{name: turn.cuda() for name, turn in turns.items()}
    )
    torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-5)


def test_drawing_and_gradients(head, lit):
    verts = posed_vertices(head, lit.truth)
    colours = torch.rand(len(verts), verts.shape[1], 4, generator=torch.Generator().manual_seed(1))
    exact = rasterize(verts.double(), head.faces, (SIZE, SIZE), backend="reference")
    results = []
    for device in ("cpu", "cuda"):
        moving, painted = (t.to(device).requires_grad_(True) for t in (verts, colours))
        faces = head.faces.to(device)
        drawn = rasterize(moving, faces, (SIZE, SIZE))
        picture = interpolate(drawn, painted, faces, verts=moving)
        gradients = torch.autograd.grad(picture.square().sum(), (moving, painted))
        results.append((drawn.face.cpu(), picture.detach().cpu(), *(g.cpu() for g in gradients)))
    covered = exact.face >= 0
    for face, *_ in results:
        assert float((face == exact.face)[covered].double().mean()) > 0.9999
    same = (results[0][0] == results[1][0])[:, None]
    torch.testing.assert_close(results[0][1] * same, results[1][1] * same, rtol=1e-3, atol=1e-3)
    for one, other in zip(results[0][2:], results[1][2:], strict=True):
        assert float((one - other).norm() / one.norm()) < 0.02  # a pixel on an edge may go either way


def test_fill_and_warp():
    generator = torch.Generator().manual_seed(2)
    flow = torch.randn(1, 2, 64, 64, generator=generator)
    known = (torch.rand(1, 1, 64, 64, generator=generator) > 0.7).float()
    picture = torch.rand(1, 3, 64, 64, generator=generator)
    here = harmonic_fill(flow, known)
    there = harmonic_fill(flow.cuda(), known.cuda())
    torch.testing.assert_close(there.cpu(), here, rtol=0.0, atol=0.05)
    torch.testing.assert_close(
        warp(picture.cuda(), flow.cuda()).cpu(), warp(picture, flow), rtol=1e-4, atol=1e-4
    )


def test_photometric_refinement(head, on_device, lit):
    fit = fit_landmarks(head, biased_landmarks(head, lit.truth, percent=2.0), lit.truth.size)
    config = PhotometricConfig(albedo="free", steps=3)
    here = refine_photometric(head, fit, lit.images, config=config)
    there = refine_photometric(on_device, fit, lit.images.cuda(), config=config)
    assert bool((there.error_after <= there.error_before).all())
    assert bool((there.reprojection_after <= there.reprojection_before + 1e-5).all())
    assert there.fit.params.expression.device.type == "cpu"
    torch.testing.assert_close(there.error_after, here.error_after, rtol=0.05, atol=1e-3)
    torch.testing.assert_close(there.error_before, here.error_before, rtol=1e-2, atol=1e-4)
