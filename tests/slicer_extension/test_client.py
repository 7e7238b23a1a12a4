"""What a client sends, how it tells how far it is, and what it stores, with a server that behaves."""

import ast
import sys
import threading
import time
from pathlib import Path

import pytest

import fault_server
from fault_server import BOUNDARY, IMAGE, INFO, MODEL, SAID, form, server
from MedDenoiseLib.Client import Client, Progress, Request
from MedDenoiseLib.Errors import Busy, ConsentMissing, Refused, ServerFailed


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


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 has no list of its standard library")
@pytest.mark.parametrize(
    "name",
    [
        "Address",
        "Answers",
        "Client",
        "Connection",
        "Errors",
        "Faults",
        "Job",
        "Multipart",
        "Server",
        "Settings",
        "Transfer",
    ],
)
def test_client_layer_imports_the_standard_library_and_itself_alone(name):
    folder = Path(sys.modules[Client.__module__].__file__).parent
    tree = ast.parse((folder / f"{name}.py").read_text(), feature_version=(3, 9))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    own = {f"MedDenoiseLib.{path.stem}" for path in folder.glob("*.py")}
    assert not {module for module in found - own if module.split(".")[0] not in sys.stdlib_module_names}
    assert not found & {f"MedDenoiseLib.{other}" for other in ("Logic", "Widget", "I18n", "Runner", "Texts")}
