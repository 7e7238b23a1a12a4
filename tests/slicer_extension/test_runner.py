"""One job at a time, ticked by a timer, and never heard of again once it was abandoned."""

import threading

import pytest

from MedDenoiseLib.Errors import Canceled
from MedDenoiseLib.Runner import CANCELING, CONNECTING, IDLE, RUNNING, Runner


class Timer:
    """Runs only when told; counts whether it would."""

    running = False

    def start(self):
        self.running = True

    def stop(self):
        self.running = False


class Ear:
    """Hears what a runner says."""

    def __init__(self, runner):
        self.heard = []
        runner.whenStateChanged = lambda: self.heard.append(runner.state)
        runner.whenProgressed = self.heard.append

    def done(self, result):
        self.heard.append(("done", result))

    def failed(self, error):
        self.heard.append(("failed", type(error).__name__))


@pytest.fixture
def runner():
    return Runner(Timer())


@pytest.fixture
def ear(runner):
    return Ear(runner)


def finish(runner):
    for _ in range(1000):
        if runner.state == IDLE:
            return
        runner.tick()
    raise AssertionError("the job did not end")


def test_result_arrives_after_the_runner_is_at_rest(runner, ear):
    runner.start(RUNNING, lambda _progress, _canceled: 42, ear.done, ear.failed)
    finish(runner)
    assert ear.heard == [RUNNING, IDLE, ("done", 42)]


def test_error_of_the_work_is_told(runner, ear):
    def work(_progress, _canceled):
        raise ZeroDivisionError

    runner.start(CONNECTING, work, ear.done, ear.failed)
    finish(runner)
    assert ear.heard == [CONNECTING, IDLE, ("failed", "ZeroDivisionError")]


def test_progress_is_told_once_each(runner, ear):
    seen, go = threading.Event(), threading.Event()

    def work(progress, _canceled):
        progress("a third")
        seen.set()
        assert go.wait(10)

    runner.start(RUNNING, work, ear.done, ear.failed)
    assert seen.wait(10)
    for _ in range(3):
        runner.tick()
    go.set()
    finish(runner)
    assert ear.heard == [RUNNING, "a third", IDLE, ("done", None)]


def test_cancel_reaches_the_work_and_is_told_as_canceled(runner, ear):
    def work(_progress, canceled):
        while not canceled():
            threading.Event().wait(0.001)
        raise Canceled

    runner.start(RUNNING, work, ear.done, ear.failed)
    runner.cancel()
    runner.cancel()
    finish(runner)
    assert ear.heard == [RUNNING, CANCELING, IDLE, ("failed", "Canceled")]


def test_result_that_came_before_the_wish_to_cancel_was_heard_is_dropped(runner, ear):
    runner.start(RUNNING, lambda _progress, _canceled: 42, ear.done, ear.failed)
    runner.cancel()
    finish(runner)
    assert ear.heard[-1] == ("failed", "Canceled")


def test_second_job_is_refused_and_the_first_goes_on(runner, ear):
    go = threading.Event()
    runner.start(RUNNING, lambda _progress, _canceled: go.wait(10), ear.done, ear.failed)
    with pytest.raises(RuntimeError, match="running"):
        runner.start(RUNNING, lambda _progress, _canceled: None, ear.done, ear.failed)
    go.set()
    finish(runner)
    assert ear.heard[-1] == ("done", True)


def test_abandoned_job_is_stopped_and_never_heard_of_again(runner, ear):
    ended = threading.Event()

    def work(_progress, canceled):
        while not canceled():
            threading.Event().wait(0.001)
        ended.set()
        return 42

    runner.start(RUNNING, work, ear.done, ear.failed)
    runner.abandon()
    assert ended.is_set()
    runner.tick()
    assert ear.heard == [RUNNING, IDLE]
    assert not runner._timer.running


def test_callback_may_start_the_next_job(runner, ear):
    def again(_result):
        runner.start(RUNNING, lambda _progress, _canceled: "second", ear.done, ear.failed)

    runner.start(CONNECTING, lambda _progress, _canceled: "first", again, ear.failed)
    finish(runner)
    assert ear.heard[-1] == ("done", "second")


def test_timer_stands_still_while_nothing_runs(runner, ear):
    assert not runner._timer.running
    runner.start(RUNNING, lambda _progress, _canceled: None, ear.done, ear.failed)
    assert runner._timer.running
    finish(runner)
    assert not runner._timer.running
