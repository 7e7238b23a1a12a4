"""Throwaway servers on the loopback that behave as real ones do on their worst days."""

import contextlib
import http.server
import json
import socket
import ssl
import subprocess
import sys
import threading
import time

MODEL = {
    "type": "others",
    "description": "Takes the noise out with the model student.",
    "config": {"device": ["auto", "cpu"], "output_type": ["denoised", "difference", "uncertainty"]},
    "version": "0.2.0",
    "summary": "Small fast network",
    "modalities": ["CT", "MR", "PET", "XR"],
}
INFO = {"name": "MedDenoise", "version": "0.1.0", "models": {"student": MODEL}, "problems": {}}
"""The part of a real server's /info/ that is read; test_client_live compares it with a real one."""
SAID = {
    "figures": {"noise_before": 20.0, "noise_after": 5.0},
    "model": {"name": "student", "version": "0.2.0"},
    "settings": {"strength": 1.0, "modality": "CT"},
    "warnings": ["guessed"],
}
IMAGE = b"NRRD0004\n# content" + bytes(range(256)) * 16
BOUNDARY = "d41d8cd98f00"


def form(said=SAID, image=IMAGE, name="denoised-x.nrrd"):
    """An answer as MONAI Label gives it."""
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
        f"{json.dumps(said)}\r\n"
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode() + (image + f"\r\n--{BOUNDARY}--\r\n".encode())


class Call(http.server.BaseHTTPRequestHandler):
    """One request; what to do with it is the server's `routes`: function of the call by method and first folder."""

    protocol_version = "HTTP/1.1"

    def parse_request(self):
        """Remember every request, whatever becomes of it."""
        good = super().parse_request()
        if good:
            self.server.calls.append(self)
        return good

    def answer(self):
        """Do what the route says; 404 where there is none."""
        folder = self.path.split("?")[0].split("/")[1:2] if self.command != "CONNECT" else [""]
        route = self.server.routes.get((self.command, *folder))
        with contextlib.suppress(OSError):
            if route is None:
                self.reply(404, {"error": "InputError", "detail": "no such thing"})
            else:
                route(self)

    do_GET = do_POST = do_PUT = do_DELETE = do_CONNECT = answer

    def drain(self):
        """Read the body away; returns its first 2 kB and its length."""
        left = int(self.headers.get("Content-Length", 0))
        total, start = left, b""
        while left:
            piece = self.rfile.read(min(left, 65536))
            if not piece:
                break
            left -= len(piece)
            start += piece[: max(0, 2048 - len(start))]
        self.start, self.length = start, total - left
        return start

    def head(self, status, kind, length, **headers):
        """Send the lines before the content."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def reply(self, status, content, kind="application/json", **headers):
        """Send an answer; what is no bytes goes as JSON."""
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.head(status, kind, len(content), **headers)
        self.wfile.write(content)

    def replyForm(self, content=None):
        """Take the image and send one back."""
        self.drain()
        self.reply(200, form() if content is None else content, f"multipart/form-data; boundary={BOUNDARY}")

    def log_message(self, *unused):
        """Be quiet."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, address):
        """A client that hangs up is what is tested."""


@contextlib.contextmanager
def server(routes=None, context=None):
    """A server that does what a MedDenoise server does, but for the routes given; yields it with `address`, `calls`."""
    usual = {("GET", "info"): lambda call: call.reply(200, INFO), ("POST", "infer"): Call.replyForm}
    running = _Server(("127.0.0.1", 0), Call)
    running.calls, running.routes = [], {**usual, **(routes or {})}
    if context is not None:
        running.socket = context.wrap_socket(running.socket, server_side=True)
    running.address = f"http{'s' if context else ''}://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.shutdown()
        running.server_close()
        thread.join(5)


@contextlib.contextmanager
def rawServer(behave):
    """A server whose every connection is given to behave(socket); yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ended = threading.Event()

        def one(connected):
            with connected, contextlib.suppress(OSError):
                connected.settimeout(30)
                behave(connected)

        def run():
            listening.settimeout(0.05)
            while not ended.is_set():
                try:
                    connected, _ = listening.accept()
                except OSError:
                    continue
                threading.Thread(target=one, args=(connected,), daemon=True).start()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            ended.set()
            thread.join(5)


@contextlib.contextmanager
def deafServer():
    """An address where a call is neither answered nor refused: the line of those who wait is full (on Linux)."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        time.sleep(0.05)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def closedPort():
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


def certificate(folder, names="IP:127.0.0.1,DNS:localhost", expired=False):
    """A certificate that vouches for itself, by the openssl command; returns the server's context and its file."""
    pem, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=server", "-addext", f"subjectAltName={names}"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(pem)], check=True, capture_output=True, timeout=60)
    if expired:
        command = ["openssl", "x509", "-in", str(pem), "-signkey", str(key), "-days", "-1", "-out", str(pem)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    return context, str(pem)


def hang(call):
    """Take everything and say nothing, until the client hangs up."""
    call.drain()
    with contextlib.suppress(OSError):
        call.connection.settimeout(30)
        call.connection.recv(1)
    call.close_connection = True


@contextlib.contextmanager
def inAnotherProcess(megabytes):
    """A server that takes an image and answers with one of some megabytes, in a process of its own."""
    command = [sys.executable, __file__, str(megabytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()  # which ends it
            process.wait(10)


def _main(megabytes):
    content = form(image=b"NRRD" + bytes(megabytes * 1_000_000))
    with server({("POST", "infer"): lambda call: call.replyForm(content)}) as running:
        print(running.address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _main(int(sys.argv[1]))
