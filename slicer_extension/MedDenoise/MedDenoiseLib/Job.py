"""Work in a thread beside a main thread that gives up Python's lock only now and then."""

from __future__ import annotations

import threading
from typing import Any, Callable


class Job:
    """One piece of work in a daemon thread.

    The main thread of 3D Slicer keeps Python's lock while it runs Qt's event loop, so that other threads starve.
    `tick`, called by a timer, waits for the job's end for a moment, and while it waits the thread has the lock. The
    work must not touch MRML or Qt.

    Args:
        work: work(progress, canceled) gives the result. progress(anything) publishes how far it is; canceled() says
            whether to stop by raising Canceled.
    """

    def __init__(self, work: Callable[[Callable[[Any], None], Callable[[], bool]], Any]) -> None:
        """Starts nothing yet."""
        self._work = work
        self._done, self._cancel = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="MedDenoise", daemon=True)
        self._latest = self._result = self._error = None

    @property
    def latest(self) -> Any:
        """What was last given to progress, None before."""
        return self._latest

    @property
    def finished(self) -> bool:
        """Whether there is a result or an error."""
        return self._done.is_set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def cancel(self) -> None:
        """Ask the work to stop; returns at once."""
        self._cancel.set()

    def tick(self, seconds: float = 0.01) -> bool:
        """Let the thread run for at most some seconds; returns whether it is finished."""
        return self._done.wait(seconds)

    def wait(self, seconds: float) -> bool:
        """Like tick, for the end of a scene or a script."""
        return self._done.wait(seconds)

    def result(self) -> Any:
        """What the work returned.

        Raises:
            RuntimeError: It has not finished.
            BaseException: Whatever the work raised.
        """
        if not self._done.is_set():
            raise RuntimeError("the job has not finished; call tick() until it returns True")
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._work(self._publish, self._cancel.is_set)
        except BaseException as error:
            self._error = error
        finally:
            self._done.set()

    def _publish(self, progress: Any) -> None:
        self._latest = progress
