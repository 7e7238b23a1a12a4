"""What a denoising did, as numbers (dict for JSON), as text (Markdown) and as a picture."""

from __future__ import annotations

import math
from typing import Any

from meddenoise.inference import Result
from meddenoise.picture import DISCLAIMER, picture, title_of
from meddenoise.volume import Volume

__all__ = ["DISCLAIMER", "as_dict", "as_markdown", "picture", "title_of"]


def as_dict(volume: Volume, result: Result, *, name: str | None = None) -> dict[str, Any]:
    """The report as JSON-able values.

    Args:
        volume: The input, as read.
        result: What denoising it gave.
        name: What the input is called; the name of its first file where None.

    Returns:
        "disclaimer", "input" (name, modality, which of a colour image means nothing, shape as slices, rows, columns,
        spacing in mm, type, units, ...),
        "model", "settings", "figures" and "warnings". Numbers that are not finite become None.
    """
    header = volume.header
    return {
        "disclaimer": DISCLAIMER,
        "input": {
            "name": name or title_of(volume),
            "files": len(header.sources),
            "modality": volume.modality,
            "modality_source": header.modality_source,
            "colour": volume.colour,
            "shape": list(volume.array.shape[:3]),
            "spacing_mm": [round(step, 6) for step in volume.spacing],
            "dtype": header.dtype,
            "units": header.units,
            "evenly_spaced": header.even,
        },
        "model": _jsonable(result.model),
        "settings": _jsonable(result.settings),
        "figures": _jsonable(result.figures),
        "warnings": list(dict.fromkeys((*header.warnings, *result.warnings))),
    }


def as_markdown(volume: Volume, result: Result, *, name: str | None = None) -> str:
    """The report as a Markdown page; arguments as for as_dict."""
    report = as_dict(volume, result, name=name)
    source, model, figures = report["input"], report["model"], report["figures"]
    slices, rows, columns = source["shape"]
    strength = report["settings"].get("strength", "?")
    spacing = " x ".join(f"{step:.4g}" for step in source["spacing_mm"])
    modality = "none, in colour" if source["colour"] else f"{source['modality']} (from {source['modality_source']})"
    units = f" {figures.pop('units')}" if figures.get("units") else ""
    lines = [
        f"# {source['name']}",
        "",
        f"**{DISCLAIMER}.**",
        "",
        f"Model {model.get('name', '?')} {model.get('version', '')}, strength {strength}.",
        "",
        "| input | |",
        "|---|---|",
        f"| modality | {modality} |",
        f"| size | {columns} x {rows} x {slices} (columns, rows, slices) |",
        f"| spacing | {spacing} mm |",
        f"| stored as | {source['dtype']} |",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {key.replace('_', ' ')} | {_figure(key, value, units)} |" for key, value in figures.items()),
    ]
    if report["warnings"]:
        lines += ["", "Warnings", "", *(f"- {sentence}" for sentence in report["warnings"])]
    return "\n".join(lines) + "\n"


def _jsonable(value: Any) -> Any:
    """The value with numbers that JSON does not know (nan, inf) as None, at any depth."""
    if isinstance(value, dict):
        return {key: _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _figure(key: str, value: Any, units: str) -> str:
    if value is None:
        return "not measurable"
    if key == "fraction_changed":
        return f"{100 * value:.1f} %"
    return f"{value:.4g}{units}" if isinstance(value, int | float) else str(value)
