"""MR noise against scipy's exact distributions: theory in closed form is a stronger oracle than a simulator."""

import dataclasses

import pytest
import torch
from monai.transforms import RandRicianNoise
from scipy import stats

from meddenoise import noise

WHITE = noise.MRNoise(*(torch.tensor([v]) for v in (1.0, 1, 1.0)), extent=torch.ones(1, 2), taper=torch.zeros(1))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(signal: float, side: int = 256, **changes) -> torch.Tensor:
    parameters = dataclasses.replace(WHITE, **{k: torch.tensor([v]) for k, v in changes.items()})
    return noise.mr_noise(torch.full((1, 1, side, side), signal), parameters, generator=generator())


def lag(field: torch.Tensor, axis: int) -> float:
    field = field - field.mean()
    return float((field * field.roll(1, axis)).mean() / field.square().mean())


@pytest.mark.parametrize("signal", [0.0, 1.0, 3.0, 10.0, 20.0])
def test_one_coil_is_rician_in_its_whole_distribution(signal):
    drawn = noisy(signal).flatten()
    assert stats.kstest(drawn[:20000].numpy(), stats.rice(signal).cdf).pvalue > 0.001
    assert drawn.mean() == pytest.approx(stats.rice(signal).mean(), rel=0.01)
    assert drawn.std() == pytest.approx(stats.rice(signal).std(), rel=0.01)


@pytest.mark.parametrize("coils", [4, 32])
@pytest.mark.parametrize("signal", [0.0, 5.0])
def test_sum_of_squares_of_coils_is_noncentral_chi(coils, signal):
    squares = noisy(signal, 128, coils=coils).square().flatten()
    theory = stats.ncx2(2 * coils, signal**2) if signal else stats.chi2(2 * coils)
    assert stats.kstest(squares.numpy(), theory.cdf).pvalue > 0.001


def test_statistics_agree_with_monai():
    """MONAI's RandRicianNoise is the project's own dependency; it has no coils, map or correlation to compare."""
    transform = RandRicianNoise(prob=1.0, std=2.0, relative=False, sample_std=False)
    theirs = torch.as_tensor(transform.set_random_state(0)(torch.full((1, 256, 256), 6.0)))
    ours = noisy(6.0, sigma=2.0)
    assert ours.mean() == pytest.approx(float(theirs.mean()), rel=0.01)
    assert ours.std() == pytest.approx(float(theirs.std()), rel=0.01)


def test_background_has_0_655_of_the_complex_noise():
    assert noisy(0.0, sigma=5.0).std() == pytest.approx(0.655 * 5.0, rel=0.01)


def test_noise_map_reaches_its_ratio_and_is_smooth():
    level = noisy(100.0, map_ratio=3.0).unfold(2, 16, 16).unfold(3, 16, 16).std(dim=(-1, -2))
    assert 2.3 < level.max() / level.min() < 3.6
    assert lag(level, -1) > 0.5


def test_zero_filling_correlates_along_the_axis_it_interpolates_and_keeps_the_level():
    field = noisy(100.0, extent=(1.0, 0.5))
    assert field.std() == pytest.approx(1.0, rel=0.02)
    assert lag(field, -1) == pytest.approx(2 / torch.pi, abs=0.03)  # sinc(1/2)
    assert abs(lag(field, -2)) < 0.03


def test_taper_softens_without_changing_the_level():
    field = noisy(100.0, taper=0.6)
    assert field.std() == pytest.approx(1.0, rel=0.02)
    assert lag(field, -1) > 0.1


def test_drawn_signal_to_noise_ratios_are_3_to_40_at_the_given_signal():
    signal = torch.linspace(10.0, 1000.0, 4000)
    drawn = noise.draw_mr_noise(signal, generator())
    snr = signal / drawn.sigma
    assert 3.0 <= snr.min() < 3.1
    assert 39.0 < snr.max() <= 40.01
    assert (drawn.coils == 1).float().mean() == pytest.approx(0.75, abs=0.03)
    assert drawn.map_ratio.max() <= 3.0


def test_each_image_of_a_batch_gets_its_own_parameters():
    drawn = noise.draw_mr_noise(torch.full((6,), 50.0), generator(1))
    result = noise.mr_noise(torch.full((6, 1, 64, 96), 50.0), drawn, generator=generator(2))
    assert result.shape == (6, 1, 64, 96)
    assert (result >= 0).all()
    order = torch.argsort(drawn.sigma * drawn.coils.sqrt())
    assert (result.std(dim=(1, 2, 3))[order[-1]] > result.std(dim=(1, 2, 3))[order[0]]).item()


def test_same_generator_gives_the_same_bits():
    first, second = (
        noise.mr_noise(torch.ones(4, 1, 32, 32), noise.draw_mr_noise(torch.ones(4), g), generator=g)
        for g in (generator(3), generator(3))
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("lines", [64, 65])
def test_undersampling_keeps_a_quarter_of_the_lines_and_the_middle(lines):
    drawn = noise.draw_undersampling(50, lines, generator())
    assert (drawn.lines.sum(dim=1) == round(lines / 4)).all()
    assert drawn.lines[:, lines // 2].all()
    assert not torch.equal(drawn.lines[0], drawn.lines[1])


def test_undersampling_keeps_the_mean_and_folds_along_the_rows_only():
    image = torch.zeros(1, 1, 64, 64)
    image[..., 24:40, 24:40] = 1.0
    folded = noise.undersampled(image, noise.draw_undersampling(1, 64, generator()))
    outside = torch.ones(64, dtype=torch.bool)
    outside[24:40] = False
    assert folded[..., outside, 24:40].abs().max() > 0.05
    assert folded[..., outside].abs().max() < 1e-5


def test_all_lines_give_the_image_back():
    image = torch.rand(2, 1, 32, 48, generator=generator())
    whole = noise.Undersampling(torch.ones(2, 32, dtype=torch.bool))
    assert torch.allclose(noise.undersampled(image, whole), image, atol=1e-5)
