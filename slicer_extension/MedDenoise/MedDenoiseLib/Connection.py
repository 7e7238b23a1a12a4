"""A connection over HTTP that can be given up at any moment, in whatever it is doing."""

from __future__ import annotations

import base64
import errno
import http.client
import io
import selectors
import socket
import ssl
import threading
import time
import urllib.request
from typing import Any, Callable
from urllib.parse import SplitResult, unquote, urlsplit

from MedDenoiseLib.Address import isThisMachine
from MedDenoiseLib.Errors import Canceled, ProxyInBetween, TimedOut
from MedDenoiseLib.Faults import timeout

SLICE = 0.1
"""Seconds after which a wait looks whether it is still wanted."""
CHUNK = 256 * 1024
UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN, getattr(errno, "WSAEWOULDBLOCK", errno.EAGAIN))


class AnsweredEarly(Exception):
    """The server answers, or hung up, before it got everything: it does not want the rest."""


class Patience:
    """How long to wait for a host, and what to look after meanwhile.

    Attributes:
        stage: What is being done: "connecting", "sending", "waiting" or "receiving".
        seconds: How long any wait may last.
        meanwhile: Called about every 0.1 s of a wait, which then has no limit but what this raises; None for none.
    """

    def __init__(self, host: str, seconds: float, canceled: Callable[[], bool]) -> None:
        """Takes the host for the sentence of a timeout."""
        self._host, self._canceled = host, canceled
        self.stage, self.seconds = "connecting", seconds
        self.meanwhile: Callable[[], None] | None = None

    def check(self) -> None:
        """Raise Canceled if nobody wants it any more."""
        if self._canceled():
            raise Canceled()

    def wait(self, ready: Callable[[float], Any]) -> None:
        """Call ready(seconds), which waits for so long, until it says yes.

        Raises:
            Canceled: Nobody wants it any more.
            TimedOut: It took too long.
        """
        end = time.monotonic() + self.seconds
        self.check()
        while not ready(SLICE):
            self.check()
            if self.meanwhile is not None:
                self.meanwhile()
            elif time.monotonic() > end:
                raise timeout(self._host, self.stage, self.seconds)


class PatientSocket:
    """What http.client needs of a socket; every wait goes through a Patience."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        """Takes over a connected socket."""
        sock.setblocking(False)
        self._sock, self._patience = sock, patience
        self._early: bytes | None = None
        self._readers, self._closing = 0, False

    def startTls(self, context: ssl.SSLContext, host: str) -> None:
        """Agree on TLS; raises ssl.SSLError."""
        self._sock = context.wrap_socket(self._sock, server_hostname=host, do_handshake_on_connect=False)
        self._retry(self._sock.do_handshake, selectors.EVENT_READ)

    def sendall(self, data: bytes) -> None:
        """Send everything."""
        rest = memoryview(data)
        while rest:
            sent = self._retry(lambda: self._sock.send(rest), selectors.EVENT_WRITE)  # noqa: B023 - called at once
            rest = rest[sent:]

    def raiseIfAnswered(self) -> None:
        """Raises AnsweredEarly; looks by reading, because TLS sends messages of its own that are no answer."""
        try:
            self._early = self._sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        raise AnsweredEarly()

    def recv_into(self, buffer: Any) -> int:
        """Receive at least one byte; 0 at the end."""
        if self._early is not None:
            early, self._early = self._early, None
            buffer[: len(early)] = early
            return len(early)
        return self._retry(lambda: self._sock.recv_into(buffer), selectors.EVENT_READ)

    def makefile(self, mode: str = "rb", *unused: Any) -> io.BufferedReader:
        """A file to read from; the socket stays open until it is closed too."""
        self._readers += 1
        return io.BufferedReader(_Reader(self), CHUNK)

    def close(self) -> None:
        """Close it, once nobody reads from it any more."""
        self._closing = True
        if not self._readers:
            self._sock.close()

    def closeNow(self) -> None:
        """Hang up."""
        self._sock.close()

    def readerClosed(self) -> None:
        """One of those who read is done."""
        self._readers -= 1
        if self._closing:
            self.close()

    def _retry(self, act: Callable[[], Any], event: int) -> Any:
        while True:
            self._patience.check()
            try:
                return act()
            except ssl.SSLWantReadError:
                wanted = selectors.EVENT_READ
            except ssl.SSLWantWriteError:
                wanted = selectors.EVENT_WRITE
            except BlockingIOError:
                wanted = event
            with _watch(self._sock, wanted) as watch:
                self._patience.wait(watch.select)


class _Reader(io.RawIOBase):
    def __init__(self, sock: PatientSocket) -> None:
        self._socket = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            self._socket.readerClosed()
        super().close()


class Connection(http.client.HTTPConnection):
    """One connection to a server, straight or through the environment's proxy; a context that hangs up at its end.

    Args:
        address: As `serverAddress` gives it.
        patience: Asked in every wait.
        context: Gives the certificates to trust; called where TLS is spoken.
    """

    def __init__(self, address: str, patience: Patience, context: Callable[[], ssl.SSLContext]) -> None:
        """Connects when first used."""
        self._address = urlsplit(address)
        super().__init__(self._address.hostname or "", self._address.port)
        self.patience, self._context = patience, context
        self._secure = self._address.scheme == "https"
        self._proxy = proxyFor(self._address.scheme, self.host)
        self._live: PatientSocket | None = None

    def connect(self) -> None:
        """Connect; raises OSError, ssl.SSLError, or an error of ours."""
        self.patience.stage = "connecting"
        context = self._context() if self._secure else None
        there = self._proxy or self._address
        sock = _connect(there.hostname or "", there.port or 80, self.patience)
        self.sock = self._live = PatientSocket(sock, self.patience)
        if context is not None:
            if self._proxy is not None:
                self._askForTunnel(self._proxy)
            self.sock.startTls(context, self.host)

    def target(self, route: str) -> str:
        """What to put into the request's first line."""
        path = f"{self._address.path}{route}"
        if self._proxy is None or self._secure:
            return path
        return f"http://{self._address.netloc}{path}"

    def proxyHeaders(self) -> dict[str, str]:
        """What a request has to say to a proxy that reads it; one that passes TLS through was asked before."""
        return {} if self._secure else self._credentials()

    def hangUp(self) -> None:
        """Close it, whoever still reads."""
        self.close()
        if self._live is not None:
            self._live.closeNow()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *unused: Any) -> None:
        self.hangUp()

    def _credentials(self) -> dict[str, str]:
        """The proxy's password, where there is one."""
        if self._proxy is None or self._proxy.username is None:
            return {}
        secret = f"{unquote(self._proxy.username)}:{unquote(self._proxy.password or '')}"
        return {"Proxy-Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}

    def _askForTunnel(self, proxy: SplitResult) -> None:
        there = self._address.netloc
        headers = "".join(f"{name}: {value}\r\n" for name, value in self._credentials().items())
        self.sock.sendall(f"CONNECT {there} HTTP/1.1\r\nHost: {there}\r\n{headers}\r\n".encode("ascii"))
        with http.client.HTTPResponse(self.sock, method="CONNECT") as response:
            response.begin()
            if response.status != 200:
                raise ProxyInBetween(
                    f"The proxy {proxy.hostname} does not let us through to {self.host}: "
                    f"{response.status} {response.reason}.",
                    "Ask whoever runs the network, or add the host to no_proxy.",
                )


def proxyFor(scheme: str, host: str) -> SplitResult | None:
    """The proxy that this machine's settings name for a host; None for none, and for this machine itself."""
    if isThisMachine(host) or urllib.request.proxy_bypass(host):
        return None
    address = urllib.request.getproxies().get(scheme, "")
    return urlsplit(address if "://" in address else f"http://{address}") if address else None


def _watch(sock: socket.socket, event: int) -> selectors.BaseSelector:
    selector = selectors.DefaultSelector()
    selector.register(sock, event)
    return selector


def _connect(host: str, port: int, patience: Patience) -> socket.socket:
    """A socket connected to the first of the host's addresses that answers."""
    failure: Exception = OSError(f"no address of {host}")
    for family, kind, protocol, _, address in _lookUp(host, port, patience):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            code = sock.connect_ex(address)
            if code in UNDER_WAY:
                with _watch(sock, selectors.EVENT_WRITE) as watch:
                    patience.wait(watch.select)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
            failure = OSError(code, errno.errorcode.get(code, "unknown"))
        except TimedOut as error:
            failure = error
        except BaseException:
            sock.close()
            raise
        sock.close()
    raise failure


def _lookUp(host: str, port: int, patience: Patience) -> list[Any]:
    """The host's addresses; in a thread, because asking for them cannot be interrupted."""
    found: list[Any] = []
    done = threading.Event()

    def ask() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.append(error)
        finally:
            done.set()

    threading.Thread(target=ask, name="MedDenoise looks up", daemon=True).start()
    patience.wait(done.wait)
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]
