"""One really running server for the whole run, over a studies folder of phantoms and real slices."""

import json
import re
import shutil
import sys
import warnings
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pydicom
import pytest
import requests
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from meddenoise.server.process import server_process
from meddenoise.server.serve import free_port

LEFT_OPEN = (
    "ignore:unclosed:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore:'cgi' is deprecated:DeprecationWarning",
)
"""MONAI Label's own client closes neither its sockets nor the files it sends, and it imports cgi."""

SHAPE = (6, 40, 48)  # slices, rows, columns
SPACING = (0.7, 0.9, 2.5)


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for rule in LEFT_OPEN:
                item.add_marker(pytest.mark.filterwarnings(rule))


def values(dtype, shape=SHAPE):
    """A noisy box on a ramp, within the type's range."""
    rng = np.random.default_rng(7)
    _, y, x = np.indices(shape)
    image = 40 + 60 * ((abs(y - 20) < 9) & (abs(x - 24) < 11)) + 0.5 * x + rng.normal(0, 8, shape)
    if dtype == "float32":
        return image.astype(dtype)
    info = np.iinfo(dtype)
    wide = image if dtype == "uint8" else image * 10
    wide[0, :2, :4], wide[0, :2, 4:8] = info.min, info.max  # the ends of the range must survive
    return np.clip(np.rint(wide), info.min, info.max).astype(dtype)


def image_of(array, direction=None, spacing=SPACING, origin=(-12.5, 30.25, 7.0)):
    """A SimpleITK image with a geometry that nothing but care will keep."""
    n = array.ndim
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[:n])
    image.SetOrigin(origin[:n])
    if direction is not None:
        image.SetDirection(np.asarray(direction).ravel().tolist())
    return image


def rotation(degrees_x, degrees_z):
    """A direction matrix turned about two axes."""
    a, b = np.radians([degrees_x, degrees_z])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return about_z @ about_x


def dicom_slice(name):
    """A real slice that pydicom carries."""
    with as_file(files("pydicom") / "data" / "test_files" / f"{name}.dcm") as path:
        return Path(path)


def fill(studies):
    """The good images and the bad ones."""
    sheared = np.eye(3)
    sheared[:, 2] = [0, np.sin(0.3), np.cos(0.3)]
    good = {
        "oblique.nrrd": image_of(values("float32"), rotation(20, 35)),
        "left_handed.nrrd": image_of(values("int16"), np.diag([1, 1, -1])),
        "sheared.nrrd": image_of(values("int16"), sheared),
        "unsigned.mha": image_of(values("uint16"), rotation(-10, 5)),
        "bytes.nrrd": image_of(values("uint8")),
        "scan 2.5mm v1.nii.gz": image_of(values("int16"), rotation(5, 10)),
        "flat.nrrd": image_of(values("float32")[0], np.array([[0, -1], [1, 0]])),
        "tiny.nrrd": image_of(values("float32", (1, 3, 5))),
        "labels.nrrd": image_of(values("int16")),  # MONAI Label makes a folder of that name
        "constant.nrrd": image_of(np.full(SHAPE, 12, np.int16)),
    }
    for name, image in good.items():
        sitk.WriteImage(image, str(studies / name))
    Image.fromarray(values("uint8")[0]).save(studies / "grey.png")
    for name in ("CT_small", "MR_small"):
        shutil.copyfile(dicom_slice(name), studies / f"{name}.dcm")
    with_nan = values("float32")
    with_nan[2, 3, 4:7] = np.nan
    bad = {
        "with_nan.nrrd": image_of(with_nan),
        "four_axes.nii.gz": sitk.GetImageFromArray(np.zeros((2, 3, 20, 20), np.float32), isVector=False),
        "vectors.nrrd": sitk.GetImageFromArray(np.zeros((4, 20, 20, 3), np.float32), isVector=True),
    }
    for name, image in bad.items():
        sitk.WriteImage(image, str(studies / name))
    Image.fromarray(np.stack([values("uint8")[0] // part for part in (1, 2, 3)], -1)).save(studies / "colour.png")
    whole = studies / "scan 2.5mm v1.nii.gz"
    (studies / "cut_off.nii.gz").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    whole = studies / "oblique.nrrd"
    (studies / "cut_off_too.nrrd").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (studies / "text.nii.gz").write_text("this is no image\n")
    (studies / "empty.nrrd").write_bytes(b"")


@pytest.fixture(scope="session")
def dicom_series(tmp_path_factory):
    """Four files of one CT series: pydicom's slice, moved along the table."""
    folder = tmp_path_factory.mktemp("series")
    for number in range(4):
        data = pydicom.dcmread(dicom_slice("CT_small"))
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{data.SOPInstanceUID}.{number}"
        data.InstanceNumber = number + 1
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient = [x, y, z + 5 * number]
        data.SliceLocation = data.ImagePositionPatient[2]
        data.save_as(folder / f"slice{number}.dcm")
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def match():
    """Assert that a pattern is found, as `pytest.raises(match=...)` does."""

    def check(pattern, text):
        assert re.search(pattern, text), f"{pattern!r} is not in {text!r}"

    return check


class Server:
    """The running server and the ways to ask it."""

    def __init__(self, url, studies, scratch, log):
        with warnings.catch_warnings():  # MONAI Label's client imports cgi
            warnings.simplefilter("ignore", DeprecationWarning)
            from monailabel.client.client import MONAILabelClient
        self.url, self.studies, self.temporary, self.log = url, studies, scratch / "home" / "tmp", log
        self.client = MONAILabelClient(url, tmpdir=str(scratch))

    def path(self, image):
        """The file of an image id."""
        (found,) = self.studies.glob(f"{image}.*")
        return found

    def infer(self, image, **params):
        """Ask MONAI Label's own client; the result's path and the JSON."""
        path, answer = self.client.infer("student", image, params)
        return Path(path), answer

    def post(self, model="student", *, params=None, text=None, upload=None, **query):
        """Ask by plain HTTP."""
        data = {"params": json.dumps(params) if text is None else text} if params is not None or text else {}
        sent = {"file": (upload.name, upload.read_bytes())} if upload else None
        return requests.post(f"{self.url}/infer/{model}", params=query, data=data, files=sent, timeout=60)


@pytest.fixture(scope="session")
def make_server(tmp_path_factory):
    """A context manager that runs a server over a folder."""

    def make(studies, **options):
        scratch = tmp_path_factory.mktemp("scratch")
        port = options.pop("port", None) or free_port()
        home = {
            "MEDDENOISE_HOME": str(scratch / "home"),
            "MONAI_LABEL_SESSION_PATH": str(scratch / "sessions"),
            "TMPDIR": str(scratch / "tmp"),
        }
        environment = {**home, **options.pop("environment", {})}
        (scratch / "tmp").mkdir()
        log = scratch / "server.log"
        return Running(studies, scratch, log, port, environment, options)

    return make


class Running:
    """`server_process` as a `with` block that gives a Server."""

    def __init__(self, studies, scratch, log, port, environment, options):
        self.studies, self.scratch, self.log = studies, scratch, log
        self.process = server_process(studies, port=port, log=log, environment=environment, **options)

    def __enter__(self):
        return Server(self.process.__enter__(), self.studies, self.scratch, self.log)

    def __exit__(self, *details):
        return self.process.__exit__(*details)


@pytest.fixture(scope="session")
def server(tmp_path_factory, make_server):
    """`meddenoise serve` over good and bad images."""
    studies = tmp_path_factory.mktemp("studies")
    fill(studies)
    port = free_port()
    start = f"import os, sys; os.chdir({str(studies)!r}); from meddenoise.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "serve", "--studies", str(studies), "--port", str(port)]
    with make_server(studies, port=port, command=command) as running:
        yield running


@pytest.fixture(scope="session")
def short_line(tmp_path_factory, make_server):
    """A server on one core that lets two requests wait; its image `short` takes a moment, `long` much longer."""
    studies = tmp_path_factory.mktemp("short line")
    for name, shape in (("long", (60, 448, 448)), ("short", (1, 32, 40))):
        sitk.WriteImage(image_of(values("float32", shape)), str(studies / f"{name}.nrrd"))
    environment = {"MEDDENOISE_WAITING": "2", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with make_server(studies, environment=environment) as running:
        assert running.post(image="short").status_code == 200  # the model is loaded, a duration measured
        yield running


def ct_phantom(patient, noise, seed, shape=(9, 64, 64)):
    """A body with two organs in HU, whose size is the patient's own, with white noise."""
    rng = np.random.default_rng([patient, seed])
    _, y, x = np.indices(shape)
    middle = shape[1] // 2
    radius = np.hypot(y - middle, x - middle)
    image = np.where(radius < middle - 4 - patient % 3, 40.0 + 15 * np.sin(x / 4 + patient), -1000.0)
    image[(np.hypot(y - middle, x - middle + 8) < 6)] = 120.0
    return np.rint(image + rng.normal(0, noise, shape)).astype(np.int16)


@pytest.fixture(scope="session")
def make_site():
    """Fill a studies folder with noisy CT phantoms, one of each patient, and their partners by tag and noise."""

    def make(folder, *, patients=3, noise=30.0, partners=(("final", 4.0),), shape=(9, 64, 64)):
        folder.mkdir(exist_ok=True)
        for patient in range(patients):
            sitk.WriteImage(image_of(ct_phantom(patient, noise, 0, shape)), str(folder / f"P{patient}.nrrd"))
            for seed, (tag, level) in enumerate(partners, 1):
                (folder / "labels" / tag).mkdir(parents=True, exist_ok=True)
                partner = image_of(ct_phantom(patient, level, seed, shape))
                sitk.WriteImage(partner, str(folder / "labels" / tag / f"P{patient}.nrrd"))
        return folder

    return make
