"""Where each request stands, by its id, and whether it is still wanted."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

from meddenoise.errors import OptionError
from meddenoise.server.problems import Problem
from meddenoise.server.tokens import LOCAL, Person, Role

State = Literal["waiting", "reading", "denoising", "writing", "done", "failed", "cancelled"]
FINISHED: tuple[State, ...] = ("done", "failed", "cancelled")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
KEPT_SECONDS = 600.0
"""How long a finished request can still be asked about."""
KEPT = 1000
"""At most this many finished requests are kept."""
HANDLE = "meddenoise_handle"
"""Key of a request's handle in MONAI Label's request. A client can send the key, but no Handle: JSON has none."""


class Cancelled(Problem):
    """The request was taken back, by its client or by whoever knows its id."""

    def __init__(self, name: str) -> None:
        super().__init__(409, "Cancelled", f"request {name} was cancelled")


class Handle:
    """One request on its way: the worker says how far it is, and hears whether to go on. Safe across threads.

    Attributes:
        name: The request's id.
        state: Where it stands.
        done: Slices denoised.
        total: Slices to denoise; 0 until they are counted.
        finished: Clock time of its end; None before.
        owner: Whose request it is; nobody else but an administrator hears of it.
    """

    def __init__(self, name: str = "", *, owner: Person = LOCAL, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.owner = name, owner
        self.state: State = "waiting"
        self.done = self.total = 0
        self.finished: float | None = None
        self._clock = clock
        self._cancelled = threading.Event()

    def __deepcopy__(self, memo: dict[int, Any]) -> Handle:
        """Itself: MONAI Label copies requests, and a copy would not hear of a cancellation."""
        return self

    @property
    def cancelled(self) -> bool:
        """Whether it is to be ended."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask for its end, which comes at once while it waits, else at the next step."""
        if self.finished is None:
            self._cancelled.set()

    def enter(self, state: State) -> None:
        """Begin the next stage of the work.

        Raises:
            Cancelled: The request is no longer wanted.
        """
        if self.cancelled:
            raise Cancelled(self.name)
        self.state = state

    def count(self, done: int, total: int) -> None:
        """Say how many slices are denoised; in the form of the Denoiser's `progress`.

        Raises:
            Cancelled: The request is no longer wanted.
        """
        self.done, self.total = done, total
        if self.cancelled:
            raise Cancelled(self.name)

    def finish(self, state: State) -> None:
        """End it."""
        self.state, self.finished = state, self._clock()


def handle_of(request: Mapping[str, Any]) -> Handle:
    """The handle that the web layer put into a request; a new one, which nobody watches, where there is none."""
    handle = request.get(HANDLE)
    return handle if isinstance(handle, Handle) else Handle()


def check_name(name: str) -> str:
    """The id, if it is one.

    Raises:
        OptionError: It is empty, too long or holds other characters than letters, digits, dot, dash and underscore.
    """
    if not NAME.fullmatch(name):
        raise OptionError(
            f"a request id must be 1 to 64 letters, digits, dots, dashes or underscores, got {name[:80]!r}"
        )
    return name


class Register:
    """All requests that can be asked about: those on their way, and for a while those that ended."""

    def __init__(
        self, *, kept_seconds: float = KEPT_SECONDS, kept: int = KEPT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kept_seconds, self._kept, self._clock = kept_seconds, kept, clock
        self._handles: dict[str, Handle] = {}
        self._lock = threading.Lock()

    def open(self, name: str = "", *, owner: Person = LOCAL) -> Handle:
        """A handle for a new request, under a new id where none is given.

        Raises:
            OptionError: This cannot be an id.
            Problem: A request of that id is on its way.
        """
        name = check_name(name) if name else uuid.uuid4().hex
        with self._lock:
            self._expire()
            known = self._handles.pop(name, None)
            if known is not None and known.finished is None:
                self._handles[name] = known
                raise Problem(409, "OptionError", f"request {name} is on its way already; choose another id")
            handle = self._handles[name] = Handle(name, owner=owner, clock=self._clock)
        return handle

    def find(self, name: str, *, person: Person = LOCAL) -> Handle:
        """The handle of a request, for its owner or an administrator.

        Raises:
            OptionError: This cannot be an id.
            Problem: There is none of that id that the person may know of, or it ended too long ago.
        """
        check_name(name)
        with self._lock:
            self._expire()
            handle = self._handles.get(name)
        if handle is not None and (person.role is Role.ADMIN or person == handle.owner):
            return handle
        raise Problem(404, "InputError", f"no request {name}; those that ended are kept {self._kept_seconds:g} s")

    def _expire(self) -> None:
        ended = [(handle.finished, name) for name, handle in self._handles.items() if handle.finished is not None]
        oldest = self._clock() - self._kept_seconds
        surplus = max(0, len(ended) - self._kept)
        for number, (finished, name) in enumerate(sorted(ended)):
            if finished < oldest or number < surplus:
                del self._handles[name]
