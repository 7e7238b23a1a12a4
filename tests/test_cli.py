"""The command line, on real files: what is written where, what is refused, and what the user is told."""

import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from pydicom.uid import generate_uid

from meddenoise.cli import main


def noisy(shape, seed=0):
    rng = np.random.default_rng(seed)
    return np.clip(110 + 12 * rng.standard_normal(shape), 0, 255)


def write(path, array, spacing=None):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing or (0.8, 0.9, 2.5)[: image.GetDimension()])
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def nifti(tmp_path):
    return write(tmp_path / "scan.nii.gz", (noisy((4, 40, 32)) * 10).astype(np.int16))


@pytest.fixture
def png(tmp_path):
    return write(tmp_path / "film.png", noisy((45, 37)).astype(np.uint8))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results"


def series(ct_file, folder, positions, number=1):
    """A DICOM series of the real slice, repeated at the positions given in mm."""
    folder.mkdir(exist_ok=True)
    uid = generate_uid()
    for index, z in enumerate(positions):
        dataset = pydicom.dcmread(ct_file)
        dataset.SeriesInstanceUID, dataset.SeriesNumber, dataset.InstanceNumber = uid, number, index + 1
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.ImagePositionPatient[2] = z
        dataset.save_as(folder / f"{number}-{index}.dcm")
    return uid


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_volume_keeps_name_format_type_and_geometry(nifti, out, capsys):
    assert run("denoise", nifti, "-o", out, "--modality", "MR") == 0
    assert names(out) == ["scan.nii.gz"]
    before, after = sitk.ReadImage(str(nifti)), sitk.ReadImage(str(out / "scan.nii.gz"))
    assert after.GetPixelID() == before.GetPixelID()
    for read in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(after, read)() == pytest.approx(getattr(before, read)(), abs=1e-5)
    assert sitk.GetArrayFromImage(after).std() < 0.8 * sitk.GetArrayFromImage(before).std()
    assert f"{nifti} -> {out / 'scan.nii.gz'}  noise" in capsys.readouterr().out


def test_png_gives_a_png_of_the_same_size_and_depth(png, out):
    assert run("denoise", png, "-o", out) == 0
    with Image.open(out / "film.png") as after:
        assert (after.size, after.mode) == ((37, 45), "L")


def test_dicom_file_gives_a_derived_dicom_file(ct_file, out):
    assert run("denoise", ct_file, "-o", out) == 0
    before, after = pydicom.dcmread(ct_file), pydicom.dcmread(out / "CT_small.dcm")
    assert after.SOPInstanceUID != before.SOPInstanceUID
    assert after.ImageType[0] == "DERIVED"
    assert "MedDenoise" in after.DerivationDescription


def test_files_of_one_series_given_one_by_one_stay_one_series(ct_file, tmp_path, out):
    study = tmp_path / "study"
    series(ct_file, study, (0, 5, 10))
    assert run("denoise", *sorted(study.iterdir()), "-o", out) == 0
    results = [pydicom.dcmread(file) for file in out.iterdir()]
    first = results[0].SeriesInstanceUID
    assert [result.SeriesInstanceUID for result in results] == [first] * 3
    assert len({result.SOPInstanceUID for result in results}) == 3
    assert run("denoise", *sorted(study.iterdir()), "-o", tmp_path / "again") == 0
    assert pydicom.dcmread(tmp_path / "again" / "1-0.dcm").SeriesInstanceUID != first


def test_a_second_run_does_not_denoise_the_results_of_the_first(ct_file, tmp_path, capsys):
    study = tmp_path / "study"
    series(ct_file, study, (0, 5, 10))
    for _ in range(2):
        assert run("denoise", study, "-o", study / "results") == 0
        assert names(study / "results") == ["study"]
    assert "3 files skipped, results of MedDenoise" in capsys.readouterr().err


def test_dicom_folder_gives_one_folder_per_series(ct_file, tmp_path, out):
    study = tmp_path / "study"
    series(ct_file, study, (0, 5, 10), number=3)
    series(ct_file, study, (0, 5), number=4)
    assert run("denoise", study, "-o", out) == 0
    assert names(out) == ["study-3", "study-4"]
    assert [len(names(out / name)) for name in names(out)] == [3, 2]


def test_one_series_is_chosen_by_its_uid(ct_file, tmp_path, out):
    study = tmp_path / "study"
    series(ct_file, study, (0, 5, 10), number=3)
    uid = series(ct_file, study, (0, 5), number=4)
    assert run("denoise", study, "-o", out, "--series", uid) == 0
    assert names(out) == ["study-4"]


def test_unknown_series_is_a_usage_error(ct_file, tmp_path, out, capsys):
    study = tmp_path / "study"
    uid = series(ct_file, study, (0, 5))
    assert run("denoise", study, "-o", out, "--series", "1.2.3") == 2
    assert uid in capsys.readouterr().err


def test_format_changes_the_extension(ct_file, nifti, out):
    assert run("denoise", ct_file, nifti, "-o", out, "--format", "nrrd") == 0
    assert names(out) == ["CT_small.nrrd", "scan.nrrd"]


def test_unevenly_spaced_series_becomes_dicom_and_no_volume_format(ct_file, tmp_path, out, capsys):
    study = tmp_path / "study"
    series(ct_file, study, (0, 5, 30))
    assert run("denoise", study, "-o", out, "--format", "nrrd") == 1
    assert "unevenly spaced" in capsys.readouterr().err
    assert names(out) == []
    assert run("denoise", study, "-o", out) == 0
    heights = sorted(float(pydicom.dcmread(file).ImagePositionPatient[2]) for file in (out / "study").iterdir())
    assert heights == [0, 5, 30]


def test_dicom_format_needs_dicom_in(nifti, out, capsys):
    assert run("denoise", nifti, "-o", out, "--format", "dicom") == 2
    assert "needs DICOM in" in capsys.readouterr().err


def test_strength_zero_gives_the_input_back(nifti, out):
    assert run("denoise", nifti, "-o", out, "--strength", "0") == 0
    before, after = (sitk.GetArrayFromImage(sitk.ReadImage(str(f))) for f in (nifti, out / "scan.nii.gz"))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("kind", "name"), [("png", "film-difference.nrrd"), ("nifti", "scan-difference.nii.gz")])
def test_difference_is_signed_and_is_input_minus_result(kind, name, out, request):
    source = request.getfixturevalue(kind)
    assert run("denoise", source, "-o", out, "--difference") == 0
    before, after, removed = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(f))).astype(float) for f in (source, out / source.name, out / name)
    )
    np.testing.assert_allclose(removed.squeeze(), before - after, atol=1e-4)
    assert removed.min() < 0 < removed.max()


def test_report_is_json_markdown_and_a_picture(ct_file, out):
    assert run("denoise", ct_file, "-o", out, "--report") == 0
    assert names(out) == ["CT_small-report.json", "CT_small-report.md", "CT_small-report.png", "CT_small.dcm"]
    report = json.loads((out / "CT_small-report.json").read_text())
    assert report["input"]["name"] == "CT_small.dcm"
    assert report["model"]["name"] == "student"
    assert report["figures"]["noise_before"] > 0
    assert "not a medical device" in (out / "CT_small-report.md").read_text()


def test_existing_result_is_replaced(png, out):
    out.mkdir()
    (out / "film.png").write_bytes(b"old")
    assert run("denoise", png, "-o", out) == 0
    assert names(out) == ["film.png"]
    assert (out / "film.png").stat().st_size > 100


def test_result_that_would_replace_an_input_is_refused(png, capsys):
    before = png.read_bytes()
    assert run("denoise", png, "-o", png.parent) == 2
    assert "would replace an input" in capsys.readouterr().err
    assert png.read_bytes() == before


def test_dicom_folder_as_its_own_result_is_refused(ct_file, tmp_path, capsys):
    study = tmp_path / "study"
    series(ct_file, study, (0, 5))
    assert run("denoise", study, "-o", tmp_path) == 2
    assert "would replace an input" in capsys.readouterr().err
    assert len(names(study)) == 2


def test_two_inputs_for_one_name_are_refused_before_anything_starts(tmp_path, out, capsys):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "film.png", noisy((20, 20)).astype(np.uint8))
    assert run("denoise", tmp_path / "a", tmp_path / "b", "-o", out) == 2
    assert "would both be written to" in capsys.readouterr().err
    assert not out.exists()


def test_two_results_with_one_data_file_are_refused(tmp_path, out, capsys):
    for name in ("a.mhd", "a.nhdr"):
        (tmp_path / name[2:]).mkdir()
        write(tmp_path / name[2:] / name, noisy((3, 20, 20)).astype(np.int16))
    assert run("denoise", tmp_path / "mhd", tmp_path / "nhdr", "-o", out) == 2
    assert f"would both be written to {out / 'a.raw'}" in capsys.readouterr().err
    assert not out.exists()


def test_data_file_of_an_input_is_never_replaced(tmp_path, capsys):
    write(tmp_path / "a.nhdr", noisy((3, 20, 20)).astype(np.int16))
    before = (tmp_path / "a.raw").read_bytes()
    assert run("denoise", tmp_path / "a.nhdr", "-o", tmp_path, "--format", "mhd") == 2
    assert f"{tmp_path / 'a.raw'}: the result would replace an input" in capsys.readouterr().err
    assert (tmp_path / "a.raw").read_bytes() == before


def test_report_of_one_input_that_is_another_inputs_result_is_refused(tmp_path, out, capsys):
    one = write(tmp_path / "film.png", noisy((20, 20)).astype(np.uint8))
    other = write(tmp_path / "film-report.png", noisy((20, 20)).astype(np.uint8))
    assert run("denoise", one, other, "-o", out, "--report") == 2
    assert "would both be written to" in capsys.readouterr().err


def test_good_inputs_are_written_and_each_bad_one_is_named(png, nifti, tmp_path, out, capsys):
    text = tmp_path / "text.nii.gz"
    text.write_text("no image")
    missing = tmp_path / "missing.nrrd"
    assert run("denoise", text, png, missing, nifti, "-o", out) == 1
    assert names(out) == ["film.png", "scan.nii.gz"]
    told = capsys.readouterr().err
    assert str(text) in told
    assert f"{missing}: no such file" in told
    assert "2 of 4 inputs were denoised, 2 failed" in told


def test_voxels_that_are_not_finite_are_refused_or_replaced(tmp_path, out, capsys):
    array = noisy((3, 20, 20)).astype(np.float32)
    array[1, 2, 3] = np.nan
    path = write(tmp_path / "holes.nrrd", array)
    assert run("denoise", path, "-o", out) == 1
    assert "--replace-nonfinite" in capsys.readouterr().err
    assert run("denoise", path, "-o", out, "--replace-nonfinite", "100") == 0
    assert np.isfinite(sitk.GetArrayFromImage(sitk.ReadImage(str(out / "holes.nrrd")))).all()


@pytest.mark.parametrize("kind", ["png", "nifti", "ct_file"])
def test_result_given_in_again_is_recognised(kind, out, tmp_path, request, capsys):
    source = request.getfixturevalue(kind)
    assert run("denoise", source, "-o", out) == 0
    assert "already a result" not in capsys.readouterr().err
    assert run("denoise", out / source.name, "-o", tmp_path / "again") == 0
    assert "already a result of MedDenoise" in capsys.readouterr().err


def test_output_folder_that_cannot_be_made_is_one_sentence(png, tmp_path, capsys):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    assert run("denoise", png, "-o", blocker / "results") == 1
    assert "cannot be written" in capsys.readouterr().err


def test_deidentified_result_holds_no_name_of_the_patient_or_of_the_folder(ct_file, tmp_path, out, capsys):
    folder = tmp_path / "Mustermann"
    series(ct_file, folder, (0.0, 5.0))
    source = pydicom.dcmread(next(folder.iterdir()))
    assert run("denoise", folder, "-o", out, "--deidentify") == 0
    assert "burned into the pixels" in capsys.readouterr().err
    assert names(out) == ["deidentified-001"]
    assert names(out / "deidentified-001") == ["00000.dcm", "00001.dcm"]
    for file in (out / "deidentified-001").iterdir():
        for word in ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate"):
            assert str(source[word].value).encode() not in file.read_bytes()
        assert pydicom.dcmread(file).PatientIdentityRemoved == "YES"


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        ("nifti", [], "--deidentify is for DICOM to DICOM"),
        ("ct_file", ["--format", "nrrd"], "this would become deidentified-001.nrrd"),
        ("ct_file", ["--report"], "--report repeats the names of files"),
    ],
)
def test_deidentify_is_refused_where_names_could_stay(kind, options, reason, out, request, capsys):
    source = request.getfixturevalue(kind)
    assert run("denoise", source, "-o", out, "--deidentify", *options) == 2
    assert reason in capsys.readouterr().err
    assert names(out) == []


def test_unknown_model_and_device_write_nothing(png, out, capsys):
    assert run("denoise", png, "-o", out, "--model", "nobody") == 1
    assert "unknown model 'nobody'" in capsys.readouterr().err
    assert run("denoise", png, "-o", out, "--device", "abacus") == 2
    assert "abacus" in capsys.readouterr().err
    assert names(out) == []


@pytest.mark.parametrize(
    "wrong",
    [
        ("--strength", "1.5"),
        ("--strength", "much"),
        ("--modality", "US"),
        ("--format", "bmp"),
        ("--replace-nonfinite", "nan"),
    ],
)
def test_wrong_options_are_usage_errors(png, out, wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("denoise", png, "-o", out, *wrong)
    assert wrong[0] in capsys.readouterr().err
    assert not out.exists()
