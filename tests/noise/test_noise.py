"""Noise has the statistics its parameters name."""

import math

import pytest
import torch

from meddenoise import noise


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spectrum(
    *, cutoff: float = 0.3, anisotropy: float = 0.0, direction: float = 0.0, ramp: bool = True
) -> noise.Spectrum:
    values = (torch.tensor([v]) for v in (cutoff, 2.0, anisotropy, direction))
    return noise.Spectrum(*values, ramp=ramp)


@pytest.mark.parametrize("shape", [(4, 1, 128, 128), (4, 1, 96, 129)])
def test_correlated_noise_has_mean_0_and_variance_1(shape):
    field = noise.correlated(shape, spectrum(), generator=generator())
    assert field.shape == shape
    assert field.mean().abs() < 0.01
    assert field.std() == pytest.approx(1.0, rel=0.03)


def test_ramp_empties_the_low_frequencies_and_a_soft_kernel_the_high_ones():
    def share(sharp: float, *, ramp: bool, low: bool) -> float:
        field = noise.correlated((8, 1, 128, 128), spectrum(cutoff=sharp, ramp=ramp), generator=generator())
        power = torch.fft.fft2(field).abs() ** 2
        f = torch.fft.fftfreq(128)
        radius = torch.sqrt(f[:, None] ** 2 + f**2)
        return float((power * (radius < 0.05 if low else radius > 0.3)).sum() / power.sum())

    assert share(0.3, ramp=True, low=True) < 0.5 * share(0.3, ramp=False, low=True)
    # For f^2 exp(-(f / c)^2), which the ramp and the area of a ring make, the share above 2 c is 4.6 %.
    assert share(0.15, ramp=True, low=False) == pytest.approx(0.046, rel=0.1)
    assert share(0.8, ramp=True, low=False) > 0.6


def test_anisotropic_noise_is_streaky_along_the_other_axis():
    field = noise.correlated((8, 1, 128, 128), spectrum(anisotropy=1.0, direction=math.pi / 2), generator=generator())
    along_x = (field[..., :, 1:] * field[..., :, :-1]).mean()
    along_y = (field[..., 1:, :] * field[..., :-1, :]).mean()
    assert along_x > along_y + 0.2
