"""Bad requests: 4xx with JSON that says what was wrong, and the server stays up."""

import pydicom
import pytest
import requests

from meddenoise import weights

IMAGES = {
    "with_nan": (422, "3 of "),
    "four_axes": (422, "two or three axes, got 20 x 20 x 3 x 2"),
    "vectors": (422, "vector|components|RGB|colou?r"),
    "colour": (422, "colour.png is in colour, and student takes grey images; .* takes? colour"),
    "cut_off": (422, "truncated|cut|incomplete|end|damaged"),
    "cut_off_too": (422, "cut_off_too.nrrd"),
    "text": (422, "text.nii.gz"),
    "empty": (422, "empty"),
    "nobody": (404, "no image 'nobody'"),
    "/etc/hostname": (400, "an identifier and not a path"),
    "": (400, "no image given"),
}
PARAMS = {
    '{"strength": 2}': "strength must be a number from 0 to 1, got 2",
    '{"strength": "much"}': "strength must be a number from 0 to 1, got 'much'",
    '{"strength": true}': "strength must be",
    '{"strength": NaN}': "strength must be",
    '{"device": "tpu"}': "device",
    '{"device": 3}': "device must be text, got 3",
    '{"modality": "US"}': "modality must be one of auto, CT, MR, PET, XR, got 'US'",
    '{"output_type": "both"}': "output_type must be one of denoised, difference",
    '{"result_dtype": "float16"}': "result_dtype must be one of",
    '{"result_extension": "/../x.nrrd"}': "result_extension must not be a path",
    '{"replace_nonfinite": "zero"}': "replace_nonfinite must be a finite number",
    '{"series": 7}': "series must be",
    '{"image": "/etc/hostname"}': "params must not hold image",
    "{not json": "params must be a JSON object: ",
    "[1, 2]": "params must be a JSON object, got list",
}


@pytest.fixture(autouse=True)
def _server_stays_up(server):
    yield
    assert "student" in server.client.info()["models"]


@pytest.mark.parametrize("image", IMAGES)
def test_image_that_cannot_be_denoised_is_refused_with_the_reason(server, match, image):
    status, reason = IMAGES[image]
    answer = server.post(image=image)
    assert answer.status_code == status
    match(reason, answer.json()["detail"])
    assert answer.json()["error"]
    assert str(server.studies) not in answer.text


@pytest.mark.parametrize("params", PARAMS)
def test_wrong_option_is_refused_with_its_value(server, params):
    answer = server.post(image="oblique", text=params)
    assert answer.status_code == 400
    assert answer.json()["error"] == "OptionError"
    assert PARAMS[params] in answer.json()["detail"]


def test_unknown_model_is_refused_with_those_there_are(server):
    answer = server.post("tutor", image="oblique")
    assert answer.status_code == 404
    there = ", ".join(sorted(weights.available()))
    assert answer.json() == {"error": "ModelError", "detail": f"no model 'tutor'; this server has: {there}"}


def test_unknown_session_is_refused(server):
    answer = server.post(session_id="none-such")
    assert answer.status_code == 404
    assert "no session 'none-such'" in answer.json()["detail"]


def test_unknown_output_is_refused_in_one_sentence(server):
    answer = server.post(image="oblique", output="hologram")
    assert answer.status_code == 422
    assert "query.output" in answer.json()["detail"]


def test_unknown_route_answers_json_too(server):
    answer = requests.get(f"{server.url}/nowhere", timeout=10)
    assert answer.json() == {"error": "Not Found", "detail": "Not Found"}


def test_upload_that_is_no_image_is_refused(server, tmp_path):
    path = tmp_path / "letter.nii.gz"
    path.write_text("dear sir")
    answer = server.post(upload=path)
    assert answer.status_code == 422
    assert answer.json()["error"] == "InputError"


@pytest.mark.parametrize("name", ["../../evil.nrrd", "C:\\scans\\evil.nrrd", "e" * 300 + "vil.nrrd", "e:v?i*l.nrrd"])
def test_upload_with_a_wild_name_stays_in_its_place(server, name):
    answer = requests.post(f"{server.url}/infer/student", files={"file": (name, b"abc")}, timeout=60)
    assert answer.status_code == 422
    assert "l.nrrd: cannot be read as an image" in answer.json()["detail"]
    assert "/" not in answer.json()["detail"].split(":")[0]


def test_unevenly_spaced_series_is_refused_as_a_volume(server, dicom_series, tmp_path):
    slices = [pydicom.dcmread(path) for path in dicom_series]
    slices[-1].ImagePositionPatient = [*slices[-1].ImagePositionPatient[:2], 900]
    for number, data in enumerate(slices):
        data.save_as(tmp_path / f"{number}.dcm")
    sent = [("files", (path.name, path.read_bytes())) for path in sorted(tmp_path.iterdir())]
    session = requests.put(f"{server.url}/session/", files=sent, timeout=60).json()
    answer = server.post(session_id=session["session_id"])
    assert answer.status_code == 422
    assert answer.json()["error"] == "GeometryError"
    assert answer.json()["detail"].startswith("the slices are unevenly spaced")


def test_format_that_cannot_hold_the_image_is_refused(server):
    answer = server.post(image="oblique", params={"result_extension": ".png"})
    assert answer.status_code == 400
    assert answer.json()["error"] == "OutputError"
    assert answer.json()["detail"].startswith(".png holds uint8 or uint16, got float32")


def test_series_that_is_not_there_is_refused(server, dicom_series):
    sent = [("files", (path.name, path.read_bytes())) for path in dicom_series]
    session = requests.put(f"{server.url}/session/", files=sent, timeout=60).json()
    answer = server.post(session_id=session["session_id"], params={"series": "1.2.3"})
    assert answer.status_code == 400
    assert "1.2.3" in answer.json()["detail"]


def test_session_with_two_series_is_refused_with_their_names(server):
    paths = [server.path("CT_small"), server.path("MR_small")]
    sent = [("files", (path.name, path.read_bytes())) for path in paths]
    session = requests.put(f"{server.url}/session/", files=sent, timeout=60).json()
    answer = server.post(session_id=session["session_id"])
    assert answer.status_code == 422
    assert "2 images" in answer.json()["detail"]


def test_nan_is_replaced_where_that_is_asked_for(server):
    answer = server.post(image="with_nan", params={"replace_nonfinite": 0}, output="json")
    assert answer.status_code == 200
    assert any("NaN" in sentence for sentence in answer.json()["warnings"])
