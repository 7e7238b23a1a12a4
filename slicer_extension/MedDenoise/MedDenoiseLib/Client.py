"""Asks a MedDenoise server what it offers, and to denoise an image."""

from __future__ import annotations

import json
import os
import time
import uuid
from dataclasses import dataclass
from typing import Any, Callable

from MedDenoiseLib.Answers import Model, ServerInfo, serverInfo
from MedDenoiseLib.Errors import BrokenAnswer, Busy, Refused, WrongService
from MedDenoiseLib.Server import Server
from MedDenoiseLib.Transfer import Progress, Transfer

__all__ = ["Answer", "Client", "Model", "Progress", "Request", "ServerInfo"]

INFO_PATIENCE = 3
"""Times the usual seconds: a server that is asked for the first time may have to load its models."""
SHARE = 1 / 9
"""Of the server's work that the denoised image takes where the uncertainty, eight times the work, comes after it."""
TITLES = {"denoised": "", "uncertainty": "uncertainty: "}
"""What the text of the progress begins with."""


@dataclass(frozen=True)
class Request:
    """What to denoise, and how.

    Attributes:
        model: Name of the model.
        imagePath: NRRD file, with a header that names nobody.
        folder: Where the results go; it exists.
        modality: "CT", "MR", "PET", "XR", or "" to let the server find out.
        uncertainty: Whether a map of it is wanted too; the server works nine times as long.
        strength: 0 to 1, as the server mixes; 1 leaves the mixing to whoever shows the result.
    """

    model: str
    imagePath: str
    folder: str
    modality: str = ""
    uncertainty: bool = False
    strength: float = 1.0


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        volumePath: NRRD file of the denoised image.
        uncertaintyPath: NRRD file of the uncertainty map, or None.
        figures: The server's numbers as they are.
        warnings: The server's warnings, each once.
        model: Name of the model that did it.
        version: Of its weights.
        seconds: From the first byte sent to the last one stored.
        settings: Strength, modality and the like, as the server understood them.
    """

    volumePath: str
    uncertaintyPath: str | None
    figures: dict[str, Any]
    warnings: tuple[str, ...]
    model: str
    version: str
    seconds: float
    settings: dict[str, Any]


class Client:
    """Talks to one server. Holds no connection between two calls; each call may come from another thread.

    Args:
        address: As `serverAddress` gives it.
        token: Sent as `Authorization: Bearer TOKEN`; "" sends none.
        timeout: Seconds that connecting, and any pause in sending or receiving, may take.
        consented: consented(host) says whether the user has agreed to the host; asked before every call.
        certificateFile: PEM file of further certificates to trust; "" trusts the system's only.
    """

    def __init__(
        self,
        address: str,
        token: str = "",
        timeout: float = 10.0,
        consented: Callable[[str], bool] = lambda host: False,
        certificateFile: str = "",
    ) -> None:
        """Sends nothing yet."""
        self.address = address
        self._server = Server(address, token, timeout, consented, certificateFile)
        self.host = self._server.host

    def info(self, canceled: Callable[[], bool] = lambda: False) -> ServerInfo:
        """What the server offers.

        Raises:
            MedDenoiseError: Of the kind that says why not.
        """
        patience = self._server.patience(canceled)
        patience.seconds *= INFO_PATIENCE
        try:
            return serverInfo(self._server.ask("GET", "/info/", patience), self.host)
        except (BrokenAnswer, Refused, WrongService):
            if self.address.startswith("http:"):
                self._server.raiseIfTls(self._server.patience(canceled))
            raise

    def denoise(self, request: Request, progress: Callable[[Progress], None], canceled: Callable[[], bool]) -> Answer:
        """Send the image, wait, and store what comes back under new names in the request's folder.

        A server that has no room is asked again until there is some. The uncertainty comes by a request of its own,
        because a server gives one image per request; keeping the image there in between would save sending it twice,
        but leave it there where this machine goes away.

        Raises:
            Canceled: `canceled()` became true; the server was told.
            MedDenoiseError: Of the kind that says why not. Nothing is left in the folder.
        """
        self._check(request, self.info(canceled))
        start, written = time.monotonic(), []
        wanted = [("denoised", 0.0, SHARE if request.uncertainty else 1.0)]
        if request.uncertainty:
            wanted.append(("uncertainty", SHARE, 1.0))
        try:
            said = []
            for kind, begin, end in wanted:
                written.append(os.path.join(request.folder, f"{kind}-{uuid.uuid4().hex}.nrrd"))
                transfer = Transfer(self._server, progress, canceled, (begin, end), TITLES[kind])
                said.append(self._untilRoom(transfer, request, kind, written[-1]))
        except BaseException:
            for path in written:
                if os.path.exists(path):
                    os.remove(path)
            raise
        return Answer(
            volumePath=written[0],
            uncertaintyPath=written[1] if request.uncertainty else None,
            figures=said[0]["figures"],
            warnings=tuple(dict.fromkeys(warning for one in said for warning in one["warnings"])),
            model=str(said[0]["model"].get("name", request.model)),
            version=str(said[0]["model"].get("version", "")),
            seconds=time.monotonic() - start,
            settings=said[0]["settings"],
        )

    def _check(self, request: Request, info: ServerInfo) -> None:
        """Before any image leaves: is the model there, and can it do what is wanted?"""
        model = next((model for model in info.models if model.name == request.model), None)
        if model is None:
            why = dict(info.problems).get(request.model, "it has no such model")
            raise Refused(f"{self.host} cannot use the model {request.model!r}: {why.rstrip('.')}.", "Choose another.")
        if request.uncertainty and not model.uncertainty:
            raise Refused(
                f"The model {model.title} of {self.host} gives no map of the uncertainty.", "Do not ask for one."
            )

    def _untilRoom(self, transfer: Transfer, request: Request, kind: str, path: str) -> dict[str, Any]:
        params = {"output_type": kind, "strength": request.strength, "result_extension": ".nrrd"}
        if request.modality:
            params["modality"] = request.modality
        while True:
            try:
                return transfer.run(request.model, json.dumps(params), request.imagePath, path)
            except Busy as error:
                if error.retryAfter is None:
                    raise
                transfer.pause(error.retryAfter)
