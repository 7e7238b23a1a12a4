"""A model of three channels behind the server: neighbouring slices, colours, and the noise it estimates."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from pydicom.data import get_testdata_file

from meddenoise import Denoiser, read_volume


@pytest.fixture(scope="module")
def two_stages(tmp_path_factory, make_server, two_stage_weights):
    """`meddenoise serve` with the student and a two_stage of random weights."""
    studies = tmp_path_factory.mktemp("studies")
    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.normal(100, 20, (3, 24, 32)).astype(np.int16))
    image.SetSpacing((0.7, 0.7, 3.0))
    sitk.WriteImage(image, str(studies / "volume.nrrd"))
    Image.fromarray(rng.normal([90, 120, 160], 15, (24, 32, 3)).clip(0, 255).astype(np.uint8)).save(
        studies / "skin.png"
    )
    shutil.copy(get_testdata_file("SC_rgb_jpeg_dcmd.dcm", download=False), studies / "photo.dcm")
    with make_server(studies, environment={"MEDDENOISE_WEIGHTS": str(two_stage_weights)}) as running:
        yield running


@pytest.fixture
def denoise(with_two_stage):
    return Denoiser.load("two_stage")


def result_of(server, image, tmp_path, **params):
    """The image that comes back from two_stage."""
    answer = server.post("two_stage", image=image, params=params, output="image")
    assert answer.status_code == 200, answer.text
    path = tmp_path / f"result{params.get('result_extension', '.nrrd')}"
    path.write_bytes(answer.content)
    return path


def test_each_model_is_listed_with_what_it_can_give(two_stages):
    models = two_stages.client.info()["models"]
    assert "noise" in models["two_stage"]["config"]["output_type"]
    assert "noise" not in models["student"]["config"]["output_type"]


def test_a_volume_is_denoised_with_its_neighbours(two_stages, denoise, tmp_path):
    expected = denoise(read_volume(two_stages.path("volume")))
    assert expected.settings["slices"] == "with neighbours"
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(result_of(two_stages, "volume", tmp_path))))
    assert np.array_equal(found, expected.volume.array)
    assert expected.figures["fraction_changed"] > 0.1


def test_the_noise_map_is_given(two_stages, denoise, tmp_path):
    noise = sitk.ReadImage(str(result_of(two_stages, "volume", tmp_path, output_type="noise")))
    expected = denoise(read_volume(two_stages.path("volume")), noise_map=True).noise
    assert np.array_equal(sitk.GetArrayFromImage(noise), expected.array)
    assert noise.GetSpacing() == (0.7, 0.7, 3.0)


def test_a_model_that_estimates_no_noise_refuses_the_map(two_stages):
    answer = two_stages.post("student", image="volume", params={"output_type": "noise"})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "student estimates no noise map; two_stage gives one"


def test_a_colour_picture_comes_back_in_colour(two_stages, denoise, tmp_path):
    expected = denoise(read_volume(two_stages.path("skin"))).volume.array[0]
    png = result_of(two_stages, "skin", tmp_path, result_extension=".png")
    with Image.open(png) as image:
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), expected)
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(result_of(two_stages, "skin", tmp_path))))
    assert np.array_equal(found, expected)


def test_dicom_in_colour_comes_back_in_colour(two_stages, denoise, tmp_path):
    expected = denoise(read_volume(two_stages.path("photo"))).volume.array[0]
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(result_of(two_stages, "photo", tmp_path))))
    assert np.array_equal(found[..., : expected.shape[-1]].squeeze(), expected)


@pytest.mark.parametrize("image", ["skin", "photo"])
def test_the_student_refuses_colour_and_names_the_model_that_takes_it(two_stages, image, match):
    answer = two_stages.post("student", image=image)
    assert answer.status_code == 422
    match(rf"{image}\.\w+ is in colour, and student takes grey images; two_stage takes colour", answer.json()["detail"])
