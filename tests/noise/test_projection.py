"""Projection and filtered back-projection agree with theory and with scikit-image's.

scikit-image is the oracle because it is well kept, BSD and already needed by the tests. astra is GPL, and deepinv's
tomography is built like ours, on grid_sample, and would share its mistakes.
"""

import math

import numpy as np
import pytest
import torch
from skimage.data import shepp_logan_phantom
from skimage.transform import iradon, radon, resize

from meddenoise.noise import projection

SIDE = 129
ANGLES = projection.half_turn(180)
# scikit-image's rotation runs the other way round.
DEGREES = -np.degrees(ANGLES.numpy())


def disc(side: int, radius: float) -> torch.Tensor:
    """1 inside a disc with a smooth edge, 0 outside; shape (1, 1, side, side)."""
    axis = torch.arange(side) - (side - 1) / 2
    distance = torch.hypot(axis[:, None], axis)
    return (radius + 0.5 - distance).clamp(0, 1)[None, None]


@pytest.fixture(scope="module")
def phantom():
    image = resize(shepp_logan_phantom(), (SIDE, SIDE), anti_aliasing=True).astype(np.float32)
    return torch.from_numpy(image)[None, None] * disc(SIDE, 60)


def relative_rmse(ours: torch.Tensor, reference: np.ndarray) -> float:
    return float(np.sqrt(np.mean((ours.numpy() - reference) ** 2) / np.mean(reference**2)))


def test_projection_agrees_with_scikit_image_within_half_a_percent(phantom):
    ours = projection.project(phantom, ANGLES, detectors=SIDE)[0, 0]
    assert relative_rmse(ours, radon(phantom[0, 0].numpy(), theta=DEGREES, circle=True).T) < 0.005


def test_filtered_backprojection_agrees_with_scikit_image_within_two_percent(phantom):
    sinogram = projection.project(phantom, ANGLES, detectors=SIDE)
    ours = projection.filtered_backprojection(sinogram, ANGLES, (SIDE, SIDE)) * disc(SIDE, 62)
    oracle = iradon(sinogram[0, 0].numpy().T, theta=DEGREES, circle=True)
    assert relative_rmse(ours[0, 0], oracle * disc(SIDE, 62)[0, 0].numpy()) < 0.02


def test_line_integrals_are_chords_in_mm():
    sinogram = projection.project(disc(101, 40), ANGLES, spacing=0.5, detector_spacing=2.0)[0, 0]
    t = (torch.arange(sinogram.shape[-1]) - (sinogram.shape[-1] - 1) / 2) * 2.0
    chord = 2 * (20.0**2 - t**2).clamp(min=0).sqrt()
    inside = t.abs() < 18
    assert torch.allclose(sinogram[:, inside], chord[inside].expand(180, -1), atol=0.35)


def test_one_angle_sees_rows_and_the_other_columns():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 2, 7] = 1.0
    along_columns, along_rows = projection.project(image, torch.tensor([0.0, math.pi / 2]), detectors=9)[0, 0]
    assert along_columns.argmax() == 7
    assert along_rows.argmax() == 2


def test_reconstruction_returns_the_image_whatever_the_detector_spacing(phantom):
    for pitch in (0.35, 0.7):
        sinogram = projection.project(phantom, ANGLES, spacing=0.7, detector_spacing=pitch)
        soft = projection.Kernel(cutoff=0.5)
        image = projection.filtered_backprojection(
            sinogram, ANGLES, (SIDE, SIDE), soft, spacing=0.7, detector_spacing=pitch
        )
        brain = (phantom > 0.15) & (phantom < 0.25)
        assert image[brain].mean() == pytest.approx(float(phantom[brain].mean()), rel=0.03)


def test_backprojection_is_the_adjoint_of_projection():
    g = torch.Generator().manual_seed(0)
    image, sinogram = torch.rand(1, 1, 48, 48, generator=g), torch.rand(1, 1, 30, 70, generator=g)
    angles = projection.half_turn(30)
    forward = (projection.project(image, angles, detectors=70) * sinogram).sum()
    assert forward == pytest.approx(float((projection.backproject(sinogram, angles, (48, 48)) * image).sum()), rel=1e-3)


def test_every_image_of_a_batch_is_projected_alone(phantom):
    both = torch.cat([phantom, 3 * phantom.flip(-1)])
    angles = projection.half_turn(7)
    one = projection.project(both[1:], angles)
    assert torch.allclose(projection.project(both, angles)[1:], one, atol=1e-4)
    back = projection.backproject(torch.cat([one, 2 * one]), angles, (SIDE, SIDE))
    assert torch.allclose(back[1], 2 * back[0], atol=1e-3)


@pytest.mark.parametrize(("cutoff", "spacing"), [(0.3, 0.7), (0.3, 0.35)])
def test_noise_power_after_reconstruction_is_the_ramp_times_the_kernel(cutoff, spacing):
    white = torch.randn(1, 1, 180, 1500, generator=torch.Generator().manual_seed(0))
    kernel = projection.Kernel(cutoff, 2.0)
    image = projection.filtered_backprojection(
        white, ANGLES, (256, 256), kernel, spacing=spacing, detector_spacing=spacing / 4
    )
    power = torch.fft.fft2(image[0, 0]).abs() ** 2
    axis = torch.fft.fftfreq(256, d=spacing)
    f = torch.hypot(axis[:, None], axis)
    # Of f^2 exp(-(f / c)^2), which the ramp and the area of a ring make, 42.8 % lies below c.
    assert float(power[f < cutoff].sum() / power.sum()) == pytest.approx(0.428, abs=0.03)


def test_kernel_keeps_the_mean():
    assert projection.Kernel(0.3).gain(torch.tensor([0.0])) == 1.0
    assert torch.equal(projection.RAMP.gain(torch.tensor([0.0, 5.0])), torch.ones(2))
