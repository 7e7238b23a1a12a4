"""The parts of the gate by themselves: tokens, settings, where a server may listen, TLS, the purging of old files."""

import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import sys
import time

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from meddenoise.errors import OptionError, ServiceError
from meddenoise.server.access import check_identifier, check_name, check_values, needed
from meddenoise.server.audit import AuditLog
from meddenoise.server.gate import Gate, Guard
from meddenoise.server.privacy import Scrubber
from meddenoise.server.purge import purge, purging
from meddenoise.server.serve import Certificate, check_certificate, check_guarded, free_port
from meddenoise.server.settings import Settings
from meddenoise.server.tokens import Role, TokenFile, new_token, read_tokens

POSIX = pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX matter")
TOKEN = "a-token-that-is-long-enough"


@pytest.fixture
def token_file(tmp_path):
    """Writes a token file that is nobody else's and returns its path."""

    def write(*lines, mode=0o600):
        path = tmp_path / "tokens"
        path.write_text("\n".join(lines))
        path.chmod(mode)
        return path

    return write


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_new_token_is_found_by_its_line_and_its_line_does_not_hold_it(token_file):
    token, line = new_token("reading room 1", "user")
    assert token not in line
    person = TokenFile(token_file("# a comment", "", line)).find(token)
    assert (person.name, person.role, person.proven) == ("reading room 1", Role.USER, True)


def test_each_new_token_is_another():
    assert len({new_token("x", "user")[0] for _ in range(20)}) == 20


def test_a_token_may_be_written_as_it_is(token_file):
    tokens = TokenFile(token_file(f"admin:{TOKEN}:head"))
    assert tokens.find(TOKEN).role == Role.ADMIN
    assert tokens.find(TOKEN + "x") is None
    assert tokens.find("") is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("root:" + TOKEN + ":x", "role must be reader, user or admin, got 'root'"),
        ("user:short:x", "at least 20 characters"),
        ("user:sha256=abc:x", "64 hexadecimal digits"),
        ("user:" + TOKEN, "two colons, got 1"),
        ("user:" + TOKEN + ":a:b", "two colons, got 3"),
        ("user:" + TOKEN + ":", "name must be"),
        ("user:" + TOKEN + ":a\tb", "name must be"),
        ("user", "two colons, got 0"),
        ("", "holds no token"),
    ],
)
def test_a_wrong_line_is_named_and_its_token_is_not_repeated(token_file, line, reason):
    with pytest.raises(ServiceError, match=reason) as caught:
        read_tokens(token_file("# comment", line))
    assert TOKEN not in str(caught.value)


@POSIX
@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o620, 0o601])
def test_a_token_file_others_can_use_is_refused(token_file, mode):
    with pytest.raises(ServiceError, match=rf"mode {mode:o}\): chmod 600 it"):
        read_tokens(token_file(f"user:{TOKEN}:x", mode=mode))


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_a_token_file_of_the_servers_own_is_taken(token_file, mode):
    assert len(read_tokens(token_file(f"user:{TOKEN}:x", mode=mode))) == 1


def test_a_missing_token_file_is_named(tmp_path):
    with pytest.raises(ServiceError, match="nowhere cannot be read"):
        read_tokens(tmp_path / "nowhere")


def test_nobody_is_let_in_while_the_token_file_is_damaged(token_file):
    good = f"user:{TOKEN}:x"
    tokens = TokenFile(token_file(good))
    token_file("what is this")
    assert tokens.find(TOKEN) is None
    token_file(good, "")
    assert tokens.find(TOKEN) is not None
    token_file(good).unlink()
    assert tokens.find(TOKEN) is None


def test_the_command_makes_a_line_for_the_file(token_file):
    done = subprocess.run(
        [sys.executable, "-m", "meddenoise", "token", "ward 3", "--role", "reader"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    token = done.stderr.split(": ")[1].strip()
    assert TokenFile(token_file(done.stdout)).find(token).name == "ward 3"


def test_a_name_or_a_role_that_does_not_fit_a_line_is_refused():
    with pytest.raises(OptionError, match="name must be"):
        new_token("a:b", "user")
    with pytest.raises(OptionError, match="role must be"):
        new_token("a", "king")


# --- settings and start -----------------------------------------------------------------------------------------------


def test_settings_come_through_the_environment_unchanged(tmp_path):
    settings = Settings(
        tokens=tmp_path / "t",
        origins=("https://a", "https://b:1"),
        hosts=("c",),
        upload_mb=7,
        keep_hours=0.5,
        home=tmp_path,
    )
    assert Settings.from_environment(settings.environment()) == settings
    assert Settings.from_environment(Settings(home=tmp_path).environment()) == Settings(home=tmp_path)


@pytest.mark.parametrize("name", ["MEDDENOISE_UPLOAD_MB", "MEDDENOISE_KEEP_HOURS"])
@pytest.mark.parametrize("value", ["0", "-1", "much", "nan", "inf"])
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(OptionError, match=f"{name} must be a number above 0"):
        Settings.from_environment({name: value})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_a_server_others_can_reach_needs_tokens(host, tmp_path, token_file):
    with pytest.raises(ServiceError, match="give it tokens with --tokens FILE"):
        check_guarded(host, Settings(home=tmp_path))
    check_guarded(host, Settings(home=tmp_path, tokens=token_file(f"user:{TOKEN}:x")))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.5"])
def test_a_server_for_this_machine_needs_none(host, tmp_path):
    check_guarded(host, Settings(home=tmp_path))


def test_the_command_line_refuses_to_serve_others_without_tokens(tmp_path):
    command = [sys.executable, "-m", "meddenoise", "serve", "--studies", str(tmp_path), "--host", "0.0.0.0"]
    environment = {name: value for name, value in os.environ.items() if name != "MEDDENOISE_TOKENS"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("meddenoise: on 0.0.0.0 other machines could use this server")
    assert done.stderr.count("\n") == 1


# --- the gate ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def gate(tmp_path):
    """A client of a tiny app behind the gate, from an address of choice; without tokens."""
    audit = AuditLog(tmp_path / "audit")
    inner = FastAPI()

    @inner.get("/info/")
    def info():
        return {}

    @inner.get("/logs/")
    def broken():
        raise RuntimeError

    settings = Settings(home=tmp_path, hosts=("denoise.example.org",))
    inner.add_middleware(Gate, guard=Guard(settings, None, audit, Scrubber([], audit.pseudonym)))

    def client(address="127.0.0.1", name="localhost"):
        return TestClient(inner, base_url=f"http://{name}", client=(address, 50000), raise_server_exceptions=False)

    yield client
    audit.close()


@pytest.mark.parametrize("address", ["10.0.0.5", "192.0.2.7", "fe80::1%eth0", "2001:db8::1"])
def test_without_tokens_other_machines_are_refused_wherever_the_server_listens(gate, address):
    answer = gate(address).get("/info/")
    assert answer.status_code == 403
    assert "its own machine only" in answer.json()["detail"]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1"])
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1:8000", "[::1]:8000", "denoise.example.org"])
def test_without_tokens_this_machine_is_served_under_its_own_names(gate, address, name):
    assert gate(address, name).get("/info/").status_code == 200


def test_a_failure_of_the_server_is_audited_as_such(gate, tmp_path):
    assert gate().get("/logs/").status_code == 500
    assert '"status": 500' in (tmp_path / "audit" / "audit.jsonl").read_text()


def test_web_sockets_are_closed(gate):
    with pytest.raises(WebSocketDisconnect) as caught, gate().websocket_connect("/info/"):
        pass
    assert caught.value.code == 1008


@pytest.mark.parametrize("path", ["/new", "/infer", "//infer/student", "/Infer/student", "/infer_all/x", "/datastores"])
def test_a_route_that_is_not_listed_is_for_administrators(path):
    assert needed("PATCH", path)[0] == Role.ADMIN
    if path != "/infer":
        assert needed("POST", path)[0] == Role.ADMIN


@pytest.mark.parametrize("name", ["CT 2.5mm-v1_a", "1.2.840.113619", "a"])
def test_ordinary_names_are_taken(name):
    assert check_name("image", name) == name
    assert check_identifier("image", name) == name


def test_an_image_that_is_there_may_be_named_in_any_script():
    assert check_identifier("image", "Schädel (1), später") == "Schädel (1), später"


def test_ordinary_params_are_taken():
    check_values({"strength": 0.5, "series": "1.2.3", "modality": ["auto", "CT"], "note": "ratio 1/2", "x": None})


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for this machine that vouches for itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "chain.pem", folder / "key.pem"
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    chain.write_bytes(signed.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Certificate(chain, key)


def test_a_server_with_a_certificate_speaks_tls_and_nothing_else(certificate, tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "meddenoise", "serve", "--studies", str(tmp_path), "--port", str(port)]
    command += ["--ssl-certfile", str(certificate.chain), "--ssl-keyfile", str(certificate.key)]
    environment = {**os.environ, "MEDDENOISE_HOME": str(tmp_path / "home")}
    url = f"https://127.0.0.1:{port}/health"
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment) as server,
    ):
        try:
            answer = _when_up(url, verify=str(certificate.chain))
            assert answer.json()["status"] == "up"
            with pytest.raises(requests.exceptions.SSLError):
                requests.get(url, timeout=30)
            with pytest.raises(requests.exceptions.ConnectionError):
                requests.get(url.replace("https", "http"), timeout=30)
            context = ssl.create_default_context(cafile=str(certificate.chain))
            with (
                socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as secured,
            ):
                assert secured.version() in ("TLSv1.2", "TLSv1.3")
        finally:
            server.kill()  # it would wait half a minute for the connections above


def _when_up(url, **options):
    for _ in range(200):
        try:
            return requests.get(url, timeout=30, **options)
        except requests.exceptions.ConnectionError:
            time.sleep(0.5)
    raise AssertionError(f"{url} did not come up")


def test_a_certificate_that_cannot_be_used_is_named(certificate, tmp_path):
    check_certificate(certificate)
    with pytest.raises(ServiceError, match=r"nowhere.pem .* cannot be used for TLS"):
        check_certificate(Certificate(tmp_path / "nowhere.pem", certificate.key))
    with pytest.raises(ServiceError, match="cannot be used for TLS"):
        check_certificate(Certificate(certificate.key, certificate.chain))


@pytest.mark.parametrize("option", ["--ssl-certfile", "--ssl-keyfile"])
def test_half_of_a_certificate_is_a_usage_error(option, tmp_path):
    command = [sys.executable, "-m", "meddenoise", "serve", "--studies", str(tmp_path), option, "x.pem"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "needs both" in done.stderr


# --- purging ----------------------------------------------------------------------------------------------------------

HOUR = 3600.0


def _aged(path, hours):
    then = time.time() - hours * HOUR
    os.utime(path, (then, then))


def test_what_is_old_is_purged_and_what_is_new_stays(tmp_path):
    folders = [tmp_path / "tmp", tmp_path / "sessions", tmp_path / "missing"]
    for folder in folders[:2]:
        for age in (1, 25):
            inner = folder / f"of {age}"
            inner.mkdir(parents=True)
            (inner / "image.nrrd").write_text("x")
            (folder / f"file of {age}").write_text("x")
            for path in (inner / "image.nrrd", inner, folder / f"file of {age}"):
                _aged(path, age)
    assert purge(folders, seconds=24 * HOUR) == 4
    assert {path.name for folder in folders[:2] for path in folder.iterdir()} == {"of 1", "file of 1"}


def test_a_folder_is_as_new_as_the_newest_thing_in_it(tmp_path):
    session = tmp_path / "session"
    session.mkdir()
    (session / "meta.info").write_text("asked for just now")
    _aged(session, 100)
    assert purge([tmp_path], seconds=HOUR) == 0
    _aged(session / "meta.info", 2)
    _aged(session, 100)
    assert purge([tmp_path], seconds=HOUR) == 1


@POSIX
def test_a_link_is_purged_and_what_it_points_to_stays(tmp_path):
    target, folder = tmp_path / "precious", tmp_path / "tmp"
    target.mkdir()
    folder.mkdir()
    (target / "image.nrrd").write_text("x")
    (folder / "link").symlink_to(target)
    assert purge([folder], seconds=HOUR, now=time.time() + 2 * HOUR) == 1
    assert (target / "image.nrrd").exists()


def test_purging_begins_at_once_and_goes_on(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("x")
    _aged(first, 1)
    with purging(lambda: [tmp_path], seconds=1.0):
        _wait_until_gone(first)
        second.write_text("x")
        _aged(second, 1)
        _wait_until_gone(second)


def _wait_until_gone(path):
    for _ in range(200):
        if not path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} is still there")


def test_a_running_server_purges_uploads_sessions_and_series_of_a_pacs(make_server, tmp_path):
    studies, home = tmp_path / "studies", tmp_path / "home"
    studies.mkdir()
    old = [
        home / "tmp" / "denoised-x.nrrd",
        home / "sessions" / "orphan" / "x.nrrd",
        home / "dicom" / "pacs" / "1.2.3" / "x",
    ]
    kept = [studies / "image.nrrd", home / "models" / "ours.json", home / "audit" / "old.jsonl"]
    for path in (*old, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        _aged(path, 30)
        _aged(path.parent, 30)
    environment = {"MEDDENOISE_HOME": str(home), "MONAI_LABEL_SESSION_PATH": "", "MEDDENOISE_KEEP_HOURS": "24"}
    with make_server(studies, environment=environment):
        for path in old:
            _wait_until_gone(path)
        assert all(path.exists() for path in kept)
