"""Low counts made in projection space have the statistics of a shorter scan."""

import dataclasses
import math

import pytest
import torch
from skimage.util import random_noise

from meddenoise import noise
from meddenoise.errors import OptionError
from meddenoise.noise.pet_scan import measured, reconstruct

SIDE = 48
SCAN = noise.PETScan(counts=2e5, spacing=6.0, angles=48, subsets=6, fwhm=8.0)
FBP = dataclasses.replace(SCAN, algorithm="fbp")
SMALL = 5.0


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def disc(x: float, y: float, radius: float) -> torch.Tensor:
    at = torch.arange(SIDE) - (SIDE - 1) / 2
    return ((at - x) ** 2 + (at[:, None] - y) ** 2 < radius**2)[None, None]


def phantom() -> torch.Tensor:
    """A body of activity 1 with a cold (0.25) and a hot (4) insert."""
    image = disc(0, 0, 20).float()
    image[disc(-10, 0, SMALL)] = 0.25
    image[disc(10, 0, SMALL)] = 4.0
    return image


def repeats(scan: noise.PETScan, fraction: float, count: int = 16) -> torch.Tensor:
    image = phantom()
    data = measured(image, scan, noise.water_body(image))
    g = generator()
    drawn = torch.cat([torch.poisson(fraction * data.expected, generator=g) for _ in range(count)]) / fraction
    return reconstruct(drawn, data, (SIDE, SIDE), scan)


def test_thinned_counts_are_poisson_again():
    """The oracle is scikit-image's Poisson noise at a quarter of the counts; it takes 256 grey levels for 0-255."""
    means = torch.arange(256.0).expand(4000, 256)
    full = torch.poisson(4 * means, generator=generator())[None, None]
    quarter = noise.thin(full, torch.tensor([0.25]), generator=generator(1))[0, 0]
    theirs = 256 * torch.from_numpy(random_noise((means / 256).numpy(), mode="poisson", rng=0))
    for mean in (2, 20, 150):
        assert quarter[:, mean].mean() == pytest.approx(float(theirs[:, mean].mean()), rel=0.03)
        assert quarter[:, mean].var() == pytest.approx(float(theirs[:, mean].var()), rel=0.1)
        assert quarter[:, mean].var() == pytest.approx(mean, rel=0.08)


@pytest.mark.parametrize("scan", [SCAN, FBP, dataclasses.replace(SCAN, subsets=1, iterations=30)])
def test_mean_counts_give_the_activity_back_through_attenuation_and_background(scan):
    image = phantom()
    data = measured(image, scan, noise.water_body(image))
    clean = reconstruct(data.expected, data, (SIDE, SIDE), scan)
    for x, activity in ((10, 4.0), (0, 1.0)):
        assert clean[disc(x, 12 if x == 0 else 0, 3)].mean() == pytest.approx(activity, rel=0.06)


def test_attenuated_body_shades_its_middle_where_it_is_not_corrected():
    image = disc(0, 0, 20).float()
    data = measured(image, FBP, noise.water_body(image))
    naive = measured(image, FBP)
    shaded = reconstruct(data.expected, naive, (SIDE, SIDE), FBP)
    assert shaded[disc(0, 0, 4)].mean() < 0.6 * shaded[disc(0, 0, 19) & ~disc(0, 0, 16)].mean()


@pytest.mark.parametrize("scan", [SCAN, FBP])
def test_variation_falls_with_the_root_of_the_counts(scan):
    few, many = (repeats(scan, fraction).std(dim=0)[disc(0, 0, 18)[0]].mean() for fraction in (0.25, 1.0))
    assert few / many == pytest.approx(2.0, rel=0.12)


def test_osem_is_noisier_where_activity_is_and_filtered_backprojection_hardly():
    def exponent(scan: noise.PETScan) -> float:
        level = repeats(scan, 1.0).std(dim=0)
        hot, cold = (level[disc(x, 0, 3)[0]].mean() for x in (10, -10))
        return math.log(hot / cold) / math.log(4.0 / 0.25)

    assert 0.4 < exponent(SCAN) < 1.0
    assert abs(exponent(FBP)) < 0.15


def test_all_counts_leave_the_image_as_it_is_and_few_make_it_noisy():
    image = phantom().expand(2, -1, -1, -1)
    result = noise.low_count(image, torch.tensor([1.0, 0.1]), SCAN, generator=generator())
    assert torch.equal(result[0], image[0])
    assert (result[1] - image[1]).std() > 0.05
    assert result.min() >= 0.0


def test_same_generator_gives_the_same_bits():
    first, second = (noise.low_count(phantom(), torch.tensor([0.1]), SCAN, generator=generator(4)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(("change", "message"), [({"algorithm": "FBP"}, "osem or fbp"), ({"subsets": 49}, "48 angles")])
def test_a_reconstruction_that_there_is_not_is_refused(change, message):
    with pytest.raises(OptionError, match=message):
        dataclasses.replace(SCAN, **change)


@pytest.mark.parametrize("fraction", [0.0, 1.5])
def test_a_fraction_that_no_thinning_gives_is_refused(fraction):
    with pytest.raises(OptionError, match="at most 1, got"):
        noise.low_count(phantom(), torch.tensor([fraction]), SCAN, generator=generator())
