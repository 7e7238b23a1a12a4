"""The gate before the whole web app: who may, how much, and nothing that names a path; every request is audited."""

from __future__ import annotations

import json
from dataclasses import dataclass
from time import perf_counter

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meddenoise import weights
from meddenoise.errors import MedDenoiseError, ModelError
from meddenoise.server.access import IDENTIFIERS, check_path, check_query, check_values, host_of, is_remote, needed
from meddenoise.server.audit import AuditLog, Entry
from meddenoise.server.privacy import Scrubber
from meddenoise.server.problems import Problem, problem_of
from meddenoise.server.settings import MEBIBYTE, Settings
from meddenoise.server.tokens import LOCAL, NOBODY, Person, TokenFile

FORMS = ("multipart/", "application/x-www-form-urlencoded")
JSON_BYTES = MEBIBYTE
GONE = 499
"""In the audit log: the client went away before it was answered."""
POLLED = ("health", "info", "progress", "static", "favicon.ico", "docs", "openapi.json", "")
"""First parts of paths that are read again and again and hold no image; the audit log leaves out their successes."""


@dataclass(frozen=True)
class Guard:
    """What the gate needs: the settings, the tokens (None on a server for this machine only), and where to write."""

    settings: Settings
    tokens: TokenFile | None
    audit: AuditLog
    scrub: Scrubber


class Gate:
    """ASGI middleware; outermost but for CORS, so that nothing is reached without it."""

    def __init__(self, app: ASGIApp, *, guard: Guard) -> None:
        self.app, self.guard = app, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through or answer why not, and write it down."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request, person, start, status, written = Request(scope), NOBODY, perf_counter(), GONE, False

        async def watched(message: Message) -> None:
            nonlocal status, written
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body") and not written:
                written = True  # before the end of the answer is sent: who has it is in the log
                self._write(request, person, status, perf_counter() - start)
            await send(message)

        try:
            try:
                person = self._who(request)
                _authorise(request, person)
                body = await self._checked(request, receive)
            except (MedDenoiseError, Problem) as error:
                await _refusal(error)(scope, receive, watched)
            else:
                request.state.person = person
                await self.app(scope, body, watched)
        except Exception:
            status = 500  # answered outside this gate
            raise
        finally:
            if not written:
                self._write(request, person, status, perf_counter() - start)

    def _who(self, request: Request) -> Person:
        """Whose request it is.

        Raises:
            Problem: Nobody's whom this server serves.
        """
        if needed(request.method, _path(request))[0] is None:
            return NOBODY
        if self.guard.tokens is None:
            self._check_local(request)
            return LOCAL
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        person = self.guard.tokens.find(token.strip()) if scheme.lower() == "bearer" else None
        if person is None:
            sentence = "a valid token is needed: Authorization: Bearer TOKEN"
            raise Problem(401, "Unauthorized", sentence, headers={"WWW-Authenticate": "Bearer"})
        return person

    def _check_local(self, request: Request) -> None:
        """Without tokens, refuse other machines, and web pages that make this machine's browser ask in their name."""
        host = request.headers.get("host", "")
        if request.client is not None and is_remote(request.client.host):
            raise Problem(403, "Forbidden", "without tokens this server serves its own machine only")
        if host_of(host) not in ("127.0.0.1", "localhost", "::1", *self.guard.settings.hosts):
            raise Problem(403, "Forbidden", "this server does not have that name; see MEDDENOISE_HOSTS")
        origin = request.headers.get("origin")
        own = (f"http://{host}", f"https://{host}", *self.guard.settings.origins)
        if origin is not None and origin not in own:
            raise Problem(403, "Forbidden", "web pages of other servers may not call this one; see --cors-origin")

    async def _checked(self, request: Request, receive: Receive) -> Receive:
        """Check everything a request says; returns where its body is to be read from.

        Raises:
            Problem: It is too large, or asks for what is not served.
            OptionError: Something in it names a path.
        """
        check_path(_path(request))
        query = request.query_params.multi_items()
        check_query(query)
        for key, value in query:
            if key in IDENTIFIERS:
                self.guard.scrub.remember(value)
        most = self.guard.settings.upload_bytes
        form = request.headers.get("content-type", "").lower().startswith(FORMS)
        stated = request.headers.get("content-length", "0")
        limit = most if form else min(most, JSON_BYTES)
        if not stated.isdecimal() or int(stated) > limit:
            raise _too_large(limit)
        bounded = _bounded(receive, limit)
        if form or request.method in ("GET", "HEAD", "OPTIONS"):
            return bounded
        return await _checked_json(bounded)

    def _write(self, request: Request, person: Person, status: int, seconds: float) -> None:
        first = _path(request).split("/")[1] if _path(request).startswith("/") else ""
        if first in POLLED and status < 400:
            return
        query, parts = request.query_params, request.scope.get("path_params", {})
        image = next((query[key] for key in ("image", "id", "label") if query.get(key)), None)
        session, model = query.get("session_id") or parts.get("session_id"), parts.get("model")
        version = getattr(request.state, "version", None) or _version(model)
        route = getattr(request.scope.get("route"), "path", None) or f"/{first}"
        self.guard.audit.write(
            Entry(
                who=person.name,
                role=person.role.name.lower() if person is not NOBODY else "-",
                client=request.client.host if request.client else "-",
                method=request.method,
                route=route,
                image=self.guard.audit.pseudonym(image) if image else None,
                session=self.guard.audit.pseudonym(session) if session else None,
                model=model if version else None,
                version=version,
                status=status,
                ms=round(seconds * 1000),
            )
        )


def _path(request: Request) -> str:
    """The path that is routed by. `request.url` is put together with the Host header, which may hold another path."""
    return str(request.scope["path"])


def _authorise(request: Request, person: Person) -> None:
    """Raise Problem unless the person may do this."""
    role, proven = needed(request.method, _path(request))
    if role is not None and person.role < role:
        raise Problem(403, "Forbidden", f"this needs the role {role.name.lower()}; yours is {person.role.name.lower()}")
    if proven and not person.proven:
        raise Problem(403, "Forbidden", "this needs an administrator's token; start the server with --tokens")


def _refusal(error: MedDenoiseError | Problem) -> JSONResponse:
    problem = problem_of(error) if isinstance(error, MedDenoiseError) else error
    return JSONResponse({"error": problem.error, "detail": problem.detail}, problem.status_code, problem.headers)


def _too_large(limit: int) -> Problem:
    return Problem(413, "InputError", f"a request of this kind must be at most {limit / MEBIBYTE:g} MiB")


def _bounded(receive: Receive, limit: int) -> Receive:
    """Receive, but count what really comes: a chunked request states no length."""
    got = 0

    async def counted() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > limit:
            raise _too_large(limit)
        return message

    return counted


async def _checked_json(receive: Receive) -> Receive:
    """Read the whole body and refuse paths in it; returns where it can be read once more."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        more = message.get("more_body", False)
    try:
        check_values(json.loads(body) if body.strip() else None)
    except (ValueError, RecursionError) as error:
        if isinstance(error, MedDenoiseError):
            raise
        raise Problem(400, "OptionError", "the body must be a form or JSON") from error
    replayed = False

    async def again() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _version(model: str | None) -> str | None:
    try:
        return weights.read_card(model).version if model else None
    except ModelError:
        return None
