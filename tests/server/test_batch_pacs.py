"""A batch over a real PACS: its series are denoised and stored back, or written into a folder; once."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from meddenoise import read_volume
from meddenoise.batch import BatchOptions, PlainEngine, run_batch
from meddenoise.batch.run import SUMMARY
from meddenoise.cli import main
from meddenoise.errors import OptionError, ServiceError
from meddenoise.server.batch import BatchTask
from meddenoise.server.batch_pacs import pacs_items
from meddenoise.server.datastore import PacsDatastore
from meddenoise.server.models import ModelPool
from meddenoise.server.pacs import Pacs


def neighbour(name):
    """A test module beside this one, for what it has to start a PACS and to fill it."""
    spec = importlib.util.spec_from_file_location(f"beside_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pacs_tests = neighbour("test_pacs")


@pytest.fixture
def pacs(tmp_path, monkeypatch):
    """An empty Orthanc's DICOMweb address; what a batch remembers of it is kept in the test's own folder."""
    monkeypatch.setenv("MEDDENOISE_HOME", str(tmp_path / "home"))
    with pacs_tests.running_orthanc(tmp_path / "orthanc") as base:
        yield f"{base}/dicom-web"


@pytest.fixture
def filled(pacs, tmp_path):
    """The same with a CT, an MR and two views of a chest in one series."""
    sent = {modality: pacs_tests.made(modality) for modality in ("CT", "MR")}
    views = [pacs_tests.made("DX")[0] for _ in range(2)]
    for number, view in enumerate(views):
        view.SeriesInstanceUID, view.StudyInstanceUID = views[0].SeriesInstanceUID, views[0].StudyInstanceUID
        view.InstanceNumber = number + 1
    sent["DX"] = views
    for modality, datasets in sent.items():
        Pacs(pacs).store(pacs_tests.write(datasets, tmp_path / "sent" / modality))
    return {modality: str(datasets[0].SeriesInstanceUID) for modality, datasets in sent.items()}


def run(url, denoiser, output=None):
    items, _, folder = pacs_items(url, output, model="student")
    return run_batch(items, PlainEngine([denoiser]), folder, options=BatchOptions())


def counts(summary):
    return tuple(summary.count(state) for state in ("done", "skipped", "failed"))


def test_results_go_back_as_derived_series_and_are_neither_made_twice_nor_denoised_again(
    pacs, filled, denoiser, tmp_path
):
    assert counts(run(pacs, denoiser)) == (3, 0, 0)
    ours = [series for series in Pacs(pacs).series() if series.ours]
    assert sorted((series.modality, series.instances) for series in ours) == [("CT", 3), ("DX", 2), ("MR", 3)]
    assert counts(run(pacs, denoiser)) == (0, 3, 0)
    assert len(Pacs(pacs).series()) == 6
    assert not list((tmp_path / "home").rglob("*.dcm"))  # nothing of a patient stays on this disk
    (derived,) = [series for series in ours if series.modality == "CT"]
    Pacs(pacs).fetch(derived, tmp_path / "back")
    expected = denoiser(read_volume(tmp_path / "sent" / "CT")).volume.array
    np.testing.assert_array_equal(read_volume(tmp_path / "back").array, expected)


def test_results_may_go_into_a_folder_instead(pacs, filled, denoiser, tmp_path):
    assert counts(run(pacs, denoiser, tmp_path / "out")) == (3, 0, 0)
    assert not [series for series in Pacs(pacs).series() if series.ours]
    expected = denoiser(read_volume(tmp_path / "sent" / "MR")).volume.array
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / filled["MR"]).array, expected)
    assert [len(list((tmp_path / "out" / filled["DX"] / view).iterdir())) for view in ("1", "2")] == [1, 1]
    assert counts(run(pacs, denoiser, tmp_path / "out")) == (0, 3, 0)


@pytest.mark.slow
def test_the_command_takes_the_address_of_a_pacs(pacs, filled, tmp_path, capsys):
    arguments = ["batch", "--studies", pacs, "--model", "student"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / SUMMARY).read_text())["done"] == 3
    assert main(arguments) == 0
    assert "-> the PACS" in capsys.readouterr().out
    assert len([series for series in Pacs(pacs).series() if series.ours]) == 3


@pytest.mark.slow
def test_monai_labels_task_does_the_same_and_knows_what_the_command_did(pacs, filled, denoiser, tmp_path):
    assert counts(run(pacs, denoiser)) == (3, 0, 0)
    datastore = PacsDatastore(Pacs(pacs), tmp_path / "cache")
    task = BatchTask(ModelPool(lambda name, device: denoiser))
    result = task({"model": "student"}, datastore, None)
    assert {answer["params"]["state"] for answer in result.values()} == {"skipped"}
    result = task({"model": "student", "deidentify": True, "images": [filled["CT"]]}, datastore, None)
    assert result[filled["CT"]]["params"]["state"] == "done"
    assert len([series for series in Pacs(pacs).series() if series.ours]) == 4


@pytest.mark.slow
def test_series_that_grew_is_denoised_again(pacs, filled, denoiser, tmp_path):
    run(pacs, denoiser, tmp_path / "out")
    (more,) = pacs_tests.made("CT")[:1]
    first = pydicom.dcmread(tmp_path / "sent" / "CT" / "0.dcm")
    for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        more[keyword].value = first[keyword].value
    more.InstanceNumber, more.ImagePositionPatient[2] = 4, first.ImagePositionPatient[2] - 5
    Pacs(pacs).store(pacs_tests.write([more], tmp_path / "more"))
    assert counts(run(pacs, denoiser, tmp_path / "out")) == (1, 2, 0)


def test_pacs_that_went_away_is_named_and_nothing_is_written(tmp_path, denoiser):
    with pytest.raises(ServiceError, match="does not answer"):
        pacs_items("http://127.0.0.1:9/dicom-web", tmp_path / "out", model="student")


def test_other_formats_than_dicom_are_refused(tmp_path):
    with pytest.raises(OptionError, match="are DICOM"):
        pacs_items("http://127.0.0.1:9/dicom-web", tmp_path, model="student", form="nrrd")
