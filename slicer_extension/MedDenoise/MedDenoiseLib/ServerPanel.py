"""Which server: address, token, certificate, the user's agreement, and what the server answered."""

from __future__ import annotations

from typing import Any, Callable

import ctk

from MedDenoiseLib import Links, Texts
from MedDenoiseLib.Address import hostOf, isThisMachine, serverAddress
from MedDenoiseLib.Errors import AddressError, ConsentMissing
from MedDenoiseLib.I18n import tr as _


class ServerPanel:
    """The upper section.

    Args:
        ui: The widgets by name.
        settings: Addresses, hosts that the user agreed to; kept on disk.
        secrets: Tokens; live in memory.
        makeClient: makeClient(address, token, certificate file or "", consented) gives a client.
        ask: ask(question) -> bool, a question with Yes and No.
        words: Has consentQuestion(host, local, unencrypted) and connected(info), as Texts has.

    Attributes:
        info: What the connected server said of itself; None while there is none.
        whenChanged: called when `info` was reset or an agreement was withdrawn.
    """

    def __init__(
        self,
        ui: Any,
        settings: Any,
        secrets: Any,
        makeClient: Callable,
        ask: Callable[[str], bool],
        words: Any = Texts,
    ):
        self.ui = ui
        self.settings = settings
        self.secrets = secrets
        self._makeClient = makeClient
        self._ask = ask
        self._words = words
        self.info: Any = None
        self.whenChanged: Callable[[], None] = lambda: None
        address = settings.address or Links.DEFAULT_SERVER
        self._fill(address)
        self._tokenHost = hostOf(address)
        ui.tokenEdit.setText(secrets.token(address))
        ui.certificateEdit.setCurrentPath(settings.certificate)
        ui.certificateEdit.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Readable
        ui.addressBox.editTextChanged.connect(self._onAddress)
        ui.tokenEdit.textChanged.connect(self._onEdited)
        ui.certificateEdit.currentPathChanged.connect(self._onEdited)
        ui.withdrawButton.clicked.connect(self._onWithdraw)
        self.say("")
        self._showConsent()

    def client(self) -> Any:
        """A client for what is entered, after the user agreed to its host.

        Raises:
            AddressError: The address makes no sense.
            ConsentMissing: The user does not agree; nothing was sent.
        """
        address = serverAddress(self.ui.addressBox.property("currentText"))
        host = hostOf(address)
        if not self.settings.hasAgreed(host):
            if not self._ask(self._words.consentQuestion(host, isThisMachine(host), _isOpen(address))):
                raise ConsentMissing(host)
            self.settings.agree(host)
            self._showConsent()
        token = self.ui.tokenEdit.property("text").strip()
        self.secrets.setToken(address, token)
        self.settings.certificate = self.ui.certificateEdit.property("currentPath") or ""
        agreed = frozenset([host])  # the job's thread must not ask the settings, which are Qt's
        return self._makeClient(address, token, self.settings.certificate, agreed.__contains__)

    def connected(self, info: Any) -> None:
        """Keep what the server said, and its address in the history."""
        self.info = info
        address = serverAddress(self.ui.addressBox.property("currentText"))
        self.settings.address = address
        self._fill(address)
        self.say(self._words.connected(info))
        self.whenChanged()

    def say(self, text: str) -> None:
        """Show how the connection stands."""
        self.ui.connectionText.setText(text)
        self.ui.connectionText.setVisible(bool(text))

    def forget(self) -> None:
        """What the server said no longer counts."""
        if self.info is not None:
            self.info = None
            self.whenChanged()

    def _fill(self, address: str) -> None:
        """The history, newest first, with this address entered."""
        box = self.ui.addressBox
        box.blockSignals(True)
        box.clear()
        box.addItems(list(self.settings.addresses) or [address])
        box.setEditText(address)
        box.blockSignals(False)

    def _onAddress(self, *_args: Any) -> None:
        """A token is for the host that it was entered for, and must not reach another by a forgotten field."""
        host = self._host()
        if host and host != self._tokenHost:
            self._tokenHost = host
            self.ui.tokenEdit.setText(self.secrets.token(serverAddress(self.ui.addressBox.property("currentText"))))
        self._onEdited()

    def _onEdited(self, *_args: Any) -> None:
        self.say("")
        self._showConsent()
        self.forget()

    def _onWithdraw(self, *_args: Any) -> None:
        host = self._host()
        self.settings.withdraw(host)
        self._showConsent()
        self.say(_("Agreement withdrawn: nothing more is sent to {host} until you agree again.").format(host=host))
        self.forget()

    def _host(self) -> str:
        """The host that is entered, "" where it makes no sense yet."""
        try:
            return hostOf(serverAddress(self.ui.addressBox.property("currentText")))
        except AddressError:
            return ""

    def _showConsent(self) -> None:
        host = self._host()
        agreed = self.settings.hasAgreed(host)
        said = [_("You agreed to send images to {host}.").format(host=host)] if agreed else []
        if host and _isOpen(serverAddress(self.ui.addressBox.property("currentText"))):
            said.append(f"⚠ {Texts.notEncrypted()}")
        self.ui.consentText.setText("\n".join(said))
        self.ui.consentText.setVisible(bool(said))
        self.ui.withdrawButton.setVisible(agreed)


def _isOpen(address: str) -> bool:
    """Whether what goes there can be read on the way."""
    return address.startswith("http:") and not isThisMachine(hostOf(address))
