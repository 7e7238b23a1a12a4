"""Large volumes go through the network in parts; lack of memory makes these smaller and changes nothing else."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from meddenoise import Denoiser, Volume, weights
from meddenoise.errors import OptionError
from meddenoise.inference.slabs import HALO, Slab, tiles
from meddenoise.volume import Header

LIMIT = 1e-4
"""Of the image's range: what the size of a slab may change at most, in float32."""


class Small(nn.Module):
    """A network on a device whose memory holds so many pixels at once, which says so as PyTorch does."""

    def __init__(self, network, pixels, error):
        super().__init__()
        self.network, self.pixels, self.error, self.factor = network, pixels, error, network.factor
        self.sizes = []

    def forward(self, image, level):
        self.sizes.append(image.numel())
        if image.numel() > self.pixels:
            raise self.error
        return self.network(image, level)


def denoiser(slab=None, *, pixels=None, error=None):
    """The student in float32, on a device of unlimited or of little memory."""
    network, card = weights.load("student")
    wrapped = Small(network, pixels, error) if pixels else network
    made = Denoiser(wrapped, card, device="cpu", slab=slab)
    made.precision = torch.float32
    return made, wrapped


def volume(shape=(1, 720, 500)):
    """Structure at every scale with noise, float32, not square and no multiple of any factor."""
    rng = np.random.default_rng(0)
    _, y, x = np.indices(shape)
    image = 100 * np.sin(x / 40) * np.cos(y / 90) + 200 * ((x // 64 + y // 64) % 2) + rng.normal(0, 30, shape)
    return Volume(image.astype(np.float32), np.eye(4), "MR", Header())


@pytest.fixture(scope="module")
def whole():
    """A slice in one tile."""
    return denoised_at_once(volume())


@pytest.fixture(scope="module")
def narrow():
    """All slices of a volume at once, in one tile; others cut them along their rows alone, which takes less time."""
    return denoised_at_once(volume((3, 720, 240)))


def denoised_at_once(noisy):
    """The volume, and what is taken from it without slabs."""
    found = denoiser(Slab(pixels=2**24))[0](noisy).difference.array
    assert np.ptp(found) > 0.05 * np.ptp(noisy.array)
    return noisy, found


@pytest.mark.parametrize("slab", [Slab(pixels=1, tile=256), Slab(pixels=1, tile=96), Slab(tile=160)])
def test_result_does_not_depend_on_the_size_of_the_tiles(whole, slab):
    noisy, expected = whole
    found = denoiser(slab)[0](noisy).difference.array
    assert np.abs(found - expected).max() < LIMIT * np.ptp(noisy.array)


@pytest.mark.parametrize("slab", [Slab(pixels=1), Slab(pixels=2 * 720 * 240)])
def test_result_does_not_depend_on_how_many_slices_go_together(narrow, slab):
    noisy, expected = narrow
    found = denoiser(slab)[0](noisy).difference.array
    assert np.abs(found - expected).max() < LIMIT * np.ptp(noisy.array)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
        MemoryError("Unable to allocate 2.00 GiB"),
    ],
    ids=["GPU", "CPU", "NumPy"],
)
def test_every_lack_of_memory_is_known_as_one(error):
    noisy, expected = denoised_at_once(volume((3, 50, 60)))
    made, network = denoiser(Slab(pixels=3 * 50 * 60), pixels=56 * 64, error=error)
    assert np.abs(made(noisy).difference.array - expected).max() < LIMIT * np.ptp(noisy.array)
    assert len(set(network.sizes)) == 2


def test_lack_of_memory_makes_slabs_smaller_and_the_result_is_the_same(narrow, caplog):
    noisy, expected = narrow
    made, network = denoiser(Slab(pixels=2**24), pixels=130_000, error=MemoryError("Unable to allocate 2.00 GiB"))
    seen = []
    with caplog.at_level(logging.WARNING):
        found = made(noisy, progress=lambda done, total: seen.append((done, total))).difference.array
    assert np.abs(found - expected).max() < LIMIT * np.ptp(noisy.array)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert sum(size > network.pixels for size in network.sizes) == len(caplog.records) > 2
    assert "cpu is out of memory; going on with Slab(" in caplog.text


def test_a_lack_of_memory_at_one_time_does_not_slow_down_the_next(narrow):
    noisy, _ = narrow
    made, network = denoiser(Slab(pixels=2**24), pixels=720 * 240, error=MemoryError())
    made(noisy)
    network.sizes.clear()
    network.pixels = 2**24
    made(noisy)
    assert network.sizes == [3 * 720 * 240]


def test_too_little_memory_for_the_smallest_slab_is_said():
    made, _ = denoiser(pixels=100, error=torch.cuda.OutOfMemoryError("CUDA out of memory.\nAnd much more."))
    with pytest.raises(OptionError, match=r"^cpu has not enough memory for slices of 50 x 60 pixels \(CUDA out of mem"):
        made(volume((2, 50, 60)))


def test_another_error_of_the_network_is_not_taken_for_a_lack_of_memory():
    made, network = denoiser(pixels=100, error=RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        made(volume((2, 50, 60)))
    assert len(network.sizes) == 1


@pytest.mark.parametrize(("rows", "columns", "tile"), [(500, 300, 96), (96, 96, 96), (97, 5, 96), (3000, 40, 1024)])
def test_tiles_cover_every_pixel_once_and_see_what_surrounds_them(rows, columns, tile):
    seen = np.zeros((rows, columns), int)
    for inner, outer, kept in tiles(rows, columns, tile):
        seen[inner] += 1
        index = np.arange(rows * columns).reshape(rows, columns)
        assert np.array_equal(index[outer][kept], index[inner])
        for axis, length in enumerate((rows, columns)):
            assert inner[axis].start - outer[axis].start == min(HALO, inner[axis].start)
            assert outer[axis].stop - inner[axis].stop == min(HALO, length - inner[axis].stop)
    assert (seen == 1).all()


def test_slabs_get_smaller_until_nothing_is_left_to_halve():
    slab, steps = Slab(pixels=2**20), []
    while slab is not None:
        steps.append((slab.slices(256, 512), slab.tile))
        slab = slab.smaller(256, 512)
    assert steps == [(8, 3072), (4, 3072), (2, 3072), (1, 3072), (1, 256), (1, 128), (1, 96)]
