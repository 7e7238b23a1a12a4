"""Puts the gate around MONAI Label's app, in place of its own CORS rule, which lets any web page in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from monailabel.config import settings as monai_settings

from meddenoise.server import guarded
from meddenoise.server.audit import AuditLog
from meddenoise.server.gate import Gate, Guard
from meddenoise.server.pacs import cache_folder
from meddenoise.server.privacy import Scrubber, quiet
from meddenoise.server.purge import purging
from meddenoise.server.settings import Settings
from meddenoise.server.tokens import TokenFile


def install(app: FastAPI, settings: Settings) -> None:
    """Put the gate around the app, our guarded routes before MONAI Label's, and the purging beside it.

    Raises:
        ServiceError: The tokens or the audit log cannot be used.
    """
    audit = AuditLog(settings.audit)
    tokens = TokenFile(settings.tokens) if settings.tokens else None
    scrub = Scrubber([settings.home, *_folders(settings), *_studies()], audit.pseudonym)
    app.user_middleware[:] = [item for item in app.user_middleware if cast(object, item.cls) is not CORSMiddleware]
    app.add_middleware(Gate, guard=Guard(settings, tokens, audit, scrub))
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["Content-Disposition", "Retry-After", "X-Request-ID"],
        )
    app.state.settings = settings
    app.router.routes[0:0] = guarded.router.routes
    app.router.lifespan_context = _beside(app.router.lifespan_context, settings, scrub)


def _beside(
    lifespan: Callable[[Any], AbstractAsyncContextManager[Any]], settings: Settings, scrub: Scrubber
) -> Callable[[Any], AbstractAsyncContextManager[Any]]:
    """A lifespan that keeps the log free of names from the first line on, and purges as long as the server runs."""

    @asynccontextmanager
    async def both(app: Any) -> AsyncIterator[Any]:
        quiet(scrub)
        with purging(lambda: _folders(settings), seconds=settings.keep_hours * 3600):
            async with lifespan(app) as state:
                yield state

    return both


def _folders(settings: Settings) -> list[Path]:
    """The folders whose content is purged: uploads and results, sessions, and the series of each PACS."""
    sessions = monai_settings.MONAI_LABEL_SESSION_PATH or Path.home() / ".cache/monailabel/sessions"
    cache = cache_folder()
    return [settings.temporary, Path(sessions), *(cache.iterdir() if cache.is_dir() else ())]


def _studies() -> Sequence[Path]:
    studies = monai_settings.MONAI_LABEL_STUDIES
    return [Path(studies)] if studies and "://" not in studies else []
