"""MONAI Label's strategies for the next sample."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.tasks.strategy import Strategy

from meddenoise.server.strategies import Choice, next_image


class NextImage(Strategy):
    """One way to choose the next image, under the name that clients ask for it by."""

    def __init__(self, name: str, choose: Choice) -> None:
        super().__init__(" ".join((choose.__doc__ or "").split()))
        self.name = name
        self.choose = choose

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any] | None:
        """The id of the image, and why it was chosen."""
        return next_image(self.choose, self.name, datastore)
