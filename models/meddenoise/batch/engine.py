"""Who does the work of a batch: here, threads of this process, so that the device never waits for a disk."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from itertools import islice
from queue import SimpleQueue
from typing import Protocol

from meddenoise.batch.items import Item
from meddenoise.batch.work import BatchOptions, Job, Outcome, Stopped
from meddenoise.inference import Denoiser
from meddenoise.weights import Card

GPU_LANES = 3
"""Images on one GPU at the same time: beside the network's work, each is rounded and measured on the processor."""

AHEAD = 2
"""Images beyond those being denoised on a GPU: one is read, one is written."""


class Engine(Protocol):
    """Runs the items of a batch."""

    @property
    def card(self) -> Card:
        """The card of the model that it denoises with."""
        ...

    def run(self, items: Iterable[Item], options: BatchOptions) -> Iterator[Outcome]:
        """Work on every item; outcomes come as they are known, in any order. Closing the iterator ends the work."""
        ...


class PlainEngine:
    """For a GPU, reads one image, denoises another and writes a third at the same time.

    On a processor one image is written before the next is read: reading and writing would take from the network the
    cores that it computes on, and all of these wait for the slowest (benchmarks/batch.py). At most ``ahead`` images
    more than are denoised at the same time are held in memory, whatever the length of the batch.

    Args:
        denoisers: One for each device, of the same model.
        lanes: Images that each denoises at the same time; by default 1 on the processor and GPU_LANES on a GPU.
        ahead: Images that are read and written meanwhile; by default none on the processor and AHEAD for a GPU.
    """

    def __init__(self, denoisers: Sequence[Denoiser], *, lanes: int | None = None, ahead: int | None = None) -> None:
        assert denoisers, "an engine needs a denoiser"
        on_gpu = denoisers[0].device.type == "cuda"
        self._denoisers = tuple(denoisers) * (lanes or (GPU_LANES if on_gpu else 1))
        self._ahead = (AHEAD if on_gpu else 0) if ahead is None else ahead

    @classmethod
    def load(cls, model: str, *, devices: Sequence[str] = ("auto",)) -> PlainEngine:
        """An engine that denoises on the devices named, which are as Denoiser takes them.

        Raises:
            ModelError: Unknown name, or missing or damaged weights.
            OptionError: Unknown or absent device.
        """
        return cls([Denoiser.load(model, device=device) for device in devices])

    @property
    def card(self) -> Card:
        """The card of the model."""
        return self._denoisers[0].card

    def run(self, items: Iterable[Item], options: BatchOptions) -> Iterator[Outcome]:
        """See Engine. An interrupt lets what is being written be finished and told; the rest is let go of."""
        line = Line(self._denoisers, options)
        waiting, most = iter(items), len(self._denoisers) + self._ahead
        pending: set[Future[Outcome]] = set()
        with ThreadPoolExecutor(most, "batch") as pool:
            try:
                while True:
                    pending |= {pool.submit(line.work, item) for item in islice(waiting, most - len(pending))}
                    if not pending:
                        return
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            except KeyboardInterrupt:
                line.stop.set()
                for future in wait(pending).done:
                    if future.exception() is None:
                        yield future.result()
                raise
            finally:
                line.stop.set()


class Line:
    """What the threads share: the denoisers, each used by one of them at a time, and the turns to read and to write."""

    def __init__(self, denoisers: Iterable[Denoiser], options: BatchOptions) -> None:
        self.stop = threading.Event()
        self._options = options
        self._reading, self._writing = threading.Lock(), threading.Lock()
        self._free: SimpleQueue[Denoiser] = SimpleQueue()
        for denoiser in denoisers:
            self._free.put(denoiser)
            self._weights = denoiser.identity

    def work(self, item: Item) -> Outcome:
        """One item, step by step as each has its turn.

        Raises:
            Stopped: It was ended before there was anything to write.
        """
        with closing(Job(item, self._options, weights=self._weights)) as job:
            with self._reading:
                self._go_on()
                job.read()
            denoiser = self._free.get()
            try:
                self._go_on()
                job.denoise(denoiser, lambda done, total: self._go_on())
            finally:
                self._free.put(denoiser)
            with self._writing:
                job.write()
            return job.outcome

    def _go_on(self) -> None:
        if self.stop.is_set():
            raise Stopped
