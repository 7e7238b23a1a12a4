"""An image on its way into the server's datastore, with or without its clean partner."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any, Callable
from urllib.parse import urlencode

from MedDenoiseLib.Errors import Canceled, MedDenoiseError, Refused
from MedDenoiseLib.Faults import connectionFault
from MedDenoiseLib.Multipart import Upload
from MedDenoiseLib.Server import Server
from MedDenoiseLib.Transfer import Progress

CLEAN_TAG = "final"
"""Of the label that the server's training takes for the clean partner of an image."""
STORE_PATIENCE = 120.0
"""Seconds that the server may take to store a file that it has got."""


@dataclass(frozen=True)
class Deposit:
    """What to store.

    Attributes:
        name: Under which the server keeps the image: letters A-Z, digits, spaces and . _ -.
        imagePath: NRRD file.
        partnerPath: NRRD file of the clean partner on the same grid; "" for none.
        patient: Pseudonym by which the server knows which images are of the same patient; "" for one of its own.
        modality: "CT", "MR", "PET", "XR".
    """

    name: str
    imagePath: str
    partnerPath: str = ""
    patient: str = ""
    modality: str = ""


class Depositor:
    """Stores an image and its partner, or neither.

    Args:
        server: Where.
        progress: Called with each Progress, whose stage is "sending" or "storing".
        canceled: Whether it is no longer wanted.
    """

    def __init__(self, server: Server, progress: Callable[[Progress], None], canceled: Callable[[], bool]) -> None:
        """Sends nothing yet."""
        self._server, self._progress, self._canceled = server, progress, canceled

    def store(self, deposit: Deposit) -> None:
        """Send both files.

        Raises:
            Refused: The name is taken, or the server wants no image of this kind.
            Canceled: It is no longer wanted.
            MedDenoiseError: Of the kind that says why not. The server keeps nothing of it, or the sentence says so.
        """
        self._checkFree(deposit.name)
        facts = {"patient": deposit.patient, "modality": deposit.modality}
        params = json.dumps({key: value for key, value in facts.items() if value})
        image = Upload(params, deposit.imagePath)
        partner = Upload("{}", deposit.partnerPath, "label") if deposit.partnerPath else None
        total = image.length + (partner.length if partner else 0)
        query = {"image": deposit.name}
        try:
            self._put(f"/datastore/image?{urlencode(query)}", image, 0, total)
            if partner is not None:
                query["tag"] = CLEAN_TAG
                self._put(f"/datastore/label?{urlencode(query)}", partner, image.length, total)
            if self._canceled():
                raise Canceled()
        except Exception as error:
            if self._takenBack(deposit.name):
                raise
            raise MedDenoiseError(
                f"{str(error).rstrip('.')}; {self._server.host} may have kept the image {deposit.name!r}.",
                "Look for it there before a training, and take it out.",
            ) from error

    def _checkFree(self, name: str) -> None:
        route = f"/datastore/image/info?{urlencode({'image': name})}"
        if self._server.ask("GET", route, self._server.patience(self._canceled)):
            raise Refused(f"{self._server.host} has an image called {name!r} already.", "Enter another name.")

    def _put(self, route: str, upload: Upload, before: int, total: int) -> None:
        """Send one file; it can be canceled until all of it is sent, so that we know whether the server has it."""
        patience = self._server.patience(lambda: patience.stage != "waiting" and self._canceled())
        try:
            with self._server.connection(patience) as connection:
                self._server.send(connection, "PUT", route, upload, lambda sent: self._tell(before + sent, total))
                patience.stage, patience.seconds = "waiting", STORE_PATIENCE
                self._progress(Progress("storing"))
                with connection.getresponse() as response:
                    self._server.checked(response)
        except Refused as error:
            raise self._refusal(error) from error
        except (OSError, http.client.HTTPException) as error:
            raise connectionFault(error, self._server.address, patience.stage) from error

    def _refusal(self, error: Refused) -> Refused:
        """Of an image that is too large, a region would be no way out."""
        if error.status != 413:
            return error
        return Refused(str(error), "Ask the server's owner to allow larger images, or to make room.", error.status)

    def _takenBack(self, name: str) -> bool:
        """Take away what the server may have got; returns whether it has nothing now."""
        route = f"/datastore/image?{urlencode({'id': name})}"
        try:
            self._server.ask("DELETE", route, self._server.patience(lambda: False))
        except Refused as error:
            return error.status == 404  # it had none
        except MedDenoiseError:
            return False
        return True

    def _tell(self, sent: int, total: int) -> None:
        self._progress(Progress("sending", sent / total, f"{sent / 1e6:.1f} of {total / 1e6:.1f} MB"))


def anyOf(said: Any, key: str) -> int:
    """A count in a JSON object, 0 where there is none."""
    value = said.get(key) if isinstance(said, dict) else None
    return value if isinstance(value, int) else 0
