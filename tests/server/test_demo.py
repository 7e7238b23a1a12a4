"""`meddenoise demo` from start to end, and its clear failures."""

import json
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meddenoise import MedDenoiseError, read_volume
from meddenoise.errors import ModelError, OutputError, ServiceError
from meddenoise.phantom import phantom
from meddenoise.server.demo import Case, ask, demo
from meddenoise.server.serve import check_port

NAMES = ("CT_small", "MR_small", "phantom")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The output folder and the lines said."""
    output = tmp_path_factory.mktemp("demo") / "results"
    lines = []
    assert demo(output, say=lines.append) == 0
    return output, lines


def test_demo_writes_volumes_pictures_and_a_report(shown):
    output, _ = shown
    ends = ("-denoised.nrrd", "-difference.nrrd", ".png")
    assert {path.name for path in output.iterdir()} == {f"{n}{end}" for n in NAMES for end in ends} | {"report.json"}
    for name in NAMES:
        denoised, difference = (read_volume(output / f"{name}{end}", modality="CT") for end in ends[:2])
        assert denoised.array.shape == difference.array.shape
        np.testing.assert_array_equal(denoised.affine, difference.affine)
        with Image.open(output / f"{name}.png") as picture:
            assert picture.width > picture.height > 200


def test_demo_brings_the_phantom_nearer_to_its_truth(shown):
    output, _ = shown
    report = json.loads((output / "report.json").read_text())
    images = {image["image"]: image for image in report["images"]}
    assert "not a medical device" in report["disclaimer"]
    assert images["CT_small"]["rmse_to_truth_before"] is None
    truth, noisy = phantom()
    body = truth.array > -300
    before = np.sqrt(np.mean((noisy.array[body].astype(float) - truth.array[body]) ** 2))
    assert images["phantom"]["rmse_to_truth_before"] == pytest.approx(before)
    assert images["phantom"]["rmse_to_truth_after"] < 0.95 * before
    figures = images["phantom"]["answer"]["figures"]
    assert figures["noise_after"] < figures["noise_before"]


def test_demo_shows_its_stages_and_a_table(shown):
    output, lines = shown
    text = "\n".join(lines)
    for stage in ("Preparing", "Starting MONAI Label on http://127.0.0.1:", "[3/3] phantom", "The server is stopped"):
        assert stage in text
    assert "RMSE to truth before -> after" in text
    assert all(any(line.startswith(name) for line in lines) for name in NAMES)
    assert str(output) in lines[-1]


def test_demo_stops_its_server(shown):
    _, lines = shown
    (address,) = (line.split("http://")[1] for line in lines if "http://" in line)
    host, port = address.split(",")[0].split(":")
    check_port(host, int(port))


def test_demo_names_a_port_in_use(server, tmp_path):
    port = int(server.url.rsplit(":", 1)[1])
    with pytest.raises(ServiceError, match=f"port {port}"):
        demo(tmp_path, port=port, say=print)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write, such as /proc")
def test_demo_names_a_folder_that_cannot_be_written():
    with pytest.raises(OutputError, match=r"^/proc cannot be written \(.*name another folder"):
        demo(Path("/proc"), say=print)


def test_demo_names_a_file_in_the_place_of_its_folder(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(MedDenoiseError, match=r"taken cannot be written \(File exists\)"):
        demo(tmp_path / "taken", say=print)


def test_demo_names_an_unknown_model_before_it_starts_anything(tmp_path):
    with pytest.raises(ModelError, match=r"unknown model 'tutor'; available: .*student"):
        demo(tmp_path / "results", model="tutor", say=print)
    assert not (tmp_path / "results").exists()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nContent-Type: "
CUT_OFF = {
    "before the answer": b"",
    "within JSON": HEAD + b"application/json\r\n\r\n{",
    "within the first part": HEAD + b"multipart/form-data; boundary=x\r\n\r\n--x\r\nContent-Disposition: form-data; na",
}


@pytest.mark.parametrize("sent", CUT_OFF)
def test_demo_says_that_its_server_broke_off(tmp_path, sent):
    def answer():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(CUT_OFF[sent])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServiceError, match=r"(broke off while answering for|answer for) CT_small"):
            ask(Case("CT_small", tmp_path / "CT_small.dcm", "CT"), url, tmp_path, "student", "denoised")


def test_phantom_has_known_tissues_and_the_same_noise_for_the_same_seed():
    truth, noisy = phantom((4, 72, 96), seed=3)
    again = phantom((4, 72, 96), seed=3)[1]
    other = phantom((4, 72, 96), seed=4)[1]
    np.testing.assert_array_equal(noisy.array, again.array)
    assert not np.array_equal(noisy.array, other.array)
    assert {-1000, -100, 50, 60} <= set(np.unique(truth.array))
    noise = noisy.array.astype(float) - truth.array
    assert np.std(noise[truth.array > -300]) == pytest.approx(40, rel=0.3)
    assert noisy.array.min() >= -1024
