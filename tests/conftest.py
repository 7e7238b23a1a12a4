"""What more than one folder of tests uses: real slices that an installed package carries, and one loaded model."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from meddenoise import Denoiser


@pytest.fixture(scope="session")
def denoiser():
    """The published student on the CPU."""
    return Denoiser.load("student", device="cpu")


@pytest.fixture
def ct_file(tmp_path):
    """A real CT slice, 128 x 128, as a file of its own."""
    return Path(shutil.copy(get_testdata_file("CT_small.dcm", download=False), tmp_path / "CT_small.dcm"))


@pytest.fixture
def mr_file(tmp_path):
    """A real MR slice, 64 x 64, as a file of its own."""
    return Path(shutil.copy(get_testdata_file("MR_small.dcm", download=False), tmp_path / "MR_small.dcm"))


@pytest.fixture
def real_images():
    """Folder of real images; the test is skipped where it is not there."""
    folder = os.environ.get("MEDDENOISE_DATA")
    if not folder:
        pytest.skip("MEDDENOISE_DATA is not set: no real images to test on")
    return Path(folder)


@pytest.fixture
def dciodvfy():
    """dciodvfy(path) gives the errors Debian's dicom3tools finds in a DICOM file."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")

    def errors(path, *options):
        command = [program, *options, str(path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        return {line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")}

    return errors
