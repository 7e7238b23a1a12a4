"""Large images, cancellation in every stage, and proxies between the client and its server."""

import socket
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

import fault_server
from fault_server import BOUNDARY, IMAGE, INFO, form, server
from MedDenoiseLib.Client import Client, Request
from MedDenoiseLib.Errors import Canceled, CannotConnect, ProxyInBetween, Refused

LARGE = 48_000_000
LITTLE = 6_000_000
"""Bytes that a large transfer may take of memory: a few pieces of it."""


def agreed(address, **more):
    return Client(address, consented=lambda host: True, **more)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


def posts(running):
    return [call for call in running.calls if call.command == "POST"]


class Later:
    """Becomes true some moments after something has happened; knows for how long it has been."""

    def __init__(self, happened):
        self._happened, self.since = happened, None

    def __call__(self):
        if self.since is None and self._happened():
            self.since = time.monotonic()
        return self.since is not None


def half(call):
    call.drain()
    content = form(image=IMAGE + bytes(1_000_000))
    call.head(200, f"multipart/form-data; boundary={BOUNDARY}", len(content))
    call.wfile.write(content[:400_000])
    fault_server.hang(call)


def deafAfterHead(call):
    time.sleep(5)
    call.close_connection = True


@pytest.mark.parametrize(
    ("stage", "infer"),
    [
        ("sending", deafAfterHead),
        ("waiting", fault_server.hang),
        ("waiting", lambda call: (call.drain(), call.reply(429, {"detail": "full"}, Retry_After="60"))),
        ("receiving", half),
    ],
)
def test_cancel_is_quick_tells_the_server_and_leaves_nothing(stage, infer, tmp_path, folder):
    path, seen = tmp_path / "large.nrrd", []
    path.write_bytes(b"NRRD" + bytes(LARGE))
    deleted = []

    def forget(call):
        deleted.append(call.path)
        call.reply(200, {})

    routes = {("POST", "infer"): infer, ("DELETE", "progress"): forget}
    with server(routes) as running:
        began = Later(lambda: bool(seen) and seen[-1].stage == stage)
        stop = Later(lambda: began() and time.monotonic() - began.since > 0.3)
        with pytest.raises(Canceled):
            agreed(running.address).denoise(Request("student", str(path), str(folder)), seen.append, stop)
        assert time.monotonic() - stop.since < 1.0
        name = posts(running)[-1].headers["X-Request-ID"]
        pausing = seen[-1].text.startswith("the server is full")
        assert deleted == ([] if pausing else [f"/progress/{name}"])
    assert seen[-1].stage == stage
    assert list(folder.iterdir()) == []


def test_cancel_is_quick_where_the_server_does_not_even_hear_of_it(tmp_path, folder):
    path, seen = tmp_path / "image.nrrd", []
    path.write_bytes(IMAGE)
    with server({("POST", "infer"): fault_server.hang, ("DELETE", "progress"): fault_server.hang}) as running:
        stop = Later(lambda: bool(seen) and seen[-1].stage == "waiting")
        with pytest.raises(Canceled):
            agreed(running.address).denoise(Request("student", str(path), str(folder)), seen.append, stop)
    assert time.monotonic() - stop.since < 1.0


def test_cancel_is_quick_while_nobody_answers_the_call():
    start = time.monotonic()
    with fault_server.deafServer() as address, pytest.raises(Canceled):
        agreed(address).info(canceled=lambda: time.monotonic() - start > 0.2)
    assert time.monotonic() - start < 1.2


def test_cancel_is_quick_while_a_name_is_looked_up(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *what, **more: time.sleep(3))
    start = time.monotonic()
    with pytest.raises(Canceled):
        agreed("https://server.example:443").info(canceled=lambda: time.monotonic() - start > 0.2)
    assert time.monotonic() - start < 1.2


def test_large_image_goes_up_and_down_without_being_whole_in_memory(tmp_path, folder):
    path, sizes = tmp_path / "large.nrrd", []
    with path.open("wb") as file:
        file.write(b"NRRD")
        file.truncate(LARGE)

    def infer(call):
        call.drain()
        before, after = form(image=b"NRRD").split(b"NRRD", 1)
        call.head(200, f"multipart/form-data; boundary={BOUNDARY}", len(before) + LARGE + len(after))
        call.wfile.write(before + b"NRRD")
        for _ in range((LARGE - 4) // 1000):
            call.wfile.write(bytes(1000))
        call.wfile.write(bytes((LARGE - 4) % 1000) + after)

    def progress(one):
        sizes.append(tracemalloc.get_traced_memory()[1])

    with server({("POST", "infer"): infer}) as running:
        tracemalloc.start()
        try:
            answer = agreed(running.address).denoise(
                Request("student", str(path), str(folder)), progress, lambda: False
            )
        finally:
            tracemalloc.stop()
        assert posts(running)[0].length > LARGE
    assert Path(answer.volumePath).stat().st_size == LARGE
    assert max(sizes) < LITTLE
    assert len(sizes) > 2 * LARGE / 300_000  # piece by piece


def test_refusal_before_the_image_is_through_stops_the_sending(tmp_path, folder):
    path = tmp_path / "large.nrrd"
    path.write_bytes(b"NRRD" + bytes(LARGE))
    seen = []

    def refuse(call):
        call.reply(413, {"error": "InputError", "detail": "a request of this kind must be at most 1 MiB"})
        time.sleep(1)  # a gate that refuses leaves the rest unread
        call.close_connection = True

    with server({("POST", "infer"): refuse}) as running, pytest.raises(Refused, match="at most 1 MiB"):
        agreed(running.address).denoise(Request("student", str(path), str(folder)), seen.append, lambda: False)
    assert max(one.done or 0 for one in seen if one.stage == "sending") < 0.9


@pytest.fixture
def proxied(monkeypatch):
    """proxied(address) makes that the proxy of this machine, also for a name that no DNS knows."""

    def use(address):
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, address.replace("://", "://anna:pass%20word@"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)

    return use


def test_proxy_of_the_environment_is_asked_for_other_machines_only(proxied):
    with server() as proxy, server() as running:
        proxied(proxy.address)
        agreed(running.address).info()
        assert proxy.calls == []
        proxy.routes["GET", ""] = lambda call: call.reply(200, INFO)
        agreed("http://server.example:8000/denoise").info()
        (call,) = proxy.calls
    assert call.path == "http://server.example:8000/denoise/info/"
    assert call.headers["Host"] == "server.example:8000"
    assert call.headers["Proxy-Authorization"] == "Basic YW5uYTpwYXNzIHdvcmQ="


def test_proxy_passes_tls_through_without_seeing_what_is_in_it(proxied, tmp_path):
    context, pem = fault_server.certificate(tmp_path, "DNS:server.example")
    through = []

    def tunnel(call):
        with socket.create_connection(("127.0.0.1", running.server_port)) as there:
            call.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            call.wfile.flush()
            back = threading.Thread(target=relay, args=(there, call.connection, []))
            back.start()
            relay(call.connection, there, through)
            back.join(5)
        call.close_connection = True

    def relay(source, sink, kept):
        try:
            while piece := source.recv(65536):
                kept.append(piece)
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    with server(context=context) as running, server({("CONNECT", ""): tunnel}) as proxy:
        proxied(proxy.address)
        client = agreed("https://server.example:443", certificateFile=pem, token="hush-hush")
        assert client.info().version == "0.1.0"
        proxy.routes["CONNECT", ""] = lambda call: call.reply(403, b"<html>no</html>", "text/html")
        with pytest.raises(ProxyInBetween, match=r"proxy 127\.0\.0\.1 does not let us through to server.example: 403"):
            client.info()
        assert running.calls[0].headers["Authorization"] == "Bearer hush-hush"
        assert "Proxy-Authorization" not in running.calls[0].headers
        assert proxy.calls[0].path == "server.example:443"
        assert "Authorization" not in proxy.calls[0].headers
    assert through
    assert b"hush-hush" not in b"".join(through)


def test_proxy_that_does_not_run_is_named(proxied):
    proxied(fault_server.closedPort())
    with pytest.raises(CannotConnect):
        agreed("http://server.example:8000").info()
