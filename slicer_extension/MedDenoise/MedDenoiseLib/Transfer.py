"""One image on its way to the server and back, with its progress and its cancellation."""

from __future__ import annotations

import http.client
import os
import time
import uuid
from dataclasses import dataclass
from typing import Any, Callable
from urllib.parse import quote

from MedDenoiseLib.Answers import result
from MedDenoiseLib.Connection import CHUNK, SLICE, Connection
from MedDenoiseLib.Errors import BrokenAnswer, Canceled, MedDenoiseError
from MedDenoiseLib.Faults import connectionFault, jsonOf, timeout
from MedDenoiseLib.Multipart import Download, Field, FileSink, Upload, unwritable
from MedDenoiseLib.Server import Server

POLL_SECONDS = 0.4
"""How often a server that works is asked how far it is."""
POLL_PATIENCE = 2.0
SILENCE_HEARD = 60.0
"""Seconds without a word from a server that answered before while it worked."""
SILENCE_UNHEARD = 1800.0
"""The same for one that never did: plain MONAI Label answers nobody while it denoises."""


@dataclass(frozen=True)
class Progress:
    """How far a request is.

    Attributes:
        stage: "sending", "waiting", "denoising" or "receiving".
        done: Share of the stage, 0 to 1; None where nobody knows.
        text: For the user: "12 of 40", "place 2 in line, about 15 s", "3.1 of 52.4 MB".
    """

    stage: str
    done: float | None = None
    text: str = ""


class Transfer:
    """Sends one image and stores what comes back.

    Args:
        server: To whom.
        progress: Called with each Progress.
        canceled: Whether it is no longer wanted.
        share: Where the stage "denoising" begins and ends, 0 to 1.
        title: What the texts of the progress begin with.
    """

    def __init__(
        self,
        server: Server,
        progress: Callable[[Progress], None],
        canceled: Callable[[], bool],
        share: tuple[float, float] = (0.0, 1.0),
        title: str = "",
    ) -> None:
        """Sends nothing yet."""
        self._server, self._canceled = server, canceled
        self._progress, self._share, self._title = progress, share, title

    def run(self, model: str, params: str, imagePath: str, resultPath: str) -> dict[str, Any]:
        """Store the result under a path, and return the JSON that came with it.

        Raises:
            Canceled: It is no longer wanted; the server was told.
            MedDenoiseError: Of the kind that says why there is no result.
        """
        name, upload = uuid.uuid4().hex, Upload(params, imagePath)
        patience = self._server.patience(self._canceled)
        with self._server.connection(patience) as connection:
            try:
                self._send(connection, f"/infer/{quote(model, safe='')}?output=all", name, upload)
                with self._wait(connection, name) as response:
                    patience.stage = "receiving"
                    return self._receive(response, resultPath)
            except Canceled:
                self._server.cancel(name)
                raise
            except (OSError, http.client.HTTPException) as error:
                raise connectionFault(error, self._server.address, patience.stage) from error

    def pause(self, seconds: float) -> None:
        """Wait before the next try; raises Canceled."""
        end = time.monotonic() + seconds
        patience = self._server.patience(self._canceled)
        while (left := end - time.monotonic()) > 0:
            patience.check()
            self._tell("waiting", None, f"the server is full, asking again in {left:.0f} s")
            time.sleep(min(SLICE, left))

    def _send(self, connection: Connection, route: str, name: str, upload: Upload) -> None:
        self._tell("sending", 0.0)
        self._server.send(
            connection,
            "POST",
            route,
            upload,
            lambda sent: self._tellBytes("sending", sent, upload.length),
            X_Request_ID=name,
        )

    def _wait(self, connection: Connection, name: str) -> http.client.HTTPResponse:
        self._tell("waiting")
        with _Poll(self._server, name, self._canceled, self._tellState) as poll:
            connection.patience.meanwhile = poll.look
            try:
                return connection.getresponse()
            finally:
                connection.patience.meanwhile = None

    def _receive(self, response: http.client.HTTPResponse, path: str) -> dict[str, Any]:
        """Through a temporary name, so that a result is there whole or not at all."""
        contentType, host = response.headers.get("Content-Type", ""), self._server.host
        if not 200 <= response.status < 300 or not contentType.lower().startswith("multipart/"):
            self._server.checked(response)
            raise BrokenAnswer(f"{host} answered without an image.", "Try again.")
        total, taken, field = response.length, 0, Field(host)

        def read(most: int) -> bytes:
            nonlocal taken
            piece = response.read1(min(most, CHUNK))
            taken += len(piece)
            self._tellBytes("receiving", taken, total)
            return piece

        part = f"{path}.part"
        try:
            with _create(part) as file:
                sink = FileSink(file)
                Download(read, contentType, host).parts({"params": field, "image": sink})
            if sink.start != b"NRRD":
                raise BrokenAnswer(f"{host} answered with something else than an NRRD image.", "Try again.")
            said = result(jsonOf(field.content), host)
            os.replace(part, path)
        finally:
            if os.path.exists(part):
                os.remove(part)
        return said

    def _tell(self, stage: str, done: float | None = None, text: str = "") -> None:
        if stage == "denoising" and done is not None:
            done = self._share[0] + done * (self._share[1] - self._share[0])
        self._progress(Progress(stage, done, f"{self._title}{text}" if text else self._title.rstrip(": ")))

    def _tellBytes(self, stage: str, done: int, total: int | None) -> None:
        if total:
            self._tell(stage, min(1.0, done / total), f"{done / 1e6:.1f} of {total / 1e6:.1f} MB")
        else:
            self._tell(stage, None, f"{done / 1e6:.1f} MB")

    def _tellState(self, said: dict[str, Any]) -> None:
        state, done, total = (said.get(key) for key in ("state", "done", "total"))
        if state == "waiting":
            seconds = said.get("wait_estimate_s")
            about = f", about {seconds:.0f} s" if isinstance(seconds, (int, float)) and seconds else ""
            self._tell("waiting", None, f"place {said.get('position')} in line{about}")
        elif state == "denoising" and isinstance(done, int) and isinstance(total, int) and total > 0:
            self._tell("denoising", min(1.0, done / total), f"{done} of {total}")
        elif state in ("reading", "denoising"):
            self._tell("denoising", 0.0)
        elif state == "writing":
            self._tell("denoising", 1.0)


class _Poll:
    """Asks how far a request is, over a second connection, while the first one waits for the answer."""

    def __init__(
        self, server: Server, name: str, canceled: Callable[[], bool], tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self._server, self._route, self._tell = server, f"/progress/{name}", tell
        self._patience = server.patience(canceled)
        self._patience.seconds = POLL_PATIENCE
        self._connection: Connection | None = None
        self._next = 0.0
        self._heard, self._silence = time.monotonic(), SILENCE_UNHEARD

    def look(self) -> None:
        """Ask, if it is time.

        Raises:
            Canceled: The request is no longer wanted.
            TimedOut: The server has been silent for too long.
        """
        if time.monotonic() < self._next:
            return
        try:
            self._connection = self._connection or self._server.connection(self._patience)
            said = self._server.askOver(self._connection, "GET", self._route)
            self._heard, self._silence = time.monotonic(), SILENCE_HEARD
            if isinstance(said, dict):
                self._tell(said)
        except Canceled:
            raise
        except MedDenoiseError:  # not there yet, or too busy to say; the answer itself does not depend on it
            self._hangUp()
            if time.monotonic() - self._heard > self._silence:
                raise timeout(self._server.host, "waiting", self._silence) from None
        self._next = time.monotonic() + POLL_SECONDS

    def __enter__(self) -> _Poll:
        return self

    def __exit__(self, *unused: Any) -> None:
        self._hangUp()

    def _hangUp(self) -> None:
        if self._connection is not None:
            self._connection.hangUp()
            self._connection = None


def _create(path: str) -> Any:
    """A new file whose close, which may find the disk full, raises CannotStore too."""
    try:
        return _Created(open(path, "xb"))
    except OSError as error:
        raise unwritable(error) from error


class _Created:
    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> Any:
        return self._file

    def __exit__(self, *unused: Any) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise unwritable(error) from error
