"""Branches change nothing at first, learn from the first step, and fold into plain convolutions at every pixel."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meddenoise import weights
from meddenoise.networks import Student
from meddenoise.networks.branches import BranchedConv, branched, folded
from meddenoise.networks.cost import gmac, parameter_count

SMALL = {"widths": (8, 12, 16), "blocks": (1, 1, 1), "inner": (6, 12, 16, 10, 8)}
NEW = ("parallel", "sequential_1x1", "sequential_3x3", "residual")


class BranchByBranch(nn.Module):
    """What a BranchedConv stands for: each branch by itself, and their sum."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        conv = self.conv
        found = F.conv2d(x, conv.weight, conv.bias, padding=1) + F.conv2d(x, conv.parallel[:, :, None, None])
        between = F.conv2d(x, conv.sequential_1x1[:, :, None, None])
        found = found + F.conv2d(between, conv.sequential_3x3, padding=1)
        return found if conv.residual is None else found + conv.residual[:, None, None] * x


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def inputs(side=48, batch=1):
    image = 0.5 + 0.1 * torch.randn((batch, 1, side, side), generator=generator())
    return image, torch.full_like(image, 0.1)


def untrained():
    torch.manual_seed(0)
    network = Student(**SMALL)
    nn.init.normal_(network.tail.weight, std=0.1)
    return network


def published():
    return weights.load("student")[0]


def trained(student, *, strength=0.1):
    """A branched student whose branches all do something: a tenth of what each plain kernel does."""
    network = branched(student, generator=generator())
    with torch.no_grad():
        for conv in (m for m in network.modules() if isinstance(m, BranchedConv)):
            size = strength * conv.weight.std()
            for name in ("parallel", "sequential_3x3", "residual"):
                if (parameter := getattr(conv, name)) is not None:
                    parameter.copy_(size * torch.randn(parameter.shape, generator=generator(1)))
    return network


def by_branches(network):
    for name, module in list(network.named_modules()):
        if isinstance(module, BranchedConv):
            network.set_submodule(name, BranchByBranch(module))
    return network


def worst(found, expected):
    """The largest error of any pixel, borders included, relative to the largest value."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("outputs", [6, 5])
def test_a_folded_convolution_is_the_sum_of_its_branches_at_every_pixel_borders_included(outputs):
    torch.manual_seed(0)
    conv = BranchedConv(nn.Conv2d(6, outputs, 3, padding=1), generator=generator())
    for parameter in conv.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 6, 9, 7)
    with torch.no_grad():
        expected = BranchByBranch(conv)(x)
        assert conv.folded()(x).shape == expected.shape
        assert worst(conv.folded()(x), expected) < 1e-5
        assert worst(conv(x), expected) < 1e-5
    edge = torch.ones(9, 7, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    assert worst(conv.folded()(x)[..., edge], expected[..., edge]) < 1e-5
    biased = F.conv2d(F.conv2d(x, conv.sequential_1x1[:, :, None, None]) + 1.0, conv.sequential_3x3, padding=1)
    constant = biased - F.conv2d(F.conv2d(x, conv.sequential_1x1[:, :, None, None]), conv.sequential_3x3, padding=1)
    assert constant[..., edge].std(dim=-1).max() > 0.1  # why there is no bias between: no plain bias could do that


@pytest.mark.parametrize("student", [untrained, published])
@pytest.mark.parametrize(("bfloat16", "bound"), [(False, 1e-5), (True, 1e-2)])
def test_a_folded_student_computes_what_its_branches_do(student, bfloat16, bound):
    network, (image, level) = trained(student()), inputs()
    plain = folded(network)
    assert {type(m) for m in plain.modules()} == {type(m) for m in student().modules()}
    assert gmac(plain, image, level) == gmac(student(), image, level)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        unchanged, expected = student()(image, level), by_branches(network)(image, level)
        assert worst(image - unchanged, image - expected) > 2 * bound  # the branches do matter
        assert worst(plain(image, level), expected) < bound
        if not bfloat16:
            assert worst(image - plain(image, level), image - expected) < bound  # of the noise that is taken away


@pytest.mark.parametrize("student", [untrained, published])
def test_a_freshly_branched_student_computes_exactly_what_it_did(student):
    network, (image, level) = branched(student(), generator=generator()), inputs()
    assert parameter_count(network) > 2 * parameter_count(student())
    with torch.no_grad():
        assert torch.equal(network(image, level), student()(image, level))
        assert torch.equal(folded(network)(image, level), student()(image, level))
        for ours, theirs in zip(network.anchors(image, level)[1], student().anchors(image, level)[1], strict=True):
            assert torch.equal(ours, theirs)


def test_every_branch_learns_from_the_first_steps():
    network, (image, level) = branched(untrained(), generator=generator()), inputs()
    network(image, level).square().mean().backward()
    gradients = {n: p.grad for n, p in network.named_parameters() if n.endswith(NEW)}
    assert len(gradients) > 3 * 12
    zero_at_first = {n for n, g in gradients.items() if not g.any()}
    assert zero_at_first == {n for n in gradients if n.endswith("sequential_1x1")}  # what reads them is still zero
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    network.zero_grad()
    network(image, level).square().mean().backward()
    assert all(p.grad.any() for n, p in network.named_parameters() if n.endswith(NEW))


def test_the_same_generator_gives_the_same_branches_and_the_student_stays_as_it_is():
    student = untrained()
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    one, two, other = (branched(student, generator=generator(seed)).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())
    network = branched(student, generator=generator())
    with torch.no_grad():
        network.head.weight += 1.0
    assert torch.equal(student.head.weight, before["head.weight"])


@pytest.mark.parametrize("change", [lambda s: branched(s, generator=generator()), folded])
def test_copies_of_a_loaded_student_can_be_trained_throughout(change):
    student = untrained().requires_grad_(False)
    assert all(parameter.requires_grad for parameter in change(student).parameters())
    assert not any(parameter.requires_grad for parameter in student.parameters())


def test_a_folded_student_is_rebuilt_from_its_arguments():
    plain, (image, level) = folded(trained(untrained())), inputs()
    again = Student(**plain.arguments)
    again.load_state_dict(plain.state_dict())
    assert torch.equal(again(image, level), plain(image, level))


def test_folding_a_plain_student_copies_it():
    student, (image, level) = untrained(), inputs()
    plain = folded(student)
    assert plain is not student
    assert torch.equal(plain(image, level), student(image, level))
