"""Each request can be asked about by its id, and ended."""

import copy
import threading
import time

import pytest
import requests

from meddenoise.errors import OptionError
from meddenoise.server.checks import parse_params
from meddenoise.server.problems import Problem
from meddenoise.server.progress import HANDLE, Cancelled, Handle, Register, handle_of
from meddenoise.server.tokens import Person, Role


def test_handle_tells_how_far_the_work_is():
    handle = Register().open("scan-1")
    assert (handle.state, handle.done, handle.total) == ("waiting", 0, 0)
    handle.enter("denoising")
    handle.count(3, 7)
    assert (handle.state, handle.done, handle.total) == ("denoising", 3, 7)


@pytest.mark.parametrize("step", [lambda handle: handle.enter("writing"), lambda handle: handle.count(1, 2)])
def test_cancelled_work_ends_at_its_next_step(step):
    handle = Handle("scan-1")
    handle.cancel()
    with pytest.raises(Cancelled, match="request scan-1 was cancelled"):
        step(handle)


def test_ended_work_cannot_be_cancelled():
    handle = Handle("scan-1")
    handle.finish("done")
    handle.cancel()
    assert not handle.cancelled


def test_copy_of_a_request_has_the_same_handle():
    handle = Handle("scan-1")
    assert copy.deepcopy({HANDLE: handle})[HANDLE] is handle


def test_client_cannot_send_a_handle():
    assert handle_of(parse_params(f'{{"{HANDLE}": {{"name": "scan-1"}}}}')).name == ""


def test_ids_are_made_where_none_is_given():
    register = Register()
    first, second = register.open(), register.open()
    assert first.name != second.name
    assert register.find(first.name) is first


@pytest.mark.parametrize("name", ["a b", "../x", "a" * 65, "é", "a\n", "a/b"])
def test_wrong_ids_are_refused(name):
    with pytest.raises(OptionError, match="a request id must be 1 to 64"):
        Register().open(name)
    with pytest.raises(OptionError, match="a request id must be 1 to 64"):
        Register().find(name)


def test_id_of_a_request_on_its_way_is_refused_and_can_be_used_again_later():
    register = Register()
    first = register.open("scan-1")
    with pytest.raises(Problem) as refused:
        register.open("scan-1")
    assert refused.value.status_code == 409
    assert register.find("scan-1") is first
    first.finish("failed")
    assert register.open("scan-1") is not first


def test_ended_requests_are_forgotten_after_a_while_and_those_on_their_way_are_not():
    now = [0.0]
    register = Register(kept_seconds=60, clock=lambda: now[0])
    register.open("ended").finish("done")
    register.open("long")
    now[0] = 59.0
    assert register.find("ended").state == "done"
    now[0] = 61.0
    with pytest.raises(Problem, match="no request ended; those that ended are kept 60 s"):
        register.find("ended")
    assert register.find("long").state == "waiting"


def test_only_so_many_ended_requests_are_kept():
    now = [0.0]
    register = Register(kept=2, clock=lambda: now[0])
    for name in "abc":
        now[0] += 1
        register.open(name).finish("done")
    with pytest.raises(Problem):
        register.find("a")
    assert register.find("b").state == register.find("c").state == "done"


def test_only_its_owner_and_administrators_hear_of_a_request():
    register, ann, ben = Register(), Person("ann", Role.USER), Person("ben", Role.USER)
    handle = register.open("scan-1", owner=ann)
    assert register.find("scan-1", person=ann) is register.find("scan-1", person=Person("eve", Role.ADMIN)) is handle
    with pytest.raises(Problem, match="no request scan-1"):
        register.find("scan-1", person=ben)


def ask(server, name, method="GET"):
    return requests.request(method, f"{server.url}/progress/{name}", timeout=10)


def start(server, image, name, answers):
    params = {"uncertainty": image == "long"}  # which takes eight times as long
    thread = threading.Thread(
        target=lambda: answers.update({name: server.post(image=image, params=params, output="json", request_id=name)})
    )
    thread.start()
    return thread


def until(server, name, state, position=0):
    """Wait until a request has a state and a place; it is known a moment before it is in line."""
    end, wanted = time.monotonic() + 30, (state, position)
    while (seen := ask(server, name)).status_code == 404 or (seen.json()["state"], seen.json()["position"]) != wanted:
        assert time.monotonic() < end, seen.text
        time.sleep(0.03)
    return seen.json()


def test_progress_is_shown_from_waiting_to_done_and_requests_are_cancelled(short_line):
    answers = {}
    threads = [start(short_line, "long", "way-1", answers)]
    until(short_line, "way-1", "denoising")
    for position, name in enumerate(("way-2", "way-3"), 1):
        threads.append(start(short_line, "short", name, answers))
        waiting = until(short_line, name, "waiting", position)
    assert waiting == {**waiting, "id": "way-3", "position": 2, "done": 0, "total": 0}
    assert waiting["wait_estimate_s"] >= 0
    assert ask(short_line, "way-3", "DELETE").status_code == 200  # one that waits
    until(short_line, "way-3", "cancelled")
    running = ask(short_line, "way-1").json()
    assert (running["state"], running["position"]) == ("denoising", 0)
    ask(short_line, "way-1", "DELETE")  # one that runs
    ended = until(short_line, "way-1", "cancelled")
    assert 0 < ended["done"] < ended["total"] == 8 * 60
    for thread in threads:
        thread.join(60)
    for name in ("way-1", "way-3"):
        assert answers[name].status_code == 409
        assert answers[name].json() == {"error": "Cancelled", "detail": f"request {name} was cancelled"}
        assert answers[name].headers["X-Request-ID"] == name
    assert answers["way-2"].status_code == 200
    assert until(short_line, "way-2", "done")["done"] == 1
    assert ask(short_line, "way-2", "DELETE").json()["state"] == "done"  # it stays what it is


def test_id_comes_from_the_header_or_is_made_and_comes_back(short_line):
    sent = requests.post(
        f"{short_line.url}/infer/student", params={"image": "short"}, headers={"X-Request-ID": "mine"}, timeout=60
    )
    assert sent.headers["X-Request-ID"] == "mine"
    made = short_line.post(image="short").headers["X-Request-ID"]
    assert ask(short_line, made).json()["state"] == "done"


def test_failed_request_says_so(short_line):
    answer = short_line.post(image="nobody", request_id="lost")
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (404, "lost")
    assert ask(short_line, "lost").json()["state"] == "failed"


def test_unknown_and_wrong_ids_are_refused(short_line):
    for method in ("GET", "DELETE"):
        assert ask(short_line, "nobody", method).status_code == 404
        answer = ask(short_line, "a%20b", method)
        assert (answer.status_code, answer.json()["error"]) == (400, "OptionError")
    assert short_line.post(image="short", request_id="../x").status_code == 400
