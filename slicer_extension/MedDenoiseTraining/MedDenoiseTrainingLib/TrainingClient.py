"""Asks a MedDenoise server to keep images, to train on them, and which version of a model to use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable
from urllib.parse import quote

from MedDenoiseLib.Answers import ServerInfo
from MedDenoiseLib.Client import Client
from MedDenoiseLib.Errors import BrokenAnswer, Refused
from MedDenoiseLib.Server import Server
from MedDenoiseLib.Transfer import Progress
from MedDenoiseTrainingLib.Deposit import CLEAN_TAG, Deposit, Depositor, anyOf
from MedDenoiseTrainingLib.Trainers import Trainer, trainersOf
from MedDenoiseTrainingLib.Training import Training, trainingOf
from MedDenoiseTrainingLib.Versions import Versions, versionsOf

START_PATIENCE = 300.0
"""Seconds: the server looks at images before it answers, and fetches them from a PACS for that."""
CHANGE_PATIENCE = 60.0
"""Seconds: weights are checked before they count."""


@dataclass(frozen=True)
class Overview:
    """What an administrator sees of a server.

    Attributes:
        server: What it says of itself.
        trainers: What it can train.
        images: How many images its datastore has.
        pairs: How many of them have a clean partner.
        models: The versions of its models.
        training: The latest training, None where there was none.
    """

    server: ServerInfo
    trainers: tuple[Trainer, ...]
    images: int
    pairs: int
    models: tuple[Versions, ...]
    training: Training | None


class TrainingClient:
    """Talks to one server as its administrator. Each call may come from another thread.

    The arguments are those of Client.
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
        self._client = Client(address, token, timeout, consented, certificateFile)
        self._server = Server(address, token, timeout, consented, certificateFile)
        self.host = self._server.host

    def overview(self, canceled: Callable[[], bool] = lambda: False) -> Overview:
        """All that the page shows.

        Raises:
            MedDenoiseError: Of the kind that says why not; Forbidden where the token is no administrator's.
        """
        info = self._client.info(canceled)
        images = info.said.get("datastore")
        tags = images.get("label_tags") if isinstance(images, dict) else None
        helps = self._askIfThere("/train/options", canceled)
        models, training = self.versions(canceled), self.training(canceled)
        trainers = trainersOf(info.said, helps)
        return Overview(info, trainers, anyOf(images, "total"), anyOf(tags, CLEAN_TAG), models, training)

    def store(self, deposit: Deposit, progress: Callable[[Progress], None], canceled: Callable[[], bool]) -> None:
        """Put an image into the datastore, with its partner; see Depositor."""
        Depositor(self._server, progress, canceled).store(deposit)

    def start(
        self, recipe: str, options: dict[str, Any], canceled: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        """Start a training; returns what it learns from.

        Raises:
            Refused: It cannot be trained so; in the server's sentence.
            MedDenoiseError: Of the kind that says why not.
        """
        said = self._ask("POST", f"/train/{quote(recipe, safe='')}", START_PATIENCE, canceled, options)
        data = said.get("data") if isinstance(said, dict) else None
        if not isinstance(data, dict):
            raise BrokenAnswer(f"{self.host} did not say what it learns from.", "Look whether it trains.")
        return {**data, "resumed": said.get("resumed") is True}

    def training(self, canceled: Callable[[], bool] = lambda: False) -> Training | None:
        """How far the latest training is, also one that was started elsewhere; None where there was none."""
        return trainingOf(self._askIfThere("/train/", canceled))

    def stop(self, canceled: Callable[[], bool] = lambda: False) -> bool:
        """End the training; returns whether the server ended one of its own."""
        return self._ask("DELETE", "/train/", CHANGE_PATIENCE, canceled) is not None

    def versions(self, canceled: Callable[[], bool] = lambda: False) -> tuple[Versions, ...]:
        """The versions of all models."""
        return versionsOf(self._ask("GET", "/models", CHANGE_PATIENCE, canceled), self.host)

    def activate(self, model: str, version: str, canceled: Callable[[], bool] = lambda: False) -> None:
        """Use a version from now on."""
        self._ask("POST", f"{_route(model, version)}/activate", CHANGE_PATIENCE, canceled)

    def rollBack(self, model: str, canceled: Callable[[], bool] = lambda: False) -> None:
        """Use the version that was active before."""
        self._ask("POST", f"{_route(model)}/rollback", CHANGE_PATIENCE, canceled)

    def delete(self, model: str, version: str, canceled: Callable[[], bool] = lambda: False) -> None:
        """Delete a version that is not active."""
        self._ask("DELETE", _route(model, version), CHANGE_PATIENCE, canceled)

    def picture(self, model: str, version: str, name: str, canceled: Callable[[], bool] = lambda: False) -> bytes:
        """A PNG file of a comparison."""
        content = self._server.fetch(_route(model, version, "pictures", name), self._server.patience(canceled))
        if not content.startswith(b"\x89PNG"):
            raise BrokenAnswer(f"{self.host} sent no picture.", "Try again.")
        return content

    def _askIfThere(self, route: str, canceled: Callable[[], bool]) -> Any:
        """The JSON of a route; None where the server knows of no such thing."""
        try:
            return self._server.ask("GET", route, self._server.patience(canceled))
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def _ask(
        self,
        method: str,
        route: str,
        seconds: float,
        canceled: Callable[[], bool],
        body: dict[str, Any] | None = None,
    ) -> Any:
        patience = self._server.patience(canceled)
        patience.seconds = max(patience.seconds, seconds)
        return self._server.ask(method, route, patience, body)


def _route(*parts: str) -> str:
    return "/models/" + "/".join(quote(part, safe="") for part in parts)
