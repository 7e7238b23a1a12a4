"""The versions of a model over HTTP: seen and switched by administrators while requests run."""

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import requests
import SimpleITK as sitk  # noqa: N813

from meddenoise import Denoiser, weights
from meddenoise.comparison import Case, compare, write
from meddenoise.io import read_volume
from meddenoise.phantom import phantom
from meddenoise.server.serve import free_port
from meddenoise.server.tokens import new_token
from meddenoise.weights import versions

PUBLISHED = ", ".join(sorted(path.stem for path in weights.folder().glob("*.json")))


class Site:
    """A server with tokens, and the folder of its models."""

    def __init__(self, running, home, tokens):
        self.running, self.home, self.tokens = running, home, tokens

    def ask(self, method, path, role="admin"):
        headers = {"Authorization": f"Bearer {self.tokens[role]}"}
        return requests.request(method, f"{self.running.url}{path}", headers=headers, timeout=120)

    def publish(self, factor, **options):
        """A version of the student whose weights are multiplied; returns its network and its card."""
        network, card = weights.load("student@built-in")
        for parameter in network.parameters():
            parameter.mul_(factor)
        with mock.patch.dict(os.environ, {"MEDDENOISE_HOME": str(self.home)}):
            return network, versions.publish(network, card, **options)


@pytest.fixture(scope="module")
def site(make_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    studies, home = folder / "studies", folder / "home"
    studies.mkdir()
    pixels = np.rint(np.random.default_rng(3).normal(100, 20, (1, 32, 32))).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(studies / "volume.nrrd"))
    made = {role: new_token(role, role) for role in ("user", "admin")}
    file = folder / "tokens"
    file.write_text("".join(f"{line}\n" for _, line in made.values()))
    file.chmod(0o600)
    port = free_port()
    command = [sys.executable, "-m", "meddenoise", "serve", "--studies", str(studies), "--port", str(port)]
    command += ["--tokens", str(file)]
    environment = {"MEDDENOISE_HOME": str(home)}
    with make_server(studies, port=port, command=command, environment=environment) as running:
        yield Site(running, home, {role: token for role, (token, _) in made.items()})


@pytest.fixture
def clean(site):
    """The site, without versions before and after."""
    yield site
    with mock.patch.dict(os.environ, {"MEDDENOISE_HOME": str(site.home)}):
        versions.activate("student", "built-in")
        for one in versions.versions("student")[1:]:
            versions.delete("student", one.version)


def test_versions_are_listed_switched_rolled_back_and_deleted(clean):
    built_in = weights.read_card("student@built-in").version
    first, second = (clean.publish(factor)[1].version for factor in (0.95, 0.9))
    found = clean.ask("GET", "/models").json()["student"]
    assert found == clean.ask("GET", "/models/student").json()
    assert (found["active"], found["version"]) == (second, second)
    assert [one["name"] for one in found["versions"]] == ["built-in", first, second]
    assert [one["active"] for one in found["versions"]] == [False, False, True]
    assert clean.ask("GET", f"/models/student/{first}/card").json()["version"] == first
    assert clean.ask("GET", "/info/").json()["models"]["student"]["version"] == second
    assert clean.ask("POST", f"/models/student/{first}/activate").json()["version"] == first
    assert clean.ask("GET", "/info/").json()["models"]["student"]["version"] == first
    assert clean.ask("POST", "/models/student/rollback").json()["version"] == second
    assert clean.ask("POST", "/models/student/built-in/activate").json()["version"] == built_in
    left = clean.ask("DELETE", f"/models/student/{first}").json()
    assert [one["name"] for one in left["versions"]] == ["built-in", second]
    assert clean.ask("POST", "/infer/student?image=volume&output=json").json()["model"]["version"] == built_in


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/models/nobody", 404, f"no model 'nobody'; this server has: {PUBLISHED}"),
        ("POST", "/models/student/9.9.9/activate", 404, "student has no version '9.9.9'; it has: built-in"),
        ("DELETE", "/models/student/built-in", 400, "the built-in version of student cannot be deleted"),
        ("DELETE", "/models/student/ACTIVE", 400, "is active and cannot be deleted; activate another version first"),
        ("GET", "/models/student/9.9.9/card", 404, "unknown version '9.9.9' of student"),
        ("GET", "/models/student/built-in/pictures/student.safetensors", 404, "no picture 'student.safetensors'"),
        ("GET", "/models/student/..%2f..%2faudit/card", 400, "a path must not climb"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(clean, method, path, status, reason):
    active = clean.publish(0.9)[1].version
    answer = clean.ask(method, path.replace("ACTIVE", active))
    assert (answer.status_code, reason in answer.json()["detail"]) == (status, True), answer.text


def test_versions_are_for_administrators(site):
    asked = [("GET", "/models"), ("GET", "/models/student"), ("POST", "/models/student/rollback")]
    asked += [("POST", "/models/student/built-in/activate"), ("DELETE", "/models/student/built-in")]
    for method, path in asked:
        assert site.ask(method, path, "user").status_code == 403
        assert requests.request(method, f"{site.running.url}{path}", timeout=30).status_code == 401


def test_routes_are_documented(site):
    paths = site.ask("GET", "/openapi.json").json()["paths"]
    for path in ("/models", "/models/{model}", "/models/{model}/{version}/activate", "/models/{model}/rollback"):
        assert all(one["summary"] and one["description"] for one in paths[path].values())


def test_a_comparison_and_its_pictures_come_with_the_version(clean):
    truth, noisy = phantom((8, 48, 64))
    student = Denoiser.load("student@built-in", device="cpu")
    case = Case(noisy, truth)
    found = compare(student, student, [case], [replace(case, exact=True)])
    version = clean.publish(0.9, beside=lambda folder: write(found, folder))[1].version
    shown = clean.ask("GET", "/models/student").json()["versions"][-1]
    assert shown["comparison"]["verdict"].startswith("not better than")
    assert shown["pictures"] == ["comparison-CT-phantom.png", "comparison-patient-1.png"]
    picture = clean.ask("GET", f"/models/student/{version}/pictures/comparison-patient-1.png")
    assert (picture.headers["Content-Type"], picture.content[:4]) == ("image/png", b"\x89PNG")


def test_requests_that_run_while_versions_change_each_end_with_one_whole_version(clean, tmp_path):
    network, card = weights.load("student@built-in")
    made = [(network, card), clean.publish(0.9), clean.publish(0.8)]
    volume = read_volume(clean.running.path("volume"))
    expected = {one.version: Denoiser(net, one, device="cpu")(volume).volume.array for net, one in made}
    assert len({array.tobytes() for array in expected.values()}) == 3
    stop, answers = threading.Event(), []

    from monailabel.client.client import MONAILabelClient  # as it is imported it warns

    def work(number):
        (folder := tmp_path / str(number)).mkdir()
        client = MONAILabelClient(clean.running.url, tmpdir=str(folder))
        client.update_auth({"token_type": "Bearer", "access_token": clean.tokens["user"]})
        while not stop.is_set():
            path, answer = client.infer("student", "volume", {})
            answers.append((read_volume(Path(path)).array, answer["model"]["version"]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        for version in expected:
            name = "built-in" if version == card.version else version
            assert clean.ask("POST", f"/models/student/{name}/activate").status_code == 200
            assert clean.ask("GET", "/info/").json()["models"]["student"]["version"] == version
    stop.set()
    for thread in threads:
        thread.join()
    for array, version in answers:
        np.testing.assert_array_equal(array, expected[version])
    assert len({version for _, version in answers}) > 1
