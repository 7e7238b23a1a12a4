"""What a client may ask of a denoising, checked once before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch

from meddenoise.errors import OptionError
from meddenoise.server.values import choice, number, switch, text
from meddenoise.volume import MODALITIES, Modality

OutputType = Literal["denoised", "difference", "uncertainty", "noise"]
DICOM = ".dcm"
EXTENSIONS = (".nrrd", ".nii.gz", ".nii", ".mha", ".png", ".tif", DICOM)
"""Formats of the result; uncompressed NRRD first, because it is exact and the fastest to write."""
DTYPES = ("input", "float32", "int16", "uint16", "int32")


@dataclass(frozen=True)
class Options:
    """One request's options, valid by construction.

    Attributes:
        strength: 0 (the input, bit for bit) to 1 (the full effect).
        modality: None takes it from the file, else guesses it.
        device: "auto", "cpu", "cuda" or "cuda:N".
        output_type: Whether the result file holds the denoised image, what was taken away (input minus denoised), how
            much the model disagrees with itself about it, or the noise as the model estimates it (see Denoiser).
        report: Whether the JSON holds the report as a Markdown page too.
        result_extension: Format of the result file; ".dcm" is a zip of the derived DICOM series.
        result_dtype: "input" keeps the input's type (the difference is float32); an integer type must hold the values.
        series: SeriesInstanceUID to take where a session holds several.
        instance: SOPInstanceUID of the image to take, with those that form a volume with it, where a series holds
            several, as the two views of a chest.
        replace_nonfinite: Value that replaces NaN and Inf voxels; None refuses them.
        store: Whether the denoised image is also stored as a derived series in the PACS that the input came from.
        deidentify: Whether what is stored, or a DICOM result, is de-identified by the DICOM basic profile.
        warnings: What was asked for and not done.
    """

    strength: float = 1.0
    modality: Modality | None = None
    device: str = "auto"
    output_type: OutputType = "denoised"
    report: bool = False
    result_extension: str = EXTENSIONS[0]
    result_dtype: str = "input"
    series: str | None = None
    instance: str | None = None
    replace_nonfinite: float | None = None
    store: bool = False
    deidentify: bool = False
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> Options:
        """Read the options out of a MONAI Label request, which holds other keys as well.

        Raises:
            OptionError: A value is of the wrong type or not among those allowed.
        """
        modality = choice(request, "modality", ("auto", *MODALITIES))
        dtype, warnings = _result_dtype(request)
        output_type, extension = _output_type(request), _extension(request)
        if extension == DICOM and (output_type, dtype) != ("denoised", DTYPES[0]):
            raise OptionError(f"a DICOM result is the denoised image in the input's type, not {output_type} as {dtype}")
        store, deidentify = switch(request, "store"), switch(request, "deidentify")
        if deidentify and not store and extension != DICOM:
            raise OptionError(
                f"deidentify is for DICOM: ask for result_extension {DICOM} or store; a {extension} holds no names"
            )
        replacement = request.get("replace_nonfinite")
        return cls(
            strength=number(request, "strength", 1.0, low=0.0, high=1.0),
            modality=None if modality == "auto" else cast(Modality, modality),
            device=text(request, "device", "auto"),
            output_type=output_type,
            report=switch(request, "report"),
            result_extension=extension,
            result_dtype=dtype,
            series=_uid(request, "series"),
            instance=_uid(request, "instance"),
            replace_nonfinite=None if replacement in (None, "") else number(request, "replace_nonfinite", 0.0),
            store=store,
            deidentify=deidentify,
            warnings=warnings,
        )


def shown_to_clients(*, noise_map: bool = False) -> dict[str, Any]:
    """The options as MONAI Label lists them in ``/info``: a list is a choice whose first entry is the default.

    Args:
        noise_map: Whether the model estimates the noise.
    """
    return {
        "strength": 1.0,
        "modality": ["auto", *MODALITIES],
        "device": ["auto", "cpu", *(["cuda"] if torch.cuda.is_available() else [])],
        "output_type": [kind for kind in get_args(OutputType) if kind != "noise" or noise_map],
        "difference": False,
        "uncertainty": False,
        "report": False,
        "result_extension": list(EXTENSIONS),
        "result_dtype": list(DTYPES),
        "replace_nonfinite": "",
        "store": False,
        "deidentify": False,
    }


def _output_type(request: Mapping[str, Any]) -> OutputType:
    """What the result holds; the switches `difference` and `uncertainty` are short for the output type of that name."""
    named = choice(request, "output_type", get_args(OutputType))
    wanted = [key for key in ("difference", "uncertainty") if switch(request, key)]
    if len({*wanted, *([named] if named != "denoised" else [])}) > 1:
        raise OptionError(f"one result at a time: got output_type {named} and {' and '.join(wanted)}")
    return cast(OutputType, wanted[0] if wanted else named)


def _extension(request: Mapping[str, Any]) -> str:
    given = text(request, "result_extension", EXTENSIONS[0])
    return choice({"result_extension": DICOM if given == "dicom" else given}, "result_extension", EXTENSIONS)


def _uid(request: Mapping[str, Any], key: str) -> str | None:
    value = request.get(key) or None
    if value is not None and not isinstance(value, str):
        raise OptionError(f"{key} must be a DICOM UID, got {value!r}")
    return value


def _result_dtype(request: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The type of the result. MONAI Label's stock clients always ask for uint8, as if every result were a label map."""
    value = text(request, "result_dtype", DTYPES[0])
    if value == "uint8":
        return DTYPES[0], ("result_dtype uint8 was ignored: it would cut the intensities; the input's type is kept",)
    return choice({"result_dtype": value}, "result_dtype", DTYPES), ()
