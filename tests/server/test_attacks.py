"""Attacks over HTTP on really running servers: one with tokens, and the usual one for this machine only."""

import io
import json
import os
import shutil
import socket
import stat
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import requests
import SimpleITK as sitk  # noqa: N813

from meddenoise import weights
from meddenoise.server.serve import free_port
from meddenoise.server.tokens import new_token

NAME = "Mustermann^Erika"
PATIENT = "Mustermann_Erika_19640812"
VIEWER = "https://viewer.example.org"
EVIL = "https://evil.example.org"
UPLOAD_MB = 8


class Guarded:
    """The server with tokens, and ways to ask it in a role."""

    def __init__(self, running, tokens, folder):
        self.url, self.studies, self.log = running.url, running.studies, running.log
        self.tokens, self.folder, self.client = tokens, folder, running.client
        self.home = running.temporary.parent
        self.sessions = self.home.parent / "sessions"

    def ask(self, method, path, role="user", **options):
        headers = {**({"Authorization": f"Bearer {self.tokens[role]}"} if role else {}), **options.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=60, **options)

    def audit(self):
        lines = (self.home / "audit" / "audit.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, make_server):
    folder = tmp_path_factory.mktemp("hospital")
    studies = folder / "images" / "studies"
    studies.mkdir(parents=True)
    image = sitk.GetImageFromArray(np.rint(np.random.default_rng(3).normal(100, 20, (3, 32, 32))).astype(np.int16))
    sitk.WriteImage(image, str(studies / "volume.nrrd"))
    sitk.WriteImage(image, str(folder / "secret.nrrd"))
    sitk.WriteImage(image, str(studies / f"{PATIENT}.nrrd"))
    made = {role: new_token(role, role) for role in ("reader", "user")}
    tokens = {role: token for role, (token, _) in made.items()} | {
        "admin": "an admin's token in plain text".replace(" ", "-")
    }
    file = folder / "tokens"
    file.write_text(
        "\n".join(["# people", *(line for _, line in made.values()), f"admin:{tokens['admin']}:the admin", ""])
    )
    file.chmod(0o600)
    port = free_port()
    command = [sys.executable, "-m", "meddenoise", "serve", "--studies", str(studies), "--port", str(port)]
    command += ["--tokens", str(file), "--cors-origin", VIEWER]
    environment = {"MEDDENOISE_UPLOAD_MB": str(UPLOAD_MB)}
    with make_server(studies, port=port, command=command, environment=environment) as running:
        yield Guarded(running, tokens, folder)


@pytest.fixture
def outside(guarded):
    """Fails the test if anything outside the studies folder and the server's own home has changed by its end."""

    def all_files():
        mine = (guarded.home, guarded.studies)
        return {path for path in guarded.folder.rglob("*") if not any(path.is_relative_to(m) for m in mine)}

    before = all_files()
    yield guarded.folder
    assert all_files() == before


@pytest.fixture(scope="module")
def image_bytes(guarded):
    return (guarded.studies / "volume.nrrd").read_bytes()


ROUTES = [
    ("GET", "/"),
    ("GET", "/info/"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/datastore/"),
    ("GET", "/datastore/image?image=volume"),
    ("HEAD", "/datastore/image?image=volume"),
    ("GET", "/datastore/dataset"),
    ("PUT", "/datastore/image"),
    ("DELETE", "/datastore/image?id=volume"),
    ("POST", "/infer/student?image=volume"),
    ("PUT", "/session/"),
    ("GET", "/session/123"),
    ("GET", "/progress/123"),
    ("DELETE", "/progress/123"),
    ("POST", "/activelearning/random"),
    ("POST", "/train/student"),
    ("POST", "/batch/infer/student"),
    ("GET", "/logs/"),
    ("GET", "/model/student"),
    ("PUT", "/model/student"),
    ("DELETE", "/model/student"),
    ("POST", "/reload"),
    ("GET", "/proxy/dicom/studies"),
    ("GET", "/ohif/index.html"),
    ("GET", "/static/favicon.ico"),
    ("GET", "/nowhere"),
    ("OPTIONS", "/info/"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nothing_is_reached_without_a_token(guarded, method, path):
    answer = guarded.ask(method, path, role=None)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer wrong", "Basic dXNlcjpwYXNz", "Bearer \xff\xfe", "Bearer " + "a" * 5000, "Token x"]
)
def test_wrong_tokens_are_refused(guarded, value):
    answer = guarded.ask("GET", "/info/", role=None, headers={"Authorization": value.encode("latin-1")})
    assert answer.status_code == 401


def test_the_checksum_of_a_token_is_no_token(guarded):
    line = (guarded.folder / "tokens").read_text().splitlines()[1]
    for stolen in (line.split(":")[1], line.split(":")[1].removeprefix("sha256=")):
        assert guarded.ask("GET", "/info/", role=None, headers={"Authorization": f"Bearer {stolen}"}).status_code == 401


def test_a_token_in_the_address_is_none(guarded):
    assert guarded.ask("GET", f"/info/?token={guarded.tokens['admin']}", role=None).status_code == 401


ALLOWED = {
    "reader": [("GET", "/info/"), ("GET", "/datastore/"), ("GET", "/datastore/image?image=volume"), ("GET", "/")],
    "user": [("POST", "/infer/student?image=volume&output=json"), ("POST", "/activelearning/random")],
    "admin": [("GET", "/logs/"), ("GET", "/train/"), ("POST", "/reload")],
}


@pytest.mark.parametrize("role", ALLOWED)
def test_each_role_may_do_what_is_its_own_and_the_lower_ones_may_not(guarded, role):
    roles = list(ALLOWED)
    for method, path in ALLOWED[role]:
        for asker in roles:
            status = guarded.ask(method, path, asker).status_code
            if roles.index(asker) < roles.index(role):
                assert status == 403, (asker, method, path)
            else:
                assert status not in (401, 403), (asker, method, path)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_reader_changes_nothing(guarded, method, path):
    if method not in ("GET", "HEAD"):
        assert guarded.ask(method, path, "reader").status_code == 403


ADMINS = [
    ("PUT", "/datastore/image?image=x"),
    ("PUT", "/datastore/?image=x"),
    ("DELETE", "/datastore/?id=volume"),
    ("PUT", "/datastore/label?image=volume"),
    ("PUT", "/datastore/image/info?image=volume"),
    ("DELETE", "/datastore/label?id=volume&tag=final"),
    ("GET", "/datastore/dataset"),
    ("GET", "/logs/"),
    ("GET", "/logs/gpu"),
    ("POST", "/train/student"),
    ("DELETE", "/train/"),
    ("POST", "/batch/infer/student"),
    ("POST", "/scoring/"),
    ("PUT", "/model/mine"),
    ("DELETE", "/model/student"),
    ("GET", "/model/student"),
    ("POST", "/reload"),
    ("GET", "/proxy/dicom/studies"),
    ("POST", "/proxy/dicom/stow/studies"),
]


@pytest.mark.parametrize(("method", "path"), ADMINS)
def test_a_user_administers_nothing(guarded, method, path):
    assert guarded.ask(method, path, "user").status_code == 403
    assert guarded.ask(method, "/" + path, "user").status_code in (403, 404, 405)  # nor by a second slash


def test_health_needs_no_token_and_says_little(guarded):
    answer = guarded.ask("GET", "/health", role=None)
    assert answer.status_code == 200
    assert set(answer.json()) == {"status", "version", "models"}
    assert answer.json()["models"] == dict.fromkeys(weights.available(), True)


def test_monai_labels_own_client_works_with_a_token(guarded):
    with pytest.raises(Exception, match=r"401|valid token"):
        guarded.client.info()
    guarded.client.update_auth({"token_type": "Bearer", "access_token": guarded.tokens["user"]})
    path, answer = guarded.client.infer("student", "volume", {})
    assert answer["model"]["name"] == "student"
    assert sitk.ReadImage(str(path)).GetSize() == (32, 32, 3)


# --- browsers ---------------------------------------------------------------------------------------------------------


def test_another_web_page_gets_no_cors_answer(guarded, server):
    for answer in (
        guarded.ask("GET", "/info/", headers={"Origin": EVIL}),
        requests.get(f"{server.url}/health", headers={"Origin": EVIL}, timeout=30),
        requests.get(f"{server.url}/info/", headers={"Origin": EVIL}, timeout=30),
        requests.options(
            f"{server.url}/infer/student",
            headers={"Origin": EVIL, "Access-Control-Request-Method": "POST"},
            timeout=30,
        ),
    ):
        assert not [header for header in answer.headers if header.lower().startswith("access-control-allow")]


@pytest.mark.parametrize("origin", [EVIL, "null", "http://127.0.0.1:1", "http://localhost"])
def test_another_web_page_cannot_drive_a_server_without_tokens(server, origin):
    answer = requests.post(f"{server.url}/infer/student?image=tiny", headers={"Origin": origin}, timeout=30)
    assert answer.status_code == 403
    assert requests.post(f"{server.url}/reload", headers={"Origin": origin}, timeout=30).status_code == 403


def test_the_servers_own_page_may_call_it(server):
    assert requests.get(f"{server.url}/info/", headers={"Origin": server.url}, timeout=30).status_code == 200


@pytest.mark.parametrize("host", ["evil.example.org", "127.0.0.1.evil.example.org", "evil.example.org:8000", "", "[::"])
def test_a_name_that_points_to_this_machine_is_not_enough(server, host):
    """DNS rebinding: a page of that name would be of the same origin."""
    assert requests.get(f"{server.url}/info/", headers={"Host": host}, timeout=30).status_code in (400, 403)


def test_a_listed_page_is_let_in_and_no_other(guarded):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = guarded.ask("OPTIONS", "/infer/student", role=None, headers={"Origin": VIEWER, **asked})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == VIEWER
    assert "access-control-allow-credentials" not in answer.headers
    answer = guarded.ask("GET", "/info/", headers={"Origin": VIEWER})
    assert answer.headers["access-control-allow-origin"] == VIEWER
    assert guarded.ask("OPTIONS", "/infer/student", role=None, headers={"Origin": EVIL, **asked}).status_code == 400


# --- paths ------------------------------------------------------------------------------------------------------------

CLIMBING = ["../../x", "..", "/etc/x", "..\\..\\x", "a/b", "~x", "x\x00y", "..%2f..%2fx", ".hidden", "a..b", "x" * 101]


@pytest.mark.parametrize("image", CLIMBING)
def test_uploaded_image_stays_in_the_studies_folder(guarded, outside, image_bytes, image):
    before = set(guarded.studies.rglob("*"))
    for path in ("/datastore/image", "/datastore/"):
        sent = {"file": ("x.nrrd", image_bytes)}
        answer = guarded.ask("PUT", path, "admin", params={"image": image}, files=sent)
        assert 400 <= answer.status_code < 500
    assert set(guarded.studies.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["x.py", "x", "x.nrrd.sh", "x.exe", ".nrrd/../../x.py", "x.nii.gz.pt", "datastore_v2.json"]
)
def test_only_images_can_be_uploaded(guarded, outside, name):
    for path, field in (("/datastore/image", "file"), ("/datastore/label?image=volume&tag=final", "label")):
        answer = guarded.ask("PUT", path, "admin", files={field: (name, b"import os")})
        assert 400 <= answer.status_code < 500
    assert not list(guarded.studies.rglob("*.py"))


def test_upload_named_by_its_file_alone_stays_inside(guarded, outside, image_bytes):
    answer = guarded.ask("PUT", "/datastore/image", "admin", files={"file": ("../../climber.nrrd", image_bytes)})
    assert answer.json() == {"image": "climber"}
    assert (guarded.studies / "climber.nrrd").read_bytes() == image_bytes
    assert guarded.ask("DELETE", "/datastore/image?id=climber", "admin").status_code == 200
    assert not (guarded.studies / "climber.nrrd").exists()


@pytest.mark.parametrize("tag", [tag for tag in CLIMBING if tag != ".hidden"] + ["/tmp/x", "."])
def test_label_stays_in_the_studies_folder(guarded, outside, image_bytes, tag):
    before = lasting(guarded.studies)
    sent = {"label": ("x.nrrd", image_bytes)}
    answer = guarded.ask("PUT", "/datastore/label", "admin", params={"image": "volume", "tag": tag}, files=sent)
    assert 400 <= answer.status_code < 500
    params = {"params": json.dumps({"save_label": True, "label_tag": tag})}
    assert guarded.ask("POST", "/infer/student?image=volume", data=params).status_code == 400
    assert lasting(guarded.studies) == before


def lasting(folder):
    """What is in a folder, without what is being written at this moment."""
    return {path for path in folder.rglob("*") if ".meddenoise-" not in str(path.relative_to(folder))}


def test_a_link_in_the_studies_folder_is_not_written_through(guarded, outside, image_bytes):
    target, link = guarded.folder / "target.nrrd", guarded.studies / "link.nrrd"
    link.symlink_to(target)
    try:
        answer = guarded.ask("PUT", "/datastore/image?image=link", "admin", files={"file": ("x.nrrd", image_bytes)})
        assert answer.status_code == 400
        assert not target.exists()
    finally:
        link.unlink()


@pytest.mark.parametrize("name", ["secret.nrrd", "images/studies/volume.nrrd", "/proc/self/environ", "/etc/hostname"])
def test_a_path_of_the_server_is_no_image(guarded, name):
    path = str(guarded.folder / name)
    climbing = os.path.relpath(path, guarded.studies)
    for image in (path, climbing, f"file://{path}", path.replace("/", "\\")):
        for role in ("user", "admin"):
            assert 400 <= guarded.ask("POST", "/infer/student", role, params={"image": image}).status_code < 500
        assert 400 <= guarded.ask("GET", "/datastore/image", params={"image": image}).status_code < 500
        info = guarded.ask("GET", "/datastore/image/info", params={"image": image})
        assert 400 <= info.status_code < 500 or info.json() == {}
        assert 400 <= guarded.ask("GET", "/datastore/label", params={"label": image, "tag": "final"}).status_code < 500


def hidden(path):
    return [
        {"image": path},
        {"label": path},
        {"label_tag": path},
        {"session": {"image": path}},
        {"options": {"deep": [{"image": path}]}},
        {"other": path},
        {"other": [path]},
        {path: 1},
        {"model": path},
        {"result_extension": path},
        {"other": f"file://{path}"},
        {"other": f"  {path}"},
    ]


@pytest.mark.parametrize("number", range(12))
def test_a_path_of_the_server_is_refused_inside_params_too(guarded, number):
    params = json.dumps(hidden(str(guarded.folder / "secret.nrrd"))[number])
    for sent in ({"data": {"params": params}}, {"files": {"params": (None, params)}}):
        answer = guarded.ask("POST", "/infer/student?image=volume", **sent)
        assert answer.status_code == 400, answer.text
        assert "secret" not in answer.text or "params" in answer.text or "must" in answer.text


@pytest.mark.parametrize("path", ["/batch/infer/student", "/train/student", "/scoring/x", "/activelearning/random"])
def test_a_path_of_the_server_is_refused_in_a_json_body(guarded, path):
    secret = str(guarded.folder / "secret.nrrd")
    for body in ({"images": [secret]}, {"student": {"images": ["../../secret.nrrd"]}}, {"model_filename": "../x.pt"}):
        assert guarded.ask("POST", path, "admin", json=body).status_code == 400
        plain = {"data": json.dumps(body), "headers": {"Content-Type": "text/plain"}}
        assert guarded.ask("POST", path, "admin", **plain).status_code == 400


def test_json_nested_without_end_is_refused(guarded):
    deep = "[" * 100_000 + "]" * 100_000
    assert guarded.ask("POST", "/batch/infer/student", "admin", data=deep).status_code == 400
    assert guarded.ask("POST", "/infer/student?image=volume", data={"params": deep}).status_code == 400


@pytest.mark.parametrize("path", ["/ohif/../../../app.py", "/static/../app.py", "/proxy/dicom/../../x", "/session/.."])
def test_addresses_do_not_climb(guarded, path):
    for written in (path, path.replace("..", "%2e%2e"), path.replace("../", "..%2f"), path.replace("/..", "%5c..")):
        request = requests.Request("GET", guarded.url, headers={"Authorization": f"Bearer {guarded.tokens['admin']}"})
        prepared = request.prepare()
        prepared.url = guarded.url + written
        with requests.Session() as session:
            assert 400 <= session.send(prepared, timeout=30).status_code < 500


def test_a_forged_session_is_not_found(guarded):
    forged = guarded.folder / "forged"
    forged.mkdir()
    secret = str(guarded.folder / "secret.nrrd")
    (forged / "meta.info").write_text(json.dumps({"name": "x", "image": secret, "expiry": 3600}))
    try:
        for session in (str(forged), os.path.relpath(forged, guarded.sessions)):
            answer = guarded.ask("POST", "/infer/student", params={"session_id": session})
            assert 400 <= answer.status_code < 500
            quoted = requests.utils.quote(session, safe="")
            assert 400 <= guarded.ask("GET", f"/session/{quoted}?image=true").status_code < 500
            assert 400 <= guarded.ask("DELETE", f"/session/{quoted}").status_code < 500
        assert (forged / "meta.info").exists()
    finally:
        shutil.rmtree(forged)


@pytest.mark.parametrize("path", ["/infer/wsi/student", "/infer/wsi_v2/student"])
def test_whole_slide_inference_is_not_served(guarded, path):
    body = {"image": "/etc/hostname"}
    assert guarded.ask("POST", path, "admin", json=body).status_code == 404
    assert guarded.ask("POST", path, "admin", params=body).status_code == 404


@pytest.mark.parametrize("host", ["x/health?", "x/health#", "127.0.0.1/health?", "x/info/?", "localhost:80/health;"])
def test_a_host_that_holds_an_open_path_opens_nothing(guarded, server, host):
    for path in ("/logs/", "/model/student", "/info/"):
        answer = guarded.ask("GET", path, role=None, headers={"Host": host})
        assert answer.status_code in (400, 401)
    assert guarded.ask("GET", "/logs/", "reader", headers={"Host": host}).status_code in (400, 403)
    assert requests.post(f"{server.url}/reload", headers={"Host": host}, timeout=30).status_code in (400, 403)


# --- archives and sizes -----------------------------------------------------------------------------------------------


def tar_of(*members):
    """A TAR file with (name, content) or (name, type, link target) members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for member in members:
            info = tarfile.TarInfo(member[0])
            if len(member) == 3:
                _, info.type, info.linkname = member
                archive.addfile(info)
            else:
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def zip_of(*members, link=False):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if link:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, content)
    return out.getvalue()


def lying_zip():
    """A ZIP file that states a size of 10 bytes for its 50 MiB."""
    whole = bytearray(zip_of(("a.nrrd", bytes(50 * 1024**2))))
    central = whole.rfind(b"PK\x01\x02")
    whole[22:26] = whole[central + 24 : central + 28] = (10).to_bytes(4, "little")
    return bytes(whole)


ARCHIVES = {
    "climbing.tar.gz": lambda: tar_of(("../../../evil.nrrd", b"x")),
    "absolute.tar.gz": lambda: tar_of(("/tmp/evil.nrrd", b"x")),
    "link.tar.gz": lambda: tar_of(("evil.nrrd", tarfile.SYMTYPE, "/etc/hostname")),
    "hard.tar.gz": lambda: tar_of(("evil.nrrd", tarfile.LNKTYPE, "/etc/hostname")),
    "through.tar.gz": lambda: tar_of(("to", tarfile.SYMTYPE, "/tmp"), ("to/evil.nrrd", b"x")),
    "device.tar.gz": lambda: tar_of(("evil.nrrd", tarfile.FIFOTYPE, "")),
    "bomb.tar.gz": lambda: tar_of(("a.nrrd", bytes(50 * 1024**2))),
    "many.tar.gz": lambda: tar_of(*((f"{number}.nrrd", b"") for number in range(10_001))),
    "climbing.zip": lambda: zip_of(("../../../evil.nrrd", b"x")),
    "backslash.zip": lambda: zip_of(("..\\..\\evil.nrrd", b"x")),
    "absolute.zip": lambda: zip_of(("/tmp/evil.nrrd", b"x")),
    "link.zip": lambda: zip_of(("evil.nrrd", "/etc/hostname"), link=True),
    "bomb.zip": lambda: zip_of(("a.nrrd", bytes(50 * 1024**2))),
    "lying.zip": lying_zip,
    "text.zip": lambda: b"dear sir",
    "cut.tar.gz": lambda: tar_of(("a.nrrd", os.urandom(5000)))[:3000],
    "empty.zip": lambda: b"",
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_harmful_archive_is_refused_and_leaves_nothing(guarded, outside, name):
    before = set(guarded.sessions.rglob("*")), set((guarded.home / "tmp").rglob("*"))
    answer = guarded.ask("PUT", "/session/?uncompress=true", files={"files": (name, ARCHIVES[name]())})
    assert answer.status_code == 422, answer.text
    assert (set(guarded.sessions.rglob("*")), set((guarded.home / "tmp").rglob("*"))) == before


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_a_harmless_archive_is_unpacked_and_denoised(guarded, dicom_series, pack):
    content = pack(*((f"series/{path.name}", path.read_bytes()) for path in dicom_series))
    answer = guarded.ask("PUT", "/session/?uncompress=true", files={"files": ("series.zip", content)})
    assert answer.status_code == 200, answer.text
    assert str(guarded.home) not in answer.text
    session = answer.json()["session_id"]
    result = guarded.ask("POST", f"/infer/student?session_id={session}&output=json")
    assert result.status_code == 200, result.text
    assert str(guarded.home) not in guarded.ask("GET", f"/session/{session}").text
    assert guarded.ask("DELETE", f"/session/{session}").status_code == 200
    assert guarded.ask("GET", f"/session/{session}").status_code == 404


@pytest.mark.parametrize("name", ["../../evil.nrrd", "meta.info", "..", "/etc/evil.nrrd"])
def test_a_sessions_file_stays_in_its_session(guarded, outside, image_bytes, name):
    answer = guarded.ask("PUT", "/session/", files={"files": (name, image_bytes)})
    session = answer.json()["session_id"]
    (folder,) = guarded.sessions.glob(session)
    assert len(list(folder.iterdir())) == 2
    assert guarded.ask("POST", f"/infer/student?session_id={session}&output=json").status_code in (200, 422)
    guarded.ask("DELETE", f"/session/{session}")
    assert not folder.exists()


def raw(guarded, head, chunks=()):
    """The first line of the answer to a request sent byte by byte."""
    host, port = guarded.url.removeprefix("http://").split(":")
    head = [*head, f"Host: {host}", f"Authorization: Bearer {guarded.tokens['user']}", "", ""]
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall("\r\n".join(head).encode())
        try:
            for chunk in chunks:
                connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        except ConnectionError:
            pass  # it has heard enough
        return connection.recv(100).decode().splitlines()[0]


FORM = "Content-Type: multipart/form-data; boundary=x"


def test_too_large_an_upload_is_refused_before_it_is_sent(guarded):
    size = f"Content-Length: {UPLOAD_MB * 1024**2 + 1}"
    for route in ("POST /infer/student", "PUT /session/"):
        assert " 413 " in raw(guarded, [f"{route} HTTP/1.1", FORM, size])


def test_too_large_an_upload_that_hides_its_size_is_refused(guarded):
    begin = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.nrrd"\r\n\r\n'
    chunks = [begin, *[bytes(256 * 1024)] * (4 * UPLOAD_MB + 1)]
    head = ["POST /infer/student HTTP/1.1", FORM, "Transfer-Encoding: chunked"]
    assert " 413 " in raw(guarded, head, chunks)


def test_too_large_a_json_body_is_refused(guarded):
    body = json.dumps({"x": "y" * 1024**2})
    assert guarded.ask("POST", "/activelearning/random", data=body).status_code == 413


@pytest.mark.parametrize("length", ["-1", "many", "1e9"])
def test_a_length_that_is_none_is_refused(guarded, length):
    assert " 400 " in raw(guarded, ["POST /infer/student HTTP/1.1", FORM, f"Content-Length: {length}"])


# --- weights ----------------------------------------------------------------------------------------------------------


def weights_file():
    return (weights.folder() / "student.safetensors").read_bytes()


def test_the_published_weights_stay_whoever_asks(guarded, server):
    before = weights_file()
    sent = {"file": ("student.pt", before)}
    assert guarded.ask("PUT", "/model/student", "user", files=sent).status_code == 403
    assert guarded.ask("PUT", "/model/student", "admin", files=sent).status_code == 409
    assert guarded.ask("DELETE", "/model/student", "admin").status_code == 409
    for method in ("put", "delete"):  # this machine's user has no token that proves an administrator
        answer = requests.request(method, f"{server.url}/model/student", files=sent, timeout=30)
        assert answer.status_code == 403
    assert weights_file() == before


@pytest.mark.parametrize("content", [b"", b"\x80\x04cos\nsystem\n(S'touch evil'\ntR.", b"PK\x03\x04", bytes(1000)])
@pytest.mark.parametrize("name", ["mine", "x.pt"])
def test_weights_that_do_not_load_are_refused(guarded, name, content):
    answer = guarded.ask("PUT", f"/model/{name}", "admin", files={"file": ("student.pt", content)})
    assert answer.status_code == 422
    assert set(guarded.ask("GET", "/info/").json()["models"]) == set(weights.available())


@pytest.mark.parametrize("name", ["..", "%2e%2e%2fx", "a%5cb", ".hidden", "x" * 80])
def test_a_models_name_does_not_climb(guarded, outside, name):
    request = requests.Request("PUT", guarded.url, files={"file": ("x.safetensors", weights_file())}).prepare()
    request.url = f"{guarded.url}/model/{name}"
    request.headers["Authorization"] = f"Bearer {guarded.tokens['admin']}"
    with requests.Session() as session:
        assert 400 <= session.send(request, timeout=30).status_code < 500


def test_an_administrator_brings_a_sites_own_model_and_takes_it_away(guarded):
    sent = {"file": ("whatever.safetensors", weights_file())}
    answer = guarded.ask("PUT", "/model/our_student", "admin", files=sent)
    assert answer.status_code == 200, answer.text
    assert set(guarded.ask("GET", "/info/").json()["models"]) == {*weights.available(), "our_student"}
    result = guarded.ask("POST", "/infer/our_student?image=volume&output=json")
    assert result.json()["model"]["name"] == "our_student"
    version = guarded.home / "models" / "our_student" / answer.json()["version"]
    assert (version / "our_student.safetensors").is_file()
    assert guarded.ask("DELETE", "/model/our_student", "admin").status_code == 200
    assert set(guarded.ask("GET", "/info/").json()["models"]) == set(weights.available())
    assert guarded.ask("POST", "/infer/our_student?image=volume").status_code == 404


def test_the_proxy_to_the_pacs_is_not_for_whoever_has_no_token(server):
    assert requests.get(f"{server.url}/proxy/dicom/studies", timeout=30).status_code == 403


# --- what is written down ---------------------------------------------------------------------------------------------


def test_no_name_is_in_the_log(guarded, image_bytes):
    sent = {"file": (f"{PATIENT}.nrrd", image_bytes)}
    asked = [
        guarded.ask("POST", f"/infer/student?image={PATIENT}"),
        guarded.ask("POST", "/infer/student", files=sent),
        guarded.ask("POST", f"/infer/student?image={PATIENT}2"),
        guarded.ask("POST", "/infer/student", files={"file": (f"{PATIENT}.dcm", b"damaged")}),
        guarded.ask("PUT", f"/datastore/image?image={PATIENT}3", "admin", files=sent),
        guarded.ask("PUT", f"/datastore/label?image={PATIENT}3&tag=final", "admin", files={"label": sent["file"]}),
        guarded.ask("DELETE", f"/datastore/image?id={PATIENT}3", "admin"),
        guarded.ask("PUT", "/session/", files={"files": sent["file"]}),
        guarded.ask("PUT", "/session/", files=[("files", sent["file"]), ("files", (f"{NAME}.nrrd", image_bytes))]),
        guarded.ask("POST", f"/activelearning/random?client_id={PATIENT}", json={"name": NAME}),
        guarded.ask("PUT", f"/datastore/image/info?image={PATIENT}", "admin", data={"info": "{not json"}),
    ]
    assert [answer.status_code for answer in asked[:2]] == [200, 200]
    log = guarded.log.read_text()
    assert "startup complete" in log
    served = guarded.ask("GET", "/logs/?text=true&lines=100000", "admin")
    for word in ("Mustermann", "Erika", "19640812"):
        assert word not in log
        assert word not in (guarded.home / "audit" / "audit.jsonl").read_text()
        assert word not in served.text


def test_the_audit_log_says_who_ran_what_when_and_with_which_version(guarded):
    before = len(guarded.audit())
    guarded.ask("POST", f"/infer/student?image={PATIENT}&output=json")
    guarded.ask("POST", "/infer/student?image=volume&output=json", "reader")
    guarded.ask("GET", "/logs/", role=None)
    ran, refused, unknown = guarded.audit()[before:]
    assert (ran["who"], ran["role"], ran["method"], ran["route"]) == ("user", "user", "POST", "/infer/{model}")
    assert (ran["model"], ran["version"]) == ("student", weights.read_card("student").version)
    assert ran["status"] == 200
    assert ran["ms"] > 0
    assert len(ran["image"]) == 16
    assert ran["time"].startswith("20")
    assert (refused["who"], refused["status"]) == ("reader", 403)
    assert refused["image"] != ran["image"]
    assert (unknown["who"], unknown["status"]) == ("-", 401)


def test_the_audit_log_and_uploads_are_for_the_servers_own_eyes(guarded):
    for path in (guarded.home / "audit" / "audit.jsonl", guarded.home / "audit" / "key", guarded.home / "tmp"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_token_can_be_withdrawn_while_the_server_runs(guarded):
    file = guarded.folder / "tokens"
    text = file.read_text()
    token, line = new_token("guest", "reader")
    asked = {"role": None, "headers": {"Authorization": f"Bearer {token}"}}
    file.write_text(f"{text}{line}\n")
    assert guarded.ask("GET", "/info/", **asked).status_code == 200
    file.write_text(text)
    assert guarded.ask("GET", "/info/", **asked).status_code == 401
    assert guarded.ask("GET", "/info/").status_code == 200
