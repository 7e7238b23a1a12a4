"""The ADWC attends between channels, costs what the pixels cost, and is the identity at first."""

import pytest
import torch
from torch import nn

from meddenoise.networks.attention import ADWC
from meddenoise.networks.cost import gmac


def block(width=12, heads=3):
    torch.manual_seed(0)
    made = ADWC(width=width, heads=heads)
    nn.init.normal_(made.project.weight, std=0.1)
    return made


def features(width=12, side=16, batch=2):
    return torch.randn((batch, width, side, side), generator=torch.Generator().manual_seed(0))


def test_multiply_accumulates_grow_with_the_pixels_and_the_matrix_products_are_counted():
    width, heads = 16, 4
    cost = {side: gmac(block(width, heads), features(width, side, 1)) * 1e9 for side in (256, 512)}
    convolutions = 3 * width * width + 9 * 3 * width + width * width
    products = 2 * heads * (width // heads) ** 2
    assert cost[256] == pytest.approx(256 * 256 * (convolutions + products), abs=1)
    assert cost[512] == 4 * cost[256]


def test_it_is_the_equations_of_the_paper_written_out_head_by_head():
    made, x = block(), features(batch=1)
    normed = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    inquiry, index, data = made.depth(made.point(normed)).reshape(3, 3, 4, 16 * 16)  # of I, X and D: heads, C / heads
    made.log_scale.data = torch.tensor([-0.5, 0.0, 1.0]).reshape(3, 1, 1)
    attended = []
    for head, log_scale in enumerate((-0.5, 0.0, 1.0)):
        unit_i, unit_x = (each[head] / each[head].norm(dim=1, keepdim=True) for each in (inquiry, index))
        M = torch.softmax(unit_i @ unit_x.T * torch.tensor(log_scale).exp(), dim=1)
        assert M.shape == (4, 4)
        attended.append(M @ data[head])
    expected = x + nn.functional.conv2d(torch.cat(attended).reshape(1, 12, 16, 16), made.project.weight)
    assert torch.allclose(made(x), expected, atol=1e-5)


def test_attention_of_each_channel_adds_up_to_one_and_does_not_depend_on_the_features_size():
    made = block()
    inquiry, index = features(), features().flip(1)
    found = made.attention(inquiry, index)
    assert found.shape == (2, 3, 4, 4)
    assert torch.allclose(found.sum(-1), torch.ones(2, 3, 4))
    assert torch.allclose(made.attention(100 * inquiry, 0.1 * index), found, atol=1e-6)
    assert not torch.allclose(made.attention(index, index), found, atol=1e-2)


def test_a_fresh_block_is_the_identity_and_learns_from_the_first_step():
    made, x = ADWC(width=8, heads=2), features(8)
    found = made(x)
    assert torch.equal(found, x)
    found.square().mean().backward()
    assert made.project.weight.grad.any()


def test_its_convolutions_have_no_bias():
    assert all(m.bias is None for m in ADWC(width=8, heads=2).modules() if isinstance(m, nn.Conv2d))


def test_bfloat16_moves_little_and_keeps_the_attention_in_float32():
    made, x = block(32, 4), features(32, 64, 1) * torch.logspace(-2, 2, 32).reshape(1, -1, 1, 1)
    with torch.no_grad():
        exact = made(x)
        with torch.autocast("cpu", torch.bfloat16):
            quick = made(x)
            assert made.attention(x.bfloat16(), x.bfloat16()).dtype == torch.float32
    assert (quick - exact).norm() < 1e-2 * (exact - x).norm()


@pytest.mark.parametrize("side", [1, 8])
def test_empty_features_have_finite_results_and_gradients(side):
    made, x = block(), torch.zeros(1, 12, side, side, requires_grad=True)
    made(x).sum().backward()
    assert all(p.grad.isfinite().all() for p in made.parameters())
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() < 1e4


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="got 5 heads for width 12"):
        ADWC(width=12, heads=5)
