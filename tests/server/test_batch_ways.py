"""The command and MONAI Label's three ways, each in processes of its own, give the same voxels."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk  # noqa: N813
from pydicom.data import get_testdata_file

from meddenoise import Denoiser, read_volume
from meddenoise.server.home import PACKAGE, copy_app

APP = Path(__file__).parents[2] / "apps" / "meddenoise"
NAMES = ("ct.dcm", "film.png", "scan.nii.gz", "volume.nrrd")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def studies(tmp_path):
    """A studies folder of four formats and a damaged image."""
    folder = tmp_path / "studies"
    folder.mkdir()
    noisy = np.clip(100 + 20 * np.random.default_rng(5).normal(size=(3, 40, 48)), 0, 255)
    sitk.WriteImage(sitk.GetImageFromArray(noisy.astype(np.int16)), str(folder / "volume.nrrd"))
    sitk.WriteImage(sitk.GetImageFromArray(noisy.astype(np.float32)), str(folder / "scan.nii.gz"))
    sitk.WriteImage(sitk.GetImageFromArray(noisy[0].astype(np.uint8)), str(folder / "film.png"))
    shutil.copyfile(get_testdata_file("CT_small.dcm", download=False), folder / "ct.dcm")
    (folder / "bad.nrrd").write_text("bad")
    return folder


@pytest.fixture
def python(tmp_path):
    """Run Python in a process of its own, with the app's folders and nothing of the user's."""
    paths = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {"MEDDENOISE_HOME": str(tmp_path / "home"), "MONAI_LABEL_SESSION_PATH": str(tmp_path / "sessions")}
    environment = {**os.environ, **own, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}

    def run(*arguments):
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)

    return run


def arrays(folder):
    """The results by their names."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix not in (".json", ".jsonl")]
    return {path.name: read_volume(path).array for path in found}


def check(studies):
    """The results are what the denoiser itself gives, and nothing else is there."""
    found, denoiser = arrays(studies / "labels" / "denoised_student"), Denoiser.load("student", device="cpu")
    assert tuple(found) == NAMES
    for name, array in found.items():
        np.testing.assert_array_equal(array, denoiser(read_volume(studies / name)).volume.array)


def check_answer(answer):
    assert set(answer) == {"bad", *(name.split(".")[0] for name in NAMES)}
    assert answer.pop("bad")["error"].startswith("bad.nrrd: cannot be read")
    return {entry["params"]["state"] for entry in answer.values()}


def test_module_of_monai_label(studies, tmp_path, python):
    app, answer = copy_app(APP, tmp_path / "app"), tmp_path / "answer.json"
    ask = ["-m", "monailabel.interfaces.utils.app", "-a", app, "-s", studies, "-m", "batch_infer"]
    done = python(*ask, "-r", '{"model": "student"}', "-o", answer)
    assert done.returncode == 0, done.stderr[-3000:]
    assert check_answer(json.loads(answer.read_text())) == {"done"}
    check(studies)


def test_program_of_the_app_and_then_the_command(studies, tmp_path, python):
    main = copy_app(APP, tmp_path / "app") / "main.py"
    done = python(main, "-s", studies, "-m", "student", "-t", "batch_infer")
    assert done.returncode == 1, done.stderr[-3000:]  # one is damaged
    assert check_answer(json.loads(done.stdout)) == {"done"}
    check(studies)
    (studies / "ct.dcm").unlink()  # a folder's DICOM is series to the command, and files to MONAI Label
    done = python("-m", "meddenoise", "batch", "--studies", studies, "--model", "student")
    assert done.returncode == 1, done.stderr[-3000:]
    assert "0 denoised, 3 done before, 1 failed" in done.stdout


def test_route_of_the_server(studies, make_server):
    with make_server(studies, environment={"CUDA_VISIBLE_DEVICES": ""}) as server:
        asked = requests.post(f"{server.url}/batch/infer/student", timeout=60)
        assert asked.status_code == 200, asked.text
        for _ in range(3000):
            state = requests.get(f"{server.url}/batch/infer", timeout=60).json()
            if state["status"] not in ("SUBMITTED", "RUNNING"):
                break
            time.sleep(0.2)
        assert state["status"] == "DONE", state
        assert any("[5/5" in line for line in state["details"])
        check(studies)
        again = requests.post(f"{server.url}/batch/infer/student", params={"run_sync": True}, timeout=600)
        assert check_answer(again.json()) == {"skipped"}
        label = requests.get(f"{server.url}/datastore/label", params={"label": "volume", "tag": "denoised_student"})
        assert label.status_code == 200
