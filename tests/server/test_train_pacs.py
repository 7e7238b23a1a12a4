"""A model is trained on the series of a real PACS: clean series as partners by their description, or images alone."""

import importlib.util
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from pydicom.uid import generate_uid

from meddenoise import weights
from meddenoise.errors import ServiceError
from meddenoise.server.datastore import PacsDatastore
from meddenoise.server.pacs import Pacs
from meddenoise.server.site_data import WORDS
from meddenoise.server.train_job import looked_over, status, train_site
from meddenoise.weights import versions

QUICK = {"steps": 4, "patch": 32, "batch": 2, "device": "cpu"}
PATIENTS, SLICES, SIDE = 3, 4, 64


def neighbour(name):
    """A test module beside this one, for what it has to start a PACS and to fill it."""
    spec = importlib.util.spec_from_file_location(f"beside_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pacs_tests = neighbour("test_pacs")


def series(patient, study, description, noise):
    """One CT series of a patient: a body whose size is the patient's own, with white noise."""
    with as_file(files("pydicom") / "data" / "test_files" / "CT_small.dcm") as path:
        template = path.read_bytes()
    y, x = np.indices((SIDE, SIDE)) - SIDE // 2
    body = np.where(np.hypot(y, x) < 27 - patient, 40.0 + 15 * np.sin(x / 4 + patient), -1000.0)
    rng, uid = np.random.default_rng([patient, round(noise)]), generate_uid()
    for number in range(SLICES):
        dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(template))
        dataset.remove_private_tags()
        dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"P{patient}", study, uid
        dataset.SeriesDescription, dataset.FrameOfReferenceUID = description, study
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber, dataset.ImagePositionPatient = number + 1, [-20.0, -20.0, 5.0 * number]
        dataset.Rows = dataset.Columns = SIDE
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        values = np.rint(body + rng.normal(0, noise, body.shape)).clip(-1024) + 1024
        dataset.PixelData = values.astype(np.int16).tobytes()
        yield dataset


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    """An Orthanc with a noisy and a clean series of each patient."""
    folder = tmp_path_factory.mktemp("pacs")
    with pacs_tests.running_orthanc(folder / "orthanc") as base:
        address = Pacs(f"{base}/dicom-web")
        for patient in range(PATIENTS):
            study = generate_uid()
            for description, noise in (("Thorax low dose", 30.0), ("Thorax full dose", 4.0)):
                made = list(series(patient, study, description, noise))
                address.store(pacs_tests.write(made, folder / f"{patient} {description}"))
        yield address


@pytest.fixture
def datastore(pacs, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDENOISE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MEDDENOISE_WEIGHTS", raising=False)
    torch.set_num_threads(1)
    return PacsDatastore(pacs, tmp_path / "cache")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "kind", "images"),
    [({"clean_series": "full dose"}, "paired", 3), ({"self_supervised": "on"}, "noisy", 6)],
)
def test_series_of_a_pacs_train_a_model_whose_version_appears(datastore, monkeypatch, options, kind, images):
    # What is better is judged elsewhere: here every candidate is.
    monkeypatch.setattr("meddenoise.comparison.Comparison.better", True)
    result = train_site("student", {**QUICK, **options}, datastore)
    held = status().read()
    assert (held["state"], held["data"]["learns_from"]) == ("done", WORDS[kind])
    assert (held["data"]["images"], held["data"]["patients"]) == (images, PATIENTS)
    assert [one.version for one in versions.versions("student") if one.active] == [result["published"]]
    assert weights.read_card("student").training["site"]["slices"] == images * SLICES


@pytest.mark.slow
def test_pacs_that_is_gone_is_said_at_once(datastore):
    away = PacsDatastore(Pacs("http://127.0.0.1:9/dicom-web"), datastore.cache.parent)
    with pytest.raises(ServiceError, match=r"http://127\.0\.0\.1:9/dicom-web"):
        looked_over("student", QUICK, away)
