"""The report: numbers that survive JSON, and a picture that shows what it says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meddenoise import Result, Volume, read_volume
from meddenoise.errors import OutputError
from meddenoise.report import DISCLAIMER, as_dict, as_markdown, picture
from meddenoise.volume import Header

GREY = (247, 247, 247)


def result_of(volume, denoised, **figures):
    """A result with a denoised image of the test's own choice."""
    difference = volume.array.astype(np.float32) - denoised.astype(np.float32)
    return Result(
        volume=volume.with_array(denoised),
        difference=replace(volume, array=difference),
        figures={"noise_before": 12.0, "noise_after": 3.0, "bias": 0.1, "rms_change": 11.0, "units": "HU", **figures},
        model={"name": "student", "version": "1.2.3", "sha256": "0" * 64},
        settings={"strength": 1.0, "device": "cpu", "modality": volume.modality},
        warnings=("a warning",),
    )


def ct(array, spacing=(1.0, 1.0, 1.0), flips=(1, 1, 1)):
    affine = np.diag([*(s * f for s, f in zip(spacing, flips, strict=True)), 1.0])
    header = Header(dtype="int16", units="HU", sources=(Path("thorax.nrrd"),))
    return Volume(np.asarray(array, np.int16), affine, "CT", header)


@pytest.fixture
def volume():
    return ct(np.random.default_rng(0).integers(-200, 200, (3, 40, 50)))


def test_dict_survives_json(volume):
    report = as_dict(volume, result_of(volume, volume.array // 2))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["disclaimer"] == DISCLAIMER
    assert report["input"]["name"] == "thorax.nrrd"
    assert report["input"]["shape"] == [3, 40, 50]
    assert report["model"]["version"] == "1.2.3"
    assert report["warnings"] == ["a warning"]


def test_figure_that_was_not_measurable_becomes_null(volume):
    report = as_dict(volume, result_of(volume, volume.array, noise_before=float("nan")))
    assert report["figures"]["noise_before"] is None
    assert "not measurable" in as_markdown(volume, result_of(volume, volume.array, noise_before=float("nan")))


def test_markdown_names_model_units_and_disclaimer(volume):
    text = as_markdown(volume, result_of(volume, volume.array), name="series 7")
    assert text.startswith("# series 7\n")
    assert DISCLAIMER in text
    assert "student 1.2.3" in text
    assert "| noise before | 12 HU |" in text
    assert "- a warning" in text


def panels(path):
    """The three images of the picture as arrays: the widest runs of the middle row that are no background."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    background = pixels[0, 0]
    inside = (np.abs(pixels - background).sum(axis=2) > 12).mean(axis=0) > 0.5
    edges = np.flatnonzero(np.diff(np.r_[0, inside.astype(int), 0]))
    runs = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 40]
    found = []
    for a, b in runs:
        rows = np.flatnonzero((np.abs(pixels[:, a:b] - background).sum(axis=2) > 12).mean(axis=1) > 0.99)
        found.append(pixels[rows[0] : rows[-1] + 1, a:b])
    return found


def test_picture_shows_both_images_in_one_window_and_the_sign_of_the_difference(tmp_path):
    before = ct(np.full((1, 32, 32), 40))
    after = np.full((1, 32, 32), 140, np.int16)
    after[:, :, 16:] = -60
    original, denoised, difference = panels(picture(before, result_of(before, after), tmp_path / "p.png"))
    assert np.unique(original).tolist() == [128]  # 40 HU is the middle of -160..240
    assert denoised[5, 5, 0] == 191
    assert denoised[5, -5, 0] == 64
    red, blue = difference[5, -5], difference[5, 5]  # original - denoised: positive on the right
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_unchanged_image_has_a_white_difference(volume, tmp_path):
    path = picture(volume, result_of(volume, volume.array), tmp_path / "p.png")
    *_, difference = panels(path)
    assert np.unique(difference.reshape(-1, 3), axis=0).tolist() == [list(GREY)]


@pytest.mark.parametrize(("spacing", "ratio"), [((1.0, 1.0, 5.0), 1.0), ((0.5, 1.0, 1.0), 2.0), ((1.0, 0.5, 1.0), 0.5)])
def test_picture_has_square_millimetres(tmp_path, spacing, ratio):
    volume = ct(np.full((1, 64, 64), 100), spacing)
    original = panels(picture(volume, result_of(volume, volume.array), tmp_path / "p.png"))[0]
    assert original.shape[0] / original.shape[1] == pytest.approx(ratio, rel=0.02)


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, -1, 1), (1, -1, 1)])
def test_picture_turns_the_patient_the_radiological_way(tmp_path, flips):
    """The bright corner is the patient's right front: upper left, however the voxels are stored."""
    corner = np.full((1, 32, 32), -60, np.int16)
    corner[0, :8, :8] = 200
    stored = corner[:, :: flips[1], :: flips[0]]
    volume = ct(stored, flips=flips)
    original = panels(picture(volume, result_of(volume, volume.array), tmp_path / "p.png"))[0]
    bright = np.argwhere(original[..., 0] > 200).mean(axis=0)
    assert (bright < original.shape[0] / 2).all()


@pytest.mark.parametrize("value", [0.0, 1e-7, 1e6])
def test_constant_and_extreme_images_have_pictures(tmp_path, value):
    volume = Volume(np.full((1, 9, 7), value, np.float32), np.eye(4), "MR", Header(ndim=2))
    path = picture(volume, result_of(volume, volume.array, rms_change=0.0), tmp_path / "p.png")
    assert len(panels(path)) == 3


def test_picture_that_cannot_be_written_leaves_nothing(volume, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    with pytest.raises(OutputError, match="file"):
        picture(volume, result_of(volume, volume.array), blocker / "p.png")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_real_slice_has_a_report(denoiser, ct_file, tmp_path):
    volume = read_volume(ct_file)
    result = denoiser(volume)
    assert as_dict(volume, result)["figures"]["units"] == "HU"
    assert len(panels(picture(volume, result, tmp_path / "ct.png"))) == 3
