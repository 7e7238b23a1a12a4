"""Asks a MedDenoise server what it offers, and to denoise an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable


@dataclass(frozen=True)
class Model:
    """A model as the server describes it.

    Attributes:
        name: By which it is asked for.
        title: For a list of choices.
        description: What it was trained on and for, in the server's words.
        version: Of its weights.
        modalities: "CT", "MR", "PET", "XR": those it was trained on.
        recommendedFor: Those of them for which it is the one to preselect.
        outputs: What it can give besides the denoised image: "difference", "uncertainty", "noise".
        uncertainty: Whether "uncertainty" is among them.
    """

    name: str
    title: str
    description: str = ""
    version: str = ""
    modalities: tuple[str, ...] = ()
    recommendedFor: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    uncertainty: bool = False


@dataclass(frozen=True)
class ServerInfo:
    """What a server says of itself.

    Attributes:
        name: Of the app.
        version: Of MedDenoise on the server.
        models: In the order to show them; those that the server cannot use are left out.
        problems: Sentence by name of a model that should be there and cannot be used.
        device: Where it denoises ("cuda", "cpu"), "" where it does not say.
        largestUpload: Bytes of the largest request, None where it does not say.
    """

    name: str
    version: str
    models: tuple[Model, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    device: str = ""
    largestUpload: int | None = None


@dataclass(frozen=True)
class Request:
    """What to denoise, and how.

    Attributes:
        model: Name of the model.
        imagePath: NRRD file, with a header that names nobody.
        folder: Where the results go; it exists.
        modality: "CT", "MR", "PET", "XR", or "" to let the server find out.
        uncertainty: Whether a map of it is wanted too; the server works nine times as long.
    """

    model: str
    imagePath: str
    folder: str
    modality: str = ""
    uncertainty: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a request is.

    Attributes:
        stage: "sending", "waiting", "denoising" or "receiving".
        done: Share of the stage, 0 to 1; None where nobody knows.
        text: For the user: "slice 12 of 40", "2 before this one, about 15 s", "3.1 of 52.4 MB".
    """

    stage: str
    done: float | None = None
    text: str = ""


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

    def info(self, canceled: Callable[[], bool] = lambda: False) -> ServerInfo:
        """What the server offers.

        Raises:
            MedDenoiseError: Of the kind that says why not.
        """

    def denoise(self, request: Request, progress: Callable[[Progress], None], canceled: Callable[[], bool]) -> Answer:
        """Send the image, wait, and store what comes back under new names in the request's folder.

        A server that has no room is asked again until there is some.

        Raises:
            Canceled: `canceled()` became true; the server was told.
            MedDenoiseError: Of the kind that says why not. Nothing is left in the folder.
        """
