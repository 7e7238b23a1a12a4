"""The routes by which MONAI Label's clients look at a model's weights and fetch them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse
from monailabel.config import settings

from meddenoise import weights
from meddenoise.server.problems import http_errors

router = APIRouter(prefix=settings.MONAI_LABEL_API_STR)


@router.get("/model/info/{model}", tags=["Model"], summary="Get CheckSum/Details for the Latest Model File")
def model_info(model: str) -> dict[str, Any]:
    """The checksum that the weights must have, when they were written, and their version."""
    with http_errors():
        card, file = weights.read_card(model), weights.file_of(model)
        return {
            "checksum": f"SHA256:{card.sha256}",
            "modified_time": int(file.stat().st_mtime),
            "version": card.version,
        }


@router.get("/model/{model}", tags=["Model"], summary="Download Latest Model Weights")
def download_model(model: str) -> FileResponse:
    """The safetensors file."""
    with http_errors():
        file = weights.file_of(model)
    return FileResponse(file, media_type="application/octet-stream", filename=file.name)
