"""What is kept between two sessions of the user, and what must not be."""

from __future__ import annotations

from typing import Any, Protocol

from MedDenoiseLib.Address import serverAddress
from MedDenoiseLib.Errors import AddressError

GROUP = "MedDenoise"
MOST_ADDRESSES = 10


class Store(Protocol):
    """The part of qt.QSettings that is needed."""

    def value(self, key: str, default: Any = None) -> Any:
        """What is kept under a key."""

    def setValue(self, key: str, value: Any) -> None:
        """Keep something."""

    def remove(self, key: str) -> None:
        """Forget it."""


class Settings:
    """Addresses, agreements and choices, in the user's settings. Never a token: see SessionSecrets.

    Args:
        store: For example qt.QSettings().
        agreements: Under which key the agreements are kept: what a host may do with images is agreed to one by one.
    """

    def __init__(self, store: Store, agreements: str = "agreedHosts") -> None:
        """Reads the agreements, which are asked for from other threads than the store's."""
        self._store, self._agreements = store, agreements
        self._agreed = tuple(self._list(agreements))

    @property
    def addresses(self) -> list[str]:
        """Servers that were connected to, the newest first; what is damaged is passed over."""
        return [address for address in self._list("addresses") if _isAddress(address)][:MOST_ADDRESSES]

    @property
    def address(self) -> str:
        """The newest of them, "" where there is none."""
        return next(iter(self.addresses), "")

    @address.setter
    def address(self, address: str) -> None:
        address = serverAddress(address)
        known = [other for other in self.addresses if other != address]
        self._keep("addresses", [address, *known][:MOST_ADDRESSES])

    @property
    def agreedHosts(self) -> list[str]:
        """Hosts that may see images, in the order of agreement."""
        return list(self._agreed)

    def agree(self, host: str) -> None:
        """The user agreed to this host."""
        if host and host not in self._agreed:
            self._keepAgreed((*self._agreed, host))

    def withdraw(self, host: str) -> None:
        """The user no longer agrees."""
        self._keepAgreed(tuple(other for other in self._agreed if other != host))

    def hasAgreed(self, host: str) -> bool:
        """Whether the host may see images; made for Client's `consented`, and safe to ask from any thread."""
        return host in self._agreed

    @property
    def certificate(self) -> str:
        """File of further certificates to trust, "" for none."""
        return str(self._store.value(f"{GROUP}/certificate", "") or "")

    @certificate.setter
    def certificate(self, path: str) -> None:
        if path:
            self._store.setValue(f"{GROUP}/certificate", path)
        else:
            self._store.remove(f"{GROUP}/certificate")

    def modelFor(self, modality: str) -> str:
        """The model last used for a modality, "" where there is none."""
        return str(self._store.value(f"{GROUP}/model/{modality or 'any'}", "") or "")

    def setModelFor(self, modality: str, name: str) -> None:
        """Remember the model used for a modality."""
        self._store.setValue(f"{GROUP}/model/{modality or 'any'}", name)

    def _keepAgreed(self, hosts: tuple[str, ...]) -> None:
        self._agreed = hosts
        self._keep(self._agreements, list(hosts))

    def _list(self, key: str) -> list[str]:
        """One text with blanks between: QSettings gives lists of one back as a text, and no entry has a blank."""
        return str(self._store.value(f"{GROUP}/{key}", "") or "").split()

    def _keep(self, key: str, values: list[str]) -> None:
        if values:
            self._store.setValue(f"{GROUP}/{key}", " ".join(values))
        else:
            self._store.remove(f"{GROUP}/{key}")


class SessionSecrets:
    """Tokens by address. They live in memory and die with the application."""

    def __init__(self) -> None:
        """Knows none."""
        self._tokens: dict[str, str] = {}

    def token(self, address: str) -> str:
        """The token for a server, "" where there is none."""
        return self._tokens.get(address, "")

    def setToken(self, address: str, token: str) -> None:
        """Keep a token until the application ends; "" forgets it."""
        if token:
            self._tokens[address] = token
        else:
            self._tokens.pop(address, None)

    def __repr__(self) -> str:
        """Says how many there are, and none of them."""
        return f"SessionSecrets({len(self._tokens)})"


def _isAddress(text: str) -> bool:
    try:
        return bool(serverAddress(text))
    except AddressError:
        return False
