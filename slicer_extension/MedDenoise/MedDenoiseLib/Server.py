"""One server: who may be asked, with which token and which trust; short questions and their answers."""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import time
from typing import Any, Callable

from MedDenoiseLib.Address import hostOf
from MedDenoiseLib.Connection import Connection, Patience
from MedDenoiseLib.Errors import ConsentMissing, MedDenoiseError, Unauthorized, UntrustedCertificate, WrongService
from MedDenoiseLib.Faults import connectionFault, isPage, jsonOf, loginPage, otherScheme, statusFault

LARGEST_TEXT = 4 * 1024 * 1024
FAREWELL = 0.6
"""Seconds that telling the server of a cancellation may take."""


class Server:
    """See `Client` for the arguments.

    Attributes:
        host: Of the address.
    """

    def __init__(
        self, address: str, token: str, timeout: float, consented: Callable[[str], bool], certificateFile: str
    ) -> None:
        """Sends nothing yet."""
        self.address, self.host = address, hostOf(address)
        self._token, self._timeout = token.strip(), timeout
        self._consented, self._certificateFile = consented, certificateFile
        self._trust: ssl.SSLContext | None = None

    def patience(self, canceled: Callable[[], bool]) -> Patience:
        """Of the usual length."""
        return Patience(self.host, self._timeout, canceled)

    def connection(self, patience: Patience) -> Connection:
        """A connection, not yet made.

        Raises:
            ConsentMissing: The user has not agreed to the host.
        """
        return self._connection(self.address, patience)

    def begin(self, connection: Connection, method: str, route: str, headers: dict[str, str] | None = None) -> None:
        """Connect and send the head of a request."""
        headers = {"Accept": "application/json, multipart/form-data", **(headers or {}), **connection.proxyHeaders()}
        if self._token:
            headers["Authorization"] = f"Bearer {self._checkedToken()}"
        if connection.sock is None:
            connection.connect()
        connection.putrequest(method, connection.target(route))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.patience.stage = "sending"
        connection.endheaders()

    def ask(self, method: str, route: str, patience: Patience) -> Any:
        """One short question over a connection of its own; returns the JSON of the answer."""
        with self.connection(patience) as connection:
            return self.askOver(connection, method, route)

    def askOver(self, connection: Connection, method: str, route: str) -> Any:
        """One short question; returns the JSON of the answer.

        Raises:
            MedDenoiseError: Of the kind that says why there is none.
        """
        try:
            self.begin(connection, method, route)
            connection.patience.stage = "waiting"
            with connection.getresponse() as response:
                connection.patience.stage = "receiving"
                return self.checked(response)
        except (OSError, http.client.HTTPException) as error:
            raise connectionFault(error, self.address, connection.patience.stage) from error

    def checked(self, response: http.client.HTTPResponse) -> Any:
        """The JSON of an answer; raises the error that its status means."""
        body = response.read(LARGEST_TEXT)
        if not 200 <= response.status < 300:
            raise statusFault(response, body, self.address)
        said = jsonOf(body)
        if said is None and isPage(response, body):
            raise loginPage(self.address)
        if said is None:
            raise WrongService(f"What answers at {self.host} is no MedDenoise server.", "Check the port and the path.")
        return said

    def cancel(self, name: str) -> None:
        """Tell the server that a request is no longer wanted; one that does not listen is left alone."""
        end = time.monotonic() + FAREWELL
        with contextlib.suppress(MedDenoiseError):  # hanging up, which comes next, says the same
            self.ask("DELETE", f"/progress/{name}", Patience(self.host, FAREWELL, lambda: time.monotonic() > end))

    def raiseIfTls(self, patience: Patience) -> None:
        """Raise WrongService if it speaks https where http was asked for; nothing but TLS's greeting is sent."""
        secure = otherScheme(self.address)
        with self._connection(secure, patience) as connection:
            try:
                connection.connect()
            except ssl.SSLCertVerificationError:
                pass  # it has a certificate, which is all we want to know
            except (OSError, MedDenoiseError):
                patience.check()
                return
        raise WrongService(f"{self.host} speaks https at this port, not http.", f"Enter {secure} instead.")

    def _connection(self, address: str, patience: Patience) -> Connection:
        if not self._consented(self.host):
            raise ConsentMissing(self.host)
        return Connection(address, patience, self._context)

    def _checkedToken(self) -> str:
        if not (self._token.isascii() and self._token.isprintable()) or " " in self._token:
            raise Unauthorized(
                f"The token for {self.host} holds a character that no token has.", "Copy the token once more."
            )
        return self._token

    def _context(self) -> ssl.SSLContext:
        """What is trusted; read once, because the system's list is long."""
        if self._trust is not None:
            return self._trust
        context = ssl.create_default_context()
        if self._certificateFile:
            try:
                context.load_verify_locations(self._certificateFile)
            except OSError as error:  # ssl.SSLError is one
                raise UntrustedCertificate(
                    f"The certificate file {os.path.basename(self._certificateFile)} for {self.host} cannot be used: "
                    f"{error.strerror or error}.",
                    "Choose a PEM file, one that begins with -----BEGIN CERTIFICATE-----.",
                ) from error
        self._trust = context
        return context
