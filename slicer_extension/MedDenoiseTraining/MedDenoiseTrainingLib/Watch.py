"""Asks the server again and again how far its training is, off the GUI thread."""

from __future__ import annotations

from typing import Any, Callable

import qt

from MedDenoiseLib.Runner import IDLE, RUNNING, TICK_MILLISECONDS, Runner
from MedDenoiseTrainingLib.Training import Training

OFTEN, SELDOM = 2000, 15000
"""Milliseconds between two questions, while the server trains and while it does not (others may start a training)."""


class Watch:
    """Asks as long as it is told to, one question at a time.

    Args:
        whenTold: Called with the Training, or None where there was none.
        whenFailed: Called with the error; it is asked again all the same.
    """

    def __init__(self, whenTold: Callable[[Training | None], None], whenFailed: Callable[[Exception], None]):
        self._whenTold, self._whenFailed = whenTold, whenFailed
        self._client: Any = None
        self._tick, self._next = qt.QTimer(), qt.QTimer()
        self._tick.setInterval(TICK_MILLISECONDS)
        self._next.setSingleShot(True)
        self._next.timeout.connect(self.look)
        self.runner = Runner(self._tick)
        self._tick.timeout.connect(self.runner.tick)

    def begin(self, client: Any, soon: bool) -> None:
        """What is known of this server is new: ask it next after the usual time."""
        self._client = client
        self.runner.abandon(0.0)  # its answer would be older
        self._next.start(OFTEN if soon else SELDOM)

    def end(self) -> None:
        """Ask no more."""
        self._client = None
        self._next.stop()
        self.runner.abandon(0.0)

    def look(self) -> None:
        """Ask now."""
        client = self._client
        if client is not None and self.runner.state == IDLE:
            self.runner.start(RUNNING, lambda _progress, canceled: client.training(canceled), self._told, self._failed)

    def _told(self, training: Training | None) -> None:
        self._next.start(OFTEN if training is not None and training.running else SELDOM)
        self._whenTold(training)

    def _failed(self, error: Exception) -> None:
        self._next.start(SELDOM)
        self._whenFailed(error)
