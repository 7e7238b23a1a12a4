"""Every noise runs on the device of its image and generator, and leaves shape and type alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from meddenoise import noise

GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))
Noise = Callable[[Tensor, Tensor, torch.Generator], Tensor]

NOISES: dict[str, Noise] = {
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
