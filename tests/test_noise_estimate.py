"""The noise of an image is read from the image alone: right for correlated, varying and Rician noise."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
import torch

import meddenoise
from meddenoise import Volume, noise, weights
from meddenoise.cli import main
from meddenoise.errors import InputError
from meddenoise.inference import noise_estimate
from meddenoise.inference.noise_estimate import METER
from meddenoise.volume import Header

ONE = torch.ones(1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def anatomy(side: int = 192) -> torch.Tensor:
    """A body in HU with organs, vessels and bone, shape (1, 1, side, side)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    image = torch.where(x**2 + y**2 < 0.9, 50.0, -1000.0)
    image = torch.where((x - 0.2) ** 2 + y**2 < 0.15, 90.0, image)
    for k in range(6):
        image = torch.where((x + 0.5 - 0.15 * k) ** 2 + (y - 0.3 * np.sin(k)) ** 2 < 0.002, 150.0, image)
    return torch.where((x + 0.6) ** 2 + y**2 < 0.02, 500.0, image)[None, None]


def ct_noise(level: float, cutoff: float, side: int = 192) -> torch.Tensor:
    spectrum = noise.Spectrum(cutoff * ONE, 2.0 * ONE, 0.3 * ONE, 1.57 * ONE, ramp=True)
    return noise.ct_noise((1, 1, side, side), noise.CTNoise(level * ONE, 0.0 * ONE, spectrum), generator=seeded())


def volume(slices: torch.Tensor, modality: str = "CT", units: str = "HU") -> Volume:
    return Volume(slices[:, 0].numpy(), np.diag([0.7, 0.8, 3.0, 1.0]), modality, Header(units=units))


@pytest.mark.parametrize("cutoff", [0.2, 0.3, 0.65])
@pytest.mark.parametrize("level", [12.0, 30.0, 80.0])
def test_level_of_correlated_ct_noise_is_right_within_15_per_cent(level, cutoff):
    found = meddenoise.estimate_noise(volume(anatomy() + ct_noise(level, cutoff)))
    assert found.level == pytest.approx(level, rel=0.15)
    assert "soft tissue" in found.place


@pytest.mark.parametrize("snr", [5.0, 10.0, 20.0])
def test_level_of_rician_noise_is_right_within_15_per_cent(snr):
    clean = (anatomy() + 1000.0) / 1050.0 * 300.0
    parts = [300.0 / snr * noise.normal(tuple(clean.shape), seeded(s)) for s in (0, 1)]
    found = meddenoise.estimate_noise(volume(noise.rician(clean, tuple(parts)), "MR", ""))
    assert found.level == pytest.approx(300.0 / snr, rel=0.15)


def test_map_follows_noise_that_varies_over_the_image():
    x = torch.linspace(10.0, 40.0, 192).expand(1, 1, 192, 192)
    found = meddenoise.estimate_noise(volume(anatomy() + x / 20.0 * ct_noise(20.0, 0.4)))
    for column in (60, 96, 132):
        truth = float(x[0, 0, 0, column])
        assert np.median(found.map.array[0, 60:130, column]) == pytest.approx(truth, rel=0.2)


def test_estimate_does_not_depend_on_the_unit():
    noisy = anatomy() + ct_noise(30.0, 0.4) + 1000.0
    levels = [meddenoise.estimate_noise(volume(k * noisy, "MR", "")).level / k for k in (1e-6, 1.0, 1e4)]
    assert levels == pytest.approx([levels[1]] * 3, rel=0.01)


def test_estimate_does_not_depend_on_how_many_slices_are_looked_at_at_once(monkeypatch):
    noisy = volume(torch.cat([anatomy() + ct_noise(level, 0.2) for level in (10.0, 20.0, 40.0)]))
    together = meddenoise.estimate_noise(noisy)
    monkeypatch.setattr(noise_estimate, "PIXELS_AT_ONCE", 1)
    alone = meddenoise.estimate_noise(noisy)
    np.testing.assert_allclose(alone.map.array, together.map.array, rtol=1e-5)
    assert alone.level == pytest.approx(together.level, rel=1e-5)


def test_map_lies_where_the_volume_lies():
    array = np.random.default_rng(0).normal(0, 10, (40, 3, 56)).astype(np.float32)
    coronal = Volume(array, np.diag([0.7, 5.0, 0.7, 1.0]), "MR", Header("float32"))
    found = meddenoise.estimate_noise(coronal)
    assert found.map.array.shape == array.shape
    assert np.array_equal(found.map.affine, coronal.affine)
    assert found.level == pytest.approx(10.0, rel=0.15)


def test_padding_is_no_edge():
    noisy = (anatomy() + ct_noise(30.0, 0.4) + 1000.0).numpy()[:, 0]
    header = Header(padding=((-32768.0, -32768.0),))
    plain = meddenoise.estimate_noise(Volume(noisy.copy(), np.eye(4), "MR", header)).map.array
    noisy[:, :4] = -32768.0
    padded = meddenoise.estimate_noise(Volume(noisy, np.eye(4), "MR", header)).map.array
    assert np.median(padded[:, 60:] / plain[:, 60:]) == pytest.approx(1.0, abs=0.02)


def test_constant_and_tiny_images_are_told_from_noisy_ones():
    flat = meddenoise.estimate_noise(Volume(np.full((1, 40, 40), 7.0, np.float32), np.eye(4), "MR"))
    assert flat.level == flat.map.array.max() == 0.0
    tiny = meddenoise.estimate_noise(Volume(np.zeros((1, 4, 40), np.float32), np.eye(4), "MR"))
    assert (tiny.level, tiny.map) == (None, None)


def test_voxels_that_are_no_number_are_refused():
    with pytest.raises(InputError, match="cannot be estimated"):
        meddenoise.estimate_noise(Volume(np.full((1, 9, 9), np.nan, np.float32), np.eye(4), "MR"))


def test_the_meter_is_sound_and_is_no_model_to_denoise_with():
    _, card = weights.load(str(METER))
    assert card.sha256 in METER.with_suffix(".json").read_text()
    assert card.training["split"]
    assert card.name not in weights.available()


def test_the_command_prints_the_level_and_writes_the_map(tmp_path, capsys):
    image = sitk.GetImageFromArray((anatomy() + ct_noise(30.0, 0.4))[:, 0].numpy().astype(np.int16))
    image.SetSpacing((0.7, 0.8, 3.0))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    out = tmp_path / "map.nii.gz"
    assert main(["noise", str(tmp_path / "a.nrrd"), "--modality", "CT", "--map", str(out)]) == 0
    level, unit = capsys.readouterr().out.split(": ")[1].split()[:2]
    assert float(level) == pytest.approx(30.0, rel=0.15)
    assert unit == "HU"
    written = sitk.ReadImage(str(out))
    assert written.GetSpacing() == pytest.approx((0.7, 0.8, 3.0))
    assert np.median(sitk.GetArrayFromImage(written)[0, 60:130, 60:130]) == pytest.approx(30.0, rel=0.2)
    assert main(["noise", str(tmp_path / "a.nrrd"), "--map", str(out)]) == 2
    assert main(["noise", str(tmp_path / "missing.nrrd")]) == 1


def test_the_command_fails_by_the_files_name_where_it_cannot_write_the_map(tmp_path, capsys):
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(36, dtype=np.uint8).reshape(6, 6)), str(tmp_path / "tiny.png"))
    assert main(["noise", str(tmp_path / "tiny.png")]) == 0
    assert main(["noise", str(tmp_path / "tiny.png"), "--map", str(tmp_path / "m.nii.gz")]) == 1
    assert "tiny.png: too small to map its noise" in capsys.readouterr().err
    colours = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(tmp_path / "photo.png"))
    assert main(["noise", str(tmp_path / "photo.png")]) == 1
    assert "photo.png: the noise of a colour picture" in capsys.readouterr().err
