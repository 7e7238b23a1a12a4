"""What an operator decides about the server: one frozen object, read once, handed on by argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meddenoise.errors import OptionError
from meddenoise.server.home import data_folder

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """How the server guards itself.

    Attributes:
        tokens: File of tokens; None serves this machine only, without any.
        origins: Web pages that may call the server from a browser, such as "https://viewer.example.org".
        hosts: Names of this server beside those of the loopback; only asked for where there are no tokens.
        upload_mb: Largest request, in MiB; what an archive holds may be four times as large.
        keep_hours: Hours until uploads, sessions, results and images from a PACS are purged.
        home: Folder that holds them, the audit log and the hospital's own models.
    """

    tokens: Path | None = None
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    upload_mb: int = 4096
    keep_hours: float = 24.0
    home: Path = field(default_factory=data_folder)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the variables that `environment()` writes; those that are missing or empty have their defaults.

        Raises:
            OptionError: A value is not what it must be.
        """
        given = {key: environment[name] for key, name in NAMES.items() if environment.get(name)}
        tokens = given.get("tokens")
        return cls(
            tokens=Path(tokens) if tokens else None,
            origins=_list(given.get("origins", "")),
            hosts=_list(given.get("hosts", "")),
            upload_mb=int(_positive("upload_mb", given.get("upload_mb", cls.upload_mb))),
            keep_hours=_positive("keep_hours", given.get("keep_hours", cls.keep_hours)),
            home=Path(given["home"]) if "home" in given else data_folder(),
        )

    def environment(self) -> dict[str, str]:
        """The variables that hand these settings to a server process."""
        values = {
            "tokens": str(self.tokens.resolve()) if self.tokens else "",
            "origins": ",".join(self.origins),
            "hosts": ",".join(self.hosts),
            "upload_mb": str(self.upload_mb),
            "keep_hours": str(self.keep_hours),
            "home": str(self.home),
        }
        return {NAMES[key]: value for key, value in values.items()}

    @property
    def upload_bytes(self) -> int:
        """Largest request in bytes."""
        return self.upload_mb * MEBIBYTE

    @property
    def temporary(self) -> Path:
        """Where uploads and results lie while they are worked on."""
        return self.home / "tmp"

    @property
    def sessions(self) -> Path:
        """Where MONAI Label keeps its sessions, unless its own setting says otherwise."""
        return self.home / "sessions"

    @property
    def cache(self) -> Path:
        """Where images from a PACS are kept, unless MONAI Label's own setting says otherwise."""
        return self.home / "dicom"

    @property
    def audit(self) -> Path:
        """The folder of the audit log and of the key that its pseudonyms are made with."""
        return self.home / "audit"


NAMES = {
    "tokens": "MEDDENOISE_TOKENS",
    "origins": "MEDDENOISE_CORS_ORIGINS",
    "hosts": "MEDDENOISE_HOSTS",
    "upload_mb": "MEDDENOISE_UPLOAD_MB",
    "keep_hours": "MEDDENOISE_KEEP_HOURS",
    "home": "MEDDENOISE_HOME",
}
"""Each setting's environment variable."""


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip().rstrip("/") for part in text.split(",") if part.strip())


def _positive(name: str, value: str | float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise OptionError(f"{NAMES[name]} must be a number above 0, got {value!r}")
    return number
