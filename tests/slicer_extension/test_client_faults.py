"""Every way in which a connection goes wrong is an error of its own, with the host in its sentence and a way out."""

import contextlib
import email.utils
import resource
import socket
import ssl
import time

import pytest

import fault_server
from fault_server import BOUNDARY, INFO, form, rawServer, server
from MedDenoiseLib import Errors
from MedDenoiseLib.Client import Client, Request

HOST = "127.0.0.1"
PAGE = b"<!DOCTYPE html><html><form>Sign in</form></html>"


@pytest.fixture
def fails(tmp_path):
    """fails(kind, address, ...) checks what asking an address raises, and returns the error."""

    def check(kind, address, host=HOST, image=False, **more):
        client = Client(address, consented=lambda host: True, **{"timeout": 3.0, **more})
        path, results = tmp_path / "image.nrrd", tmp_path / "results"
        path.write_bytes(fault_server.IMAGE)
        results.mkdir(exist_ok=True)
        request = Request("student", str(path), str(results))
        attempt = (lambda: client.denoise(request, lambda progress: None, lambda: False)) if image else client.info
        with pytest.raises(Errors.MedDenoiseError) as caught:
            attempt()
        error = caught.value
        assert type(error) is kind, str(error)
        assert host in str(error)
        assert str(error).endswith(".")
        assert not str(error).endswith("..")
        assert "Errno" not in str(error)
        assert list(results.iterdir()) == []
        return error

    return check


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    """The context of a server with a certificate, and the certificate's file."""
    return fault_server.certificate(tmp_path_factory.mktemp("tls"))


def infer(route):
    return server({("POST", "infer"): route})


def test_refused(fails):
    assert "runs" in fails(Errors.CannotConnect, fault_server.closedPort()).advice


def test_unknown_host(fails):
    error = fails(Errors.CannotConnect, "https://no-such-machine.invalid:443", "no-such-machine.invalid")
    assert "no machine called" in str(error)


def test_no_way_to_the_network(fails, monkeypatch):
    def unreachable(self, address):
        return 101

    monkeypatch.setattr(socket.socket, "connect_ex", unreachable)
    assert "cannot be reached" in str(fails(Errors.CannotConnect, "http://127.0.0.1:9"))


def test_nobody_answers_the_call(fails):
    with fault_server.deafServer() as address:
        error = fails(Errors.TimedOut, address, timeout=0.2)
    assert "did not answer to our call" in str(error)
    assert "firewall" in error.advice


def test_server_that_hangs_before_it_answers(fails):
    with rawServer(lambda connected: connected.recv(65536) and time.sleep(3)) as address:
        assert "gave no answer for 0.6 seconds" in str(fails(Errors.TimedOut, address, timeout=0.2))


def test_server_that_takes_nothing_in(fails, tmp_path):
    large = tmp_path / "large.nrrd"
    large.write_bytes(b"NRRD" + bytes(30_000_000))

    def deaf(call):
        time.sleep(2)
        call.close_connection = True

    with infer(deaf) as running:
        client = Client(running.address, consented=lambda host: True, timeout=0.3)
        with pytest.raises(Errors.TimedOut, match=r"127\.0\.0\.1 took in nothing of the image for 0\.3 seconds"):
            client.denoise(Request("student", str(large), str(tmp_path)), lambda progress: None, lambda: False)


def test_server_that_stops_in_the_middle_of_its_answer(fails):
    def stuck(call):
        call.drain()
        call.head(200, f"multipart/form-data; boundary={BOUNDARY}", len(form()))
        call.wfile.write(form()[:500])
        call.wfile.flush()
        time.sleep(2)

    with infer(stuck) as running:
        assert "sent nothing more" in str(fails(Errors.TimedOut, running.address, image=True, timeout=0.3))


def test_server_that_falls_silent_while_it_works(fails, monkeypatch):
    monkeypatch.setattr("MedDenoiseLib.Transfer.SILENCE_HEARD", 0.5)
    monkeypatch.setattr("MedDenoiseLib.Transfer.POLL_PATIENCE", 0.3)
    asked = []

    def progress(call):
        asked.append(call)
        if len(asked) > 1:
            return fault_server.hang(call)
        return call.reply(200, {"state": "denoising", "done": 1, "total": 9})

    with server({("POST", "infer"): fault_server.hang, ("GET", "progress"): progress}) as running:
        assert "gave no answer" in str(fails(Errors.TimedOut, running.address, image=True, timeout=0.3))
    assert len(asked) >= 2


def test_certificate_that_nobody_vouches_for(fails, trusted):
    with server(context=trusted[0]) as running:
        error = fails(Errors.UntrustedCertificate, running.address)
        assert "not vouched for" in str(error)
        assert running.calls == []
        assert Client(running.address, consented=lambda host: True, certificateFile=trusted[1]).info().models


def test_certificate_of_another_name(fails, tmp_path):
    context, pem = fault_server.certificate(tmp_path, "DNS:elsewhere.example")
    with server(context=context) as running:
        assert "another" in str(fails(Errors.UntrustedCertificate, running.address, certificateFile=pem))
        named = running.address.replace("127.0.0.1", "localhost")
        assert "another name" in str(fails(Errors.UntrustedCertificate, named, "localhost", certificateFile=pem))


def test_certificate_that_has_expired(fails, tmp_path):
    context, pem = fault_server.certificate(tmp_path, expired=True)
    with server(context=context) as running:
        assert "has expired" in str(fails(Errors.UntrustedCertificate, running.address, certificateFile=pem))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificate_file_that_is_none(fails, tmp_path, content):
    path = tmp_path / "chain.pem"
    if content is not None:
        path.write_text(content)
    error = fails(Errors.UntrustedCertificate, "https://127.0.0.1:9", certificateFile=str(path))
    assert "chain.pem" in str(error)
    assert str(tmp_path) not in str(error)


def test_https_asked_of_a_server_that_speaks_http(fails):
    with server() as running:
        error = fails(Errors.CannotConnect, running.address.replace("http:", "https:"))
        assert "does not speak https" in str(error)
        assert error.advice == f"Try {running.address}."


def test_http_asked_of_a_server_that_speaks_https(fails, trusted):
    with server(context=trusted[0]) as running:
        error = fails(Errors.WrongService, running.address.replace("https:", "http:"))
        assert error.advice == f"Enter {running.address} instead."


def test_server_without_common_tls(fails, tmp_path):
    context, pem = fault_server.certificate(tmp_path)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["none"])
    context.verify_mode = ssl.CERT_REQUIRED  # wants a certificate of ours
    context.load_verify_locations(pem)
    with server(context=context) as running:
        fails(Errors.BrokenAnswer, running.address, certificateFile=pem)


@pytest.mark.parametrize(
    ("kind", "status", "content", "word"),
    [
        (Errors.Unauthorized, 401, {"error": "Unauthorized", "detail": "a valid token is needed"}, "valid token"),
        (Errors.Forbidden, 403, {"error": "Forbidden", "detail": "this needs the role user."}, "the role user"),
        (Errors.WrongService, 404, {"detail": "Not Found"}, "no MedDenoise server"),
        (Errors.WrongService, 404, PAGE, "no MedDenoise server"),
        (Errors.WrongService, 405, {"detail": "Method Not Allowed"}, "no MedDenoise server"),
        (Errors.Refused, 404, {"error": "ModelError", "detail": "no model 'x'; this server has: y"}, "this server has"),
        (Errors.Refused, 413, {"error": "InputError", "detail": "at most 4096 MiB"}, "at most 4096 MiB"),
        (Errors.Refused, 413, PAGE, "too large"),
        (Errors.Refused, 422, {"error": "InputError", "detail": "image.nrrd: NaN in\n 3 voxels"}, "NaN in  3 voxels"),
        (Errors.Refused, 422, {"detail": [{"loc": ["query"], "msg": "field required"}]}, "field required"),
        (Errors.Refused, 400, {"error": "OptionError", "detail": "strength must be a number"}, "strength"),
        (Errors.Canceled, 409, {"error": "Cancelled", "detail": "request 1 was cancelled"}, "canceled"),
        (Errors.Busy, 503, {"error": "ServiceError", "detail": "no GPU"}, "no GPU"),
        (Errors.Busy, 503, b"Service Unavailable", "no room"),
        (Errors.ServerFailed, 500, {"error": "InternalError", "detail": "out of memory"}, "out of memory"),
        (Errors.ServerFailed, 500, b"Internal Server Error", "500"),
        (Errors.ProxyInBetween, 401, PAGE, "login page"),
        (Errors.ProxyInBetween, 403, PAGE, "login page"),
        (Errors.ProxyInBetween, 407, b"", "407"),
        (Errors.ProxyInBetween, 502, b"Bad Gateway", "502"),
        (Errors.ProxyInBetween, 503, PAGE, "503"),
        (Errors.ProxyInBetween, 504, PAGE, "504"),
        (Errors.ProxyInBetween, 200, PAGE, "web page"),
        (Errors.WrongService, 200, b"hello", "no MedDenoise server"),
        (Errors.WrongService, 200, b"[" * 100_000, "no MedDenoise server"),
        (Errors.WrongService, 200, {"hello": "world"}, "no MedDenoise server"),
        (Errors.WrongService, 200, [1, 2], "no MedDenoise server"),
        (Errors.WrongService, 200, {**INFO, "name": "MONAILabel - Radiology"}, "'MONAILabel - Radiology'"),
        (Errors.TooOld, 200, {**INFO, "version": "0.0.9"}, "version 0.0.9; version 0.1.0 or newer is needed"),
        (Errors.TooOld, 200, {**INFO, "version": "unknown"}, "version unknown"),
    ],
)
def test_answer_that_is_no_answer(fails, kind, status, content, word):
    page = isinstance(content, bytes)
    kindOfContent = ("text/html" if content == PAGE else "text/plain") if page else "application/json"
    with server({("GET", "info"): lambda call: call.reply(status, content, kindOfContent)}) as running:
        assert word in str(fails(kind, running.address))


@pytest.mark.parametrize("version", ["0.1.0", "0.1.0.dev3", "0.10", "1.0rc1"])
def test_new_enough_versions_are_taken(version):
    with server({("GET", "info"): lambda call: call.reply(200, {**INFO, "version": version})}) as running:
        assert Client(running.address, consented=lambda host: True).info().version == version


@pytest.mark.parametrize(
    ("location", "kind", "word"),
    [
        ("https://127.0.0.1:9/info/", Errors.WrongService, "https"),
        ("https://login.example/?next=info", Errors.ProxyInBetween, "login.example"),
        ("/login", Errors.ProxyInBetween, "127.0.0.1"),
    ],
)
def test_redirects_are_told_and_not_followed(fails, location, kind, word):
    with server({("GET", "info"): lambda call: call.reply(302, b"", "text/html", Location=location)}) as running:
        assert word in str(fails(kind, running.address))
        assert len(running.calls) == 1


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\x01\x02\x03\n", b"220 mail ready\r\n"])
def test_service_that_does_not_speak_http(fails, said):
    def other(connected):
        connected.sendall(said)
        connected.recv(65536)

    with rawServer(other) as address:
        assert "does not speak HTTP" in str(fails(Errors.WrongService, address))


def test_connection_closed_without_a_word(fails):
    with rawServer(lambda connected: connected.recv(65536)) as address:
        assert "broke while" in str(fails(Errors.BrokenAnswer, address))


def test_server_that_dies_while_it_works(fails):
    def die(call):
        call.drain()
        time.sleep(0.3)
        call.close_connection = True

    with infer(die) as running:
        assert "broke while" in str(fails(Errors.BrokenAnswer, running.address, image=True))


def test_server_that_hangs_up_while_we_send(fails, tmp_path):
    path = tmp_path / "large.nrrd"
    path.write_bytes(b"NRRD" + bytes(30_000_000))

    def slam(call):
        call.connection.shutdown(socket.SHUT_RDWR)
        call.close_connection = True

    with infer(slam) as running, pytest.raises(Errors.BrokenAnswer, match="broke while we were sending"):
        Client(running.address, consented=lambda host: True).denoise(
            Request("student", str(path), str(tmp_path)), lambda progress: None, lambda: False
        )


@pytest.mark.parametrize("kept", [0, 20, 150, 300, -10, -1])
@pytest.mark.parametrize("stated", [True, False])
def test_answer_cut_off(fails, kept, stated):
    content = form()
    kept = kept if kept >= 0 else len(content) + kept - 2  # the last line break is no loss

    def cut(call):
        call.drain()
        call.send_response(200)
        call.send_header("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        if stated:
            call.send_header("Content-Length", str(len(content)))
        else:
            call.send_header("Connection", "close")
        call.end_headers()
        call.wfile.write(content[:kept])
        call.close_connection = True

    with infer(cut) as running:
        assert "cut off" in str(fails(Errors.BrokenAnswer, running.address, image=True))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (form(image=b"PK\x03\x04 a zip"), "multipart/form-data; boundary=" + BOUNDARY),
        (form(image=b""), "multipart/form-data; boundary=" + BOUNDARY),
        (form(said=[1]), "multipart/form-data; boundary=" + BOUNDARY),
        (form(said={"figures": {}}), "multipart/form-data; boundary=" + BOUNDARY),
        (form(), "multipart/form-data; boundary=another"),
        (form(), "multipart/form-data"),
        (b'{"label_names": {}}', "application/json"),
        (b"--" + BOUNDARY.encode() + b"\r\n" + b"x" * 100_000, "multipart/form-data; boundary=" + BOUNDARY),
        (form(said={"model": {}, "x": "y" * 17_000_000}), "multipart/form-data; boundary=" + BOUNDARY),
    ],
)
def test_answer_that_is_no_image_with_its_json(fails, content, kind):
    def give(call):
        call.drain()
        call.reply(200, content, kind)

    with infer(give) as running:
        fails(Errors.BrokenAnswer, running.address, image=True)


@contextlib.contextmanager
def largestFile(size):
    """Files of this process cannot grow beyond a size, as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("size", [1_000, 4_000_000])  # found at the end, when the file is closed, and before
def test_disk_that_is_full(tmp_path, size):
    path, results = tmp_path / "image.nrrd", tmp_path / "results"
    path.write_bytes(fault_server.IMAGE)
    results.mkdir()
    content = form(image=b"NRRD" + bytes(2 * size))
    full = pytest.raises(Errors.CannotStore, match="stored on this machine: File too large")
    with infer(lambda call: call.replyForm(content)) as running, largestFile(size), full as caught:
        Client(running.address, consented=lambda host: True).denoise(
            Request("student", str(path), str(results)), lambda progress: None, lambda: False
        )
    assert "room" in caught.value.advice
    assert list(results.iterdir()) == []


def test_folder_that_is_gone(tmp_path):
    path = tmp_path / "image.nrrd"
    path.write_bytes(fault_server.IMAGE)
    with server() as running, pytest.raises(Errors.CannotStore, match="No such file"):
        Client(running.address, consented=lambda host: True).denoise(
            Request("student", str(path), str(tmp_path / "gone")), lambda progress: None, lambda: False
        )


def test_image_that_is_gone(tmp_path):
    with server() as running:
        with pytest.raises(Errors.MedDenoiseError, match="image to send cannot be read: No such file"):
            Client(running.address, consented=lambda host: True).denoise(
                Request("student", str(tmp_path / "gone.nrrd"), str(tmp_path)), lambda progress: None, lambda: False
            )
        assert [call.command for call in running.calls] == ["GET"]


@pytest.mark.parametrize("token", ["two words", "tökén", "line\r\nX-Evil: yes"])
def test_token_that_can_be_none_is_not_sent(fails, token):
    with server() as running:
        error = fails(Errors.Unauthorized, running.address, token=token)
        assert running.calls == []
    assert token not in str(error)


@pytest.mark.parametrize(("header", "low", "high"), [("7", 7, 7), (None, 1, 60), ("soon", 1, 60)])
def test_seconds_to_come_back_after(fails, header, low, high):
    more = {} if header is None else {"Retry_After": header}
    with server({("GET", "info"): lambda call: call.reply(429, {"detail": "full"}, **more)}) as running:
        assert low <= fails(Errors.Busy, running.address).retryAfter <= high


def test_date_to_come_back_at(fails):
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    with server({("GET", "info"): lambda call: call.reply(503, {"detail": "full"}, Retry_After=date)}) as running:
        assert 20 < fails(Errors.Busy, running.address).retryAfter <= 30


def test_server_that_goes_away_before_the_image_is_sent(fails):
    def leave(call):
        running.shutdown()
        running.server_close()
        call.reply(200, INFO)

    with server({("GET", "info"): leave}) as running:
        fails(Errors.CannotConnect, running.address, image=True)
