"""What only a running server shows: it answers while it works, runs under plain MONAI Label, and fails clearly."""

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk  # noqa: N813

from meddenoise import Denoiser, read_volume, weights
from meddenoise.errors import ServiceError
from meddenoise.server.home import copy_app
from meddenoise.server.process import server_process
from meddenoise.server.serve import check_folder, check_port, free_port, serve

APP = Path(__file__).parents[2] / "apps" / "meddenoise"


def test_info_answers_while_an_image_is_denoised(server, tmp_path):
    large = sitk.GetImageFromArray(np.random.default_rng(1).normal(100, 20, (12, 448, 448)).astype(np.float32))
    sitk.WriteImage(large, str(tmp_path / "large.nrrd"))
    answers = []
    work = threading.Thread(target=lambda: answers.append(server.post(upload=tmp_path / "large.nrrd", output="json")))
    work.start()
    waits, start = [], time.monotonic()
    while work.is_alive():
        asked = time.monotonic()
        requests.get(f"{server.url}/info/", timeout=60).raise_for_status()
        waits.append(time.monotonic() - asked)
        time.sleep(0.02)
    assert answers[0].status_code == 200
    assert max(waits) < 0.4 * (time.monotonic() - start)  # a server that is frozen meanwhile answers at the end


def test_two_images_at_once_give_what_each_gives_alone(server):
    images = ["oblique", "unsigned", "left_handed", "oblique"]
    alone = {image: server.post(image=image, output="image").content for image in images}
    found = {}

    def ask(number):
        found[number] = server.post(image=images[number], output="image").content

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(len(images))] == [alone[image] for image in images]


def test_one_image_is_denoised_at_a_time(server, tmp_path):
    large = sitk.GetImageFromArray(np.random.default_rng(2).normal(100, 20, (4, 448, 448)).astype(np.float32))
    sitk.WriteImage(large, str(tmp_path / "large.nrrd"))
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(server.post(upload=tmp_path / "large.nrrd", output="json")))
        for _ in range(3)
    ]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed = time.monotonic() - start
    worked = sum(answer.json()["latencies"]["total"] for answer in answers)
    assert passed > 0.95 * worked  # side by side, three that take the whole time would add up to three times that


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_web_page_of_another_server_may_not_read_the_answers(server, method):
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    answer = requests.request(method, f"{server.url}/info/", headers=headers, timeout=60)
    assert not [name for name in answer.headers if name.lower().startswith("access-control-allow")]


@pytest.fixture(scope="module")
def plain_server(make_server, tmp_path_factory):
    """MONAI Label's own `start_server`, with one sound model, one whose weights are damaged and one without any."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("student", "damaged", "missing"):
        shutil.copyfile(weights.folder() / "student.json", folder / f"{name}.json")
    for name in ("student", "damaged"):
        shutil.copyfile(weights.folder() / "student.safetensors", folder / f"{name}.safetensors")
    with (folder / "damaged.safetensors").open("r+b") as file:
        file.seek(-1000, 2)
        file.write(b"\xff" * 8)
    studies = tmp_path_factory.mktemp("plain studies")
    rng = np.random.default_rng(3)
    image = sitk.GetImageFromArray(np.rint(rng.normal(100, 20, (3, 32, 32))).astype(np.int16))
    image.SetSpacing((0.5, 0.6, 4.0))
    sitk.WriteImage(image, str(studies / "volume.mha"))
    (studies / "text.nrrd").write_text("no image")
    port = free_port()
    command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(APP), "--studies", str(studies)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    environment = {"MEDDENOISE_WEIGHTS": str(folder)}
    with make_server(studies, port=port, command=command, environment=environment) as running:
        yield running


def test_plain_monai_label_server_denoises(plain_server):
    path, answer = plain_server.infer("volume")
    volume = read_volume(plain_server.path("volume"))
    back = read_volume(path)
    np.testing.assert_array_equal(back.array, Denoiser.load("student")(volume).volume.array)
    np.testing.assert_array_equal(back.affine, volume.affine)
    assert answer["latencies"]["infer"] > 0


@pytest.mark.parametrize(
    ("model", "image", "status", "reason"),
    [
        ("student", "text", 422, "text.nrrd"),
        ("student", "nobody", 404, "no image 'nobody'"),
        ("nobody", "volume", 404, "no model 'nobody'"),
        ("damaged", "volume", 404, "are damaged: sha256"),
        ("missing", "volume", 404, "cannot be read"),
    ],
)
def test_plain_monai_label_server_says_what_is_wrong(plain_server, model, image, status, reason):
    answer = plain_server.post(model, image=image)
    assert answer.status_code == status
    assert reason in answer.json()["detail"]


def test_models_with_missing_or_damaged_weights_are_not_served_and_the_reason_is_said(plain_server):
    info = plain_server.client.info()
    assert set(info["models"]) == {"student"}
    assert set(info["problems"]) == {"damaged", "missing"}
    assert "are damaged: sha256" in info["problems"]["damaged"]
    assert "model damaged is not served" in plain_server.log.read_text()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills a process the POSIX way")
def test_the_server_does_not_outlive_a_killed_parent(tmp_path):
    port = free_port()
    program = (
        "import os, pathlib, sys\n"
        "from meddenoise.server.process import server_process\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with server_process(folder, port=int(sys.argv[2]), log=folder / 'log'):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path), str(port)], check=False)
    assert killed.returncode == -9
    time.sleep(3)
    check_port("127.0.0.1", port)


def test_serve_names_a_missing_folder(tmp_path):
    with pytest.raises(ServiceError, match="nowhere is not a folder; --studies names"):
        serve(tmp_path / "nowhere")


def test_installed_app_is_copied_where_the_server_may_write(tmp_path):
    (tmp_path / "home").mkdir()
    old = tmp_path / "home" / "main.py"
    old.write_text("an older version")
    copy = copy_app(APP, tmp_path / "home")
    names = {path.relative_to(APP) for path in APP.rglob("*.py")}
    assert {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()} == names
    assert old.read_text() == (APP / "main.py").read_text()


def test_data_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match=r"file.* cannot be written .* MEDDENOISE_HOME"):
        copy_app(APP, tmp_path / "file" / "app")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write, such as /proc")
def test_serve_names_a_read_only_folder():
    with pytest.raises(ServiceError, match=r"^/proc cannot be written \("):
        check_folder(Path("/proc"))


def test_serve_names_a_port_in_use(server, tmp_path):
    port = int(server.url.rsplit(":", 1)[1])
    with pytest.raises(ServiceError, match=rf"cannot listen on 127.0.0.1 port {port} \(Address already in use\)"):
        serve(tmp_path, port=port)


@pytest.mark.parametrize("port", [-1, 70000])
def test_serve_names_a_port_that_cannot_be(port):
    with pytest.raises(ServiceError, match=f"from 0 to 65535, got {port}"):
        check_port("127.0.0.1", port)


def test_serve_names_a_host_that_is_not_this_machine():
    with pytest.raises(ServiceError, match=r"cannot listen on 192\.0\.2\.1 port 0"):
        check_port("192.0.2.1", 0)


def test_a_server_that_ends_early_is_reported_with_the_end_of_its_log(tmp_path):
    command = [sys.executable, "-c", "import sys; print('the disk is on fire'); sys.exit(3)"]
    with (
        pytest.raises(ServiceError, match=r"(?s)exit 3 before it came up.*the disk is on fire"),
        server_process(tmp_path, port=free_port(), log=tmp_path / "log", command=command),
    ):
        pass


def test_a_server_that_stays_silent_is_ended_and_reported(tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    start = time.monotonic()
    with (
        pytest.raises(ServiceError, match="did not come up within 1 s"),
        server_process(tmp_path, port=free_port(), log=tmp_path / "log", command=command, timeout=1),
    ):
        pass
    assert time.monotonic() - start < 15


def test_the_server_is_stopped_when_the_block_is_left_by_an_error(make_server, tmp_path):
    server = sys.executable, "-m", "http.server", "--bind", "127.0.0.1"
    (tmp_path / "info").mkdir()
    port = free_port()
    command = [*server, "--directory", str(tmp_path), str(port)]

    def interrupt():
        with server_process(tmp_path, port=port, log=tmp_path / "log", command=command) as url:
            assert requests.get(url, timeout=10).ok
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    check_port("127.0.0.1", port)
