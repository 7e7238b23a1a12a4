"""The noise meter learns from patches whose noise is known."""

import math
from pathlib import Path

import pytest
import torch

from meddenoise import weights
from meddenoise.errors import InputError
from meddenoise.noise import normal
from meddenoise.recipes.noise_meter import SLICES, Config, draw_batch, rician_level, run
from meddenoise.training.slices import Slice, SliceInfo, save_slices

SCALES = {"CT": (-1000.0, 1100.0), "MR": (0.0, 500.0), "PET": (0.0, 8.0), "XR": (0.0, 255.0)}


def slices() -> list[Slice]:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    body = (x**2 + y**2 < 0.8).float() * (0.7 + 0.2 * torch.sin(6 * x))
    return [
        Slice(low + width * body, SliceInfo(m, "a", m, m == "XR", low, width)) for m, (low, width) in SCALES.items()
    ]


def test_same_seed_gives_the_same_patches_with_their_levels():
    config = Config(batch=6, size=48)
    first, second = (draw_batch(slices(), config, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    noisy, level, told = first
    assert noisy.shape == level.shape == told.shape == (6, 1, 48, 48)
    assert noisy.isfinite().all()
    assert (level > 0).all()


@pytest.mark.parametrize("snr", [0.0, 1.0, 3.0, 10.0, 100.0])
def test_rician_level_is_that_of_drawn_magnitudes(snr):
    parts = [normal((200_000,), torch.Generator().manual_seed(s)) for s in (0, 1)]
    drawn = torch.hypot(snr + parts[0], parts[1]).std()
    assert float(rician_level(torch.tensor(snr), torch.tensor(1.0))) == pytest.approx(float(drawn), rel=0.01)


def test_the_level_of_pet_patches_is_that_of_their_noise():
    flat = Slice(torch.full((64, 64), 5.0), SliceInfo("PET", "a", "PET", False, 0.0, 8.0))
    noisy, level, told = draw_batch([flat], Config(batch=60, size=48), torch.Generator().manual_seed(0))
    assert bool(told.all())
    assert float(((noisy - 5.0) / level).square().mean().sqrt()) == pytest.approx(1.0, rel=0.15)


def test_the_recipe_publishes_weights_that_load(tmp_path):
    save_slices(slices(), tmp_path / SLICES)
    card = run(Config(steps=2, batch=3, size=32), Path("nowhere"), tmp_path, report=lambda line: None)
    network, found = weights.load(str(tmp_path / "noise-meter.safetensors"))
    assert found == card
    assert math.isfinite(float(network(torch.zeros(1, 2, 32, 32)).mean()))


def test_display_images_alone_are_refused(tmp_path):
    shown = Slice(torch.rand(64, 64), SliceInfo("v", "a", "MR", True, 0.0, 255.0))
    save_slices([shown], tmp_path / SLICES)
    with pytest.raises(InputError, match="no slices to train the noise meter on"):
        run(Config(steps=1), Path("nowhere"), tmp_path, report=lambda line: None)
