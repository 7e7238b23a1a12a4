"""CT noise has the level, spectrum and direction its parameters name."""

import math

import pytest
import torch

from meddenoise import noise


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
