"""The infer task: read, denoise, write, report."""

from __future__ import annotations

import logging
from pathlib import Path
from time import perf_counter
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from meddenoise import weights
from meddenoise.io import Provenance
from meddenoise.server.datastore import need_pacs
from meddenoise.server.images import read_image, report, write_result
from meddenoise.server.models import ModelPool
from meddenoise.server.options import Options, shown_to_clients
from meddenoise.server.progress import handle_of

logger = logging.getLogger(__name__)


class DenoiseTask(InferTask):
    """One published model behind MONAI Label's infer interface.

    It is of the type "others", because its result is an image and not a label map, and has no labels.
    """

    def __init__(self, model: str, pool: ModelPool, datastore: Any = None) -> None:
        super().__init__(
            type=InferType.OTHERS,
            labels=None,
            dimension=3,
            description=f"Takes the noise out of CT, MR, PET and X-ray images with the model {model}. "
            "Research use, not a medical device.",
            config=shown_to_clients(noise_map=model in weights.available_where(lambda card: card.estimates_noise)),
        )
        self.model = model
        self.pool = pool
        self.datastore = datastore

    def info(self) -> dict[str, Any]:
        """MONAI Label's description, with the version of the weights and what they were trained on."""
        card = self.pool.get(self.model).card
        return {
            **super().info(),
            "version": card.version,
            "sha256": card.sha256,
            "summary": card.description,
            "modalities": card.modalities,
            "elsewhere": card.elsewhere,
        }

    def is_valid(self) -> bool:
        """Whether the weights are there and verify; the pool logs the reason where not."""
        return self.pool.problem(self.model) is None

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Denoise the image at ``request["image"]``, a path; return the result's path and the JSON beside it."""
        options, handle = Options.from_request(request), handle_of(request)
        pacs = need_pacs(self.datastore) if options.store else None
        start = perf_counter()
        handle.enter("reading")
        volume = read_image(Path(request["image"]), options)
        read = perf_counter()
        handle.enter("denoising")
        denoise = self.pool.get(self.model, options.device)
        result = denoise(
            volume,
            strength=options.strength,
            uncertainty=options.output_type == "uncertainty",
            noise_map=options.output_type == "noise",
            progress=handle.count,
        )
        denoised = perf_counter()
        handle.enter("writing")
        path = write_result(result, options)
        latencies = {"pre": read - start, "infer": denoised - read, "write": perf_counter() - denoised}
        logger.info("%s: %d slices, seconds %s", self.model, volume.array.shape[0], latencies)
        answer = report(volume, result, options, latencies)
        if pacs is not None:
            provenance = Provenance(result.model["name"], result.model["version"], options.strength)
            answer["stored"] = pacs.store(result.volume, provenance, deidentify=options.deidentify)
        return str(path), answer
