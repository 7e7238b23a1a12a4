"""X-ray noise grows with exposure in linear units, falls with it in logarithmic ones, and is blurred in part."""

import dataclasses
import math

import pytest
import torch

from meddenoise import noise

LINEAR = noise.XRayNoise(*(torch.tensor([v]) for v in (0.25, 1000.0, 0.0, 0.0, 0.0, 0.0, 1.0)))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def added(value: float, **changes: float) -> torch.Tensor:
    parameters = dataclasses.replace(LINEAR, **{k: torch.tensor([v]) for k, v in changes.items()})
    image = torch.full((1, 1, 256, 256), value)
    return noise.xray_noise(image, parameters, generator=generator()) - image


def lag(field: torch.Tensor) -> float:
    field = field - field.mean()
    return float((field * field.roll(1, -1)).mean() / field.square().mean())


@pytest.mark.parametrize("exposure", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("value", [0.2, 0.8])
def test_variance_is_the_thinned_photons_in_linear_units(value, exposure):
    field = added(value, exposure=exposure)
    assert field.var() == pytest.approx((1 / exposure - 1) * value / 1000.0, rel=0.03)
    assert field.mean().abs() < 4 * field.std() / 256


def test_thinning_adds_what_binomial_selection_of_the_photons_adds():
    """The oracle is thinning itself, drawn photon by photon with torch.binomial."""
    full = torch.poisson(torch.full((256, 256), 300.0), generator=generator(1))
    quarter = torch.binomial(full, torch.full_like(full, 0.25), generator=generator(2))
    assert added(0.3).std() * 1000.0 == pytest.approx(float((quarter / 0.25 - full).std()), rel=0.02)


def test_electronic_noise_does_not_depend_on_the_exposure_of_a_pixel():
    dark = added(0.0, electronic=5.0)
    assert dark.std() == pytest.approx(math.sqrt(1 / 0.25**2 - 1) * 5.0 / 1000.0, rel=0.02)


def test_detector_blurs_quantum_noise_but_not_electronic_noise():
    assert lag(added(0.5, blur=2.0)) > 0.6
    assert abs(lag(added(0.0, blur=2.0, electronic=5.0))) < 0.02
    assert abs(lag(added(0.5))) < 0.02


def test_blur_of_the_detector_lowers_the_level_by_the_kernels_norm():
    sigma = 3.0 / (2 * math.sqrt(2 * math.log(2)))
    expected = added(0.5).std() / (2 * math.sqrt(math.pi) * sigma)
    assert added(0.5, blur=3.0).std() == pytest.approx(float(expected), rel=0.03)


def test_white_bone_is_noisiest_where_it_is_bright():
    low, high = (added(value, log_range=2.0, photons=1e5).std() for value in (0.25, 0.75))
    assert high / low == pytest.approx(math.exp(0.5 * 2.0 * 0.5), rel=0.03)
    dark_bone = [added(value, log_range=-2.0, photons=1e5).std() for value in (0.25, 0.75)]
    assert dark_bone[0] / dark_bone[1] == pytest.approx(math.exp(0.5), rel=0.03)


def test_pixel_scale_is_that_of_the_image():
    wide = noise.XRayNoise(*(torch.tensor([v]) for v in (0.25, 1000.0, 2.0, 1.0, 3.0, 100.0, 4195.0)))
    unit = dataclasses.replace(wide, low=torch.zeros(1), high=torch.ones(1))
    image = torch.rand(1, 1, 64, 64, generator=generator())
    small = noise.xray_noise(image, unit, generator=generator(1))
    large = noise.xray_noise(100.0 + 4095.0 * image, wide, generator=generator(1))
    assert torch.allclose((large - 100.0) / 4095.0, small, atol=1e-4)


def test_starved_pixels_stay_finite():
    assert torch.isfinite(added(1.0, log_range=8.0, photons=50.0, exposure=0.1, electronic=5.0)).all()


def test_drawn_exposures_cover_a_tenth_and_every_image_gets_its_own():
    drawn = noise.draw_xray_noise(torch.zeros(4000), torch.ones(4000), generator())
    assert 0.1 <= drawn.exposure.min() < 0.102
    assert drawn.exposure.max() <= 0.7
    assert (drawn.blur == 0).float().mean() == pytest.approx(1 / 3, abs=0.03)
    assert (drawn.log_range > 0).float().mean() == pytest.approx(0.8, abs=0.03)
    pair = noise.draw_xray_noise(torch.zeros(2), torch.ones(2), generator(1))
    assert noise.xray_noise(torch.rand(2, 1, 40, 72), pair, generator=generator()).shape == (2, 1, 40, 72)


def test_same_generator_gives_the_same_bits():
    first, second = (
        noise.xray_noise(
            torch.full((2, 1, 32, 32), 0.5), noise.draw_xray_noise(torch.zeros(2), torch.ones(2), g), generator=g
        )
        for g in (generator(3), generator(3))
    )
    assert torch.equal(first, second)


def test_blurred_noise_is_no_stronger_at_the_border():
    field = added(0.5, blur=3.0)
    assert field[..., 0].std() == pytest.approx(float(field.std()), rel=0.15)


def test_the_whole_exposure_leaves_the_image_as_it_is():
    for log_range in (0.0, 3.0):
        assert added(0.5, exposure=1.0, electronic=5.0, blur=2.0, log_range=log_range).abs().max() < 1e-6
