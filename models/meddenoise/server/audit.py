"""Who asked for what, when, and with which version of which model: one line of JSON per request, without any name."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import logging.handlers
import os
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path

from meddenoise.errors import ServiceError

FILE_BYTES, FILES = 10 * 1024 * 1024, 50
"""The log turns over at this size, and this many old files are kept."""


@dataclass(frozen=True)
class Entry:
    """One request.

    Attributes:
        who: Name of the token; "local" on a server without tokens, "-" where none was valid.
        role: What that token allows.
        client: Network address the request came from.
        method: Of HTTP.
        route: The route's own pattern, so that it holds no identifier.
        image: Pseudonym of the image or label asked for, if any.
        session: Pseudonym of the session asked for, if any.
        model: Model asked for, if any.
        version: That model's version.
        status: Of the answer; 499 where the client went away before it.
        ms: Milliseconds from request to the end of the answer.
    """

    who: str
    role: str
    client: str
    method: str
    route: str
    image: str | None
    session: str | None
    model: str | None
    version: str | None
    status: int
    ms: int


class AuditLog:
    """Appends entries to ``audit.jsonl`` in a folder of its own; safe to call from several threads."""

    def __init__(self, folder: Path, *, file_bytes: int = FILE_BYTES) -> None:
        """Open the log, and make the key of its pseudonyms where there is none yet.

        Raises:
            ServiceError: The folder cannot be written.
        """
        self.path = folder / "audit.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._key = _key(folder / "key")
            self._handler = _PrivateFiles(self.path, maxBytes=file_bytes, backupCount=FILES, encoding="utf-8")
        except OSError as error:
            raise ServiceError(f"the audit log in {folder} cannot be written ({error.strerror})") from error
        self._handler.setFormatter(logging.Formatter("%(message)s"))

    def write(self, entry: Entry) -> None:
        """Append one entry with the time of now."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, **asdict(entry)}, ensure_ascii=False)
        self._handler.handle(logging.LogRecord("audit", logging.INFO, __file__, 0, line, None, None))

    def pseudonym(self, identifier: str) -> str:
        """The same 16 hexadecimal digits for the same identifier; without the key nobody can try names out."""
        return hmac.new(self._key, identifier.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:16]

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


class _PrivateFiles(logging.handlers.RotatingFileHandler):
    """Makes each file readable for its owner alone."""

    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        return os.fdopen(handle, "a", encoding=self.encoding)


def _key(path: Path) -> bytes:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(handle, "wb") as file:
        key = secrets.token_bytes(32)
        file.write(key)
    return key
