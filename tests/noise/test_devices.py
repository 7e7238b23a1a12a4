"""Every noise runs on the device of its image and generator, draws from it alone, and leaves shape and type alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from meddenoise import noise
from meddenoise.training.physical import NOISE

GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))
Noise = Callable[[Tensor, Tensor, torch.Generator], Tensor]

SOFT = noise.CT_KERNELS["soft"]


def scan(one: Tensor) -> noise.CTScan:
    return noise.same_scan(len(one), device=one.device)


NOISES: dict[str, Noise] = {
    "Algorithm 1": lambda x, _, g: noise.apply_algorithm1(255 * x, noise.draw_algorithm1(len(x), g), generator=g) / 255,
    "quantised": lambda x, one, _: noise.quantise(x, one / 8),
    "CT": lambda x, _, g: x + noise.ct_noise(tuple(x.shape), noise.draw_ct_noise(len(x), g), generator=g),
    "CT, exact": lambda x, one, g: noise.low_dose(1000 * x - 900, scan(one), SOFT, spacing=0.8, generator=g),
    "CT, fast": lambda x, one, g: (
        x + noise.fast_low_dose_noise(1000 * x - 900, scan(one), SOFT, spacing=0.8, generator=g)
    ),
    "CT, with maps": lambda x, one, g: (
        x
        + noise.ct_noise(
            tuple(x.shape),
            noise.draw_ct_noise(len(x), g),
            generator=g,
            maps=noise.level_maps(1000 * x - 900, scan(one), SOFT, spacing=0.8),
        )
    ),
    "smooth": lambda x, one, g: x * noise.smooth_field(tuple(x.shape), one, generator=g),
    "correlated": lambda x, _, g: (
        x + noise.correlated(tuple(x.shape), noise.draw_smooth_spectrum(len(x), g), generator=g)
    ),
    **{f"training, {m}": lambda x, _, g, made=made: made(x, g) for m, made in NOISE.items()},
    "gaussian": lambda x, one, g: noise.gaussian(x, one, generator=g),
    "speckle": lambda x, one, g: noise.speckle(x, one, generator=g),
    "poisson": lambda x, one, g: noise.poisson(x, 9 * one, generator=g),
    "salt and pepper": lambda x, one, g: noise.salt_and_pepper(
        x, noise.Impulses(one / 2, one / 2, -one, one), generator=g
    ),
    "MR": lambda x, one, g: noise.mr_noise(x, noise.draw_mr_noise(one, g), generator=g),
    "undersampled": lambda x, _, g: noise.undersampled(x, noise.draw_undersampling(len(x), x.shape[-2], g)),
    "PET": lambda x, one, g: noise.pet_noise(x, noise.draw_pet_noise(one, g), generator=g),
    "PET, exact": lambda x, one, g: noise.low_count(
        x, one / 10, noise.PETScan(angles=24), attenuation=noise.water_body(x), generator=g
    ),
    "PET, filtered back-projection": lambda x, one, g: noise.low_count(
        x, one / 10, noise.PETScan(angles=24, algorithm="fbp"), generator=g
    ),
    "X-ray": lambda x, one, g: noise.xray_noise(x, noise.draw_xray_noise(0 * one, one, g), generator=g),
    "ultrasound": lambda x, one, g: noise.ultrasound_speckle(
        x, noise.draw_ultrasound_speckle(0 * one, one, g), generator=g
    ),
    "gamma camera": lambda x, _, g: noise.camera_counts(x, noise.draw_camera_counts(len(x), g), generator=g),
}


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("name", NOISES)
def test_noise_runs_on_the_images_device_and_changes_every_image_of_a_batch(name, device):
    g = torch.Generator(device).manual_seed(0)
    image = torch.rand((3, 1, 40, 56), generator=g, device=device)
    before = image.clone()
    result = NOISES[name](image, torch.ones(3, device=device), g)
    assert result.device == image.device
    assert result.shape == image.shape
    assert result.dtype == torch.float32
    assert torch.isfinite(result).all()
    assert torch.equal(image, before)
    assert ((result - image).abs().amax(dim=(1, 2, 3)) > 0).all()


@pytest.mark.parametrize("name", NOISES)
def test_noise_draws_from_its_generator_alone_and_makes_nothing_on_another_device(name):
    g = torch.Generator().manual_seed(0)
    image, one = torch.rand((3, 1, 40, 56), generator=g), torch.ones(3)
    before = torch.get_rng_state()
    with torch.device("meta"):  # where a tensor lands whose device nobody said
        result = NOISES[name](image, one, g)
    assert result.device == image.device
    assert torch.equal(torch.get_rng_state(), before)
