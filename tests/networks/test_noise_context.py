"""The NoiseContextNet block is what its parts make of it, and weighs features by the whole image."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meddenoise.networks.noise_context import NoiseContextBlock


def block(width=8):
    torch.manual_seed(0)
    made = NoiseContextBlock(width=width)
    nn.init.normal_(made.project.weight, std=0.1)
    nn.init.normal_(made.norm_weight)
    nn.init.normal_(made.norm_bias)
    return made


def features(width=8, side=16, batch=2):
    return torch.randn((batch, width, side, side), generator=torch.Generator().manual_seed(0))


def test_it_is_made_of_the_parts_that_the_paper_names():
    made, x = block(), features()
    assert [c.kernel_size for c in made.scales] == [(1, 1), (3, 3), (5, 5)]
    scales = torch.cat([conv(x) for conv in made.scales], dim=1)
    squeezed = nn.AdaptiveAvgPool2d(1)(scales)
    gate, context = made.excite(squeezed.flatten(1))
    context = F.interpolate(context[..., None, None], size=x.shape[-2:], mode="bilinear")
    normed = F.instance_norm(scales, weight=made.norm_weight, bias=made.norm_bias)
    expected = x + made.project(F.relu(normed * gate[..., None, None] + context))
    assert torch.allclose(made(x), expected, atol=1e-5)


def test_the_excitation_is_a_dense_block_each_of_whose_layers_sees_all_before():
    excite = block().excite
    first, second = excite.layers
    assert second.in_features == first.in_features + first.out_features
    assert excite.last.in_features == second.in_features + second.out_features
    gate, context = excite(torch.randn(3, first.in_features))
    assert gate.shape == context.shape == (3, first.in_features)
    assert gate.min() > 0
    assert gate.max() < 1


def test_the_gate_depends_on_the_image_although_the_features_are_normalised():
    made, x = block(), features()
    gates = []
    made.excite.register_forward_hook(lambda module, given, result: gates.append(result[0]))
    made(x)
    assert not torch.allclose(gates[0][0], gates[0][1], atol=1e-3)


def test_what_it_adds_does_not_depend_on_the_features_contrast_but_for_the_gate():
    made, x = block(), features()
    for parameter in made.excite.last.parameters():
        nn.init.zeros_(parameter)
    assert torch.allclose(made(100 * x) - 100 * x, made(x) - x, atol=1e-3)


def test_a_fresh_block_is_the_identity_and_learns_from_the_first_step():
    made, x = NoiseContextBlock(width=8), features()
    found = made(x)
    assert torch.equal(found, x)
    found.square().mean().backward()
    assert made.project.weight.grad.any()


def test_bfloat16_moves_little_even_far_from_zero():
    made, x = block(32), features(32, 64, 1) + 3.0
    with torch.no_grad():
        exact = made(x)
        with torch.autocast("cpu", torch.bfloat16):
            quick = made(x)
    assert (quick - exact).norm() < 2e-2 * (exact - x).norm()


def test_a_width_that_is_no_multiple_of_four_is_refused():
    with pytest.raises(ValueError, match="multiple of 4, got 10"):
        NoiseContextBlock(width=10)


@pytest.mark.parametrize("side", [1, 8])
def test_constant_features_have_finite_results_and_gradients(side):
    made, x = block(), torch.ones(1, 8, side, side, requires_grad=True)
    found = made(x)
    assert found.isfinite().all()
    found.sum().backward()
    assert x.grad.isfinite().all()
