"""Against a real Orthanc: series of every modality are listed, fetched, denoised, and stored back as image series."""

import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import numpy as np
import pydicom
import pytest
import requests
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    PositronEmissionTomographyImageStorage,
    UltrasoundImageStorage,
    generate_uid,
)

from meddenoise.errors import InputError, OptionError, ServiceError
from meddenoise.io import Provenance, read_volume
from meddenoise.server.datastore import PacsDatastore
from meddenoise.server.images import read_image
from meddenoise.server.measures import METHODS
from meddenoise.server.options import Options
from meddenoise.server.pacs import Pacs, pacs_of
from meddenoise.server.scores import score_images
from meddenoise.server.serve import check_studies, free_port

APP = Path(__file__).parents[2] / "apps" / "meddenoise"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
DISCLAIMER = "denoised, research use, not a medical device"
REAL = {
    "CT": "CT/CRLM-CT-1004",
    "MR": "MR/VS-SEG-001_T1Gd",
    "PT": "PET/STS_001_FDG_PET_raw",
    "CR": "XR/NEMA_WG04_RG2_J2KR",
}
MADE = ("CT", "MR", "PT", "DX")


@contextmanager
def running_orthanc(folder, user=None):
    """The base address of an Orthanc that is alone with the folder; the test is skipped where there is none."""
    binary = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if binary is None or not PLUGIN.exists():
        pytest.skip("Orthanc is not installed (Debian packages orthanc and orthanc-dicomweb)")
    port = free_port()
    folder.mkdir(parents=True)
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": user is not None,
        "RegisteredUsers": dict([user]) if user else {},
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([binary, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder) as process,
    ):
        try:
            await_answer(f"http://127.0.0.1:{port}/system", user, process, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def await_answer(url, user, process, log):
    for _ in range(600):
        try:
            requests.get(url, auth=user, timeout=5).raise_for_status()
        except requests.RequestException:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"Orthanc did not come up: {log.read_text()}")


def made(modality):
    """Three objects of one series, made from a real slice that pydicom carries."""
    name = "MR_small" if modality == "MR" else "CT_small"
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    result = []
    for number in range(1 if modality == "DX" else 3):
        dataset = pydicom.dcmread(str(files("pydicom") / "data" / "test_files" / f"{name}.dcm"))
        dataset.remove_private_tags()
        dataset.Modality = modality
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
        dataset.SOPInstanceUID, dataset.InstanceNumber = generate_uid(), number + 1
        dataset.PatientID, dataset.PatientName = f"KH-4711-{modality}", "Mustermann^Erika"
        dataset.StudyDate, dataset.SeriesDescription = "20230919", f"Series of {modality}"
        dataset.WindowCenter, dataset.WindowWidth = 50, 350
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, z + 5 * number]
        special(dataset, modality, number)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        result.append(dataset)
    return result


def special(dataset, modality, number):
    """What makes a CT slice one of another modality."""
    if modality == "PT":
        dataset.SOPClassUID, dataset.Units = PositronEmissionTomographyImageStorage, "BQML"
        dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1.5 + number  # a PET series has a slope of each slice
    elif modality == "DX":
        dataset.SOPClassUID, dataset.PresentationIntentType = DigitalXRayImageStorageForPresentation, "FOR PRESENTATION"
        dataset.RescaleIntercept = 0
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.SliceLocation
    elif modality == "US":
        dataset.SOPClassUID = UltrasoundImageStorage


def write(datasets, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(datasets):
        dataset.save_as(folder / f"{number}.dcm")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """An Orthanc that holds a made series of each modality, and one that is no image to denoise."""
    folder = tmp_path_factory.mktemp("orthanc")
    with running_orthanc(folder / "run") as base:
        held = {}
        for modality in (*MADE, "US"):
            held[modality] = write(made(modality), folder / modality)
            Pacs(f"{base}/dicom-web").store(held[modality])
        yield base, {modality: pydicom.dcmread(sent[0]).SeriesInstanceUID for modality, sent in held.items()}, folder


@pytest.fixture
def datastore(orthanc, tmp_path):
    return PacsDatastore(Pacs(f"{orthanc[0]}/dicom-web"), tmp_path / "cache")


def held(base, series):
    """The files of a series as Orthanc holds them, sorted by InstanceNumber; each can be shown."""
    query = {"Level": "Series", "Query": {"SeriesInstanceUID": series}, "Expand": True}
    (found,) = requests.post(f"{base}/tools/find", json=query, timeout=30).json()
    result = []
    for instance in found["Instances"]:
        assert requests.get(f"{base}/instances/{instance}/preview", timeout=30).headers["Content-Type"] == "image/png"
        result.append(requests.get(f"{base}/instances/{instance}/file", timeout=30).content)
    return sorted(result, key=lambda data: int(read(data).InstanceNumber))


def read(data):
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))


def physical(dataset):
    return dataset.pixel_array * np.float64(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))


def store_denoised(datastore, denoiser, uid, **options):
    """Denoise a series of the PACS and store the result."""
    result = denoiser(read_volume(datastore.get_image_uri(uid)))
    provenance = Provenance(result.model["name"], result.model["version"], 1.0)
    return result, datastore.store(result.volume, provenance, **options)


def test_series_of_every_modality_are_listed_and_nothing_else(orthanc, datastore):
    listed = {series.modality for series in datastore.series()}
    assert listed == set(MADE)
    assert {orthanc[1][modality] for modality in MADE} <= set(datastore.list_images())
    assert orthanc[1]["US"] not in datastore.list_images()
    assert datastore.status()["total"] == len(datastore.list_images())
    assert set(datastore.json()["objects"]) == set(datastore.list_images())


@pytest.mark.parametrize("modality", MADE)
def test_series_is_fetched_as_the_dicom_that_was_stored(orthanc, datastore, modality):
    folder = Path(datastore.get_image_uri(orthanc[1][modality]))
    assert {file.suffix for file in datastore.cache.rglob("*") if file.is_file()} == {".dcm"}
    fetched, sent = read_volume(folder), read_volume(orthanc[2] / modality)
    np.testing.assert_array_equal(fetched.array, sent.array)
    np.testing.assert_array_equal(fetched.affine, sent.affine)
    assert fetched.modality == sent.modality == {"PT": "PET", "DX": "XR"}.get(modality, modality)


@pytest.mark.parametrize("modality", MADE)
def test_result_is_stored_as_an_image_series_of_the_same_study(orthanc, datastore, denoiser, modality):
    base, uids, folder = orthanc
    result, stored = store_denoised(datastore, denoiser, uids[modality])
    sources = [pydicom.dcmread(file) for file in sorted((folder / modality).iterdir())]
    derived = [read(data) for data in held(base, stored["series"])]
    assert stored["instances"] == len(derived) == len(sources)
    assert stored["study"] == sources[0].StudyInstanceUID
    assert stored["series"] != uids[modality]
    for source, dataset, expected in zip(sources, derived, result.volume.array, strict=True):
        assert dataset.SOPClassUID == source.SOPClassUID  # an image, never a segmentation
        assert dataset.Modality == modality
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "WindowCenter",
                        "WindowWidth", "PixelSpacing"):  # fmt: skip
            assert dataset[keyword].value == source[keyword].value
        for keyword in ("ImagePositionPatient", "RescaleSlope", "RescaleIntercept"):
            assert dataset.get(keyword) == source.get(keyword)
        assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert dataset.ImageType[0] == "DERIVED"
        assert dataset.SeriesDescription == f"Series of {modality} {DISCLAIMER}"
        assert dataset.DerivationDescription.startswith("MedDenoise student")
        half_a_step = 0.5 * float(dataset.get("RescaleSlope", 1)) if modality == "PT" else 0
        np.testing.assert_allclose(physical(dataset), expected, rtol=0, atol=half_a_step + 1e-3 * (half_a_step > 0))
        assert (physical(dataset) != physical(source)).any()


def test_results_are_not_listed_but_can_be_asked_for(orthanc, datastore, denoiser):
    _, stored = store_denoised(datastore, denoiser, orthanc[1]["MR"])
    assert stored["series"] in {series.uid for series in datastore.pacs.series()}
    assert stored["series"] not in datastore.list_images()
    again = read_volume(datastore.get_image_uri(stored["series"]))
    assert any("already a result of MedDenoise" in warning for warning in again.header.warnings)


def test_nothing_of_the_patient_is_stored_where_deidentification_is_asked_for(orthanc, datastore, denoiser):
    base, uids, folder = orthanc
    result, stored = store_denoised(datastore, denoiser, uids["CT"], deidentify=True)
    sources = [pydicom.dcmread(file) for file in sorted((folder / "CT").iterdir())]
    known = {str(dataset[word].value) for dataset in sources for word in ("StudyInstanceUID", "SeriesInstanceUID",
             "SOPInstanceUID", "FrameOfReferenceUID", "PatientID", "StudyDate", "AcquisitionDate")}  # fmt: skip
    for data, expected in zip(held(base, stored["series"]), result.volume.array, strict=True):
        assert [word for word in (*known, "Mustermann") if word.encode() in data] == []
        assert read(data).PatientIdentityRemoved == "YES"
        np.testing.assert_array_equal(physical(read(data)), expected)
    assert stored["deidentified"] is True
    assert stored["series"] not in datastore.list_images()


def test_two_deidentified_results_of_one_study_stay_in_one_study(orthanc, datastore, denoiser):
    first, second = (store_denoised(datastore, denoiser, orthanc[1]["CT"], deidentify=True)[1] for _ in range(2))
    assert first["study"] == second["study"] != pydicom.dcmread(orthanc[2] / "CT" / "0.dcm").StudyInstanceUID
    assert first["series"] != second["series"]


def test_series_that_grew_is_fetched_again(datastore, tmp_path):
    objects = made("CT")
    datastore.pacs.store(write(objects[:2], tmp_path / "first"))
    uid = objects[0].SeriesInstanceUID
    assert len(list(Path(datastore.get_image_uri(uid)).iterdir())) == 2
    datastore.pacs.store(write(objects[2:], tmp_path / "more"))
    assert len(list(Path(datastore.get_image_uri(uid)).iterdir())) == 3


def test_series_that_did_not_change_is_fetched_once(orthanc, datastore):
    folder = Path(datastore.get_image_uri(orthanc[1]["CT"]))
    times = [file.stat().st_mtime_ns for file in sorted(folder.iterdir())]
    datastore.get_image_uri(orthanc[1]["CT"])
    assert [file.stat().st_mtime_ns for file in sorted(folder.iterdir())] == times


@pytest.mark.parametrize("uid", ["1.2.3", "", "..", "../../etc", "1.2.*", "*", "1" * 65])
def test_ids_that_no_series_has_are_not_found(datastore, uid):
    assert datastore.get_image_uri(uid) == ""


def test_only_images_of_the_pacs_are_stored(orthanc, datastore):
    own = read_volume(orthanc[2] / "CT")
    with pytest.raises(OptionError, match="store is for images of the PACS"):
        datastore.store(own, Provenance("student", "1.0.0", 1.0))


def test_one_of_several_views_in_a_series_is_denoised_and_stored(datastore, denoiser, tmp_path, orthanc):
    views = [*made("DX"), *made("DX")]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        setattr(views[1], keyword, views[0][keyword].value)
    datastore.pacs.store(write(views, tmp_path / "views"))
    folder = Path(datastore.get_image_uri(views[0].SeriesInstanceUID))
    names = [view.SOPInstanceUID for view in views]
    with pytest.raises(InputError, match="holds 2 images; choose one with the option instance: ") as caught:
        read_image(folder, Options())
    assert all(name in str(caught.value) for name in names)
    with pytest.raises(InputError, match=r"holds no image with the SOPInstanceUID 1\.2\.3"):
        read_image(folder, Options(instance="1.2.3"))
    result = denoiser(read_image(folder, Options(instance=names[1])))
    stored = datastore.store(result.volume, Provenance("student", "1.0.0", 1.0))
    (derived,) = (read(data) for data in held(orthanc[0], stored["series"]))
    assert derived.SourceImageSequence[0].ReferencedSOPInstanceUID == names[1]


@pytest.mark.parametrize("modality", REAL)
def test_real_series_goes_through_orthanc_and_back(datastore, denoiser, tmp_path, real_images, orthanc, modality):
    found = sorted((real_images / REAL[modality]).iterdir())[:3]
    (tmp_path / "sent").mkdir()
    copies = [Path(shutil.copyfile(file, tmp_path / "sent" / f"{n}.dcm")) for n, file in enumerate(found)]
    datastore.pacs.store(copies)
    uid = pydicom.dcmread(copies[0]).SeriesInstanceUID
    assert uid in datastore.list_images()
    before = read_volume(tmp_path / "sent")
    result, stored = store_denoised(datastore, denoiser, uid)
    np.testing.assert_array_equal(read_volume(datastore.get_image_uri(uid)).array, before.array)
    after = read_volume(datastore.get_image_uri(stored["series"]))
    np.testing.assert_allclose(after.affine, before.affine, rtol=0, atol=1e-9)
    sources = [pydicom.dcmread(file) for file in before.header.sources]
    steps = np.array([float(source.get("RescaleSlope") or 1) for source in sources])[:, None, None]
    expected, tolerance = result.volume.array, 0.0
    if modality == "PT":  # float values, stored with a slope of each slice, which also ends what a slice can hold
        expected, tolerance = np.minimum(expected, 32767 * steps), 0.51 * steps.max()
    np.testing.assert_allclose(after.array, expected, rtol=0, atol=tolerance)
    assert stored["study"] == pydicom.dcmread(copies[0]).StudyInstanceUID
    assert len(held(orthanc[0], stored["series"])) == len(copies)


@pytest.fixture(scope="module")
def pacs_server(orthanc, make_server, tmp_path_factory):
    """`meddenoise serve` over the Orthanc."""
    url, port = f"{orthanc[0]}/dicom-web", free_port()
    cache = tmp_path_factory.mktemp("dicom cache")
    command = [sys.executable, "-m", "meddenoise", "serve", "--studies", url, "--port", str(port)]
    environment = {"MONAI_LABEL_DICOMWEB_CACHE_PATH": str(cache)}
    with make_server(Path("unused"), port=port, command=command, environment=environment) as running:
        yield running


def test_server_lists_the_series_of_the_pacs(orthanc, pacs_server):
    assert requests.get(f"{pacs_server.url}/datastore/", timeout=60).json()["total"] >= len(MADE)
    listed = requests.get(f"{pacs_server.url}/datastore/?output=all", timeout=60).json()["objects"]
    assert {orthanc[1][modality] for modality in MADE} <= set(listed)
    assert pacs_server.client.next_sample("first", {})["id"] in listed


@pytest.mark.parametrize("modality", MADE)
def test_server_denoises_a_series_by_its_uid(orthanc, pacs_server, denoiser, modality):
    path, answer = pacs_server.infer(orthanc[1][modality])
    volume = read_volume(orthanc[2] / modality)
    np.testing.assert_array_equal(read_volume(path, modality=volume.modality).array, denoiser(volume).volume.array)
    assert answer["settings"]["modality"] == volume.modality
    assert "stored" not in answer


@pytest.mark.parametrize("option", ["store", "save_label"])
def test_server_stores_what_it_denoised(orthanc, pacs_server, denoiser, option):
    _, answer = pacs_server.infer(orthanc[1]["CT"], **{option: True, "strength": 0.5})
    expected = denoiser(read_volume(orthanc[2] / "CT"), strength=0.5).volume.array
    derived = [read(data) for data in held(orthanc[0], answer["stored"]["series"])]
    np.testing.assert_array_equal([physical(dataset) for dataset in derived], expected)
    assert derived[0].StudyInstanceUID == pydicom.dcmread(orthanc[2] / "CT" / "0.dcm").StudyInstanceUID
    assert "strength 0.5" in derived[0].DerivationDescription
    listed = requests.get(f"{pacs_server.url}/datastore/?output=all", timeout=60).json()["objects"]
    assert answer["stored"]["series"] not in listed


def test_server_stores_without_the_patient_if_asked(orthanc, pacs_server):
    _, answer = pacs_server.infer(orthanc[1]["MR"], store=True, deidentify=True)
    for data in held(orthanc[0], answer["stored"]["series"]):
        assert b"Mustermann" not in data
        assert b"KH-4711" not in data
    assert any("burned into the pixels" in warning for warning in answer["warnings"])


def test_dicom_result_comes_without_the_patient_if_asked(orthanc, pacs_server):
    params = {"result_extension": ".dcm", "deidentify": True}
    answer = pacs_server.post(params=params, image=orthanc[1]["CT"], output="image")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        objects = [archive.read(name) for name in archive.namelist()]
    assert len(objects) == 3
    for data in objects:
        assert b"Mustermann" not in data
        assert read(data).PatientIdentityRemoved == "YES"


@pytest.mark.parametrize(
    ("params", "query", "status", "reason"),
    [
        ({}, {"image": "1.2.3"}, 404, "no image '1.2.3'"),
        ({"store": "yes"}, {"image": "CT"}, 400, "store must be true or false, got 'yes'"),
        ({"deidentify": True}, {"image": "CT"}, 400, "deidentify is for DICOM"),
        ({"instance": 7}, {"image": "CT"}, 400, "instance must be a DICOM UID"),
        ({"instance": "1.2.3"}, {"image": "CT"}, 422, "holds no image with the SOPInstanceUID 1.2.3"),
    ],
)
def test_server_says_what_is_wrong_with_a_request(orthanc, pacs_server, params, query, status, reason):
    image = orthanc[1].get(query["image"], query["image"])
    answer = pacs_server.post(params=params, image=image)
    assert answer.status_code == status
    assert reason in answer.json()["detail"]


def test_upload_cannot_be_stored_in_the_pacs(orthanc, pacs_server):
    answer = pacs_server.post(params={"store": True}, upload=orthanc[2] / "CT" / "0.dcm")
    assert answer.status_code == 400
    assert "store is for images of the PACS" in answer.json()["detail"]


def test_labels_and_new_images_are_refused_over_a_pacs(orthanc, pacs_server):
    file = {"label": ("label.nrrd", b"no matter")}
    url = f"{pacs_server.url}/datastore"
    answers = [
        requests.put(f"{url}/label?image={orthanc[1]['CT']}&tag=final", files=file, timeout=30),
        requests.put(f"{url}/image?image=new", files={"file": ("new.dcm", b"no matter")}, timeout=30),
        requests.delete(f"{url}/image?id={orthanc[1]['CT']}", timeout=30),
    ]
    assert [answer.status_code // 100 for answer in answers] == [4, 4, 4]
    assert orthanc[1]["CT"] in requests.get(f"{url}/?output=all", timeout=30).json()["objects"]


def test_series_of_several_views_is_scored_by_the_noisiest(datastore, tmp_path):
    views = [*made("DX"), *made("DX")]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        setattr(views[1], keyword, views[0][keyword].value)
    datastore.pacs.store(write(views, tmp_path / "views"))
    summary = score_images(METHODS[0], datastore, [views[0].SeriesInstanceUID])
    assert (summary["scored"], summary["failed"]) == (1, {})
    assert datastore.get_image_info(views[0].SeriesInstanceUID)["noise_score"]["images"] == 2


def test_server_scores_series_of_the_pacs_and_offers_the_noisiest(orthanc, pacs_server):
    unscored = requests.post(f"{pacs_server.url}/activelearning/noisiest", timeout=60).json()
    assert unscored["note"].endswith("first of them by name")  # the whole PACS is not fetched for this
    assert "path" not in unscored
    others = [orthanc[1][modality] for modality in ("CT", "MR", "PT") if orthanc[1][modality] != unscored["id"]]
    wanted = {"images": others[:2]}  # what was just offered waits behind the rest
    answer = requests.post(f"{pacs_server.url}/scoring/noise?run_sync=true", json=wanted, timeout=60)
    assert (answer.json()["scored"], answer.json()["failed"]) == (2, {})
    found = [pacs_server.client.next_sample("noisiest", {}) for _ in range(2)]
    assert {sample["id"] for sample in found} == set(wanted["images"])
    assert found[0]["noise_score"]["relative"] > found[1]["noise_score"]["relative"] > 0
    assert found[0]["modality"] in ("CT", "MR", "PT")


def test_names_of_patients_are_not_in_the_servers_log(pacs_server, orthanc):
    pacs_server.infer(orthanc[1]["CT"])
    log = pacs_server.log.read_text()
    assert "fetched series" in log
    assert "Mustermann" not in log
    assert "KH-4711" not in log


def test_store_without_a_pacs_is_refused_with_the_way_out(server):
    answer = server.post(params={"store": True}, image="oblique")
    assert answer.status_code == 400
    assert "--studies http://pacs:8042/dicom-web" in answer.json()["detail"]


def test_plain_monai_label_server_serves_the_pacs_and_survives_its_end(tmp_path, make_server):
    port = free_port()
    with running_orthanc(tmp_path / "own") as base:
        sent = write(made("MR"), tmp_path / "MR")
        Pacs(f"{base}/dicom-web").store(sent)
        uid = pydicom.dcmread(sent[0]).SeriesInstanceUID
        command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(APP)]
        command += ["--studies", f"{base}/dicom-web", "--host", "127.0.0.1", "--port", str(port)]
        environment = {"MONAI_LABEL_DICOMWEB_CACHE_PATH": str(tmp_path / "cache")}
        server = make_server(Path("unused"), port=port, command=command, environment=environment)
        running = server.__enter__()
        try:
            _, answer = running.infer(uid, store=True)
            assert len(held(base, answer["stored"]["series"])) == 3
            assert requests.get(f"{running.url}/info/", timeout=60).json()["datastore"]["total"] == 1
        except BaseException:
            server.__exit__(None, None, None)
            raise
    try:
        answer = running.post(image=uid)
        assert answer.status_code == 503
        assert "does not answer" in answer.json()["detail"]
        assert requests.get(f"{running.url}/info/", timeout=60).ok
        assert "github.com" not in running.log.read_text()
    finally:
        server.__exit__(None, None, None)


def test_pacs_with_a_password_is_used_with_it_and_named_without(tmp_path, monkeypatch):
    with running_orthanc(tmp_path / "own", user=("radiology", "secret")) as base:
        url = f"{base}/dicom-web"
        with pytest.raises(
            ServiceError, match=r"refused to be searched \(HTTP status 401\); set MONAI_LABEL_DICOMWEB_"
        ):
            check_studies(url)
        monkeypatch.setenv("MONAI_LABEL_DICOMWEB_USERNAME", "radiology")
        monkeypatch.setenv("MONAI_LABEL_DICOMWEB_PASSWORD", "secret")
        check_studies(url)
        pacs_of(url).store(write(made("CT"), tmp_path / "CT"))
        assert [series.modality for series in pacs_of(url).series()] == ["CT"]
        monkeypatch.setenv("MONAI_LABEL_DICOMWEB_SEARCH_FILTER", '{"StudyDate": "20240101-"}')
        assert pacs_of(url).series() == []


def test_search_filter_that_is_no_json_is_named(monkeypatch):
    monkeypatch.setenv("MONAI_LABEL_DICOMWEB_SEARCH_FILTER", "Modality=CT")
    with pytest.raises(ServiceError, match="MONAI_LABEL_DICOMWEB_SEARCH_FILTER must be a JSON object"):
        pacs_of("http://127.0.0.1:8042/dicom-web")


def test_serve_names_a_pacs_that_does_not_answer():
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    with pytest.raises(ServiceError, match=rf"^the PACS at {url} does not answer; check the address"):
        check_studies(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://pacs/dicom-web", "is no address of a PACS"),
        ("http://", "is no address of a PACS"),
        ("http://pacs:port/", "is no address of a PACS"),
        ("http://me:secret@pacs/dicom-web", "must hold no name and password"),
    ],
)
def test_serve_names_an_address_that_is_none(url, reason):
    with pytest.raises(ServiceError, match=reason) as caught:
        check_studies(url)
    assert "secret" not in str(caught.value)


@contextmanager
def answering(status, body, kind):
    """A web server that answers everything alike."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - a name of the base class

        def log_message(self, *details):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_serve_names_a_web_page_that_is_no_pacs():
    wrong = "gave no DICOMweb answer when asked to be searched"
    with answering(200, b"<html>hello</html>", "text/html") as url, pytest.raises(ServiceError, match=wrong):
        check_studies(url)
    missing = r"refused to be searched \(HTTP status 404\)"
    with answering(404, b"<html>not found</html>", "text/html") as url, pytest.raises(ServiceError, match=missing):
        check_studies(url)


def test_object_that_the_pacs_refuses_is_reported(ct_file):
    refused = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}
    body, reason = json.dumps(refused).encode(), r"refused 1 objects of a result \(272\)"
    with answering(200, body, "application/dicom+json") as url, pytest.raises(ServiceError, match=reason):
        Pacs(url).store([ct_file])
