"""The noise level is estimated right, for white and for correlated noise."""

import pytest
import torch

from meddenoise import noise
from meddenoise.noise_level import FLOOR, gaussian_blur, level_map, noise_level


def anatomy(side: int = 256) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    image = torch.where(x**2 + y**2 < 0.8, 50.0, -1000.0)
    image = torch.where((x - 0.2) ** 2 + y**2 < 0.1, 90.0, image)
    return torch.where((x + 0.5) ** 2 + y**2 < 0.02, 400.0, image)[None, None]


def ct(level: float, cutoff: float) -> torch.Tensor:
    one = torch.ones(1)
    spectrum = noise.Spectrum(cutoff * one, 2.0 * one, 0.3 * one, 1.57 * one, ramp=True)
    return noise.ct_noise(
        (1, 1, 256, 256), noise.CTNoise(level * one, 0.0 * one, spectrum), generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("cutoff", [0.2, 0.3, 0.65])
@pytest.mark.parametrize("level", [10.0, 30.0, 80.0])
def test_level_of_correlated_noise_is_right_within_15_per_cent(cutoff, level):
    clean = anatomy()
    noisy = clean + ct(level, cutoff)
    body = gaussian_blur(noisy, 2.0) > -300
    assert noise_level(noisy, body) == pytest.approx(level, rel=0.15)
    assert noise_level(noisy, body, gaussian_blur(noisy, 4.0)) == pytest.approx(level, rel=0.15)


def test_level_of_white_noise_is_right():
    noisy = anatomy() + 20.0 * noise.normal((1, 1, 256, 256), torch.Generator().manual_seed(0))
    assert noise_level(noisy, gaussian_blur(noisy, 2.0) > -300) == pytest.approx(20.0, rel=0.1)


@pytest.mark.parametrize("cutoff", [0.1, 0.2])
def test_level_left_over_after_denoising_is_not_flattered_by_the_choice_of_blocks(cutoff):
    """What denoising leaves is of low frequency; blocks must not be chosen for having little of it."""
    left = anatomy() + ct(5.0, cutoff)
    body = gaussian_blur(left, 2.0) > -300
    assert noise_level(left, body, gaussian_blur(left, 4.0)) == pytest.approx(5.0, rel=0.2)


def test_level_of_a_small_object_is_its_own_and_not_that_of_the_air():
    noisy = 0.1 * noise.normal((6, 1, 128, 128), torch.Generator().manual_seed(0))
    noisy[..., 48:72, 48:72] = 100.0 + 9.0 * noise.normal((6, 1, 24, 24), torch.Generator().manual_seed(1))
    assert noise_level(noisy, noisy > 50.0) == pytest.approx(9.0, rel=0.25)
    assert noise_level(noisy[:1, :, 62:66, 62:66], noisy[:1, :, 62:66, 62:66] > 50.0) is None


def test_constant_image_has_no_noise():
    flat = torch.full((1, 1, 64, 64), 7.0)
    assert noise_level(flat, flat > 0) == 0.0
    assert level_map(flat).max() == pytest.approx(FLOOR)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 5, 40), (2, 1, 9, 9), (1, 1, 37, 250)])
def test_small_and_odd_images_have_a_level(shape):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    assert level_map(image).shape == shape
    assert level_map(image).min() >= FLOOR
    assert noise_level(image, image > -1) in (0.0, None) or min(shape[-2:]) >= 8


def test_level_map_follows_a_level_that_varies():
    noisy = torch.cat(
        [0.01 * noise.normal((1, 1, 128, 128), torch.Generator().manual_seed(s)) * k for s, k in ((0, 1), (1, 5))], 3
    )
    levels = level_map(0.5 + noisy)
    assert levels[..., :96].mean() == pytest.approx(0.01, rel=0.25)
    assert levels[..., -96:].mean() == pytest.approx(0.05, rel=0.25)


def test_masked_background_does_not_hide_the_noise_of_the_body():
    noisy = 0.05 * noise.normal((1, 1, 128, 128), torch.Generator().manual_seed(0)) + 0.5
    noisy[..., :40] = 0.0
    assert level_map(noisy)[..., 64:].mean() == pytest.approx(0.05, rel=0.25)
