"""A batch on a Ray cluster: every GPU, or every core, denoises; what a lost node had in work others take over.

All nodes must see the folders under the same paths, and have MedDenoise with the same model.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from meddenoise import weights
from meddenoise.batch.engine import AHEAD, GPU_LANES, Line
from meddenoise.batch.items import Item
from meddenoise.batch.work import BatchOptions, Outcome
from meddenoise.errors import ModelError, OptionError, ServiceError
from meddenoise.inference import Denoiser
from meddenoise.io import Source
from meddenoise.weights import Card

logger = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often an item is begun whose process ends meanwhile: it may be the item that ends it, by its size."""
LOOK_SECONDS = 1.0
"""How often the cluster is looked at for nodes that came or went."""
PATIENCE = 300.0
"""Seconds to wait for a place in the cluster before giving up."""


class RayEngine:
    """One actor, which holds the model, on each GPU of the cluster, or on each of its cores where there is no GPU.

    A cluster that runs already is joined (Ray's own variable RAY_ADDRESS names another), else one of this machine alone
    is started for the time of the process. Nodes that come while the batch runs are used too.

    Args:
        model: Name of the model, on every node.
        device: "auto", "cpu" or "cuda".

    Raises:
        ModelError: Unknown name, or missing or damaged weights.
        OptionError: Ray is not installed, or the device is none of a cluster's.
        ServiceError: The cluster does not answer, or has no such device.
    """

    def __init__(self, model: str, *, device: str = "auto") -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise OptionError(f"the engine ray spreads the work itself: device must be auto, cpu or cuda, got {device}")
        self._card, self._checksum = weights.read_card(model), weights.checksum(model)
        self._ray = _connected()
        gpus = self._places("GPU")
        if device == "cuda" and not gpus:
            raise ServiceError("no node of the Ray cluster has a GPU; say cpu, or leave the device out")
        self._model, self._kind = model, "GPU" if gpus and device != "cpu" else "CPU"

    @property
    def card(self) -> Card:
        """The card of the model."""
        return self._card

    def run(self, items: Iterable[Item], options: BatchOptions) -> Iterator[Outcome]:
        """See Engine.

        Raises:
            ServiceError: No place in the cluster is left.
        """
        on_gpu = self._kind == "GPU"
        lanes, at_once = (GPU_LANES, GPU_LANES + AHEAD) if on_gpu else (1, 1)  # idle cores read and write for others
        room = {"num_gpus": 1, "num_cpus": 0} if on_gpu else {"num_cpus": 1}
        remote = self._ray.remote(max_concurrency=at_once + 1, max_restarts=0, **room)(_Actor)
        crew = _Crew(
            self._ray,
            hire=lambda: _Member(remote.remote(self._model, self._kind, lanes, options), free=at_once),
            places=lambda: self._places(self._kind),
            sha256=self._checksum,
        )
        try:
            yield from crew.work(deque(items))
        finally:
            crew.dismiss()

    def _places(self, kind: str) -> int:
        return int(self._ray.cluster_resources().get(kind, 0))


class _Actor:
    """Runs on a node, in a process of its own."""

    def __init__(self, model: str, kind: str, lanes: int, options: BatchOptions) -> None:
        self._model, self._device = model, "cuda" if kind == "GPU" else "cpu"
        self._lanes, self._options = lanes, options

    def start(self) -> str:
        """Load the model; returns the hash of its weights."""
        denoiser = Denoiser.load(self._model, device=self._device)
        self._line = Line([denoiser] * self._lanes, self._options)
        return denoiser.identity

    def work(self, item: Item) -> Outcome:
        """Denoise one item; while it is read or written, others are denoised."""
        return self._line.work(item)


@dataclass(eq=False)
class _Member:
    """An actor, and how many more items it can take."""

    actor: Any
    free: int


class _Crew:
    """The actors of one run: hired as the cluster has places, handed items as they are free, replaced when lost."""

    def __init__(self, ray: Any, *, hire: Callable[[], _Member], places: Callable[[], int], sha256: str) -> None:
        self._ray, self._hire, self._places, self._sha256 = ray, hire, places, sha256
        self._starting: dict[Any, _Member] = {}
        self._members: list[_Member] = []
        self._in_work: dict[Any, tuple[_Member, Item]] = {}
        self._begun: Counter[str] = Counter()
        self._lost: list[Item] = []
        self._refusals: list[str] = []
        self._deadline = time.monotonic() + PATIENCE

    def work(self, waiting: deque[Item]) -> Iterator[Outcome]:
        """Work on the items until none is left."""
        while waiting or self._in_work:
            self._fill(waiting)
            pending = [*self._starting, *self._in_work]
            done = self._ray.wait(pending, num_returns=1, timeout=LOOK_SECONDS)[0] if pending else []
            for reference in done:
                if reference in self._starting:
                    self._welcome(reference)
                elif outcome := self._collect(reference, waiting):
                    yield outcome
            if self._members:
                self._deadline = time.monotonic() + PATIENCE
            elif (self._refusals and not self._starting) or time.monotonic() > self._deadline:
                reason = self._refusals[-1] if self._refusals else "it has none, or others hold them all"
                raise ServiceError(f"no place in the Ray cluster could be had: {reason}")
            if not pending:
                time.sleep(LOOK_SECONDS)

    def dismiss(self) -> None:
        """End all actors, and take away what lost ones were writing."""
        for member in (*self._members, *self._starting.values()):
            self._ray.kill(member.actor)
        for parent in {item.output.parent for item in self._lost if item.output is not None}:
            for unfinished in parent.glob(".meddenoise-*"):
                shutil.rmtree(unfinished, ignore_errors=True)

    def _fill(self, waiting: deque[Item]) -> None:
        """Hire for every free place, and give every free member its items."""
        wanted = min(self._places() - len(self._refusals), len(waiting) + len(self._in_work))
        for _ in range(wanted - len(self._members) - len(self._starting)):
            member = self._hire()
            self._starting[member.actor.start.remote()] = member
        while waiting and (free := max(self._members, key=lambda member: member.free, default=None)) and free.free:
            item = waiting.popleft()
            free.free -= 1
            self._begun[item.key] += 1
            self._in_work[free.actor.work.remote(_absolute(item))] = free, item

    def _welcome(self, reference: Any) -> None:
        """Take a member in, if it holds the same weights."""
        member = self._starting.pop(reference)
        try:
            sha256 = self._ray.get(reference)
            if sha256 != self._sha256:
                raise ModelError("a node has another version of the model; install the same on all")
        except (self._ray.exceptions.RayError, ModelError) as error:
            self._refusals.append(_sentence(error))
            logger.warning("a place in the Ray cluster cannot be used: %s", self._refusals[-1])
            self._ray.kill(member.actor)
        else:
            self._members.append(member)

    def _collect(self, reference: Any, waiting: deque[Item]) -> Outcome | None:
        """An item's outcome; None where its actor was lost and another will do it."""
        member, item = self._in_work.pop(reference)
        member.free += 1
        try:
            outcome: Outcome = self._ray.get(reference)
            return replace(outcome, item=item)
        except self._ray.exceptions.RayActorError:
            if member in self._members:
                self._members.remove(member)
                self._ray.kill(member.actor)
                logger.warning("an actor of the Ray cluster was lost; others take over what it had in work")
            self._lost.append(item)
            if self._begun[item.key] < ATTEMPTS:
                waiting.appendleft(item)
                return None
            return Outcome(
                item, "failed", reason=f"{item.name}: {ATTEMPTS} processes ended over it, perhaps for memory"
            )
        except self._ray.exceptions.RayError as error:
            return Outcome(item, "failed", reason=f"{item.name}: {_sentence(error)}")


def _absolute(item: Item) -> Item:
    """The item as every node finds it, whatever folder its processes run in."""
    source, output = item.source, item.output
    if isinstance(source, Source):
        source = replace(source, path=source.path.absolute(), files=tuple(file.absolute() for file in source.files))
    return replace(item, source=source, output=None if output is None else output.absolute())


def _connected() -> Any:
    """The module ray, connected to a cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the site
    try:
        import ray  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise OptionError(
            "the engine ray needs Ray; install it with: python -m pip install 'meddenoise[ray]'"
        ) from error
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ServiceError(f"the Ray cluster does not answer: {_sentence(error)}") from error
    return ray


def _sentence(error: BaseException) -> str:
    """The last line of an error, which in Ray's holds what the rest, a traceback of another machine, comes from."""
    lines = str(getattr(error, "cause", None) or error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
