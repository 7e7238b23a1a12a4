"""Turns what goes wrong below HTTP, and the statuses of HTTP, into errors with a sentence for the user."""

from __future__ import annotations

import email.utils
import http.client
import json
import re
import socket
import ssl
import time
from typing import Any
from urllib.parse import urljoin, urlsplit

from MedDenoiseLib.Address import hostOf
from MedDenoiseLib.Errors import (
    BrokenAnswer,
    Busy,
    Canceled,
    CannotConnect,
    Forbidden,
    MedDenoiseError,
    ProxyInBetween,
    Refused,
    ServerFailed,
    TimedOut,
    Unauthorized,
    UntrustedCertificate,
    WrongService,
)

NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
"""OpenSSL's names for an answer that is no TLS at all."""
CERTIFICATE = {
    9: ("is not valid yet", "Check the clock of this machine and of the server."),
    10: ("has expired", "Ask whoever runs the server for a new certificate."),
    62: ("belongs to another name", "Enter the server's name as its certificate has it."),
    64: ("belongs to another address", "Enter the server's name as its certificate has it."),
}
"""OpenSSL's codes; all others mean that nobody trusted vouches for it."""
LOGIN = "Sign in to it with a web browser first, or ask whoever runs the network for a direct way to the server."
USUAL_WAIT = 5.0
"""Seconds to wait where a server is full and does not say how long."""


def connectionFault(error: Exception, address: str, stage: str) -> MedDenoiseError:
    """The error for a connection that was not made, or broke, while it was "connecting", "sending" and so on."""
    host = hostOf(address)
    if isinstance(error, MedDenoiseError):
        return error
    if isinstance(error, ssl.SSLCertVerificationError) or getattr(error, "reason", None) in NO_TLS:
        return _tlsFault(error, address)
    if isinstance(error, socket.gaierror):
        return CannotConnect(f"There is no machine called {host}.", "Check the name, and that the network is up.")
    if isinstance(error, ConnectionRefusedError):
        return CannotConnect(
            f"{host} refuses the connection at port {urlsplit(address).port}.",
            "Check the port, and that the server runs.",
        )
    if isinstance(error, http.client.BadStatusLine) and not isinstance(error, http.client.RemoteDisconnected):
        return WrongService(f"What answers at {host} does not speak HTTP.", "Check the port.")
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if stage == "connecting":
        return CannotConnect(f"{host} cannot be reached: {why}.", "Check the address and the network.")
    return BrokenAnswer(f"The connection to {host} broke while we were {stage}: {why}.", "Try again.")


def _tlsFault(error: Exception, address: str) -> MedDenoiseError:
    host = hostOf(address)
    if not isinstance(error, ssl.SSLCertVerificationError):
        return CannotConnect(f"{host} does not speak https at this port.", f"Try {otherScheme(address)}.")
    what, advice = CERTIFICATE.get(
        error.verify_code,
        ("is not vouched for by anyone this machine trusts", "Choose the file of the certificate that vouches."),
    )
    return UntrustedCertificate(f"The certificate of {host} {what}.", advice)


def timeout(host: str, stage: str, seconds: float) -> TimedOut:
    """The error for a wait that was too long."""
    what = {
        "connecting": "did not answer to our call",
        "sending": "took in nothing of the image",
        "waiting": "gave no answer",
        "receiving": "sent nothing more of its answer",
    }[stage]
    advice = {
        "connecting": "Check the address and the port, that the server runs, and that no firewall is in between.",
        "waiting": "Look whether the server still works, then try again.",
    }.get(stage, "Check the network, then try again.")
    return TimedOut(f"{host} {what} for {seconds:.3g} seconds.", advice)


def otherScheme(address: str) -> str:
    """The address with https in place of http, or the reverse."""
    scheme, rest = address.split("://", 1)
    return f"{'http' if scheme == 'https' else 'https'}://{rest}"


def jsonOf(body: bytes) -> Any:
    """What a body holds as JSON, None where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def statusFault(response: http.client.HTTPResponse, body: bytes, address: str) -> MedDenoiseError:
    """The error for an answer whose status is not 2xx."""
    host, status, said = hostOf(address), response.status, jsonOf(body)
    spoken = _sentence(said)
    html = isPage(response, body)
    if 300 <= status < 400:
        return _redirect(response, address)
    if status == 407 or (html and status in (401, 403, 502, 503, 504)) or (said is None and status in (502, 504)):
        return ProxyInBetween(
            f"A proxy or login page answers in place of {host}: {status} {response.reason}.",
            LOGIN if status < 500 else "Check that the server behind it runs.",
        )
    if status in (429, 503):
        after = _seconds(response.headers.get("Retry-After"))
        if status == 429 and after is None:
            after = USUAL_WAIT
        return Busy(f"{host} has no room now: {spoken or response.reason}.", "Try again later.", after)
    if status >= 500:
        return ServerFailed(
            f"{host} failed: {spoken or f'{status} {response.reason}'}.", "Look into the server's log, then try again."
        )
    return _refusal(status, spoken, isinstance(said, dict) and "error" in said, host, response.reason)


def _refusal(status: int, spoken: str, ours: bool, host: str, reason: str) -> MedDenoiseError:
    if status == 401:
        return Unauthorized(
            f"{host} does not let you in: it asks for a valid token.",
            "Enter the token that the server's owner gave you.",
        )
    if status == 403:
        return Forbidden(f"{host} does not allow this: {spoken or reason}.", "Ask the server's owner for the right.")
    if status == 413:
        return Refused(
            f"The image is too large for {host}: {spoken or reason}.",
            "Denoise a region of it, or ask the server's owner to allow more.",
            status,
        )
    if status == 409 and "cancel" in spoken.lower():
        return Canceled(f"The request was canceled on {host}.", "Try again.")
    if status in (404, 405) and not ours:
        return WrongService(f"What answers at {host} is no MedDenoise server.", "Check the port and the path.")
    return Refused(f"{host} refused: {spoken or f'{status} {reason}'}.", "", status)


def isPage(response: http.client.HTTPResponse, body: bytes) -> bool:
    """Whether an answer is a web page, as login pages are."""
    return "html" in response.headers.get("Content-Type", "").lower() or body[:15].lower().startswith(b"<!doctype html")


def loginPage(address: str) -> ProxyInBetween:
    """The error for a web page where data should be."""
    return ProxyInBetween(f"A web page answers in place of {hostOf(address)}, perhaps to sign in.", LOGIN)


def _redirect(response: http.client.HTTPResponse, address: str) -> MedDenoiseError:
    """Redirects are not followed: an image and a token go to nobody else than whom they were meant for."""
    target = urljoin(f"{address}/", response.headers.get("Location", ""))
    parts = urlsplit(target)
    if parts.hostname == urlsplit(address).hostname and parts.scheme == "https" != urlsplit(address).scheme:
        return WrongService(
            f"{hostOf(address)} wants to be asked over https.", f"Enter https://{parts.netloc} instead."
        )
    return ProxyInBetween(f"{hostOf(address)} sends us on to {parts.netloc or 'another page'}.", LOGIN)


def _sentence(said: Any) -> str:
    """The server's own words without the last full stop, harmless to show."""
    detail = said.get("detail", "") if isinstance(said, dict) else ""
    if isinstance(detail, list):  # a form that is not as the server wants it
        detail = "; ".join(str(item.get("msg", "")) for item in detail if isinstance(item, dict))
    return re.sub(r"[\x00-\x1f\x7f]+", " ", str(detail))[:500].strip().rstrip(".")


def _seconds(text: str | None) -> float | None:
    """What a header Retry-After means: seconds, or a date."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(1.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
