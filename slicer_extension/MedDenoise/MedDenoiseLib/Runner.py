"""One piece of work at a time, off the GUI thread, ticked by a timer that gives the thread its turns."""

from __future__ import annotations

from typing import Any, Callable, Protocol

from MedDenoiseLib.Errors import Canceled
from MedDenoiseLib.Job import Job

IDLE, CONNECTING, RUNNING, CANCELING = "idle", "connecting", "running", "canceling"

TICK_MILLISECONDS = 10
TICK_SECONDS = 0.01
"""Slicer's main thread holds Python's lock: of every 20 ms the job's thread gets 10, and the GUI the rest."""


class Timer(Protocol):
    """A qt.QTimer whose timeout calls `Runner.tick`."""

    def start(self) -> None:
        """Begin to tick."""

    def stop(self) -> None:
        """Tick no more."""


class Runner:
    """Starts, watches and stops a job.

    Plain Python callbacks tell what happens, because signals defined in Python crash Slicer. All of them are called on
    the GUI thread, and only by the work that is current: what was abandoned is never heard of again.

    Attributes:
        state: IDLE, CONNECTING, RUNNING or CANCELING.
        whenStateChanged: called without arguments.
        whenProgressed: called with the job's latest progress.
    """

    def __init__(self, timer: Timer, makeJob: Callable[[Callable], Job] = Job):
        self._timer = timer
        self._makeJob = makeJob
        self._job = None
        self._whenDone = self._whenFailed = None
        self._seen = None
        self.state = IDLE
        self.whenStateChanged: Callable[[], None] = lambda: None
        self.whenProgressed: Callable[[Any], None] = lambda progress: None

    def start(
        self,
        state: str,
        work: Callable[[Callable, Callable], Any],
        whenDone: Callable[[Any], None],
        whenFailed: Callable[[Exception], None],
    ) -> None:
        """Run `work(progress, canceled)` and call one of the two with its result or its error.

        Raises:
            RuntimeError: another job is running; the panel's buttons do not let that happen.
        """
        if self.state != IDLE:
            raise RuntimeError(f"a job is {self.state} already")
        self._whenDone, self._whenFailed, self._seen = whenDone, whenFailed, None
        self._job = self._makeJob(work)
        self._job.start()
        self._timer.start()
        self._become(state)

    def cancel(self) -> None:
        """Ask the job to stop; it ends with `Canceled` within about a second."""
        if self._job is not None and self.state != CANCELING:
            self._job.cancel()
            self._become(CANCELING)

    def abandon(self, seconds: float = 1.0) -> None:
        """Stop now and forget the job: the scene is closing, or the panel goes away."""
        if self._job is None:
            return
        job, *_ = self._release()
        job.cancel()
        job.wait(seconds)
        self._become(IDLE)

    def tick(self) -> None:
        """Let the thread run for a moment, then tell how far it is; called by the timer."""
        if self._job is None:
            return
        finished = self._job.tick(TICK_SECONDS)
        latest = self._job.latest
        if latest is not None and latest is not self._seen and self.state != CANCELING:
            self._seen = latest
            self.whenProgressed(latest)
        if finished and self._job is not None:  # a callback may have abandoned it
            self._finish()

    def _finish(self) -> None:
        wasCanceling = self.state == CANCELING
        job, whenDone, whenFailed = self._release()
        self._become(IDLE)
        try:
            result = job.result()
        except Exception as error:  # whatever the work raised is the panel's to tell
            whenFailed(error)
            return
        if wasCanceling:  # it ended before it heard of the wish
            whenFailed(Canceled())
        else:
            whenDone(result)

    def _release(self) -> tuple[Any, Any, Any]:
        """Let go of job and callbacks, which hold a whole image; returns them."""
        held = self._job, self._whenDone, self._whenFailed
        self._job = self._whenDone = self._whenFailed = self._seen = None
        self._timer.stop()
        return held

    def _become(self, state: str) -> None:
        self.state = state
        self.whenStateChanged()
