"""The command line with a model of three channels, whose weights are random here."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from pydicom.data import get_testdata_file

from meddenoise import weights
from meddenoise.cli import main
from meddenoise.io import read_volume

pytestmark = pytest.mark.usefixtures("with_two_stage")


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture
def volume(tmp_path):
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(100, 20, (3, 24, 32)).astype(np.int16))
    image.SetSpacing((0.7, 0.7, 3.0))
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    return tmp_path / "scan.nii.gz"


@pytest.fixture
def skin(tmp_path):
    values = np.random.default_rng(0).normal([90, 120, 160], 15, (24, 32, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "skin.png")
    return tmp_path / "skin.png"


def test_the_noise_map_is_written_beside_the_result(volume, tmp_path):
    assert run("denoise", volume, "-o", tmp_path / "out", "--model", "two_stage", "--noise-map", "--difference") == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["scan-difference.nii.gz", "scan-noise.nii.gz", "scan.nii.gz"]
    noise = read_volume(tmp_path / "out" / "scan-noise.nii.gz")
    assert noise.array.dtype == np.float32
    assert noise.array.min() < 0 < noise.array.max()
    assert np.allclose(noise.affine, read_volume(volume).affine)


def test_a_model_that_estimates_no_noise_refuses_the_map_before_it_reads(volume, tmp_path, capsys):
    assert run("denoise", volume, "-o", tmp_path / "out", "--noise-map") == 2
    assert "student estimates no noise map; two_stage gives one" in capsys.readouterr().err
    assert not any((tmp_path / "out").iterdir())


def test_a_colour_picture_comes_back_in_colour_with_its_report(skin, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("denoise", skin, "-o", out, "--model", "two_stage", "--report", "--difference") == 0
    assert capsys.readouterr().err == ""
    with Image.open(out / "skin.png") as image, Image.open(skin) as before:
        assert (image.mode, image.size) == (before.mode, before.size)
        assert not np.array_equal(np.asarray(image), np.asarray(before))
    report = json.loads((out / "skin-report.json").read_text())
    assert report["input"]["colour"] is True
    assert report["input"]["shape"] == [1, 24, 32]
    assert "| modality | none, in colour |" in (out / "skin-report.md").read_text()
    with Image.open(out / "skin-report.png") as picture:
        assert min(picture.size) > 100
    difference = sitk.ReadImage(str(out / "skin-difference.nrrd"))
    assert difference.GetNumberOfComponentsPerPixel() == 3


def test_dicom_in_colour_comes_back_as_dicom(tmp_path):
    source = get_testdata_file("SC_rgb_dcmtk_+eb+cy+np.dcm", download=False)
    assert run("denoise", source, "-o", tmp_path / "out", "--model", "two_stage") == 0
    (path,) = (tmp_path / "out").iterdir()
    after = read_volume(path)
    assert after.colour
    assert after.array.shape == read_volume(source).array.shape
    assert after.header.metadata["MedDenoise"].startswith("two_stage 0.0.1")


def test_the_student_refuses_colour_by_name_and_goes_on(skin, volume, tmp_path, capsys):
    assert run("denoise", skin, volume, "-o", tmp_path / "out") == 1
    assert "skin.png is in colour, and student takes grey images; two_stage takes colour" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scan.nii.gz"]


def test_a_grey_picture_stored_as_colours_is_denoised_by_the_student(tmp_path, capsys):
    values = np.random.default_rng(0).normal(120, 15, (24, 32, 1)).clip(0, 255).astype(np.uint8)
    Image.fromarray(values.repeat(3, axis=2)).save(tmp_path / "grey.png")
    assert run("denoise", tmp_path / "grey.png", "-o", tmp_path / "out") == 0
    assert "its three colours are equal everywhere" in capsys.readouterr().err
    with Image.open(tmp_path / "out" / "grey.png") as image:
        assert image.mode == "RGB"
        found = np.asarray(image)
    assert np.array_equal(found, found[..., :1].repeat(3, axis=2))
    assert found.std() < 0.8 * values.std()


def test_models_show_gives_the_whole_card_as_json(capsys):
    assert run("models", "show", "two_stage", "--json") == 0
    card = json.loads(capsys.readouterr().out)
    assert {"name", "version", "parameters", "gmac", "training", "sha256", "context", "colour"} <= set(card)
    assert type(card["parameters"]) is int
    assert card["gmac"] == round(card["gmac"], 2)
    assert card["sha256"] == weights.read_card("two_stage").sha256


def test_a_model_without_weights_is_not_offered(capsys, monkeypatch, tmp_path):
    for name in ("student.json", "student.safetensors"):
        shutil.copy(weights.folder() / name, tmp_path)
    monkeypatch.setenv("MEDDENOISE_WEIGHTS", str(tmp_path))
    assert run("models") == 0
    offered = capsys.readouterr().out
    assert "student" in offered
    assert "two_stage" not in offered
