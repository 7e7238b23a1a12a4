"""What a client sends, how it tells how far it is, and what it stores, with a server that behaves."""

import socket
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

import fault_server
from fault_server import BOUNDARY, IMAGE, INFO, MODEL, SAID, form, server
from MedDenoiseLib.Client import Client, Progress, Request
from MedDenoiseLib.Errors import Busy, Canceled, CannotConnect, ConsentMissing, ProxyInBetween, Refused, ServerFailed

LARGE = 48_000_000
LITTLE = 6_000_000
"""Bytes that a large transfer may take of memory: a few pieces of it."""


def agreed(address, **more):
    return Client(address, consented=lambda host: True, **more)


@pytest.fixture
def image(tmp_path):
    """An image under a name that nobody may see."""
    path = tmp_path / "Doe^Jane 1961.nrrd"
    path.write_bytes(IMAGE)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


@pytest.fixture
def denoise(image, folder):
    """denoise(address, ...) as a user would; the stages and texts are in its attribute `seen`."""
    seen = []

    def run(address, canceled=lambda: False, client=None, **more):
        return (client or agreed(address)).denoise(
            Request("student", image, str(folder), **more), seen.append, canceled
        )

    run.seen = seen
    return run


def posts(running):
    return [call for call in running.calls if call.command == "POST"]


def test_info_names_models_with_descriptions():
    with server() as running:
        info = agreed(running.address).info()
    assert (info.name, info.version, info.device) == ("MedDenoise", "0.1.0", "cpu")
    (model,) = info.models
    assert (model.name, model.title, model.description) == ("student", "Student", "Small fast network")
    assert (model.version, model.uncertainty, model.outputs) == ("0.2.0", True, ("difference", "uncertainty"))
    assert model.recommendedFor == ("CT", "MR", "PET", "XR")


def test_model_of_one_modality_is_recommended_for_it_before_one_of_all():
    models = {"student": MODEL, "our_pet": {**MODEL, "modalities": ["PET"]}, "zeta": MODEL}
    with server({("GET", "info"): lambda call: call.reply(200, {**INFO, "models": models})}) as running:
        recommended = {model.title: model.recommendedFor for model in agreed(running.address).info().models}
    assert recommended == {"Student": ("CT", "MR", "XR"), "Our pet": ("PET",), "Zeta": ()}


def test_model_that_cannot_be_used_is_named_with_its_reason_and_not_offered(denoise):
    said = {**INFO, "problems": {"student": "its weights are damaged."}}
    with server({("GET", "info"): lambda call: call.reply(200, said)}) as running:
        info = agreed(running.address).info()
        with pytest.raises(Refused, match=r"student.*its weights are damaged"):
            denoise(running.address)
    assert (info.models, info.problems) == ((), (("student", "its weights are damaged."),))
    assert not posts(running)


def test_uncertainty_is_not_asked_of_a_model_that_gives_none(denoise):
    plain = {**MODEL, "config": {"output_type": ["denoised"]}}
    said = {**INFO, "models": {"student": plain}}
    refused = pytest.raises(Refused, match="no map of the uncertainty")
    with server({("GET", "info"): lambda call: call.reply(200, said)}) as running, refused:
        denoise(running.address, uncertainty=True)
    assert not posts(running)


def test_nothing_is_sent_to_a_host_that_was_not_agreed_to(image, folder):
    asked, connections = [], []
    with fault_server.rawServer(connections.append) as address:
        client = Client(address, token="secret", consented=lambda host: asked.append(host) or False)
        for attempt in (
            client.info,
            lambda: client.denoise(Request("student", image, str(folder)), print, lambda: False),
        ):
            with pytest.raises(ConsentMissing, match=r"127\.0\.0\.1") as caught:
                attempt()
            assert caught.value.host == "127.0.0.1"
        time.sleep(0.1)
    assert connections == []
    assert asked == ["127.0.0.1"] * 2


def test_agreement_withdrawn_in_between_keeps_the_image_here(image, folder):
    answers = [True, False, False]
    with server() as running:
        client = Client(running.address, consented=lambda host: answers.pop(0))
        with pytest.raises(ConsentMissing):
            client.denoise(Request("student", image, str(folder)), print, lambda: False)
        assert not posts(running)


def test_result_is_stored_whole_under_a_name_of_our_own(denoise, folder):
    said = {**SAID, "warnings": ["guessed", "noise not measurable"]}
    content = form(said, name="../../../evil.nrrd")
    with server({("POST", "infer"): lambda call: call.replyForm(content)}) as running:
        answer = denoise(running.address)
    assert list(folder.iterdir()) == [Path(answer.volumePath)]
    assert Path(answer.volumePath).read_bytes() == IMAGE
    assert (answer.model, answer.version, answer.uncertaintyPath) == ("student", "0.2.0", None)
    assert (answer.figures, answer.settings) == (SAID["figures"], SAID["settings"])
    assert answer.warnings == ("guessed", "noise not measurable")
    assert 0 < answer.seconds < 30


def test_only_the_image_the_options_and_the_token_are_sent(denoise):
    with server() as running:
        denoise(running.address, client=agreed(running.address, token=" hush-hush\n"), modality="CT")
        (call,) = posts(running)
    assert call.path == "/infer/student?output=all"
    assert call.headers["Authorization"] == "Bearer hush-hush"
    assert {name.lower() for name in call.headers} == {
        *("host", "accept", "accept-encoding", "authorization", "content-type", "content-length", "x-request-id")
    }
    assert b'filename="image.nrrd"' in call.start
    assert b'{"output_type": "denoised", "strength": 1.0, "result_extension": ".nrrd", "modality": "CT"}' in call.start
    assert b"Doe" not in call.start
    assert IMAGE[:300] in call.start


def test_no_token_sends_none(denoise):
    with server() as running:
        denoise(running.address)
        assert all("Authorization" not in call.headers for call in running.calls)


def test_uncertainty_is_a_second_request_and_its_warnings_are_told_once(denoise, folder):
    def give(call):
        kind = "uncertainty" if b'"uncertainty"' in call.drain() else "denoised"
        said = {**SAID, "figures": {"from": kind}, "warnings": ["guessed", kind]}
        call.reply(200, form(said, b"NRRD" + kind.encode()), f"multipart/form-data; boundary={BOUNDARY}")

    with server({("POST", "infer"): give}) as running:
        answer = denoise(running.address, uncertainty=True)
        names = [call.headers["X-Request-ID"] for call in posts(running)]
    for path, content in ((answer.volumePath, b"NRRDdenoised"), (answer.uncertaintyPath, b"NRRDuncertainty")):
        assert Path(path).read_bytes() == content
    assert len(set(names)) == 2
    assert len(list(folder.iterdir())) == 2
    assert (answer.figures, answer.warnings) == ({"from": "denoised"}, ("guessed", "denoised", "uncertainty"))


def test_nothing_is_left_where_the_second_request_fails(denoise, folder):
    def give(call):
        if b'"uncertainty"' in call.drain():
            call.reply(500, {"error": "InternalError", "detail": "out of memory."})
        else:
            call.reply(200, form(), f"multipart/form-data; boundary={BOUNDARY}")

    with server({("POST", "infer"): give}) as running, pytest.raises(ServerFailed, match="out of memory"):
        denoise(running.address, uncertainty=True)
    assert list(folder.iterdir()) == []


def test_progress_is_told_by_stage_while_a_second_connection_asks_for_it(denoise):
    states = [
        {"state": "waiting", "position": 2, "done": 0, "total": 0, "wait_estimate_s": 12.4},
        {"state": "reading", "position": 0, "done": 0, "total": 0, "wait_estimate_s": 0.0},
        {"state": "denoising", "position": 0, "done": 3, "total": 12, "wait_estimate_s": 0.0},
        {"state": "writing", "position": 0, "done": 12, "total": 12, "wait_estimate_s": 0.0},
    ]
    told = threading.Event()

    def progress(call):
        call.reply(200, states.pop(0) if states else {"state": "done"})
        if not states:
            told.set()

    def infer(call):
        call.drain()
        told.wait(20)
        call.reply(200, form(), f"multipart/form-data; boundary={BOUNDARY}")

    with server({("GET", "progress"): progress, ("POST", "infer"): infer}) as running:
        denoise(running.address)
        name = posts(running)[0].headers["X-Request-ID"]
        asked = [call for call in running.calls if call.path == f"/progress/{name}"]
        assert len({call.client_address for call in asked}) == 1  # one connection for all of them
        assert asked[0].client_address != posts(running)[0].client_address
    stages = list(dict.fromkeys(one.stage for one in denoise.seen))
    assert stages == ["sending", "waiting", "denoising", "receiving"]
    assert Progress("waiting", None, "place 2 in line, about 12 s") in denoise.seen
    assert Progress("denoising", 0.25, "3 of 12") in denoise.seen
    assert [one.done for one in denoise.seen if one.stage == "sending"][-1] == 1.0
    assert [one.done for one in denoise.seen if one.stage == "receiving"][-1] == 1.0


def test_server_that_tells_no_progress_still_denoises(denoise):
    def slow(call):
        call.drain()
        time.sleep(1.0)
        call.reply(200, form(), f"multipart/form-data; boundary={BOUNDARY}")

    def broken(call):
        call.close_connection = True  # and not a word

    with server({("GET", "progress"): broken, ("POST", "infer"): slow}) as running:
        assert denoise(running.address).model == "student"
        assert len([call for call in running.calls if call.path.startswith("/progress/")]) >= 2


def test_full_server_is_asked_again_after_the_seconds_it_names(denoise):
    times = []

    def full(call):
        times.append(time.monotonic())
        call.drain()
        if len(times) < 3:
            call.reply(429, {"error": "Busy", "detail": "16 requests wait already"}, Retry_After="1")
        else:
            call.reply(200, form(), f"multipart/form-data; boundary={BOUNDARY}")

    with server({("POST", "infer"): full}) as running:
        assert denoise(running.address).model == "student"
    assert len(times) == 3
    assert min(times[1] - times[0], times[2] - times[1]) >= 1
    assert Progress("waiting", None, "the server is full, asking again in 1 s") in denoise.seen


def test_server_that_does_not_ask_to_come_back_is_left_alone(denoise):
    def full(call):
        call.drain()
        call.reply(503, {"error": "ServiceError", "detail": "the GPU is gone"})

    with server({("POST", "infer"): full}) as running:
        with pytest.raises(Busy, match="the GPU is gone"):
            denoise(running.address)
        assert len(posts(running)) == 1


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


def test_cancel_is_quick_where_the_server_does_not_even_hear_of_it(denoise):
    with server({("POST", "infer"): fault_server.hang, ("DELETE", "progress"): fault_server.hang}) as running:
        stop = Later(lambda: bool(denoise.seen) and denoise.seen[-1].stage == "waiting")
        with pytest.raises(Canceled):
            denoise(running.address, canceled=stop)
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
