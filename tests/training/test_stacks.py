"""Patches of three neighbouring slices: reproducible, aligned, noisy."""

import pytest
import torch

from meddenoise.errors import InputError
from meddenoise.training.slices import Slice, SliceInfo
from meddenoise.training.stacks import stack_sampler

OFFSETS = {"CT": -1024.0, "MR": 0.0, "PET": 0.0, "XR": 0.0}
SCALES = {"CT": 4095.0, "MR": 900.0, "PET": 10.0, "XR": 255.0}


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


@pytest.mark.parametrize("modality", sorted(SCALES))
def test_same_seed_gives_the_same_batches(modality):
    sample = stack_sampler(slices(modality), size=32)
    first, second, other = (sample(6, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("modality", sorted(SCALES))
def test_a_patch_is_a_slice_between_its_neighbours(modality):
    noisy, clean = stack_sampler(slices(modality), size=32)(40, torch.Generator().manual_seed(0))
    assert noisy.shape == clean.shape == (40, 3, 32, 32)
    middle = ((clean[:, 1, 0, 0] - 0.2) / 0.1).round().int()
    below, above = (((clean[:, i, 0, 0] - 0.2) / 0.1).round().int() for i in (0, 2))
    assert set(middle.tolist()) == {0, 1, 2, 3, 4}
    assert torch.equal(below, (middle - 1).clamp_min(0))
    assert torch.equal(above, (middle + 1).clamp_max(4))


@pytest.mark.parametrize("modality", sorted(SCALES))
def test_slices_of_a_patch_have_noise_of_one_level_but_not_the_same_noise(modality):
    flat = [Slice(s.values[:1, :1].expand(64, 64), s.info) for s in slices(modality)]
    noisy, clean = stack_sampler(flat[2:3], size=64)(12, torch.Generator().manual_seed(0))
    added = (noisy - clean).flatten(2)
    spread = added.std(dim=2)
    assert (spread > 0).all()
    assert (spread.amax(1) / spread.amin(1)).median() < 1.3
    assert not torch.equal(added[:, 0], added[:, 1])


def test_every_modality_is_drawn_and_small_slices_are_mirrored():
    mixed = [s for modality in SCALES for s in slices(modality, (20, 9))]
    noisy, _ = stack_sampler(mixed, size=48)(64, torch.Generator().manual_seed(0))
    assert noisy.shape == (64, 3, 48, 48)
    assert noisy.isfinite().all()
    assert noisy.min() >= 0.0


def test_display_images_of_ct_get_no_noise_of_hounsfield_units():
    shown = [
        Slice(torch.full((40, 40), 128.0), SliceInfo("w", "b", "CT", True, 0.0, 255.0, position=i)) for i in (0, 1)
    ]
    _, clean = stack_sampler([*shown, *slices("CT")], size=32)(30, torch.Generator().manual_seed(0))
    assert not (clean == 128.0 / 255.0).all(dim=(1, 2, 3)).any()
    with pytest.raises(InputError, match="no slices in physical units"):
        stack_sampler(shown)
