"""Ultrasound speckle is Rayleigh in amplitude, a constant in decibels, and as wide as the resolution cell."""

import math

import pytest
import torch
from scipy import stats

from meddenoise import noise


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def speckled(value: float, *, cell: tuple[float, float] = (0.0, 0.0), side: int = 256) -> torch.Tensor:
    parameters = noise.UltrasoundSpeckle(torch.tensor([cell]), *(torch.tensor([v]) for v in (60.0, 0.0, 255.0)))
    return noise.ultrasound_speckle(torch.full((1, 1, side, side), value), parameters, generator=generator())


def test_envelope_is_rayleigh_with_the_echo_as_its_root_mean_square():
    decibels = 60.0 * (speckled(150.0) - 150.0) / 255.0
    envelope = 10.0 ** (decibels.flatten()[:20000].numpy() / 20.0)
    assert stats.kstest(envelope, stats.rayleigh(scale=1 / math.sqrt(2)).cdf).pvalue > 0.001


@pytest.mark.parametrize("value", [120.0, 160.0, 200.0])
def test_level_in_decibels_is_5_57_whatever_the_echo(value):
    decibels = 60.0 * (speckled(value) - value) / 255.0
    assert decibels.std() == pytest.approx(5.57, rel=0.02)
    assert decibels.mean() == pytest.approx(-2.51, abs=0.1)


def test_speckle_is_as_wide_as_the_cell_along_each_axis():
    decibels = 60.0 * (speckled(150.0, cell=(1.5, 4.0), side=512) - 150.0) / 255.0
    power = 10.0 ** (decibels / 10.0) - 1.0
    for axis, width in ((-2, 1.5), (-1, 4.0)):
        correlation = (power * power.roll(2, axis)).mean() / power.square().mean()
        # The square of the echo's own autocorrelation exp(-d^2 / 4 s^2), s the Gaussian's sigma.
        assert correlation == pytest.approx(math.exp(-(2**2) / (2 * (width / 2.3548) ** 2)), abs=0.05)
    assert decibels.std() == pytest.approx(5.57, rel=0.05)


def test_display_is_clipped_to_its_range():
    assert speckled(0.0).min() == 0.0
    assert speckled(255.0).max() == 255.0


def test_drawn_cells_are_wider_across_the_beam_and_same_generator_gives_the_same_bits():
    drawn = noise.draw_ultrasound_speckle(torch.zeros(200), torch.ones(200), generator())
    assert (drawn.cell[:, 1] >= drawn.cell[:, 0]).all()
    image = torch.rand(200, 1, 12, 16, generator=generator())
    first, second = (noise.ultrasound_speckle(image, drawn, generator=generator(1)) for _ in range(2))
    assert torch.equal(first, second)
