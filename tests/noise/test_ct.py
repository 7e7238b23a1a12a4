"""CT noise has the level, spectrum and direction its parameters name."""

import math

import pytest
import torch

from meddenoise import noise
from meddenoise.errors import OptionError
from meddenoise.noise import ct_scan
from meddenoise.noise.projection import Kernel
from meddenoise.noise.spectra import spectral_power


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spectrum(*, cutoff: float = 0.3, anisotropy: float = 0.0, direction: float = 0.0) -> noise.Spectrum:
    return noise.Spectrum(*(torch.tensor([v]) for v in (cutoff, 2.0, anisotropy, direction)), ramp=True)


def drawn(*, level: float = 40.0, variation: float = 0.0, **options: float) -> noise.CTNoise:
    return noise.CTNoise(torch.tensor([level]), torch.tensor([variation]), spectrum(**options))


def lag_1(field: torch.Tensor) -> tuple[float, float]:
    """Autocorrelation of neighbours along x and along y."""
    along_x = (field[..., :, 1:] * field[..., :, :-1]).mean() / field.square().mean()
    along_y = (field[..., 1:, :] * field[..., :-1, :]).mean() / field.square().mean()
    return float(along_x), float(along_y)


def test_same_generator_gives_the_same_bits():
    first, second = (
        noise.ct_noise((2, 1, 32, 32), noise.draw_ct_noise(2, g), generator=g) for g in (generator(3), generator(3))
    )
    other = generator(4)
    assert torch.equal(first, second)
    assert not torch.equal(first, noise.ct_noise((2, 1, 32, 32), noise.draw_ct_noise(2, other), generator=other))


def test_level_is_the_drawn_one_and_lies_in_the_stated_range():
    parameters = noise.draw_ct_noise(1000, generator())
    assert 5.0 <= parameters.level.min() < parameters.level.max() <= 130.0
    assert noise.ct_noise((1, 1, 256, 256), drawn(), generator=generator()).std() == pytest.approx(40.0, rel=0.03)


def test_level_holds_for_every_kernel_direction_and_variation():
    parameters = noise.draw_ct_noise(32, generator())
    field = noise.ct_noise((32, 1, 128, 128), parameters, generator=generator(1))
    assert torch.allclose(field.std(dim=(1, 2, 3)), parameters.level, rtol=0.08)


def test_variation_changes_level_and_direction_over_the_patch():
    field = noise.ct_noise((1, 1, 256, 256), drawn(variation=0.5), generator=generator())[0, 0]
    quarters = [field[i : i + 128, j : j + 128] for i in (0, 128) for j in (0, 128)]
    levels = [float(q.std()) for q in quarters]
    directions = [lag_1(q)[0] - lag_1(q)[1] for q in quarters]
    assert max(levels) > 1.2 * min(levels)
    assert max(directions) - min(directions) > 0.1
    even = noise.ct_noise((1, 1, 256, 256), drawn(), generator=generator())[0, 0]
    assert lag_1(even[:128])[0] == pytest.approx(lag_1(even[128:])[1], abs=0.05)


def test_strong_vertical_frequencies_make_horizontal_streaks():
    field = noise.ct_noise((1, 1, 256, 256), drawn(anisotropy=0.9, direction=math.pi / 2), generator=generator())
    along_x, along_y = lag_1(field)
    assert along_x > along_y + 0.2


def test_sector_maps_set_level_and_direction_where_they_say():
    maps = torch.ones(1, 8, 64, 64)
    maps[:, 4, :, :32] = 4.0  # sector 4 of 8 is the vertical frequency
    maps[..., 32:] *= 2.0
    field = noise.ct_noise((1, 1, 256, 256), drawn(), generator=generator(), maps=maps)
    left, right = field[..., :120], field[..., 136:]
    assert lag_1(left)[0] > lag_1(left)[1] + 0.2
    assert lag_1(right)[0] == pytest.approx(lag_1(right)[1], abs=0.05)
    assert field.std() == pytest.approx(40.0, rel=0.05)


def test_even_sector_maps_change_nothing_but_the_bits():
    field = noise.ct_noise((1, 1, 256, 256), drawn(), generator=generator(), maps=torch.full((1, 8, 4, 4), 7.0))
    plain = 40.0 * noise.correlated((1, 1, 256, 256), spectrum(), generator=generator())
    assert torch.allclose(field, plain, atol=0.01)


SPACING = 3.0
KERNEL = Kernel(cutoff=0.11, falloff=3.0)


def body(width: float, height: float, side: int = 128) -> torch.Tensor:
    """A water ellipse in air in HU, its axes in mm; shape (1, 1, side, side)."""
    axis = (torch.arange(side) - (side - 1) / 2) * SPACING
    inside = (axis / (width / 2)) ** 2 + ((axis / (height / 2)) ** 2)[:, None] < 1
    return torch.where(inside, 0.0, -1000.0)[None, None]


def middle(field: torch.Tensor) -> torch.Tensor:
    return field[..., 48:80, 40:88]


def simulated(image: torch.Tensor, *, exact: bool = True, seed: int = 0, **scan: float) -> torch.Tensor:
    batch = image.expand(6, -1, -1, -1)
    simulate = noise.low_dose_noise if exact else noise.fast_low_dose_noise
    return simulate(batch, noise.same_scan(6, **scan), KERNEL, spacing=SPACING, generator=generator(seed))


@pytest.mark.parametrize("exact", [True, False])
def test_quarter_dose_adds_three_times_the_variance_of_full_dose(exact):
    thick = {"exposure": 5000.0}  # so that electronic noise does not count
    added = middle(simulated(body(300, 300), exact=exact, fraction=0.25, present=1.0, **thick)).var()
    whole = middle(simulated(body(300, 300), exact=exact, fraction=1.0, present=math.inf, seed=1, **thick)).var()
    assert added / whole == pytest.approx(3.0, rel=0.1)


def test_noise_behind_water_is_what_photon_statistics_say():
    field = simulated(body(300, 300), fraction=1.0, present=math.inf, exposure=1000.0)
    scanner = noise.Scanner()
    photons = scanner.photons * 1000.0 * 3.0 / math.pi  # per mm and radian, through 300 mm in the centre
    ray = math.exp(scanner.water * 300.0) / photons
    f = torch.linspace(0, 0.5, 2001)
    ramp = torch.trapezoid((f * KERNEL.gain(f)) ** 2, f)
    expected = 1000.0 / scanner.water * math.sqrt(2 * math.pi * ray * ramp)
    assert field[..., 60:68, 60:68].std() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("change", "factor"), [({"exposure": 800.0}, 0.25), ({"thickness": 1.5}, 2.0), ({"kvp": 60.0}, 8.0)]
)
def test_variance_goes_with_the_flux(change, factor):
    scan = {"exposure": 3200.0 if "exposure" not in change else 200.0}
    usual = ct_scan.ray_variance(body(100, 100), noise.same_scan(**scan), spacing=SPACING)[0]
    changed = ct_scan.ray_variance(body(100, 100), noise.same_scan(**(scan | change)), spacing=SPACING)[0]
    assert changed.mean() / usual.mean() == pytest.approx(factor, rel=0.05)


def test_electronic_noise_counts_behind_thick_bodies_only():
    def excess(width: float) -> float:
        """Variance at a small exposure over what quantum noise alone would be."""
        low, high = (
            ct_scan.ray_variance(body(width, width), noise.same_scan(exposure=e), spacing=SPACING)[0]
            for e in (50.0, 5e6)
        )
        centre = low.shape[-1] // 2
        return float(low[..., centre].mean() / high[..., centre].mean() / 1e5)

    assert excess(50.0) == pytest.approx(1.0, abs=0.01)
    assert excess(380.0) > 1.3


def rays(image: torch.Tensor, exposure: float = 200.0, **scanner: float) -> torch.Tensor:
    """Variance of the rays at full dose, shape (angles, detectors)."""
    scan = noise.same_scan(fraction=1.0, present=math.inf, exposure=exposure, scanner=noise.Scanner(**scanner))
    return ct_scan.ray_variance(image, scan, spacing=SPACING)[0][0, 0]


def test_electronic_noise_equals_that_of_photons_at_the_exposure_it_is_named_by():
    air = torch.full((1, 1, 64, 64), -1000.0)
    both, photons = (rays(air, exposure=0.02, electronic=e) for e in (0.02, 0.0))  # slices of 3 mm
    centre = both.shape[-1] // 2
    assert both[0, centre] / photons[0, centre] == pytest.approx(2.0, rel=0.01)


def test_bow_tie_starves_the_rays_beside_the_centre():
    variance = rays(torch.full((1, 1, 128, 128), -1000.0), electronic=0.0, bow_tie=5e-5)[0]
    t = (torch.arange(len(variance)) - (len(variance) - 1) / 2) * SPACING
    assert torch.allclose(variance / variance.min(), torch.exp(5e-5 * t**2), rtol=0.01)


def test_the_current_makes_up_for_its_share_of_the_longest_path():
    flat, modulated = (rays(body(370, 220), electronic=0.0, modulation=m) for m in (0.0, 0.2))
    gain = (modulated / flat).mean(dim=-1).log()
    along_y, along_x = gain[0], gain[len(gain) // 2]  # views through 220 and 370 mm
    assert along_y - along_x == pytest.approx(0.2 * noise.Scanner().water * 150.0, rel=0.05)


def test_drawn_kernels_are_mostly_strongest_along_the_vertical_frequency():
    direction = noise.draw_ct_spectrum(2000, generator()).direction
    assert ((direction - math.pi / 2).abs() < 0.8).float().mean() == pytest.approx(0.75 * 0.954 + 0.25 * 0.51, abs=0.03)


@pytest.mark.parametrize("exact", [True, False])
def test_a_wide_body_has_horizontal_streaks(exact):
    along_x, along_y = lag_1(middle(simulated(body(370, 220), exact=exact)))
    assert along_x > along_y + 0.2


def test_fast_form_agrees_with_the_exact_one():
    exact, fast = (middle(simulated(body(370, 220), exact=e)) for e in (True, False))
    assert fast.std() == pytest.approx(float(exact.std()), rel=0.05)
    assert lag_1(fast) == pytest.approx(lag_1(exact), abs=0.08)


def test_fast_form_keeps_its_level_where_a_sharp_kernel_aliases():
    sharp = Kernel(cutoff=0.2, falloff=5.0)
    image = body(370, 220).expand(4, -1, -1, -1)
    scan = noise.same_scan(4)
    exact = noise.low_dose_noise(image, scan, sharp, spacing=SPACING, generator=generator())
    fast = noise.fast_low_dose_noise(image, scan, sharp, spacing=SPACING, generator=generator())
    assert middle(fast).std() == pytest.approx(float(middle(exact).std()), rel=0.05)


def test_no_reduction_adds_no_noise_and_anatomy_stays():
    image = body(300, 200)
    same = noise.low_dose(image, noise.same_scan(fraction=1.0), KERNEL, spacing=SPACING, generator=generator())
    assert torch.equal(same, image)
    scan = noise.same_scan(fraction=0.25)
    added = noise.low_dose_noise(image, scan, KERNEL, spacing=SPACING, generator=generator())
    lower = noise.low_dose(image, scan, KERNEL, spacing=SPACING, generator=generator())
    assert torch.allclose(lower, image + added)
    clipped = noise.low_dose(image, scan, KERNEL, spacing=SPACING, generator=generator(), limits=(-1000.0, 3.0))
    assert torch.equal(clipped, lower.clamp(-1000.0, 3.0))


def test_level_maps_name_direction_and_level_of_what_is_simulated():
    maps = noise.level_maps(body(370, 220), noise.same_scan(), KERNEL, spacing=SPACING)
    assert maps.shape == (1, 8, 64, 64)
    centre = maps[0, :, 28:36, 28:36].mean(dim=(1, 2))
    assert centre.argmax() == 4
    assert centre.argmin() == 0
    level = maps[..., 24:40, 20:44].square().mean().sqrt()
    assert level == pytest.approx(float(middle(simulated(body(370, 220))).std()), rel=0.05)


def test_every_image_of_a_batch_has_its_own_dose():
    scan = noise.CTScan(*(torch.tensor(v) for v in ([200.0] * 2, [120.0] * 2, [3.0] * 2, [0.25, 0.9], [1.0] * 2)))
    image = body(300, 300).expand(2, -1, -1, -1)
    low, high = noise.low_dose_noise(image, scan, KERNEL, spacing=SPACING, generator=generator())
    assert low.std() > 3 * high.std()


def test_half_of_the_drawn_kernels_keep_power_at_frequency_zero():
    spectrum = noise.draw_ct_spectrum(400, torch.Generator().manual_seed(0))
    power = spectral_power((64, 64), spectrum)
    lowest = power[:, 0, 0, 0] / power.amax(dim=(1, 2, 3))
    assert 0.4 < float((lowest > 0).float().mean()) < 0.6
    assert float(lowest.max()) < 0.8


@pytest.mark.parametrize(("fraction", "present"), [(2.0, 1.0), (0.5, 0.25), (0.0, 1.0), (math.nan, 1.0)])
def test_a_dose_above_that_of_the_image_is_refused(fraction, present):
    scan = noise.same_scan(fraction=fraction, present=present)
    for simulate in (noise.low_dose_noise, noise.fast_low_dose_noise):
        with pytest.raises(OptionError, match="fraction must be above 0 and at most the dose already present"):
            simulate(body(300, 300), scan, KERNEL, spacing=SPACING, generator=generator())
