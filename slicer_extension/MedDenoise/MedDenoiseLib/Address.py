"""What a user may enter as the address of a server."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from MedDenoiseLib.Errors import AddressError

USUAL_PORTS = {"http": 80, "https": 443}
EXAMPLE = "An address looks like http://127.0.0.1:8000 or https://server.hospital.example:8443."


def serverAddress(text: str) -> str:
    """The address in one form: scheme://host:port and the path, if any, without a slash at the end.

    Without a scheme http is taken for this machine and https for every other.

    Raises:
        AddressError: It is no address, or one that holds a password, a query or a wildcard.
    """
    text = text.strip()
    if not text:
        raise AddressError("The address of the server is empty.", EXAMPLE)
    if re.search(r"[\s\x00-\x1f\x7f\\]", text):
        raise AddressError(f"The address {text!r} has a space or a character that no address can have.", EXAMPLE)
    if "://" not in text:
        text = f"{'http' if isThisMachine(_split(f'//{text}').hostname or '') else 'https'}://{text}"
    parts = _split(text)
    _check(parts, text)
    host, scheme = _ascii(parts.hostname), parts.scheme.lower()
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{parts.port or USUAL_PORTS[scheme]}{parts.path.rstrip('/')}"


def hostOf(address: str) -> str:
    """The host of an address, in lower case, without port and brackets: what the user agrees to."""
    return _ascii(_split(address).hostname or "")


def isThisMachine(host: str) -> bool:
    """Whether a host, as `hostOf` gives it, is the machine we are on."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(text):
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises where it is no number or too large
    except ValueError as error:
        raise AddressError(f"The address {text!r} cannot be understood: {error}.", EXAMPLE) from error
    return parts


def _check(parts, text: str) -> None:
    if parts.scheme.lower() not in USUAL_PORTS:
        raise AddressError(f"The address begins with {parts.scheme}://, not with http:// or https://.", EXAMPLE)
    if "@" in parts.netloc:
        raise AddressError(
            "The address holds a user name or a password, which would be kept in the settings.",
            "Leave them out of the address and enter the token in its own field.",
        )
    if not parts.hostname or parts.port == 0:
        raise AddressError(f"The address {text!r} names no host or no port.", EXAMPLE)
    if parts.query or parts.fragment:
        raise AddressError(f"The address {text!r} goes on after the path.", "Leave out everything from ? or # on.")
    if parts.hostname in ("0.0.0.0", "::"):  # noqa: S104 - refused here
        raise AddressError(
            f"{parts.hostname} is what a server listens on, not where it can be reached.",
            "Enter 127.0.0.1 for a server on this machine, else the name of its machine.",
        )


def _ascii(host: str) -> str:
    """The host in lower case, names of other scripts as DNS knows them."""
    try:
        return host.lower() if host.isascii() else host.encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise AddressError(f"The host {host!r} is no name that a machine can have.", EXAMPLE) from error
