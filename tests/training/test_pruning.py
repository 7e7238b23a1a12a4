"""Pruning removes the filters of the smallest norm, and the network really becomes smaller."""

import time
from itertools import pairwise

import pytest
import torch
from torch import nn

from meddenoise import weights
from meddenoise.errors import OptionError
from meddenoise.networks import Student
from meddenoise.networks.cost import gmac, parameter_count
from meddenoise.training.pruning import filter_norms, prune
from meddenoise.weights import Card

GONE = {1: [0, 3, 4, 9, 11, 17, 18, 23], 2: [1, 2, 5, 8, 13, 21, 30, 31]}
"""Filters of the second and third block of the student below."""


def student(**sizes):
    torch.manual_seed(0)
    network = Student(**({"widths": (16, 24, 32), "blocks": (1, 1, 1)} | sizes))
    nn.init.normal_(network.tail.weight, std=0.1)
    return network


def inputs(side=32):
    image = torch.rand((1, 1, side, side), generator=torch.Generator().manual_seed(0))
    return image, torch.full_like(image, 0.1)


@pytest.mark.parametrize("part", ["expand.weight", "project.weight"])
def test_filters_that_do_nothing_go_first_and_nothing_else_changes(part):
    network, (image, level) = student(), inputs()
    for index, filters in GONE.items():
        weight = network.residual_blocks()[index].get_parameter(part)
        with torch.no_grad():
            (weight if part == "expand.weight" else weight.transpose(0, 1))[filters] *= 1e-6
            network.residual_blocks()[index].expand.bias[filters] = 0.0
    smaller = prune(network, rate=16 / 112)
    assert smaller.arguments["inner"] == [16, 16, 24, 24, 16]
    for index, (before, after) in enumerate(zip(network.residual_blocks(), smaller.residual_blocks(), strict=True)):
        kept = [i for i in range(before.expand.out_channels) if i not in GONE.get(index, [])]
        assert torch.equal(after.expand.weight, before.expand.weight[kept])
        assert torch.equal(after.expand.bias, before.expand.bias[kept])
        assert torch.equal(after.project.weight, before.project.weight[:, kept])
    assert torch.allclose(smaller(image, level), network(image, level), atol=1e-5)


def test_the_smallest_norms_of_all_blocks_go_first():
    network = student()
    with torch.no_grad():
        for share, block in zip((0.5, 0.9, 0.1, 0.8, 0.3), network.residual_blocks(), strict=True):
            nn.init.constant_(block.expand.weight, 1.0)
            nn.init.constant_(block.project.weight, 1.0)
            block.expand.weight[4:12] = share
    order = [
        [16, 24, 24, 24, 16], [16, 24, 24, 24, 8], [8, 24, 24, 24, 8], [8, 24, 24, 16, 8], [8, 16, 24, 16, 8]
    ]  # fmt: skip
    for count, inner in enumerate(order, start=1):
        smaller = prune(network, rate=8 * count / 112)
        assert smaller.arguments["inner"] == inner
        for before, after in zip(network.residual_blocks(), smaller.residual_blocks(), strict=True):
            pruned = after.expand.out_channels < before.expand.out_channels
            assert after.expand.weight.min() == (1.0 if pruned else before.expand.weight.min())


def test_a_block_of_small_weights_is_pruned_no_sooner_than_one_of_large_weights():
    network = student()
    expected = prune(network, rate=0.3).arguments["inner"]
    with torch.no_grad():
        network.residual_blocks()[1].project.weight *= 0.01
    assert prune(network, rate=0.3).arguments["inner"] == expected


def test_a_filters_norm_does_not_change_where_its_scale_moves_to_what_reads_it():
    network, (image, level) = student(), inputs()
    block = network.residual_blocks()[0]
    norms, computed = filter_norms(block), network(image, level)
    with torch.no_grad():
        block.expand.weight[3] *= 5.0
        block.expand.bias[3] *= 5.0
        block.project.weight[:, 3] /= 5.0
    assert torch.allclose(network(image, level), computed, atol=1e-6)
    assert torch.allclose(filter_norms(block), norms)


def test_the_pruned_published_student_is_smaller_in_parameters_arithmetic_and_file(tmp_path):
    network, card = weights.load("student")
    costs = []
    for step in range(4):
        image, level = inputs(256)
        saved = Card(**vars(card) | {"name": f"step-{step}", "arguments": network.arguments})
        weights.save(network, saved, tmp_path)
        again, _ = weights.load(str(tmp_path / f"step-{step}.safetensors"))
        assert torch.equal(again(*inputs()), network(*inputs()))  # the card rebuilds what was pruned
        size = (tmp_path / f"step-{step}.safetensors").stat().st_size
        costs.append((parameter_count(network), gmac(network, image, level), size))
        network = prune(network, rate=0.15)
    for before, after in pairwise(costs):
        assert all(b < 0.95 * a for a, b in zip(before, after, strict=True))
        assert after[2] < 4 * after[0] + 20_000  # bytes of float32 and the card: nothing else is in the file


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2, 0.3])
def test_the_rate_is_the_share_of_the_filters_that_go(rate):
    network = Student(widths=(48, 64, 128), blocks=(2, 2, 2))
    left = sum(network.arguments["inner"])
    for _ in range(3):
        network = prune(network, rate)
        inner = network.arguments["inner"]
        assert left - sum(inner) == pytest.approx(rate * left, abs=4)
        assert all(count % 8 == 0 and count >= 8 for count in inner)
        left = sum(inner)


def test_counts_that_are_no_multiples_of_eight_are_evened_out():
    network = student(inner=(12, 24, 32, 24, 16))
    with torch.no_grad():
        network.residual_blocks()[0].project.weight[:, [1, 2, 3, 5]] *= 0.01
    assert prune(network, rate=0.01).arguments["inner"] == [8, 24, 32, 24, 16]


def test_the_student_that_is_pruned_stays_as_it_is():
    network, (image, level) = student(), inputs()
    before = network(image, level)
    smaller = prune(network.eval(), rate=0.3)
    assert not smaller.training
    with torch.no_grad():
        for parameter in smaller.parameters():
            parameter.add_(1.0)
    assert torch.equal(network(image, level), before)


@pytest.mark.parametrize("rate", [-0.1, 0.0, 1.0, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(OptionError, match="between 0 and 1"):
        prune(student(), rate)


def test_pruning_stops_before_a_block_is_empty():
    smallest = student(inner=(8, 8, 8, 8, 8))
    with pytest.raises(OptionError, match=r"of 40 filters a share of 0\.1 cannot be removed: each of 5 blocks keeps 8"):
        prune(smallest, rate=0.1)


def seconds(network):
    """The processor time of one call: what other programs take does not count."""
    image, level = inputs(256)
    times = []
    with torch.inference_mode():
        for _ in range(6):
            start = time.process_time()
            network(image, level)
            times.append(time.process_time() - start)
    return min(times)


@pytest.mark.slow
def test_the_pruned_published_student_is_faster():
    network = weights.load("student")[0].to(memory_format=torch.channels_last)
    smaller = prune(prune(prune(network, 0.2), 0.2), 0.2).to(memory_format=torch.channels_last)
    assert seconds(smaller) < 0.9 * seconds(network)
