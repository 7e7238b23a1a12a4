"""Many images in one request: MONAI Label's batch task, which without a GPU and on a bad image would end at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from fastapi import HTTPException
from monailabel.interfaces.tasks.batch_infer import BatchInferTask

logger = logging.getLogger(__name__)

Infer = Callable[[dict[str, Any], Any], dict[str, Any]]


class BatchTask(BatchInferTask):  # type: ignore[misc] # MONAI Label ships no types
    """Denoises image after image, on the CPU where there is no GPU; a bad image is named and does not stop the others.

    Results go beside the studies under the tag `denoised_MODEL`, or into the PACS as derived series.
    """

    def __call__(self, request: dict[str, Any], datastore: Any, infer: Infer) -> dict[str, Any]:
        """Results by image id; those that failed hold {"error": sentence}."""
        request = {"label_tag": f"denoised_{request.get('model')}", **request}  # the usual tag is for segmentations
        if not torch.cuda.is_available():
            request |= {"multi_gpu": False, "device": "cpu"}

        def one(asked: dict[str, Any], images: Any) -> dict[str, Any]:
            try:
                return infer(asked, images)
            except HTTPException as error:
                logger.error("batch: image %s: %s", asked.get("image"), error.detail)
                return {"error": str(error.detail)}

        result: dict[str, Any] = super().__call__(request, datastore, one)
        return result
