"""The losses measure what they say, and learning from noisy images alone finds the clean ones."""

import pytest
import torch
from torch import nn

from meddenoise.noise_level import gaussian_blur, level_map
from meddenoise.training.loop import Schedule, train
from meddenoise.training.losses import correlation, neighbor2neighbor, noise_scale, relative_error


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_relative_error_is_free_of_the_noise_scale():
    clean = torch.full((2, 1, 32, 32), 0.5)
    found = []
    for scale in (0.01, 0.1):
        noisy = clean + scale * normal(0, 2, 1, 32, 32)
        found.append(relative_error(noisy, noisy, clean, torch.full_like(clean, scale)).item())
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    assert relative_error(clean, clean, clean, level_map(clean)).item() == 0.0


def test_a_shift_of_large_areas_counts_once_more():
    clean = torch.zeros(1, 1, 32, 32)
    noisy, level = clean + 0.1 * normal(0, 1, 1, 32, 32), torch.full_like(clean, 0.1)
    stripes = 0.01 * torch.tensor([1.0, -1.0]).repeat(16).expand(1, 1, 32, 32)
    shifted, striped = (
        relative_error(clean + error, noisy, clean, level).item() for error in (torch.tensor(0.01), stripes)
    )
    once = (0.01 / noise_scale(noisy, clean, level)).item()
    assert striped == pytest.approx(once + once**2, rel=1e-3)
    assert shifted == pytest.approx(2 * once + once**2, rel=1e-3)


def test_neighbor2neighbor_pairs_row_or_column_neighbours_and_never_a_pixel_with_itself():
    seen = []
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")

    def spy(image):
        seen.append(image)
        return image

    for axis, place in enumerate((rows, columns)):
        neighbor2neighbor(spy, place.expand(1, 2, 16, 16), torch.Generator().manual_seed(0))
        assert seen[-1].shape == (1, 2, 8, 8)
        inside = seen[-1] - 2 * seen[-1].div(2, rounding_mode="floor")
        assert set(inside.unique().tolist()) == {0.0, 1.0}, f"axis {axis}"
    # A ramp along the rows differs by 0 or 1 between neighbours, half of them each; the drift is known and goes away.
    loss = neighbor2neighbor(lambda image: image, rows.expand(64, 1, 16, 16), torch.Generator().manual_seed(1))
    assert loss.item() == pytest.approx(0.5, abs=0.05)


class Noisy:
    """A linear network that learns from noisy images alone."""

    def __init__(self):
        torch.manual_seed(0)
        self.network = nn.Conv2d(1, 1, 5, padding=2, padding_mode="replicate", bias=False)
        nn.init.dirac_(self.network.weight)
        self.networks = {"net": self.network}
        self.optimizers = {"net": torch.optim.Adam(self.network.parameters(), lr=0.02)}

    def losses(self, noisy, clean, generator):
        yield "net", neighbor2neighbor(self.network, noisy, generator)


@pytest.mark.parametrize(("blur", "left"), [(0.0, (0.0, 0.5)), (1.5, (0.75, 1.0))])
def test_white_noise_goes_without_clean_images_and_correlated_noise_stays(tmp_path, blur, left):
    def sample(batch, generator):
        clean = gaussian_blur(torch.randn((batch, 1, 32, 32), generator=generator), 6.0)
        noise = torch.randn(clean.shape, generator=generator)
        noise = gaussian_blur(noise, blur) if blur else noise
        noisy = clean + 0.3 * noise / noise.std()
        return noisy, noisy

    plan = Schedule(steps=150, batch=8, warmup=10, average=0.9, precision="float32")
    network = train(Noisy(), sample, plan, tmp_path)["net"]
    noise = normal(9, 4, 1, 32, 32)
    noise = gaussian_blur(noise, blur) if blur else noise
    share = (network(noise).std() / noise.std()).item()
    assert left[0] < share < left[1]
    assert (correlation(sample(4, torch.Generator().manual_seed(0))[0]) > 0.2) == bool(blur)


def test_correlation_finds_none_in_constant_images():
    assert correlation(torch.ones(1, 1, 32, 32)) == 0.0
    assert correlation(normal(0, 4, 1, 64, 64)) == pytest.approx(0.0, abs=0.05)
