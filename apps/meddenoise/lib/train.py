"""MONAI Label's train tasks: each trains one recipe on the images of the datastore."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.tasks.train import TrainTask

from meddenoise.server.manners import be_polite, end_with_parent
from meddenoise.server.train_job import status, train_site
from meddenoise.server.train_options import shown_to_clients
from meddenoise.server.train_plan import RECIPES


class SiteTraining(TrainTask):
    """Goes on from the model that is served, and replaces it only by a better one."""

    def __init__(self, recipe: str) -> None:
        super().__init__(f"Trains {RECIPES[recipe]} further on this server's images.")
        self.recipe = recipe

    def config(self) -> dict[str, Any]:
        """The options, each with its default or its choices."""
        return shown_to_clients(self.recipe)

    def stats(self) -> dict[str, Any]:
        """What became of the latest training, if it was one of this recipe."""
        latest = status().read()
        return latest if latest.get("recipe") == self.recipe else {}

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        """Train; in the process that MONAI Label starts for it, which says so by this key."""
        if "local_rank" in request:
            end_with_parent()
            be_polite()
        return train_site(self.recipe, request, datastore)
