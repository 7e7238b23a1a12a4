"""What more than one folder of tests uses: real slices that an installed package carries, and one loaded model."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # side by side with others, threads hinder more than they help
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start, too

import pytest
import torch
from pydicom.data import get_testdata_file

from meddenoise import Denoiser, weights
from meddenoise.networks import TwoStage
from meddenoise.weights import Card

_HOME = tempfile.TemporaryDirectory(prefix="meddenoise-tests-")
os.environ["MEDDENOISE_HOME"] = _HOME.name  # a developer's own models are not what is tested


@pytest.fixture(scope="session")
def denoiser():
    """The published student on the CPU."""
    return Denoiser.load("student", device="cpu")


@pytest.fixture(scope="session")
def two_stage_weights(tmp_path_factory):
    """A folder of weights: the published student, and a small two_stage whose weights are random."""
    folder = tmp_path_factory.mktemp("weights")
    for file in (weights.file_of("student"), weights.file_of("student").with_suffix(".json")):
        shutil.copy(file, folder)
    sizes = {"width": 8, "growth": 4, "blocks": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TwoStage(**sizes)
        for stage in (network.nen, network.rn):  # a fresh network would change nothing
            torch.nn.init.normal_(stage.trunk[-1].weight, std=0.2)
    card = Card(
        "two_stage",
        "0.0.1",
        "two_stage",
        sizes,
        "For tests",
        ["CT"],
        1,
        0.1,
        context=3.0,
        colour=True,
        colours_together=True,
    )
    weights.save(network, card, folder)
    return folder


@pytest.fixture
def with_two_stage(two_stage_weights, monkeypatch):
    """The models are the student and a random two_stage."""
    monkeypatch.setenv("MEDDENOISE_WEIGHTS", str(two_stage_weights))


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
