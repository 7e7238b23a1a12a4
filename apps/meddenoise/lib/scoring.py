"""MONAI Label's scoring methods."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.tasks.scoring import ScoringMethod

from meddenoise.server.scores import Method, score_images


class Score(ScoringMethod):
    """Scores the images of the datastore; those that did not change keep their score."""

    def __init__(self, method: Method) -> None:
        super().__init__(method.description)
        self.method = method

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        """How many were scored; ``images`` names some, ``max_samples`` limits how many are scored now."""
        return score_images(self.method, datastore, request.get("images"), request.get("max_samples", 0))
