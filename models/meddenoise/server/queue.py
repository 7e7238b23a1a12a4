"""A bounded line in front of each device: one denoising at a time, a few waiting, the others asked to come back."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from meddenoise.errors import ServiceError
from meddenoise.server.problems import Problem
from meddenoise.server.progress import Handle

FIRST_GUESS = 5.0
"""Seconds a denoising is taken to last before one has been measured."""
WEIGHT = 0.2
"""Of the newest duration in the running average."""


@dataclass(frozen=True)
class Limits:
    """How much a device is given to do.

    Attributes:
        running: Denoisings at once on one device; more than one shares its memory and is rarely faster.
        waiting: Requests that may wait behind them.
    """

    running: int = 1
    waiting: int = 16


class Busy(Problem):
    """The line is full; the client may come back after some seconds."""

    def __init__(self, device: str, waiting: int, seconds: float) -> None:
        wait = max(1, math.ceil(seconds))
        sentence = f"{waiting} requests wait for {device} already; try again in {wait} s"
        super().__init__(429, "Busy", sentence, headers={"Retry-After": str(wait)})


class Line:
    """The requests for one device, first come first served. Belongs to one event loop."""

    def __init__(self, device: str, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.device, self.limits = device, limits
        self.average = FIRST_GUESS
        self._clock, self._learned = clock, False
        self._free = asyncio.Semaphore(limits.running)
        self._waiting: list[Handle] = []
        self._running: dict[Handle, float] = {}

    def position(self, handle: Handle) -> int:
        """1 for the first of those who wait; 0 for one that runs or is no longer in line."""
        return self._waiting.index(handle) + 1 if handle in self._waiting else 0

    def estimate(self, position: int) -> float:
        """Seconds until the work at a position of the line begins, by the running average of recent durations."""
        if position == 0:
            return 0.0
        now = self._clock()
        left = sum(max(0.0, self.average - (now - start)) for start in self._running.values())
        return (left + (position - 1) * self.average) / self.limits.running

    @asynccontextmanager
    async def place(self, handle: Handle) -> AsyncIterator[None]:
        """Wait for the device and hold it for the time of the block. A task cancelled while it waits frees its place.

        Raises:
            Busy: Too many wait already.
        """
        if self._free.locked() and len(self._waiting) >= self.limits.waiting:
            # Half the line has moved on by then, so that those who come back find room.
            raise Busy(self.device, len(self._waiting), self.estimate(1 + len(self._waiting) // 2))
        self._waiting.append(handle)
        try:
            await self._free.acquire()
        finally:
            self._waiting.remove(handle)
        start = self._running[handle] = self._clock()
        try:
            yield
            self._learn(self._clock() - start)  # a run that failed or was cancelled says nothing
        finally:
            del self._running[handle]
            self._free.release()

    def _learn(self, seconds: float) -> None:
        self.average = seconds if not self._learned else self.average + WEIGHT * (seconds - self.average)
        self._learned = True


class Lines:
    """One line per device, made when first asked for."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lines: dict[str, Line] = {}

    def of(self, device: str) -> Line:
        """The line of a device."""
        device = "cuda:0" if device == "cuda" else device  # two names of one GPU
        return self._lines.setdefault(device, Line(device, self._limits))

    def where(self, handle: Handle) -> tuple[int, float]:
        """A request's position, and the estimated seconds until its work begins; zeros where it does not wait."""
        for line in self._lines.values():
            if position := line.position(handle):
                return position, line.estimate(position)
        return 0, 0.0


def limits_from(environment: Mapping[str, str]) -> Limits:
    """The limits that the environment variables MEDDENOISE_RUNNING and MEDDENOISE_WAITING name.

    Raises:
        ServiceError: One of them is no whole number, or too small.
    """
    usual = Limits()
    return Limits(
        running=_whole(environment, "MEDDENOISE_RUNNING", usual.running, low=1),
        waiting=_whole(environment, "MEDDENOISE_WAITING", usual.waiting, low=0),
    )


def _whole(environment: Mapping[str, str], name: str, default: int, *, low: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or int(text) < low:
        raise ServiceError(f"{name} must be a whole number of at least {low}, got {text!r}")
    return int(text)
