"""Work in a thread, beside a main thread that gives up Python's lock only in the tick."""

import ctypes
import sys
import threading
import time
from pathlib import Path

import pytest

import fault_server
from MedDenoiseLib.Client import Client, Request
from MedDenoiseLib.Errors import Canceled
from MedDenoiseLib.Job import Job

MEGABYTES = 45
MOST_TICKS = 3000


def ticked(job, seconds=20.0):
    end = time.monotonic() + seconds
    while not job.tick() and time.monotonic() < end:
        pass
    return job.result()


def test_result_comes_out_and_progress_can_be_seen():
    seen = threading.Event()

    def work(progress, canceled):
        progress("half")
        seen.wait(10)
        return 42

    job = Job(work)
    job.start()
    while job.latest is None:
        assert not job.tick()
    assert (job.latest, job.finished) == ("half", False)
    with pytest.raises(RuntimeError, match="not finished"):
        job.result()
    seen.set()
    assert ticked(job) == 42
    assert job.finished


def test_error_comes_out_where_the_result_is_asked_for():
    def work(progress, canceled):
        raise ValueError("broken")

    job = Job(work)
    job.start()
    with pytest.raises(ValueError, match="broken"):
        ticked(job)


def test_cancel_returns_at_once_and_the_work_hears_of_it():
    def work(progress, canceled):
        while not canceled():
            time.sleep(0.005)
        raise Canceled()

    job = Job(work)
    job.start()
    job.cancel()
    with pytest.raises(Canceled):
        ticked(job)


def test_thread_does_not_keep_the_application_from_ending():
    seen = []
    job = Job(lambda progress, canceled: seen.append(threading.current_thread().daemon))
    job.start()
    ticked(job)
    assert seen == [True]


# Slicer's Qt loop holds Python's lock while it has nothing to do. ctypes.PyDLL does the same: its functions are called
# with the lock held. 45 MB up and 45 MB down through this client, measured on two cores: 0.4 s with nobody in the way;
# 0.5 s beside a timer of 10 ms whose tick waits 10 ms, as here; where the tick does not wait, so that the thread runs
# only when the interpreter switches by itself, 1.5 s beside a timer of 10 ms and 7.4 s beside one of 100 ms.


@pytest.mark.skipif(sys.platform == "win32", reason="usleep is POSIX's")
def test_tick_gives_the_thread_its_turns_beside_a_main_thread_that_never_gives_up_the_lock():
    usleep = ctypes.PyDLL(None).usleep

    def work(progress, canceled):
        for _ in range(300):
            time.sleep(0)  # gives the lock away, and gets it back when the main thread lets go of it
        return "done"

    job = Job(work)
    job.start()
    ticks = 0
    while not job.tick(0.01):
        usleep(10_000)
        ticks += 1
    assert job.result() == "done"
    assert ticks < 60  # a tick that does not wait gives one turn: 300 of them


@pytest.mark.skipif(sys.platform == "win32", reason="usleep is POSIX's")
def test_large_image_goes_up_and_down_beside_a_main_thread_that_never_gives_up_the_lock(tmp_path):
    usleep = ctypes.PyDLL(None).usleep
    path = tmp_path / "image.nrrd"
    path.write_bytes(b"NRRD" + bytes(MEGABYTES * 1_000_000))
    with fault_server.inAnotherProcess(MEGABYTES) as address:  # in reality it shares no lock either
        client = Client(address, consented=lambda host: True)
        job = Job(
            lambda progress, canceled: client.denoise(Request("student", str(path), str(tmp_path)), progress, canceled)
        )
        job.start()
        ticks = 0
        while not job.tick(0.01):
            usleep(10_000)
            ticks += 1
            assert ticks < MOST_TICKS, f"starved at {job.latest}"
        answer = job.result()
    with Path(answer.volumePath).open("rb") as file:
        assert file.read(4) == b"NRRD"
        assert file.seek(0, 2) == MEGABYTES * 1_000_000 + 4
    assert job.latest.stage == "receiving"
