"""A server in a child process, for the time of a `with` block: it never outlives its parent, however that ends."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from meddenoise.errors import MedDenoiseError, ServiceError
from meddenoise.server.home import PACKAGE
from meddenoise.server.serve import LOOPBACK, serve

LINES = 15
"""How much of the log is shown where a server does not come up."""


@contextmanager
def server_process(
    studies: Path | str,
    *,
    port: int,
    log: Path,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] | None = None,
    timeout: float = 300.0,
) -> Iterator[str]:
    """Run a server on a loopback port for the time of the block.

    Args:
        studies: Folder of images, or the address of a PACS.
        port: Loopback port, which must be free.
        log: File that takes everything the server says.
        environment: Variables to set for it beside this process's own.
        command: What to run instead of our server; it must listen on the port.
        timeout: Seconds it may take to come up.

    Yields:
        The server's address, such as "http://127.0.0.1:8000".

    Raises:
        ServiceError: It ended or stayed silent; with the last lines of its log.
    """
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    inherited = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(environment or {})}
    run = command or [sys.executable, "-m", "meddenoise.server.process", str(studies), str(port)]
    with (
        log.open("wb") as out,
        subprocess.Popen(run, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, env=inherited) as process,
    ):
        try:
            _await(process, port, log, timeout)
            yield f"http://{LOOPBACK}:{port}"
        finally:
            _stop(process)


def _await(process: subprocess.Popen[bytes], port: int, log: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not _answers(port):
        if process.poll() is not None:
            raise ServiceError(f"the server ended with exit {process.returncode} before it came up\n{_end_of(log)}")
        if time.monotonic() > deadline:
            raise ServiceError(f"the server did not come up within {timeout:.0f} s\n{_end_of(log)}")
        time.sleep(0.1)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
    try:
        connection.request("GET", "/info/")
        return connection.getresponse().status in (http.HTTPStatus.OK, http.HTTPStatus.UNAUTHORIZED)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(["The end of its log:", *lines[-LINES:]]) if lines else "It logged nothing."


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


def _end_with_parent() -> None:
    """End this process once its standard input closes, which it does when the parent ends, even when killed."""

    def watch() -> None:
        sys.stdin.buffer.read()
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    _end_with_parent()
    try:
        sys.exit(serve(sys.argv[1], port=int(sys.argv[2])))
    except MedDenoiseError as failure:
        sys.exit(str(failure))
