"""The metrics agree with scikit-image and refuse what would flatter."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from meddenoise.errors import OptionError
from meddenoise.metrics import bias, psnr, rmse, ssim


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    reference = rng.uniform(0, 255, (40, 50)).cumsum(axis=1) / 25
    return reference + rng.normal(0, 10, reference.shape), reference


def test_psnr_agrees_with_scikit_image(pair):
    image, reference = pair
    expected = peak_signal_noise_ratio(reference, image, data_range=255)
    assert psnr(image, reference, data_range=255) == pytest.approx(expected, abs=1e-9)


def test_ssim_agrees_with_scikit_image(pair):
    image, reference = pair
    expected = structural_similarity(
        reference, image, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(image, reference, data_range=255) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_a_stack_is_the_mean_over_its_slices(pair):
    image, reference = pair
    each = [ssim(image, reference, data_range=255), ssim(reference, reference, data_range=255)]
    stack = ssim(np.stack([image, reference]), np.stack([reference, reference]), data_range=255)
    assert stack == pytest.approx(np.mean(each), abs=1e-12)


def test_equal_images_are_perfect(pair):
    _, reference = pair
    assert psnr(reference, reference, data_range=255) == math.inf
    assert ssim(reference, reference, data_range=255) == pytest.approx(1.0)
    assert rmse(reference, reference) == 0


def test_tensors_and_arrays_give_the_same_numbers(pair):
    image, reference = pair
    tensors = torch.from_numpy(image), torch.from_numpy(reference)
    assert ssim(*tensors, data_range=255) == ssim(image, reference, data_range=255)
    assert rmse(*tensors) == rmse(image, reference)


def test_bias_is_signed_and_only_counts_the_mask():
    reference = np.zeros((4, 4))
    image = reference.copy()
    image[:2] = -3.0
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    assert bias(image, reference) == -1.5
    assert bias(image, reference, mask=mask) == -3.0
    assert rmse(image, reference, mask=~mask) == 0


def test_integers_do_not_wrap():
    low, high = np.zeros((2, 2), np.uint8), np.full((2, 2), 200, np.uint8)
    assert rmse(low, high) == 200
    assert bias(low, high) == -200


def test_masked_ssim_ignores_damage_outside_the_mask(pair):
    _, reference = pair
    image = reference.copy()
    image[:, 30:] = 0
    mask = np.zeros(reference.shape, bool)
    mask[:, :24] = True
    assert ssim(image, reference, data_range=255, mask=mask) == pytest.approx(1.0)
    assert ssim(image, reference, data_range=255) < 0.9


@pytest.mark.parametrize("data_range", [0, -1, math.nan])
def test_data_range_must_be_positive(pair, data_range):
    with pytest.raises(OptionError, match="data_range must be positive"):
        psnr(*pair, data_range=data_range)


def test_shapes_must_agree():
    with pytest.raises(OptionError, match="one shape"):
        rmse(np.zeros((2, 3)), np.zeros((3, 2)))


def test_mask_must_be_boolean_and_not_empty():
    image = np.zeros((2, 2))
    with pytest.raises(OptionError, match="mask must be boolean"):
        rmse(image, image, mask=np.ones((2, 2)))
    with pytest.raises(OptionError, match="at least one pixel"):
        rmse(image, image, mask=np.zeros((2, 2), bool))


def test_images_smaller_than_the_window_are_refused():
    with pytest.raises(OptionError, match="at least 11 x 11"):
        ssim(np.zeros((10, 20)), np.zeros((10, 20)), data_range=1)
