"""What else a client may ask for: uncertainty, a report, a derived DICOM series; and a site's own models."""

import io
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import requests

from meddenoise import Denoiser, read_volume, weights

DICOM = {"result_extension": ".dcm"}


@pytest.fixture(scope="module")
def denoiser():
    return Denoiser.load("student")


def unzipped(answer, folder):
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(folder)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("params", [{"output_type": "uncertainty"}, {"uncertainty": True}])
def test_uncertainty_is_given_where_the_image_is(server, denoiser, params):
    path, answer = server.infer("left_handed", **params)
    sent, back = read_volume(server.path("left_handed")), read_volume(path)
    assert answer["output_type"] == "uncertainty"
    assert back.array.dtype == np.float32
    np.testing.assert_array_equal(back.affine, sent.affine)
    np.testing.assert_array_equal(back.array, denoiser(sent, uncertainty=True).uncertainty.array)
    assert back.array.max() > 0


def test_difference_can_be_switched_on(server):
    path, answer = server.infer("oblique", difference=True)
    other, _ = server.infer("oblique", output_type="difference")
    assert answer["output_type"] == "difference"
    np.testing.assert_array_equal(read_volume(path).array, read_volume(other).array)


@pytest.mark.parametrize(
    "params", [{"difference": True, "uncertainty": True}, {"difference": True, "output_type": "uncertainty"}]
)
def test_only_one_result_at_a_time(server, params):
    answer = server.post(image="oblique", params=params)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("one result at a time")


def test_options_as_info_lists_them_are_the_defaults(server):
    config = server.client.info()["models"]["student"]["config"]
    names = {"strength", "modality", "device", "output_type", "difference", "uncertainty", "report"}
    assert names <= set(config)
    assert ".dcm" in config["result_extension"]
    sent = server.post(image="oblique", params=config, output="image")
    assert sent.content == server.post(image="oblique", output="image").content


def test_report_comes_as_a_page_where_asked_for(server):
    page = server.post(image="oblique", params={"report": True}, output="json").json()["report"]
    assert page.startswith("# oblique")
    assert "not a medical device" in page
    assert "report" not in server.post(image="oblique", output="json").json()


@pytest.mark.parametrize("extension", [".dcm", "dicom"])
def test_dicom_result_is_a_zip_of_the_derived_series(server, denoiser, dicom_series, tmp_path, extension):
    sent = [("files", (path.name, path.read_bytes())) for path in dicom_series]
    session = requests.put(f"{server.url}/session/", files=sent, timeout=60).json()["session_id"]
    answer = server.post(session_id=session, params={"result_extension": extension}, output="image")
    files = unzipped(answer, tmp_path)
    assert len(files) == len(dicom_series)
    before, after = read_volume(dicom_series[0].parent), read_volume(tmp_path)
    np.testing.assert_array_equal(after.array, denoiser(before).volume.array)
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-9)
    old, new = pydicom.dcmread(dicom_series[0]), pydicom.dcmread(files[0])
    assert new.StudyInstanceUID == old.StudyInstanceUID
    assert new.SeriesInstanceUID != old.SeriesInstanceUID
    assert new.ImageType[0] == "DERIVED"
    assert {item.ReferencedSOPInstanceUID for item in new.SourceImageSequence} == {old.SOPInstanceUID}


def test_dicom_result_can_be_without_the_patient(server, tmp_path):
    answer = server.post(image="CT_small", params={**DICOM, "deidentify": True}, output="image")
    (file,) = unzipped(answer, tmp_path)
    old, new = pydicom.dcmread(server.path("CT_small")), pydicom.dcmread(file)
    assert new.PatientIdentityRemoved == "YES"
    assert old.PatientID
    assert new.get("PatientID") != old.PatientID
    assert new.get("PatientName") != old.PatientName


@pytest.mark.parametrize(
    ("image", "params", "reason"),
    [
        ("oblique", {}, "can only be derived from DICOM, the input was .nrrd"),
        ("CT_small", {"output_type": "difference"}, "not difference as input"),
        ("CT_small", {"output_type": "uncertainty"}, "not uncertainty as input"),
        ("CT_small", {"result_dtype": "float32"}, "not denoised as float32"),
    ],
)
def test_dicom_result_that_cannot_be_is_refused(server, image, params, reason):
    before = set(server.temporary.iterdir())
    answer = server.post(image=image, params={**DICOM, **params})
    assert (answer.status_code, answer.json()["error"]) == (400, "OptionError")
    assert reason in answer.json()["detail"]
    assert set(server.temporary.iterdir()) == before


def test_sites_own_model_is_served_and_named_beside_the_published_ones(make_server, tmp_path):
    studies, home = tmp_path / "studies", tmp_path / "home"
    studies.mkdir()
    shutil.copyfile(pydicom.data.get_testdata_file("CT_small.dcm", download=False), studies / "CT_small.dcm")
    network, card = weights.load("student")
    for parameter in network.parameters():
        parameter.mul_(0.9)  # another model, as fine-tuning makes one
    with make_server(studies, environment={"MEDDENOISE_HOME": str(home)}) as running:
        assert set(running.client.info()["models"]) == set(weights.available())
        own = replace(card, name="student-site-2", version="1.1.0", description="Tuned on ward 7")
        weights.save(network, own, home / "models")  # while the server runs
        models = running.client.info()["models"]
        assert set(models) == {*weights.available(), "student-site-2"}
        assert (models["student"]["version"], models["student-site-2"]["version"]) == (card.version, "1.1.0")
        assert models["student-site-2"]["summary"] == "Tuned on ward 7"
        answers = {name: running.client.infer(name, "CT_small", {}) for name in ("student", "student-site-2")}
    for name, (path, answer) in answers.items():
        model = network if name == "student-site-2" else None
        denoise = Denoiser(model, own) if model is not None else Denoiser.load("student")
        expected = denoise(read_volume(studies / "CT_small.dcm")).volume.array
        np.testing.assert_array_equal(read_volume(path).array, expected)
        assert answer["model"]["name"] == name
        assert answer["model"]["sha256"] == models[name]["sha256"]
