"""A volume goes in and comes back denoised, and nothing else about it changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from meddenoise import Denoiser, Volume, weights
from meddenoise.errors import InputError, ModelError, OptionError
from meddenoise.inference.slabs import Slab
from meddenoise.noise import CTNoise, Spectrum, ct_noise, normal
from meddenoise.volume import Header
from meddenoise.weights import versions

AFFINE = np.array([[0.0, 0.7, 0.1, -50], [0.6, 0.0, 0.0, 20], [0.0, 0.1, -3.0, 5], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def denoise():
    return Denoiser.load("student", device="cpu")


def body(slices: int = 2, side: int = 96) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    image = np.where(x**2 + y**2 < 0.8, 50.0, -1000.0)
    image = np.where((x - 0.2) ** 2 + y**2 < 0.1, 100.0, image)
    return np.repeat(image[None], slices, 0)


def ct(level: float = 40.0, *, dtype: str = "int16", slices: int = 2) -> Volume:
    clean = body(slices)
    one = torch.ones(slices)
    spectrum = Spectrum(0.3 * one, 2.0 * one, 0.3 * one, 1.57 * one, ramp=True)
    noise = ct_noise(
        (slices, 1, 96, 96), CTNoise(level * one, 0 * one, spectrum), generator=torch.Generator().manual_seed(0)
    )
    noisy = np.maximum(clean + noise[:, 0].numpy(), -1024).round()
    info = np.iinfo(dtype) if dtype != "float32" else None
    stored = (float(info.min), float(info.max)) if info else None
    return Volume(noisy.astype(dtype), AFFINE.copy(), "CT", Header(dtype=dtype, stored_range=stored, units="HU"))


@pytest.fixture(scope="module", params=weights.available())
def published(request):
    return Denoiser.load(request.param, device="cpu")


def test_noise_of_a_ct_falls_and_the_tissue_stays(published):
    noisy = ct()
    result = published(noisy)
    clean, inside = body(), body() > 0
    before, after = (np.sqrt(np.mean((a[inside] - clean[inside]) ** 2)) for a in (noisy.array, result.volume.array))
    assert after < 0.6 * before
    assert result.figures["noise_before"] == pytest.approx(40.0, rel=0.2)
    assert result.figures["noise_after"] < 0.6 * result.figures["noise_before"]
    assert abs(result.figures["bias"]) < 1.0
    assert result.figures["units"] == "HU"


def test_noise_of_a_grey_image_falls(published):
    clean = 100.0 + 0.05 * (body(1) + 1000)
    noisy = clean + 25.0 * normal((1, 96, 96), torch.Generator().manual_seed(0)).numpy()
    image = Volume(
        np.clip(noisy.round(), 0, 255).astype(np.uint8), np.eye(4), "XR", Header("uint8", (0, 255), display=True)
    )
    result = published(image).volume.array.astype(float)
    assert np.std(result - clean) < 0.5 * np.std(image.array - clean)


def test_modality_that_a_version_leaves_to_another_is_denoised_by_that_one(denoise, tmp_path, monkeypatch):
    monkeypatch.delenv("MEDDENOISE_WEIGHTS", raising=False)
    monkeypatch.setenv("MEDDENOISE_HOME", str(tmp_path))
    network, card = weights.load("student")
    for parameter in list(network.parameters())[-2:]:
        parameter.mul_(0.5)
    site = versions.publish(network, replace(card, elsewhere={"MR": "built-in"}))
    mixed = Denoiser.load("student", device="cpu")
    noisy = ct()
    mr = replace(noisy, array=(noisy.array + 1024).astype(np.float32), modality="MR", header=Header())
    expected = denoise(mr, strength=0.5, noise_map=False)
    found = mixed(mr, strength=0.5)
    assert found.model == expected.model == {"name": "student", "version": card.version, "sha256": card.sha256}
    assert np.array_equal(found.volume.array, expected.volume.array)
    assert mixed(noisy).model["version"] == site.version
    assert not np.array_equal(mixed(noisy).volume.array, denoise(noisy).volume.array)
    assert mixed.identity == weights.checksum("student") not in (site.sha256, card.sha256, denoise.identity)
    assert denoise.identity == card.sha256
    alone = Denoiser.load(str(weights.file_of("student")), device="cpu")
    assert alone(mr).model["version"] == site.version


def test_geometry_type_and_header_stay(denoise):
    for dtype in ("int16", "float32", "int32"):
        noisy = ct(dtype=dtype)
        result = denoise(noisy)
        for volume in (result.volume, result.difference):
            assert np.array_equal(volume.affine, noisy.affine)
            assert volume.modality == "CT"
            assert volume.header.units == "HU"
        assert result.volume.array.dtype == noisy.array.dtype
        assert result.difference.array.dtype == np.float32
        assert "research use" in result.volume.header.metadata["MedDenoise"]


def test_input_is_denoised_plus_difference(denoise):
    noisy = ct()
    result = denoise(noisy)
    assert np.array_equal(result.volume.array + result.difference.array, noisy.array)


def test_strength_0_gives_the_input_back_bit_for_bit(denoise):
    noisy = ct(dtype="float32")
    result = denoise(noisy, strength=0.0)
    assert result.volume.array.tobytes() == noisy.array.tobytes()
    assert not result.difference.array.any()
    assert result.figures["fraction_changed"] == 0.0


def test_strength_mixes_linearly(denoise):
    noisy = ct(dtype="float32")
    half, full = (denoise(noisy, strength=s).volume.array for s in (0.5, 1.0))
    assert half == pytest.approx((noisy.array + full) / 2, abs=1e-2)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strength_outside_0_to_1_is_refused(denoise, strength):
    with pytest.raises(OptionError, match="strength must be between 0 and 1"):
        denoise(ct(), strength=strength)


def test_values_stay_in_the_input_range(denoise):
    noisy = ct(120.0)
    result = denoise(noisy).volume.array
    assert result.min() >= noisy.array.min()
    assert result.max() <= noisy.array.max()


def test_padding_stays_as_it_is(denoise):
    noisy = ct()
    values = noisy.array.copy()
    values[:, :10] = -2000
    values[:, -5:] = -1024
    padded = replace(noisy, array=values, header=replace(noisy.header, padding=((-1024.0, -1024.0),)))
    result = denoise(padded).volume.array
    assert (result[:, :10] == -2000).all()
    assert (result[:, -5:] == -1024).all()


def test_a_constant_image_stays_as_it_is(denoise):
    flat = Volume(np.full((1, 40, 40), 70, np.int16), np.eye(4), "MR", Header("int16"))
    result = denoise(flat)
    assert np.abs(result.volume.array - 70).max() == 0
    assert result.figures["noise_before"] == 0.0


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (3, 17, 9), (1, 33, 250), (2, 8, 8)])
@pytest.mark.parametrize("modality", ["CT", "MR", "PET", "XR"])
def test_images_of_every_shape_work(denoise, shape, modality):
    values = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    result = denoise(Volume(values, np.eye(4), modality, Header(units="HU" if modality == "CT" else "")))
    assert result.volume.array.shape == shape
    assert np.isfinite(result.volume.array).all()


def test_a_volume_is_cut_across_its_thin_or_coarse_axis(denoise):
    """Coronal and sagittal stacks are denoised in their own plane, as they were acquired."""
    noisy = ct(slices=3)
    expected = denoise(noisy)
    columns = np.diag([3.0, 0.6, 0.7, 1.0])
    for axis, affine in ((1, columns[:, [1, 0, 2, 3]]), (2, columns)):
        for slices in (slice(None), slice(1)):
            turned = Volume(np.moveaxis(noisy.array[slices], 0, axis).copy(), affine.copy(), "CT", noisy.header)
            result = denoise(turned)
            assert np.abs(np.moveaxis(result.volume.array, axis, 0) - expected.volume.array[slices]).max() <= 1
            assert result.figures["noise_before"] == pytest.approx(expected.figures["noise_before"], rel=0.3)


def test_figures_hold_for_values_of_any_size(denoise):
    clean, noise = body(1) + 1000, normal((1, 96, 96), torch.Generator().manual_seed(0)).numpy()
    large = Volume((clean + 30.0 * noise).astype(np.float32), np.eye(4), "MR", Header())
    small = large.with_array(large.array * np.float32(1e-7))
    for key in ("noise_before", "noise_after", "rms_change"):
        found = [denoise(volume).figures[key] for volume in (large, small)]
        assert found[1] == pytest.approx(1e-7 * found[0], rel=0.02)
        assert found[0] > 0


def test_padding_does_not_set_the_scale_of_an_mr_image(denoise):
    values = (body(1) + 1000 + 30.0 * normal((1, 96, 96), torch.Generator().manual_seed(0)).numpy()).astype(np.int16)
    plain = denoise(Volume(values, np.eye(4), "MR", Header("int16"))).volume.array
    values = values.copy()
    values[:, :6] = -32768
    padded = denoise(Volume(values, np.eye(4), "MR", Header("int16", padding=((-32768.0, -32768.0),)))).volume.array
    assert (padded[:, :6] == -32768).all()
    inner = (slice(None), slice(64, None))
    assert np.std(padded[inner].astype(float) - plain[inner]) < 3.0


def test_not_finite_voxels_are_counted(denoise):
    values = ct(dtype="float32").array.copy()
    values[0, 0, :3] = np.nan
    with pytest.raises(InputError, match=r"3 of 18432 voxels are NaN or infinite"):
        denoise(replace(ct(dtype="float32"), array=values))


def test_an_empty_volume_is_refused(denoise):
    with pytest.raises(InputError, match="empty"):
        denoise(Volume(np.zeros((0, 4, 4), np.int16), np.eye(4), "CT"))


def test_progress_counts_slices_and_can_end_the_work():
    denoise = Denoiser(*weights.load("student"), device="cpu", slab=Slab(pixels=1))
    seen = []
    denoise(ct(slices=3), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        denoise(ct(slices=3), progress=stop)


@pytest.mark.parametrize("device", ["gpu", "cpu:0", "cuda:x", ""])
def test_unknown_device_is_refused(device):
    with pytest.raises(OptionError, match="device must be auto, cpu, cuda or cuda:N"):
        Denoiser.load("student", device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_absent_gpu_is_refused():
    with pytest.raises(OptionError, match="0 GPUs found"):
        Denoiser.load("student", device="cuda")


def test_unknown_model_is_refused():
    with pytest.raises(ModelError, match="unknown model"):
        Denoiser.load("nobody")
