"""Trainings over HTTP: refused at once where they must fail; started, watched and stopped by MONAI Label's client."""

import os
import signal
import subprocess
import sys
import time

import pytest
import requests

from meddenoise import Denoiser, weights
from meddenoise.server.serve import free_port
from meddenoise.server.train_job import status

QUICK = {"steps": 60, "patch": 32, "batch": 2, "device": "cpu"}


def train(server, model="student", **params):
    return requests.post(f"{server.url}/train/{model}", json=params, timeout=120)


def test_info_shows_what_can_be_trained_and_with_which_options(server):
    trainers = server.client.info()["trainers"]
    assert {"student", "two_stage"} <= set(trainers)
    config = trainers["student"]["config"]
    assert config["self_supervised"] == ["auto", "on", "off"]
    assert config["minutes"] == 20.0
    assert "distil" not in trainers["two_stage"]["config"]


def test_options_are_explained_for_clients_that_show_them(server):
    said = requests.get(f"{server.url}/train/options", timeout=60).json()
    config = server.client.info()["trainers"]["gan"]["config"]
    assert list(said["gan"]) == list(config)
    assert "multiple of 16" in said["gan"]["patch"]


@pytest.mark.parametrize(
    ("model", "params", "code", "sentence"),
    [
        ("student", {"steps": 3}, 422, "; take it out, or set skip_unreadable to train without"),
        ("student", {"patch": 30}, 400, "patch must be a multiple of 16, got 30"),
        ("student", {"stepps": 3}, 400, "the training of student has no option 'stepps'"),
        ("student", {"patient_from": "/etc"}, 400, "patient_from must not be a path"),
        ("nothing", {}, 404, "no training 'nothing'; this server has: student"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once_in_a_sentence(server, model, params, code, sentence):
    answer = train(server, model, **params)
    assert answer.status_code == code
    assert sentence in answer.json()["detail"]
    assert str(server.studies) not in answer.text
    assert not server.client.train_status(check_if_running=True)
    assert requests.get(f"{server.url}/train/", timeout=60).status_code == 404


def within(seconds, condition):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.3)
    raise AssertionError(f"not within {seconds} s")


def trained_steps(server):
    """Steps done while it trains, 0 before."""
    progress = server.client.train_status().get("progress", {})
    return progress.get("step", 0) if progress.get("stage", "").startswith("training") else 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_monai_labels_client_starts_watches_and_stops_a_training_that_then_goes_on(tmp_path, make_server, make_site):
    with make_server(make_site(tmp_path / "studies")) as server:
        started = server.client.train_start("student", QUICK)
        assert started["data"]["patients"] == 3
        assert not started["resumed"]
        assert train(server, **QUICK).status_code == 429
        within(300, lambda: trained_steps(server) > 9)
        before = time.monotonic()
        server.infer("P0")
        assert time.monotonic() - before < 60  # the training gives way
        stopped = server.client.train_stop()
        assert stopped["status"] == "STOPPED"
        within(20, lambda: not server.client.train_status(check_if_running=True))
        assert server.client.train_status()["progress"]["state"] == "stopped"
        assert server.client.train_start("student", QUICK)["resumed"]
        within(500, lambda: not server.client.train_status(check_if_running=True))
        done = server.client.train_status()
        assert done["status"] == "DONE"
        assert any("resumed after step" in line for line in done["details"])
        assert done["progress"]["result"]["verdict"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_training_of_a_killed_server_ends_and_goes_on_with_the_next(tmp_path, make_server, make_site):
    studies, port = make_site(tmp_path / "studies"), free_port()
    home = {"MEDDENOISE_HOME": str(tmp_path / "shared")}
    pid = tmp_path / "pid"
    start = (
        f"import os, pathlib, sys; pathlib.Path({str(pid)!r}).write_text(str(os.getpid()));"
        "from meddenoise.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", start, "serve", "--studies", str(studies), "--port", str(port)]
    with make_server(studies, port=port, command=command, environment=home) as server:
        train(server, **QUICK)
        within(300, lambda: trained_steps(server) > 9)
        os.kill(int(pid.read_text()), signal.SIGKILL)
    with make_server(studies, environment=home) as server:
        held = server.client.train_status()
        assert held["progress"]["step"] > 9
        within(30, lambda: server.client.train_status()["status"] == "STOPPED")
        assert train(server, **QUICK).json()["resumed"]
        within(500, lambda: server.client.train_status()["status"] == "DONE")


KILLED = """
import os, random, signal, sys, time
import torch
torch.set_num_threads(1)
from meddenoise.server.datastore import studies_folder
from meddenoise.server.train_job import train_site
from meddenoise import comparison, weights
comparison.Comparison.better = True  # so that it publishes, too
chance, kills, quick = random.Random(5), int(sys.argv[2]), {quick!r}
for number in range(1000):
    child = os.fork()
    if child == 0:
        train_site("student", quick, studies_folder(sys.argv[1]))
        os._exit(0)
    if number < kills:
        time.sleep(chance.uniform(0.2, float(sys.argv[3])))
        os.kill(child, signal.SIGKILL)
    _, code = os.waitpid(child, 0)
    weights.load("student")  # raises where it is not sound
    if number >= kills:
        sys.exit(os.waitstatus_to_exitcode(code))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX forks")
@pytest.mark.timeout(1800)
def test_twenty_kills_at_random_moments_leave_a_sound_model_and_a_training_that_ends(tmp_path, make_site, monkeypatch):
    studies, home = make_site(tmp_path / "studies"), str(tmp_path / "home")
    environment = {**os.environ, "MEDDENOISE_HOME": home, "MEDDENOISE_WEIGHTS": "", "CUDA_VISIBLE_DEVICES": ""}
    code = KILLED.format(quick={**QUICK, "steps": 30})
    subprocess.run([sys.executable, "-c", code, str(studies), "20", "12"], env=environment, check=True, timeout=1700)
    monkeypatch.setenv("MEDDENOISE_HOME", home)
    held = status().read()
    assert held["state"] == "done"
    assert weights.read_card("student").version.endswith(f"+site.{number_of(held)}")
    Denoiser.load("student", device="cpu")


def number_of(held):
    """The number of the version that the training published."""
    return held["result"]["published"].rsplit(".", 1)[1]
