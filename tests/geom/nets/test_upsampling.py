"""Doubling and convolving in one step: the twin's values and gradients, at the border too."""

import pytest
import torch

from headwarp.geom.nets.upsampling import double_and_convolve, double_and_convolve_ref, doubling_kernel


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (8, 6)])
@pytest.mark.parametrize("biased", [True, False])
def test_equals_the_two_steps_in_values_and_gradients(size, biased):
    torch.manual_seed(0)
    given = [torch.randn(2, 3, *size), torch.randn(4, 3, 3, 3), torch.randn(4) if biased else None]
    given = [None if each is None else each.double().requires_grad_() for each in given]
    fast, plain = double_and_convolve(*given), double_and_convolve_ref(*given)
    assert fast.shape == (2, 4, 2 * size[0], 2 * size[1])
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-12)
    leaves, incoming = [each for each in given if each is not None], torch.randn_like(fast)
    one, other = (torch.autograd.grad(result, leaves, incoming) for result in (fast, plain))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_gradient_against_differences():
    given = [torch.randn(1, 1, 2, 3), torch.randn(2, 1, 3, 3), torch.randn(2)]
    assert torch.autograd.gradcheck(double_and_convolve, [each.double().requires_grad_() for each in given])


def test_an_identity_doubles():
    weight = torch.zeros(1, 1, 3, 3)
    weight[..., 1, 1] = 1
    picture = torch.rand(1, 1, 4, 5)
    doubled = picture.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(double_and_convolve(picture, weight, None), doubled)


def test_the_weights_are_counted_four_times():
    weight = torch.rand(2, 3, 3, 3)
    torch.testing.assert_close(doubling_kernel(weight).sum((2, 3)), 4 * weight.sum((2, 3)).T)
