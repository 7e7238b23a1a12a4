"""Who may ask the server for what: roles, tokens, and the file that holds them."""

from __future__ import annotations

import enum
import hashlib
import hmac
import logging
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from meddenoise.errors import OptionError, ServiceError

logger = logging.getLogger(__name__)

HASHED = "sha256="
SHORTEST = 20
"""Characters below which a token written as it is could be guessed."""
OWNER = re.compile(r"[\w. @-]{1,60}")
LINE = "role:token:name, where role is reader, user or admin and token is sha256=HEX or at least 20 characters"


class Role(enum.IntEnum):
    """What a token allows; each role includes those before it."""

    READER = 1
    USER = 2
    ADMIN = 3


@dataclass(frozen=True)
class Person:
    """Who asks: a name for the audit log, a role, and whether a token proves it."""

    name: str
    role: Role
    proven: bool = True


LOCAL = Person("local", Role.ADMIN, proven=False)
"""Whoever asks a server without tokens, which only this machine can."""
NOBODY = Person("-", Role.READER, proven=False)


def new_token(name: str, role: str) -> tuple[str, str]:
    """Make a token; returns it, to be given to its owner, and the line for the file, which only holds its checksum.

    Raises:
        OptionError: The name or the role cannot be written into such a line.
    """
    if role.upper() not in Role.__members__:
        raise OptionError(f"a token's role must be reader, user or admin, got {role!r}")
    if not OWNER.fullmatch(name):
        raise OptionError(f"a token's name must be letters, digits, spaces or . _ @ -, got {name!r}")
    token = secrets.token_urlsafe(32)
    return token, f"{role}:{HASHED}{_digest(token)}:{name}"


class TokenFile:
    """The tokens of a file, read again whenever it changes, so that one can be withdrawn while the server runs."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ServiceError: It cannot be read, others than its owner can change or read it, or it holds no valid tokens.
        """
        self.path = path
        self._people = read_tokens(path)
        self._stamp = self._now()

    def find(self, token: str) -> Person | None:
        """Whose token it is, or None. Takes as long for a wrong token as for a right one."""
        stamp = self._now()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._people = read_tokens(self.path)
            except ServiceError as error:
                logger.error("nobody is let in until this is mended: %s", error)
                self._people = {}
        digest, found = _digest(token), None
        for known, person in self._people.items():
            if hmac.compare_digest(known, digest):
                found = person
        return found

    def _now(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


def read_tokens(path: Path) -> dict[str, Person]:
    """The people of a token file by the SHA-256 of their tokens.

    Raises:
        ServiceError: It cannot be read, others than its owner can change or read it, or it holds no valid tokens.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(f"token file {path} cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if os.name == "posix" and mode & 0o037:
        raise ServiceError(f"token file {path} can be read or changed by others (mode {mode & 0o777:o}): chmod 600 it")
    people: dict[str, Person] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            digest, person = _parse(line.strip())
        except ValueError as error:
            raise ServiceError(f"token file {path}, line {number}: {error}; each line is {LINE}") from error
        people[digest] = person
    if not people:
        raise ServiceError(f"token file {path} holds no token; make one with: meddenoise token NAME --role user")
    return people


def _parse(line: str) -> tuple[str, Person]:
    """Checksum and owner out of one line; messages never repeat the token."""
    if line.count(":") != 2:
        raise ValueError(f"three parts must be divided by two colons, got {line.count(':')}")
    role, token, name = line.split(":")
    if role.upper() not in Role.__members__:
        raise ValueError(f"role must be reader, user or admin, got {role!r}")
    if not OWNER.fullmatch(name):
        raise ValueError(f"name must be letters, digits, spaces or . _ @ -, got {name!r}")
    if token.startswith(HASHED):
        digest = token.removeprefix(HASHED).lower()
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError("checksum must be 64 hexadecimal digits")
    elif len(token) < SHORTEST or re.search(r"\s", token):
        raise ValueError(f"token must have at least {SHORTEST} characters and no spaces")
    else:
        digest = _digest(token)
    return digest, Person(name, Role[role.upper()])


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
