"""The adversarial losses are what their papers say."""

import pytest
import torch
from torch import nn

from meddenoise.training.adversarial import Perceptual, gradient_penalty, towards


def test_verdicts_are_judged_by_their_squared_distance_from_the_target():
    verdicts = torch.tensor([[1.0, 0.0], [0.5, 3.0]])
    assert towards(verdicts, 1.0).item() == pytest.approx((0 + 1 + 0.25 + 4) / 4)
    assert towards(torch.ones(2, 2), 1.0).item() == 0.0


@pytest.mark.parametrize("slope", [0.0, 1.0, 3.0])
def test_the_penalty_is_the_squared_distance_of_the_slope_from_one(slope):
    direction = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    direction = slope * direction / direction.norm()
    real, made = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)

    def judge(images):
        return (images * direction).sum(dim=(1, 2, 3), keepdim=True)

    found = gradient_penalty(judge, real, made, torch.Generator().manual_seed(0))
    assert found.item() == pytest.approx((slope - 1.0) ** 2, abs=1e-5)


def test_the_penalty_teaches_the_judge_and_not_the_generator():
    judge = nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3))
    made = torch.rand(2, 1, 8, 8, requires_grad=True)
    before = gradient_penalty(judge, torch.rand(2, 1, 8, 8), made, torch.Generator().manual_seed(0))
    before.backward()
    assert made.grad is None
    assert judge[0].weight.grad.any()


def test_features_are_the_same_for_everyone_and_never_learn():
    first, second = Perceptual(), Perceptual()
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not any(p.requires_grad for p in first.parameters())
    assert [f.shape for f in first(torch.rand(1, 1, 32, 32))] == [(1, 16, 32, 32), (1, 32, 16, 16), (1, 64, 8, 8)]


def test_features_tell_noise_from_none_and_scale_with_the_image():
    network, image = Perceptual(), torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    little, much = (network.distance(image + sigma * noise, image) for sigma in (0.05, 0.2))
    assert network.distance(image, image) == 0.0
    assert 0.0 < little < much
    assert network.distance(2 * image + 0.1 * noise, 2 * image).item() == pytest.approx(4 * little.item(), rel=1e-3)
