"""The networks keep shapes, start as the identity and cost what their cards say."""

import pytest
import torch
from torch import nn

from meddenoise.networks import NETWORKS, Student
from meddenoise.networks.cost import gmac, parameter_count


def test_a_fresh_student_gives_its_input_back():
    image = torch.rand(2, 1, 32, 48)
    assert torch.equal(Student()(image, torch.full_like(image, 0.1)), image)


def test_a_trained_student_changes_its_input_in_proportion_to_the_level():
    torch.manual_seed(0)
    network = Student(widths=(8, 8, 8))
    nn.init.zeros_(network.tail.weight)
    nn.init.ones_(network.tail.bias)
    image, level = torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32) + 0.1
    assert torch.allclose(network(image, level), image - level)


def test_cost_counts_every_convolution_once():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 2, stride=2), nn.ConvTranspose2d(4, 5, 2, stride=2)
    )
    expected = 64 * 64 * 3 * 8 * 9 + 32 * 32 * 8 * 4 * 4 + 32 * 32 * 4 * 5 * 4
    assert gmac(network, torch.rand(1, 3, 64, 64)) == pytest.approx(expected / 1e9)
    assert parameter_count(network) == 3 * 8 * 9 + 8 + 8 * 4 * 4 + 4 + 4 * 5 * 4 + 5


def test_every_registered_network_can_be_built_from_plain_arguments():
    for build in NETWORKS.values():
        assert parameter_count(build()) > 0
