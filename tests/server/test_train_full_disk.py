"""A disk that fills up while a model is trained: the served model is intact, and the training goes on with room."""

import json
import os
import subprocess
import sys

import pytest

from meddenoise import weights
from meddenoise.server.train_job import status

QUICK = {"steps": 3, "patch": 32, "batch": 2, "device": "cpu", "publish": False}
CODE = """
import json, resource, sys
import torch
torch.set_num_threads(1)
from meddenoise.errors import MedDenoiseError
from meddenoise.server.datastore import studies_folder
from meddenoise.server.train_job import train_site
studies, options, limit, after = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

def report(line):
    if limit and after in line:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # writing more fails, as on a full disk

report("from the start")
try:
    train_site("student", options, studies_folder(studies), report=report)
except MedDenoiseError as error:
    sys.exit(str(error))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="only POSIX limits how much a process may write")
@pytest.mark.parametrize(
    ("limit", "after", "resumed"),
    [(400_000, "start", False), (9_000_000, "start", True), (14_000_000, "slices of", True)],
    ids=["no room for an image", "no room for all images", "no room for a checkpoint"],
)
def test_full_disk_ends_a_training_with_a_sentence_and_loses_nothing(
    tmp_path, make_site, monkeypatch, limit, after, resumed
):
    studies, home = make_site(tmp_path / "studies"), tmp_path / "home"
    environment = {**os.environ, "MEDDENOISE_HOME": str(home), "MEDDENOISE_WEIGHTS": "", "CUDA_VISIBLE_DEVICES": ""}
    monkeypatch.setenv("MEDDENOISE_HOME", str(home))
    before = weights.read_card("student").sha256

    def train(limit):
        command = [sys.executable, "-c", CODE, str(studies), json.dumps(QUICK), str(limit), after]
        return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300)

    ended = train(limit)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    held = status().read()
    assert held["state"] == "failed"
    assert held["problem"].startswith("the disk of the server's data folder is full; free some space")
    assert held["problem"] in ended.stderr
    assert not list(home.rglob("*.part"))
    weights.load("student")  # raises where it is not sound
    assert weights.read_card("student").sha256 == before
    again = train(0)
    assert again.returncode == 0, again.stderr
    assert status().read()["resumed"] == resumed
