"""The student keeps its published weights' names, shows its anchors and is rebuilt from its sizes."""

import json

import pytest
import torch

from meddenoise import weights
from meddenoise.networks import Student


def inputs():
    image = torch.rand((2, 1, 32, 48), generator=torch.Generator().manual_seed(0))
    return image, torch.full_like(image, 0.1)


def test_anchors_are_the_denoised_image_and_features_from_coarse_to_fine():
    network, (image, level) = Student(widths=(4, 6, 8)), inputs()
    torch.nn.init.normal_(network.tail.weight)
    denoised, features = network.anchors(image, level)
    assert torch.equal(denoised, network(image, level))
    assert [tuple(f.shape) for f in features] == [(2, 8, 4, 6), (2, 6, 8, 12), (2, 4, 16, 24)]


def test_the_published_students_weights_fit_a_student_built_from_its_own_arguments():
    published, _ = weights.load("student")
    arguments = json.loads(json.dumps(published.arguments))
    again = Student(**arguments)
    again.load_state_dict(published.state_dict())
    image, level = inputs()
    assert torch.equal(again(image, level), published(image, level))


def test_inner_channels_are_those_of_the_residual_blocks_in_the_order_of_use():
    network = Student(widths=(8, 8, 8), blocks=(1, 2, 1), inner=(1, 2, 3, 4, 5, 6, 7))
    assert [len(stage) for stage in network.stages_in_order] == [1, 2, 1, 2, 1]
    assert [block.expand.out_channels for block in network.residual_blocks()] == [1, 2, 3, 4, 5, 6, 7]
    assert network.arguments == {"widths": [8, 8, 8], "blocks": [1, 2, 1], "inner": [1, 2, 3, 4, 5, 6, 7]}
    seen = []
    for number, block in enumerate(network.residual_blocks()):
        block.register_forward_hook(lambda *_, number=number: seen.append(number))
    network(*inputs())
    assert seen == list(range(7))


def test_a_wrong_number_of_inner_channels_is_refused():
    with pytest.raises(ValueError, match=r"inner must give 5 numbers for blocks \(1, 1, 1\), got \(4, 4\)"):
        Student(blocks=(1, 1, 1), inner=(4, 4))
