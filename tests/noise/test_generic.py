"""Noise of no modality has the level that is asked for, and agrees with scikit-image's."""

import pytest
import torch
from skimage.util import random_noise

from meddenoise import noise


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(value: float, batch: int = 1) -> torch.Tensor:
    return torch.full((batch, 1, 256, 256), value)


def test_algorithm_1_draws_sigma_from_0_to_75_and_even_shares():
    drawn = noise.draw_algorithm1(20_000, generator())
    assert 0.0 <= drawn.sigma.min() < 0.1
    assert 74.9 < drawn.sigma.max() <= 75.0
    assert drawn.sigma.mean() == pytest.approx(37.5, abs=0.6)
    assert drawn.speckle.float().mean() == pytest.approx(0.5, abs=0.015)


def test_gaussian_noise_does_not_depend_on_the_image_and_speckle_grows_with_it():
    parameters = noise.Algorithm1(torch.tensor([20.0, 20.0]), torch.tensor([False, True]))
    for grey in (60.0, 200.0):
        image = torch.full((2, 1, 256, 256), grey)
        added, multiplied = (noise.apply_algorithm1(image, parameters, generator=generator()) - image).std(
            dim=(1, 2, 3)
        )
        assert added == pytest.approx(20.0, rel=0.02)
        assert multiplied == pytest.approx(20.0 * grey / 255.0, rel=0.02)


def test_storing_in_8_bit_clips_and_rounds():
    assert noise.to_8_bit(torch.tensor([-3.0, 12.4, 12.6, 300.0])).tolist() == [0.0, 12.0, 13.0, 255.0]


@pytest.mark.parametrize(("mode", "ours"), [("gaussian", noise.gaussian), ("speckle", noise.speckle)])
def test_additive_and_multiplicative_noise_agree_with_scikit_image(mode, ours):
    """random_noise is what the papers' code calls; its statistics are the protocol."""
    theirs = torch.from_numpy(random_noise(flat(0.5).numpy(), mode=mode, var=0.01, clip=False, rng=0))
    drawn = ours(flat(0.5), torch.tensor([0.1]), generator=generator())
    assert drawn.mean() == pytest.approx(float(theirs.mean()), abs=0.002)
    assert drawn.std() == pytest.approx(float(theirs.std()), rel=0.02)


def test_every_image_of_a_batch_has_its_own_level():
    level = noise.gaussian(flat(3.0, 2), torch.tensor([1.0, 10.0]), generator=generator()).std(dim=(1, 2, 3))
    assert level.tolist() == pytest.approx([1.0, 10.0], rel=0.02)


@pytest.mark.parametrize("value", [2.0, 50.0])
def test_poisson_variance_is_the_value_over_the_counts(value):
    drawn = noise.poisson(flat(value), torch.tensor([4.0]), generator=generator())
    assert drawn.mean() == pytest.approx(value, rel=0.01)
    assert drawn.var() == pytest.approx(value / 4.0, rel=0.03)


def test_poisson_takes_negative_values_for_0():
    assert noise.poisson(flat(-3.0), torch.tensor([4.0]), generator=generator()).abs().max() == 0.0


def test_salt_and_pepper_replaces_the_share_asked_for_as_scikit_image_does():
    parameters = noise.Impulses(*(torch.tensor([v]) for v in (0.2, 0.75, 0.0, 255.0)))
    drawn = noise.salt_and_pepper(flat(100.0), parameters, generator=generator())
    theirs = random_noise(flat(100 / 255).numpy(), mode="s&p", amount=0.2, salt_vs_pepper=0.75, rng=0) * 255
    for value in (0.0, 255.0):
        assert (drawn == value).float().mean() == pytest.approx(float((theirs == value).mean()), abs=0.006)
    assert (drawn == 100.0).float().mean() == pytest.approx(0.8, abs=0.006)


def test_quantising_errs_by_the_step_over_the_root_of_12():
    image = 100.0 * torch.rand(1, 1, 256, 256, generator=generator())
    error = noise.quantise(image, torch.tensor([4.0])) - image
    assert error.std() == pytest.approx(4.0 / 12**0.5, rel=0.01)
    assert error.abs().max() <= 2.0 + 1e-4


@pytest.mark.parametrize("name", ["gaussian", "speckle", "poisson"])
def test_same_generator_gives_the_same_bits(name):
    first, second = (getattr(noise, name)(flat(9.0), torch.tensor([2.0]), generator=generator(5)) for _ in range(2))
    assert torch.equal(first, second)
