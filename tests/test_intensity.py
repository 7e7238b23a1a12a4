"""Every modality has its rule, and every rule can be undone."""

from dataclasses import replace

import numpy as np
import pytest

from meddenoise.intensity import intensity_of
from meddenoise.volume import Header, Volume


def volume(modality, values, **header):
    return Volume(np.asarray(values, np.float32).reshape(1, 1, -1), np.eye(4), modality, Header(**header))


@pytest.mark.parametrize(
    ("image", "rule", "zero", "one"),
    [
        (volume("CT", [0, 50], units="HU"), "HU", -1024, 3071),
        (volume("CT", [0, 50], units="HU", display=True), "display 0-255", 0, 255),
        (volume("XR", [0, 50], display=True), "display 0-255", 0, 255),
        (volume("CT", np.linspace(0, 1000, 1001)), "percentiles", 1, 999),
        (volume("XR", [0, 50], display=True, stored_range=(-128.0, 127.0)), "display 0-255", -128, 127),
        (volume("XR", [0, 50], stored_range=(0.0, 1023.0)), "stored bits", 0, 1023),
        (volume("XR", [0, 50], stored_range=(-32768, 32767), used_range=(0, 4095)), "stored bits", 0, 4095),
        (volume("PET", [0, 50], units="SUV"), "SUV", 0, 10),
        (volume("PET", [0, 50], units="BQML", suv_factor=1 / 5000), "SUV", 0, 50_000),
        (volume("PET", [0, 50], units="BQML"), "percentiles", 0.05, 49.95),
        (volume("MR", np.linspace(0, 1000, 1001)), "percentiles", 1, 999),
    ],
)
def test_rule_of_each_modality(image, rule, zero, one):
    found = intensity_of(image)
    assert found.rule == rule
    assert found.forward(np.array([zero, one])) == pytest.approx([0.0, 1.0], abs=1e-6)


def test_forward_and_inverse_undo_each_other():
    image = volume("MR", np.linspace(-20, 3000, 500))
    rule = intensity_of(image)
    assert rule.inverse(rule.forward(image.array)) == pytest.approx(image.array, abs=1e-3)


def test_constant_image_has_a_finite_rule():
    rule = intensity_of(volume("MR", [7, 7, 7]))
    assert rule.scale == 1.0
    assert rule.forward(np.array([7.0])) == 0.0


def test_volume_keeps_geometry_and_header_with_other_values():
    image = volume("CT", [1, 2], units="HU")
    other = image.with_array(image.array * 2)
    assert np.array_equal(other.affine, image.affine)
    assert other.header == image.header
    with pytest.raises(AssertionError):
        image.with_array(np.zeros((1, 1, 3)))
    with pytest.raises(ValueError, match="read-only"):
        image.array[0, 0, 0] = 5


def test_spacing_is_the_length_of_the_axes():
    oblique = np.eye(4)
    oblique[:3, :3] = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]]) @ np.diag([0.5, 0.7, 3.0])
    assert replace(volume("CT", [1, 2]), affine=oblique).spacing == pytest.approx((0.5, 0.7, 3.0))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_a_turned_stack_keep_their_places(axis):
    spacing = [0.6, 0.7, 0.8]
    spacing[2 - axis] = 4.0
    rotation = np.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, -1.0]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rotation * spacing, (5.0, -7.0, 11.0)
    stack = Volume(np.arange(24.0).reshape(2, 3, 4), affine, "MR")
    turned = stack.as_slices()
    assert stack.slicing_axis == axis
    assert turned.spacing[2] == pytest.approx(4.0)
    for index in np.ndindex(stack.array.shape):
        (found,) = np.argwhere(turned.array == stack.array[index])
        here, there = (v.affine @ [*reversed(i), 1.0] for v, i in ((stack, index), (turned, found)))
        assert here == pytest.approx(there)


def test_overlapping_slices_are_not_taken_for_a_turned_stack():
    assert Volume(np.zeros((5, 4, 3)), np.diag([0.7, 0.7, 0.3, 1.0]), "CT").slicing_axis == 0
