"""A quick denoiser, images of several formats in a tree of folders, and items that are no files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from meddenoise import Denoiser
from meddenoise.batch import Item
from meddenoise.errors import ServiceError
from meddenoise.io import find_sources
from meddenoise.weights import Card


class Smooth(torch.nn.Module):
    """As simple a network as there can be."""

    def forward(self, image, level):
        return torch.nn.functional.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)


@pytest.fixture(scope="session")
def quick():
    """A denoiser that takes no time."""
    card = Card("quick", "1.0.0", "none", {}, "For tests", ["CT"], 0, 0.0, sha256="0123")
    return Denoiser(Smooth(), card, device="cpu")


def image(path, seed=0):
    """A small noisy image, written in the format its name says."""
    rng = np.random.default_rng(seed)
    flat = path.suffix in (".png", ".jpg", ".tif")
    noisy = np.clip(100 + 20 * rng.normal(size=(24, 20) if flat else (3, 24, 20)), 0, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(noisy.astype(np.uint8 if flat else np.int16)), str(path))
    return path


def series(folder, number=1, slices=2):
    """A small DICOM series."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = generate_uid()
    for index in range(slices):
        dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
        dataset.SeriesInstanceUID, dataset.SeriesNumber, dataset.InstanceNumber = uid, number, index + 1
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.ImagePositionPatient[2] = 5 * index
        dataset.save_as(folder / f"{number}-{index}.dcm")
    return uid


@pytest.fixture
def make_image():
    return image


@pytest.fixture
def make_series():
    return series


@pytest.fixture
def archive(tmp_path):
    """A tree of folders with an image of each kind."""
    root = tmp_path / "archive"
    for number, name in enumerate(("a.nrrd", "deep/er/b.nii.gz", "deep/c.mha", "pictures/d.png", "pictures/e.tif")):
        image(root / name, number)
    series(root / "patient" / "study")
    return root


@dataclass(frozen=True)
class Elsewhere:
    """An image that is in no folder."""

    path: Path
    sent: list
    identity: str = "one"
    size: int = 1000

    def fetch(self, folder):
        if not self.path.exists():
            raise ServiceError(f"{self.path.name} cannot be had")
        return find_sources([self.path])[0]

    def store(self, volume, provenance, folder, run):
        self.sent.append(volume)


@pytest.fixture
def elsewhere():
    """elsewhere(path) gives an item whose image is fetched, and the list that its results are stored in."""

    def make(path, key="1.2.3"):
        sent = []
        return Item(key, Elsewhere(path, sent), None, as_dicom=True), sent

    return make


@pytest.fixture
def tree():
    """tree(folder) gives every file below a folder with its content and the time of its last change."""

    def look(folder):
        files = (file for file in sorted(folder.rglob("*")) if file.is_file())
        return {file.relative_to(folder).as_posix(): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}

    return look
