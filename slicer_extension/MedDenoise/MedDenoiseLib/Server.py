"""One server: who may be asked, with which token and which trust; short questions and their answers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import time
from typing import Any, Callable

from MedDenoiseLib.Address import hostOf
from MedDenoiseLib.Connection import AnsweredEarly, Connection, Patience
from MedDenoiseLib.Errors import ConsentMissing, MedDenoiseError, Unauthorized, UntrustedCertificate, WrongService
from MedDenoiseLib.Faults import connectionFault, isPage, jsonOf, loginPage, otherScheme, statusFault
from MedDenoiseLib.Multipart import Upload

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

    def send(
        self,
        connection: Connection,
        method: str,
        route: str,
        upload: Upload,
        sent: Callable[[int], None],
        **headers: str,
    ) -> None:
        """Connect and send a request with a form, up to where the server answers or hangs up; its answer says why.

        Args:
            connection: Not yet used.
            method: "POST" or "PUT".
            route: With its query.
            upload: The form.
            sent: Called with the bytes that were sent so far.
            headers: Further ones; an underscore stands for a hyphen.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.update({"Content-Type": upload.contentType, "Content-Length": str(upload.length)})
        self.begin(connection, method, route, named)
        done = 0
        try:
            for piece in upload.chunks():
                connection.sock.raiseIfAnswered()
                connection.sock.sendall(piece)
                done += len(piece)
                sent(done)
        except (AnsweredEarly, BrokenPipeError, ConnectionResetError):
            return
        connection.patience.stage = "waiting"

    def ask(self, method: str, route: str, patience: Patience, body: dict[str, Any] | None = None) -> Any:
        """One short question over a connection of its own; returns the JSON of the answer."""
        with self.connection(patience) as connection:
            return self.askOver(connection, method, route, body)

    def askOver(self, connection: Connection, method: str, route: str, body: dict[str, Any] | None = None) -> Any:
        """One short question, with a JSON body where one is given; returns the JSON of the answer.

        Raises:
            MedDenoiseError: Of the kind that says why there is none.
        """
        return self._answerTo(connection, method, route, self.checked, body)

    def fetch(self, route: str, patience: Patience) -> bytes:
        """The content of a small file.

        Raises:
            MedDenoiseError: Of the kind that says why there is none.
        """
        with self.connection(patience) as connection:
            return self._answerTo(connection, "GET", route, self._content)

    def checked(self, response: http.client.HTTPResponse) -> Any:
        """The JSON of an answer; raises the error that its status means."""
        body = self._content(response)
        said = jsonOf(body)
        if body.strip() == b"null":
            return None
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

    def _answerTo(
        self,
        connection: Connection,
        method: str,
        route: str,
        read: Callable[[http.client.HTTPResponse], Any],
        body: dict[str, Any] | None = None,
    ) -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        headers = {"Content-Length": str(len(content))} if method in ("POST", "PUT") else {}
        headers.update({} if body is None else {"Content-Type": "application/json"})
        try:
            self.begin(connection, method, route, headers)
            connection.sock.sendall(content)
            connection.patience.stage = "waiting"
            with connection.getresponse() as response:
                connection.patience.stage = "receiving"
                return read(response)
        except (OSError, http.client.HTTPException) as error:
            raise connectionFault(error, self.address, connection.patience.stage) from error

    def _content(self, response: http.client.HTTPResponse) -> bytes:
        """What an answer holds, as far as LARGEST_TEXT goes; raises the error that its status means."""
        body = response.read(LARGEST_TEXT)
        if not 200 <= response.status < 300:
            raise statusFault(response, body, self.address)
        return body

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
