"""Start MONAI Label with the MedDenoise app and our web layer; a start that must fail says why in one sentence."""

from __future__ import annotations

import importlib.util
import os
import socket
from pathlib import Path

from meddenoise.errors import ServiceError
from meddenoise.server.home import app_folder, why_not_writable

LOOPBACK = "127.0.0.1"


def serve(studies: Path | str, *, host: str = LOOPBACK, port: int = 8000, app_dir: Path | None = None) -> int:
    """Serve the images of a folder or of a PACS until interrupted.

    Args:
        studies: Folder of images, which must be writable because MONAI Label keeps its own list in it; or the
            DICOMweb address of a PACS.
        host: Address to listen on. The default is this machine only; there is no login.
        port: TCP port.
        app_dir: The app to serve; the checkout's or the installed one by default.

    Returns:
        0 once the server was stopped.

    Raises:
        ServiceError: MONAI Label is not installed, the folder or the port cannot be used, or the server did not start.
    """
    check_installed()
    check_studies(studies)
    check_port(host, port)
    app = app_folder() if app_dir is None else app_dir
    from monailabel.main import Main

    os.environ.setdefault("MONAI_LABEL_AUTO_UPDATE_SCORING", "false")
    main = Main()
    arguments = ["start_server", "--app", str(app), "--studies", str(studies), "--host", host, "--port", str(port)]
    try:
        main.action_start_server(
            main.args_parser().parse_args([*arguments, "--uvicorn_app", "meddenoise.server.asgi:app"])
        )
    except SystemExit as error:
        if error.code:
            raise ServiceError(f"the server did not start (exit {error.code}); see its log above") from error
    return 0


def check_installed() -> None:
    """Raise ServiceError unless MONAI Label, which the bare package leaves out, is there."""
    if importlib.util.find_spec("monailabel") is None:
        raise ServiceError("the server needs MONAI Label: python -m pip install 'meddenoise[server]'")


def check_studies(studies: Path | str) -> None:
    """Raise ServiceError unless the studies folder can be used, or the PACS at the address answers."""
    if "://" not in str(studies):
        check_folder(Path(studies))
        return
    from meddenoise.server.pacs import pacs_of

    pacs_of(str(studies)).check()


def check_folder(studies: Path) -> None:
    """Raise ServiceError unless the studies folder exists and can be written."""
    if not studies.is_dir():
        raise ServiceError(f"{studies} is not a folder; --studies names the folder of images to serve")
    reason = why_not_writable(studies)
    if reason is not None:
        raise ServiceError(f"{studies} cannot be written ({reason}); MONAI Label keeps its list of images in it")


def check_port(host: str, port: int) -> None:
    """Raise ServiceError unless a server can listen there."""
    if not 0 <= port <= 65535:
        raise ServiceError(f"the port must be from 0 to 65535, got {port}")
    try:
        _listen(host, port).close()
    except OSError as error:
        raise ServiceError(
            f"cannot listen on {host} port {port} ({error.strerror}); choose another with --host or --port"
        ) from error


def free_port(host: str = LOOPBACK) -> int:
    """A port that nobody listens on now."""
    with _listen(host, 0) as listener:
        return int(listener.getsockname()[1])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # as the server does: a port just left is free; on Windows this would share it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener
