"""Many requests, one device: first come first served, few at once, and those who go away are not waited for."""

import asyncio
import json
import threading
import time

import numpy as np
import pytest
import requests

from meddenoise.errors import ServiceError
from meddenoise.server.progress import Handle
from meddenoise.server.queue import FIRST_GUESS, Busy, Limits, Line, Lines, limits_from

SLOW = {"long": {"uncertainty": True}, "short": {}}
"""Options that make the long image take about a minute."""


class Clock:
    """Time that passes only when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


async def settle():
    """Let every task that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


class Runs:
    """Requests in a line, each of which works until it is told to end."""

    def __init__(self, line):
        self.line, self.started, self.ends, self.handles = line, [], {}, {}

    def come(self, name):
        self.ends[name], self.handles[name] = asyncio.Event(), Handle(name)
        return asyncio.create_task(self._run(name))

    async def _run(self, name):
        async with self.line.place(self.handles[name]):
            self.started.append(name)
            await self.ends[name].wait()


def test_one_runs_at_a_time_and_the_others_follow_in_order():
    async def story():
        runs = Runs(Line("cpu", Limits(running=1, waiting=5)))
        tasks = [runs.come(name) for name in "abc"]
        await settle()
        assert runs.started == ["a"]
        assert [runs.line.position(runs.handles[name]) for name in "abc"] == [0, 1, 2]
        runs.ends["a"].set()
        await settle()
        assert runs.started == ["a", "b"]
        assert [runs.line.position(runs.handles[name]) for name in "abc"] == [0, 0, 1]
        for name in "bc":
            runs.ends[name].set()
        await asyncio.gather(*tasks)
        assert runs.started == ["a", "b", "c"]

    asyncio.run(story())


def test_as_many_run_at_once_as_are_allowed():
    async def story():
        runs = Runs(Line("cuda:0", Limits(running=2, waiting=5)))
        tasks = [runs.come(name) for name in "abc"]
        await settle()
        assert runs.started == ["a", "b"]
        for name in "abc":
            runs.ends[name].set()
        await asyncio.gather(*tasks)

    asyncio.run(story())


def test_who_finds_the_line_full_is_told_when_to_come_back():
    async def story():
        clock = Clock()
        runs = Runs(Line("cpu", Limits(running=1, waiting=2), clock=clock))
        first = runs.come("a")
        await settle()
        clock.now = 8.0
        runs.ends["a"].set()
        await first
        tasks = [runs.come(name) for name in "bcd"]
        await settle()
        clock.now += 2.0  # "b" has 6 of the usual 8 seconds to go, then 8 for "c"
        with pytest.raises(Busy, match="2 requests wait for cpu already; try again in 14 s") as refused:
            await runs.come("e")
        assert (refused.value.status_code, refused.value.headers) == (429, {"Retry-After": "14"})
        assert runs.line.position(runs.handles["e"]) == 0
        for name in "bcd":
            runs.ends[name].set()
        await asyncio.gather(*tasks)
        assert runs.started == ["a", "b", "c", "d"]

    asyncio.run(story())


def test_who_goes_away_while_waiting_frees_the_place():
    async def story():
        runs = Runs(Line("cpu", Limits(running=1, waiting=1)))
        first, second = runs.come("a"), runs.come("b")
        await settle()
        second.cancel()
        await settle()
        third = runs.come("c")  # there is room again
        await settle()
        runs.ends["a"].set()
        runs.ends["c"].set()
        await asyncio.gather(first, third)
        assert runs.started == ["a", "c"]

    asyncio.run(story())


def test_who_goes_away_in_the_moment_of_being_called_passes_the_device_on():
    async def story():
        runs = Runs(Line("cpu", Limits(running=1, waiting=2)))
        first, second, third = (runs.come(name) for name in "abc")
        await settle()
        runs.ends["a"].set()
        runs.ends["c"].set()
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(first, third)
        assert runs.started[-1] == "c"

    asyncio.run(story())


def test_device_is_free_again_after_a_failure_which_teaches_nothing_about_durations():
    async def story():
        line = Line("cpu", Limits())
        with pytest.raises(ZeroDivisionError):
            async with line.place(Handle("a")):
                _ = 1 / 0
        assert line.average == FIRST_GUESS
        async with line.place(Handle("b")):
            pass
        assert line.average < 1.0

    asyncio.run(story())


def test_estimate_follows_the_durations_measured():
    async def story():
        clock = Clock()
        line = Line("cpu", Limits(running=1), clock=clock)
        for duration in (10.0, 20.0):
            async with line.place(Handle()):
                clock.now += duration
        assert line.average == pytest.approx(12.0)
        async with line.place(Handle()):
            assert [line.estimate(position) for position in (0, 1, 2)] == pytest.approx([0.0, 12.0, 24.0])
            clock.now += 30.0  # longer than usual: it can end at any moment
            assert line.estimate(1) == 0.0

    asyncio.run(story())


def test_each_device_has_its_own_line():
    lines = Lines(Limits())
    assert lines.of("cpu") is lines.of("cpu")
    assert lines.of("cpu") is not lines.of("cuda:0")
    assert lines.of("cuda") is lines.of("cuda:0") is not lines.of("cuda:1")
    assert lines.where(Handle()) == (0, 0.0)


def test_limits_come_from_the_environment():
    assert limits_from({}) == Limits()
    assert limits_from({"MEDDENOISE_RUNNING": "2", "MEDDENOISE_WAITING": "0"}) == Limits(running=2, waiting=0)


@pytest.mark.parametrize("name", ["MEDDENOISE_RUNNING", "MEDDENOISE_WAITING"])
@pytest.mark.parametrize("value", ["-1", "many", "1.5"])
def test_limits_that_are_none_are_refused(name, value):
    with pytest.raises(ServiceError, match=f"{name} must be a whole number"):
        limits_from({name: value})


class Asked:
    """A request in a thread of its own, by a client that may hang up."""

    def __init__(self, server, image, name):
        self.server, self.name, self.answer = server, name, None
        self.thread = threading.Thread(target=self._ask, args=(image,))
        self.thread.start()

    def _ask(self, image):
        self.answer = self.server.post(image=image, params=SLOW[image], output="json", request_id=self.name)

    def wait(self):
        self.thread.join(60)
        return self.answer


def place(server, name):
    """State and position of a request; it is known a moment before it is in line."""
    answer = requests.get(f"{server.url}/progress/{name}", timeout=10)
    return (answer.json()["state"], answer.json()["position"]) if answer.ok else ("unknown", 0)


def state(server, name):
    return place(server, name)[0]


def until(found, seconds=20.0):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.03)


def fill(server, names):
    """One request that runs for some seconds, and others that wait behind it."""
    asked = []
    for number, name in enumerate(names):
        asked.append(Asked(server, "short" if number else "long", name))
        wanted = ("waiting", number) if number else ("denoising", 0)
        until(lambda name=name, wanted=wanted: place(server, name) == wanted)
    return asked


def end(server, asked):
    requests.delete(f"{server.url}/progress/{asked[0].name}", timeout=10)
    return [each.wait() for each in asked]


def test_full_line_answers_429_at_once_and_has_room_later(short_line):
    asked = fill(short_line, ["full-1", "full-2", "full-3"])
    refused = short_line.post(image="short", request_id="full-4")
    answers = end(short_line, asked)
    assert refused.status_code == 429
    assert refused.json()["error"] == "Busy"
    assert "2 requests wait for cpu already" in refused.json()["detail"]
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.elapsed.total_seconds() < 2
    assert state(short_line, "full-4") == "failed"
    assert [answer.status_code for answer in answers] == [409, 200, 200]
    assert short_line.post(image="short", request_id="full-4").status_code == 200


def test_wrong_request_is_refused_without_waiting(short_line):
    asked = fill(short_line, ["wrong-1"])
    refused = short_line.post(image="short", params={"strength": 7})
    end(short_line, asked)
    assert refused.status_code == 400
    assert refused.elapsed.total_seconds() < 2


def hang_up_on(server, image, name, when):
    """Send a request and close the connection once it has come to a state."""
    with requests.Session() as session:
        asked = threading.Thread(target=_ignore, args=(session, server, image, name))
        asked.start()
        until(lambda: state(server, name) == when)
    asked.join(60)


def _ignore(session, server, image, name):
    # A client that gives up: the time-out is shorter than the work.
    with pytest.raises(requests.exceptions.ReadTimeout):
        session.post(
            f"{server.url}/infer/student",
            params={"image": image, "request_id": name},
            data={"params": json.dumps(SLOW[image])},
            timeout=(5, 1.5),
        )


def test_client_that_hangs_up_while_it_waits_frees_its_place(short_line):
    asked = fill(short_line, ["gone-1"])
    hang_up_on(short_line, "short", "gone-2", "waiting")
    until(lambda: state(short_line, "gone-2") == "cancelled")
    still = state(short_line, "gone-1")
    end(short_line, asked)
    assert still == "denoising"


def test_client_that_hangs_up_while_its_image_is_denoised_ends_the_work(short_line):
    before = set(short_line.temporary.iterdir())
    hang_up_on(short_line, "long", "gone-3", "denoising")
    until(lambda: state(short_line, "gone-3") == "cancelled")
    seen = requests.get(f"{short_line.url}/progress/gone-3", timeout=10).json()
    assert 0 < seen["done"] < seen["total"] == 8 * 60
    assert short_line.post(image="short").status_code == 200
    until(lambda: set(short_line.temporary.iterdir()) == before)


def test_other_requests_are_answered_while_the_line_is_full(short_line):
    asked = fill(short_line, ["info-1", "info-2", "info-3"])
    waits = []
    for _ in range(20):
        start = time.monotonic()
        requests.get(f"{short_line.url}/info/", timeout=60).raise_for_status()
        waits.append(time.monotonic() - start)
    running = state(short_line, "info-1")
    end(short_line, asked)
    assert running == "denoising"
    assert np.median(waits) < 0.5
