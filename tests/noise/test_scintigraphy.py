"""A gamma camera counts: Poisson at the counts asked for, after the collimator's blur."""

import pytest
import torch

from meddenoise import noise


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def view(counts: float, *, collimator: float = 0.0, background: float = 0.0) -> noise.CameraCounts:
    return noise.CameraCounts(*(torch.tensor([v]) for v in (counts, collimator, background)))


def test_counts_are_whole_numbers_of_the_expected_sum():
    drawn = noise.camera_counts(torch.rand(1, 1, 64, 64, generator=generator()), view(2e5), generator=generator(1))
    assert torch.equal(drawn, drawn.round())
    assert drawn.sum() == pytest.approx(2e5, rel=0.01)


@pytest.mark.parametrize("counts", [1e5, 1e6])
def test_variance_is_the_mean_so_that_variation_falls_with_the_root_of_the_counts(counts):
    drawn = noise.camera_counts(torch.ones(1, 1, 256, 256), view(counts), generator=generator())
    assert drawn.var() == pytest.approx(counts / 256**2, rel=0.03)
    assert drawn.mean() == pytest.approx(counts / 256**2, rel=0.02)


def test_collimator_blurs_the_activity_but_not_the_noise():
    hot = torch.zeros(1, 1, 65, 65)
    hot[..., 32, 32] = 1.0
    spread = noise.expected_camera_counts(hot, view(1e4, collimator=6.0))[0, 0, 32]
    assert spread[35] == pytest.approx(float(spread[32]) / 2, rel=0.01)
    flat = noise.camera_counts(torch.ones(1, 1, 256, 256), view(1e6, collimator=6.0), generator=generator())
    field = flat - flat.mean()
    assert (field * field.roll(1, -1)).mean().abs() < 0.02 * field.var()


def test_background_lies_under_everything():
    hot = torch.zeros(1, 1, 32, 32)
    hot[..., 16, 16] = 1.0
    mean = noise.expected_camera_counts(hot, view(1e4, background=0.2))
    assert mean[..., 0, 0] == pytest.approx(0.2 * 1e4 / 32**2)
    assert mean.sum() == pytest.approx(1e4, rel=1e-4)


def test_an_empty_field_of_view_stays_finite():
    assert noise.camera_counts(torch.zeros(1, 1, 8, 8), view(1e4), generator=generator()).sum() == 0


def test_same_generator_gives_the_same_bits():
    first, second = (
        noise.camera_counts(torch.ones(3, 1, 16, 24), noise.draw_camera_counts(3, g), generator=g)
        for g in (generator(2), generator(2))
    )
    assert torch.equal(first, second)
