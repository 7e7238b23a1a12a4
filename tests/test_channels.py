"""A network of three channels is shown neighbouring slices, one slice three times, or colours."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from meddenoise import Denoiser, Volume, weights
from meddenoise.errors import InputError, OptionError
from meddenoise.inference.channels import seen
from meddenoise.inference.slabs import Slab
from meddenoise.volume import Header

SLICE_3_MM = np.diag([0.7, 0.7, 3.0, 1.0])
SLICE_5_MM = np.diag([0.7, 0.7, 5.0, 1.0])


@pytest.fixture
def denoise(with_two_stage):
    made = Denoiser.load("two_stage", device="cpu")
    made.precision = torch.float32
    return made


def ct(slices=5, side=40, affine=SLICE_3_MM, dtype="int16"):
    """Tissue with noise that differs from slice to slice."""
    rng = np.random.default_rng(0)
    values = 40 + 100 * (np.indices((slices, side, side + 8))[2] > 20) + rng.normal(0, 30, (slices, side, side + 8))
    values[:, 0, :2] = -500, 500  # results stay within the range of the input
    header = Header(dtype, (-32768.0, 32767.0) if dtype == "int16" else None, units="HU")
    return Volume(values.round().astype(dtype), affine, "CT", header)


def colour(side=32):
    """A picture of 8 bits a colour, with noise."""
    rng = np.random.default_rng(1)
    values = rng.normal([90, 120, 160], 15, (1, side, side + 8, 3)).clip(0, 255).round().astype(np.uint8)
    return Volume(values, np.eye(4), "XR", Header("uint8", (0.0, 255.0), display=True, ndim=2))


def test_three_channels_are_the_slice_and_its_neighbours_with_those_at_the_ends_repeated():
    slices = np.arange(4).reshape(4, 1, 1)
    shown = seen(slices, 0, 4, channels=3, neighbours=True)
    assert shown[:, :, 0, 0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    assert seen(slices, 2, 4, channels=3, neighbours=True)[:, :, 0, 0].tolist() == [[1, 2, 3], [2, 3, 3]]
    assert seen(slices, 2, 4, channels=3, neighbours=False)[:, :, 0, 0].tolist() == [[2, 2, 2], [3, 3, 3]]
    assert seen(slices, 2, 4, channels=1, neighbours=False)[:, :, 0, 0].tolist() == [[2], [3]]


def test_a_neighbour_counts_for_a_slice_and_one_farther_away_does_not(denoise):
    noisy = ct()
    before = denoise(noisy)
    assert before.settings["slices"] == "with neighbours"
    assert before.difference.array.std() > 1.0
    values = noisy.array.copy()
    values[3, 1::2] += 20
    after = denoise(noisy.with_array(values)).volume.array
    changed = [not np.array_equal(a, b) for a, b in zip(after, before.volume.array, strict=True)]
    assert changed == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("affine", "even"), [(SLICE_5_MM, True), (SLICE_3_MM, False)], ids=["far apart", "unevenly spaced"]
)
def test_slices_far_or_unevenly_apart_are_denoised_each_alone(denoise, affine, even):
    noisy = ct(affine=affine)
    noisy = replace(noisy, header=replace(noisy.header, even=even))
    whole = denoise(noisy)
    alone = denoise(replace(noisy, array=noisy.array[2:3])).volume.array
    assert whole.settings["slices"] == "each alone"
    assert np.array_equal(whole.volume.array[2:3], alone)
    assert not np.array_equal(denoise(ct()).volume.array[2:3], alone)


def test_neighbours_are_those_across_the_slicing_axis(denoise):
    noisy = ct()
    expected = denoise(noisy).volume.array
    turned = Volume(np.moveaxis(noisy.array, 0, 2).copy(), np.diag([3.0, 0.7, 0.7, 1.0]), "CT", noisy.header)
    assert np.array_equal(np.moveaxis(denoise(turned).volume.array, 2, 0), expected)


@pytest.mark.parametrize("slab", [Slab(pixels=1), Slab(pixels=1, tile=96), Slab(pixels=100_000)])
def test_result_does_not_depend_on_the_size_of_the_slabs(with_two_stage, slab):
    noisy = ct(3, 200, dtype="float32")
    found = []
    for one in (None, slab):
        made = Denoiser.load("two_stage", device="cpu")
        made.precision, made.slab = torch.float32, one or made.slab
        result = made(noisy, noise_map=True)
        found.append((result.difference.array, result.noise.array))
    assert np.abs(found[0][0]).max() > 10
    for a, b in zip(*found, strict=True):
        assert np.abs(a - b).max() <= 1e-4 * np.ptp(noisy.array)


class Small(nn.Module):
    """The network on a device whose memory holds so many values at once."""

    def __init__(self, network, values):
        super().__init__()
        self.network, self.values, self.sizes = network, values, []
        self.channels, self.factor = network.channels, network.factor

    def stages(self, image, level):
        self.sizes.append(image.numel())
        if image.numel() > self.values:
            raise MemoryError("Unable to allocate 2.00 GiB")
        return self.network.stages(image, level)

    def forward(self, image, level):
        return self.stages(image, level)[1]


def test_lack_of_memory_makes_slabs_smaller_and_the_result_is_the_same(with_two_stage):
    network, card = weights.load("two_stage")
    noisy, found = ct(4, 64, dtype="float32"), []
    for wrapped in (network, Small(network, 3 * 2 * 64 * 72)):
        made = Denoiser(wrapped, card, device="cpu", slab=Slab(pixels=4 * 64 * 72))
        made.precision = torch.float32
        found.append(made(noisy, noise_map=True))
    assert wrapped.sizes == [3 * count * 64 * 72 for count in (4, 2, 2)]
    for kind in ("difference", "noise"):
        one, other = (getattr(result, kind).array for result in found)
        assert np.abs(one - other).max() <= 1e-4 * np.ptp(noisy.array)


def test_slices_too_large_for_the_features_are_tiled(denoise):
    assert denoise.slab.tile == 1024


def test_progress_counts_slices_and_cancelling_ends_the_work(denoise):
    denoise.slab = Slab(pixels=1)
    counted = []
    denoise(ct(3), progress=lambda done, total: counted.append((done, total)))
    assert counted == [(1, 3), (2, 3), (3, 3)]

    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        denoise(ct(3), progress=cancel)


def test_the_noise_map_is_signed_in_the_images_units_and_place_and_does_not_depend_on_strength(denoise):
    noisy = ct()
    values = noisy.array.copy()
    values[:, :4] = -2000  # outside of the reconstruction
    noisy = noisy.with_array(values)
    found = [denoise(noisy, strength=strength, noise_map=True) for strength in (0.0, 0.5, 1.0)]
    noise = found[0].noise
    assert all(np.array_equal(one.noise.array, noise.array) for one in found)
    assert np.array_equal(found[0].volume.array, noisy.array)
    assert np.array_equal(noise.affine, noisy.affine)
    assert (noise.array.dtype, noise.header.dtype, noise.array.shape) == (np.float32, "float32", noisy.array.shape)
    assert noise.array.min() < -1 < 1 < noise.array.max()
    assert not noise.array[:, :4].any()
    assert denoise(noisy).noise is None
    assert np.array_equal(denoise(noisy).volume.array, found[2].volume.array)


def test_a_model_that_estimates_no_noise_refuses_the_map_by_name(with_two_stage, denoiser):
    with pytest.raises(OptionError, match=r"^student estimates no noise map; two_stage gives one$"):
        denoiser(ct(), noise_map=True)


def test_colour_comes_back_in_colour(denoise):
    noisy = colour()
    result = denoise(noisy, noise_map=True, uncertainty=True)
    assert result.settings["slices"] == "in colour"
    assert result.volume.array.dtype == np.uint8
    assert result.figures["fraction_changed"] > 0.1
    assert result.figures["noise_before"] == pytest.approx(15, rel=0.2)
    for volume in (result.volume, result.difference, result.noise, result.uncertainty):
        assert volume.array.shape == noisy.array.shape
    assert np.array_equal(result.volume.array + result.difference.array, noisy.array)
    assert (result.uncertainty.array > 0).any()


def test_each_colour_counts_for_the_others(denoise):
    noisy = colour()
    values = noisy.array.copy()
    values[..., 0] //= 2
    before, after = (denoise(v).volume.array for v in (noisy, noisy.with_array(values)))
    assert not np.array_equal(before[..., 2], after[..., 2])


def test_colours_that_a_model_was_not_trained_to_see_together_are_denoised_as_grey_slices(with_two_stage):
    network, card = weights.load("two_stage")
    denoise = Denoiser(network, replace(card, colours_together=False), device="cpu")
    denoise.precision = torch.float32
    noisy, told = colour(), []
    result = denoise(noisy, noise_map=True, uncertainty=True, progress=lambda done, total: told.append((done, total)))
    assert result.settings["slices"] == "each colour alone"
    assert told[-1] == (24, 24)
    assert result.volume.header.samples == noisy.header.samples
    for c in range(3):
        alone = replace(noisy, array=np.ascontiguousarray(noisy.array[..., c]))
        grey = denoise(alone, noise_map=True)
        found = result.volume.array[..., c].clip(alone.array.min(), alone.array.max())  # the range of this colour
        assert np.array_equal(found, grey.volume.array)
        assert np.allclose(result.noise.array[..., c], grey.noise.array, atol=1e-3)
    assert (result.uncertainty.array > 0).any(axis=(0, 1, 2)).all()


def test_a_model_of_grey_images_refuses_colour_and_names_one_that_takes_it(with_two_stage, denoiser):
    with pytest.raises(InputError, match="is in colour, and student takes grey images; two_stage takes colour"):
        denoiser(colour())


def test_a_model_of_grey_images_refuses_colour_where_none_takes_it(denoiser):
    with pytest.raises(InputError, match=r"student takes grey images; (no model here|two_stage) takes colour"):
        denoiser(colour())


def test_a_volume_holds_grey_values_or_three_colours():
    assert colour().colour
    assert not ct().colour
    with pytest.raises(AssertionError):
        Volume(np.zeros((1, 4, 4, 2), np.uint8), np.eye(4), "XR")
