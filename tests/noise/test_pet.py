"""PET noise follows counts and activity, and is correlated by the post-filter."""

import dataclasses
import math

import pytest
import torch

from meddenoise import noise

FULL = noise.PETNoise(*(torch.tensor([v]) for v in (0.25, 0.05, 10.0, 0.0, 2.0)), ramp=torch.tensor([False]))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def added(activity: float, **changes: float) -> torch.Tensor:
    parameters = dataclasses.replace(FULL, **{k: torch.tensor([v]) for k, v in changes.items()})
    image = torch.full((1, 1, 256, 256), activity)
    return noise.pet_noise(image, parameters, generator=generator()) - image


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.25, 0.5])
def test_added_variance_is_that_of_the_missing_counts(fraction):
    expected = 0.05 * 10.0 * math.sqrt(1 / fraction - 1)
    assert added(100.0, fraction=fraction).std() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_level_grows_with_the_power_of_the_local_activity(power):
    ratio = added(40.0, power=power).std() / added(10.0, power=power).std()
    assert ratio == pytest.approx(4.0**power, rel=0.02)


def test_osem_is_skewed_by_twice_its_variation_and_keeps_its_mean():
    relative = added(10.0, fraction=0.02) / 10.0
    z = (relative - relative.mean()) / relative.std()
    assert relative.mean().abs() < 0.01
    assert (z**3).mean() == pytest.approx(2 * float(relative.std()), rel=0.1)
    symmetric = added(10.0, fraction=0.2, ramp=True) / 10.0
    assert (symmetric**3).mean().abs() < 0.1 * symmetric.std() ** 3


def test_all_counts_leave_the_image_as_it_is():
    assert added(5.0, fraction=1.0).abs().max() == 0.0


def test_activity_never_gets_negative():
    assert (added(0.2) + 0.2).min() == 0.0


def test_wider_post_filters_correlate_further():
    def lag(fwhm: float) -> float:
        field = added(100.0, fwhm=fwhm)
        return float((field * field.roll(1, -1)).mean() / field.square().mean())

    # A Gaussian filter of sigma s leaves the autocorrelation exp(-d^2 / 4 s^2).
    for fwhm in (2.0, 4.0):
        assert lag(fwhm) == pytest.approx(math.exp(-1 / (4 * (fwhm / 2.3548) ** 2)), abs=0.03)


def test_drawn_fractions_are_5_to_50_percent_at_the_given_activity():
    drawn = noise.draw_pet_noise(torch.full((4000,), 7.0), generator())
    assert 0.05 <= drawn.fraction.min() < 0.051
    assert 0.49 < drawn.fraction.max() <= 0.5
    assert (drawn.activity == 7.0).all()
    assert (drawn.power[drawn.ramp] == 0.0).all()
    assert (drawn.power[~drawn.ramp] >= 0.5).all()


def test_same_generator_gives_the_same_bits():
    first, second = (
        noise.pet_noise(torch.ones(4, 1, 32, 40), noise.draw_pet_noise(torch.ones(4), g), generator=g)
        for g in (generator(3), generator(3))
    )
    assert torch.equal(first, second)
