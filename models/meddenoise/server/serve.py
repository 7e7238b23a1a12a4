"""Start MONAI Label with the MedDenoise app and our web layer; a start that must fail says why in one sentence."""

from __future__ import annotations

import importlib.util
import os
import socket
import ssl
import tempfile
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from meddenoise.errors import OptionError, ServiceError
from meddenoise.server.home import app_folder, why_not_writable
from meddenoise.server.settings import Settings
from meddenoise.server.tokens import read_tokens

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Certificate:
    """Files in PEM format for TLS: the server's certificate with those that vouch for it, and its private key."""

    chain: Path
    key: Path


def serve(
    studies: Path | str,
    *,
    host: str = LOOPBACK,
    port: int = 8000,
    app_dir: Path | None = None,
    settings: Settings | None = None,
    certificate: Certificate | None = None,
) -> int:
    """Serve the images of a folder or of a PACS until interrupted.

    Args:
        studies: Folder of images, which must be writable because MONAI Label keeps its own list in it; or the
            DICOMweb address of a PACS.
        host: Address to listen on. The default is this machine only; any other needs tokens.
        port: TCP port.
        app_dir: The app to serve; the checkout's or the installed one by default.
        settings: How the server guards itself; those of the environment by default.
        certificate: Speak TLS with it.

    Returns:
        0 once the server was stopped.

    Raises:
        OptionError: MONAI Label is not installed.
        ServiceError: The folder, the tokens, the certificate or the port cannot be used, or the server did not start.
    """
    check_installed()
    settings = settings or Settings.from_environment(os.environ)
    check_guarded(host, settings)
    if certificate is not None:
        check_certificate(certificate)
    if "://" not in str(studies):
        check_folder(Path(studies))
    check_port(host, port)
    app = app_folder() if app_dir is None else app_dir
    prepare(settings)
    check_studies(studies)  # a PACS: that imports MONAI Label
    from monailabel.main import Main

    main = Main()
    arguments = ["start_server", "--app", str(app), "--studies", str(studies), "--host", host, "--port", str(port)]
    if certificate is not None:
        arguments += ["--ssl_certfile", str(certificate.chain), "--ssl_keyfile", str(certificate.key)]
    try:
        main.action_start_server(
            main.args_parser().parse_args([*arguments, "--uvicorn_app", "meddenoise.server.asgi:app"])
        )
    except SystemExit as error:
        if error.code:
            raise ServiceError(f"the server did not start (exit {error.code}); see its log above") from error
    return 0


def prepare(settings: Settings) -> None:
    """Hand the settings to the server through the environment, and MONAI Label its own, before it is imported.

    Raises:
        ServiceError: The folder for temporary files cannot be made.
    """
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings.temporary.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise ServiceError(
            f"{settings.home} cannot be written ({error.strerror}); name another folder in MEDDENOISE_HOME"
        ) from error
    os.environ.update(settings.environment())
    os.environ["TMPDIR"] = tempfile.tempdir = str(settings.temporary)
    os.environ["MONAI_LABEL_AUTH_ENABLE"] = "false"  # its own check refuses every token
    os.environ.setdefault("MONAI_LABEL_AUTO_UPDATE_SCORING", "false")
    os.environ["MONAI_LABEL_SESSION_PATH"] = os.environ.get("MONAI_LABEL_SESSION_PATH") or str(settings.sessions)


def check_guarded(host: str, settings: Settings) -> None:
    """Raise ServiceError unless the host is this machine only, or there are tokens that can be used."""
    if settings.tokens is not None:
        read_tokens(settings.tokens)
        return
    try:
        addresses = {item[4][0] for item in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise ServiceError(f"cannot listen on {host} ({error.strerror}); choose another with --host") from error
    if not all(ip_address(str(address).split("%")[0]).is_loopback for address in addresses):
        raise ServiceError(
            f"on {host} other machines could use this server: give it tokens with --tokens FILE "
            "(make one with: meddenoise token NAME --role user), or leave --host out"
        )


def check_certificate(certificate: Certificate) -> None:
    """Raise ServiceError unless the certificate and the key can be read and belong together."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate.chain, certificate.key, password="")
    except OSError as error:  # ssl.SSLError is one
        names = f"{certificate.chain} and {certificate.key}"
        raise ServiceError(f"{names} cannot be used for TLS ({error.strerror or error})") from error


def check_installed() -> None:
    """Raise OptionError unless MONAI Label, which the bare package leaves out, is there."""
    if importlib.util.find_spec("monailabel") is None:
        raise OptionError("the server needs MONAI Label; install it with: python -m pip install 'meddenoise[server]'")


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
