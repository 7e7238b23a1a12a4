"""The mean of large areas stays where it was, and noise still goes."""

import pytest
import torch

from meddenoise.inference.local_mean import without_local_mean
from meddenoise.noise import Spectrum, correlated


def test_a_shift_of_the_tissue_is_put_back_and_the_noise_stays_removed():
    one = torch.ones(1)
    spectrum = Spectrum(0.3 * one, 2.0 * one, 0.0 * one, 0.0 * one, ramp=True)
    noise = 0.01 * correlated((1, 1, 200, 250), spectrum, generator=torch.Generator().manual_seed(0))
    clean, level = torch.full_like(noise, 0.3), torch.full_like(noise, 0.01)
    kept = without_local_mean(noise + 0.002, clean, level)
    assert kept.mean().abs() < 1e-5
    assert (kept - noise).std() < 0.05 * noise.std()


def test_air_that_is_stored_clipped_may_lose_its_mean():
    removed = torch.full((1, 1, 64, 64), 0.004)
    clean, level = torch.zeros_like(removed), torch.full_like(removed, 0.01)
    assert torch.equal(without_local_mean(removed, clean, level), removed)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 5, 30), (1, 1, 9, 8)])
def test_images_of_every_shape_work(shape):
    removed, level = torch.rand(shape), torch.full(shape, 0.01)
    assert without_local_mean(removed, torch.ones(shape), level).shape == shape
