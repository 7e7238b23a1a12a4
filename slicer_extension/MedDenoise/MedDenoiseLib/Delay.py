"""Does something once, a little later: a slider that is dragged asks for it many times."""

from __future__ import annotations

from typing import Callable

import qt


class Delay:
    """A single-shot timer with its action.

    Args:
        action: Called without arguments when the time is over.
        milliseconds: How long to wait.
        restart: Whether asking again starts the wait anew (True: once it is quiet; False: at a steady pace).
    """

    def __init__(self, action: Callable[[], None], milliseconds: int, restart: bool = False):
        self._restart = restart
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(milliseconds)
        self._timer.timeout.connect(action)

    def ask(self) -> None:
        """Wants the action done."""
        if self._restart or not self._timer.property("active"):
            self._timer.start()

    def stop(self) -> None:
        """Wants it no longer."""
        self._timer.stop()
