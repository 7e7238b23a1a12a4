"""Patches of three neighbouring slices: reproducible, aligned, noisy as slices are."""

import pytest
import torch

from meddenoise.training.patches import Mix, sampler
from meddenoise.training.slices import Slice, SliceInfo

OFFSETS = {"CT": -1024.0, "MR": 0.0, "PET": 0.0, "XR": 0.0}
SCALES = {"CT": 4095.0, "MR": 900.0, "PET": 10.0, "XR": 255.0}
PHYSICAL = Mix(size=32, display=0.0, neighbours=1.0)


def slices(modality: str, shape: tuple[int, int] = (80, 64)) -> list[Slice]:
    """Five slices whose value is 0.2 plus a tenth of their position, in network units."""
    offset, scale = OFFSETS[modality], SCALES[modality]
    return [
        Slice(
            torch.full(shape, offset + scale * (0.2 + 0.1 * i)),
            SliceInfo("v", "a", modality, modality == "XR", offset, scale, position=i),
        )
        for i in range(5)
    ]


def batch(found: list[Slice], mix: Mix, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return sampler(found, mix)(count, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("modality", sorted(SCALES))
def test_same_seed_gives_the_same_batches(modality):
    first, second, other = (batch(slices(modality), PHYSICAL, 6, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("modality", sorted(SCALES))
def test_a_patch_is_a_slice_between_its_neighbours(modality):
    noisy, clean = batch(slices(modality), PHYSICAL, 40)
    assert noisy.shape == clean.shape == (40, 3, 32, 32)
    middle = ((clean[:, 1, 0, 0] - 0.2) / 0.1).round().int()
    below, above = (((clean[:, i, 0, 0] - 0.2) / 0.1).round().int() for i in (0, 2))
    assert set(middle.tolist()) == {0, 1, 2, 3, 4}
    assert torch.equal(below, (middle - 1).clamp_min(0))
    assert torch.equal(above, (middle + 1).clamp_max(4))


@pytest.mark.parametrize("modality", sorted(SCALES))
def test_neighbours_have_noise_of_one_level_that_overlaps_in_some_patches_and_not_in_others(modality):
    flat = [Slice(torch.full((64, 64), float(s.values[0, 0])), s.info) for s in slices(modality)][1:4]
    for one in flat:
        one.values.fill_(float(flat[1].values[0, 0]))
    noisy, clean = batch(flat, Mix(size=64, display=0.0, neighbours=1.0), 60)
    added = (noisy - clean).flatten(2)
    assert (added.std(dim=2) > 0).all()
    spread = added.std(dim=2)
    assert (spread.amax(1) / spread.amin(1)).median() < 1.3
    correlations = torch.tensor([float(torch.corrcoef(patch)[0, 1]) for patch in added])
    assert (correlations.abs() < 0.3).sum() > 10  # no noise in common
    assert ((correlations > 0.4) & (correlations < 0.95)).sum() > 5  # some
    assert torch.isclose(correlations, torch.tensor(1.0)).sum() > 10  # the first and the last slice stand in


@pytest.mark.parametrize("display", [0.0, 1.0])
def test_a_slice_without_neighbours_is_shown_three_times_with_the_same_noise(display):
    noisy, clean = batch(slices("MR")[2:3], Mix(size=32, display=display, neighbours=1.0), 6)
    assert not torch.equal(noisy, clean)
    for images in (noisy, clean):
        assert torch.equal(images, images[:, 1:2].expand_as(images))


def test_so_many_patches_as_are_asked_for_show_neighbours():
    varied = [Slice(s.values + torch.randn(s.values.shape), s.info) for s in slices("MR")]
    _, clean = batch(varied, Mix(size=32, display=0.5, neighbours=0.25), 400)
    between = (clean[:, 0] != clean[:, 1]).flatten(1).any(dim=1) | (clean[:, 2] != clean[:, 1]).flatten(1).any(dim=1)
    assert between.float().mean() == pytest.approx(0.25, abs=0.07)


def test_every_modality_is_drawn_and_small_slices_are_mirrored():
    mixed = [s for modality in SCALES for s in slices(modality, (20, 9))]
    noisy, _ = batch(mixed, Mix(size=48, display=0.0, neighbours=0.5), 64)
    assert noisy.shape == (64, 3, 48, 48)
    assert noisy.isfinite().all()
    assert noisy.min() >= 0.0


def test_display_images_of_ct_get_no_noise_of_hounsfield_units():
    shown = [
        Slice(torch.full((40, 40), 128.0), SliceInfo("w", "b", "CT", True, 0.0, 255.0, position=i)) for i in (0, 1)
    ]
    _, clean = batch([*shown, *slices("CT")], PHYSICAL, 30)
    assert not (clean == 128.0 / 255.0).all(dim=(1, 2, 3)).any()
