"""What goes into an exported model and what comes out, in words that a program's author needs."""

from __future__ import annotations

from typing import Any

from meddenoise.inference.slabs import HALO
from meddenoise.intensity import CT_AIR, CT_RANGE, PERCENTILES
from meddenoise.networks import NETWORKS
from meddenoise.notice import NOTICE
from meddenoise.weights import Card

INTENSITY = {
    "rule": "network units = (value - offset) / scale, and back for the result; one offset and scale for a volume",
    "CT in HU": {
        "offset": CT_AIR,
        "scale": CT_RANGE,
        "note": "raise values below -1024 to it; use the -ct file",
    },
    "8-bit images": {"offset": 0.0, "scale": 255.0},
    "all others": {
        "offset": f"percentile {PERCENTILES[0]} of the volume",
        "scale": f"percentile {PERCENTILES[1]} minus percentile {PERCENTILES[0]}",
    },
}


def interface(card: Card, channels: int) -> dict[str, Any]:
    """What a program must know to use the model; JSON-able."""
    return {
        "name": card.name,
        "version": card.version,
        "weights_sha256": card.sha256,
        "modalities": card.own_modalities,
        "notice": NOTICE,
        "intensity": INTENSITY,
        "input": {
            "name": "image",
            "shape": ["slices", channels, "rows", "columns"],
            "dtype": "float32",
            "units": "network units",
            "channels": channels_in_words(card, channels),
            "size": size_in_words(card),
        },
        "output": {"name": "denoised", "shape": ["slices", 1, "rows", "columns"], "dtype": "float32"},
        "noise_level": "estimated inside, nothing has to be given",
    }


def size_in_words(card: Card) -> str:
    """How large a slice may be."""
    kind: Any = NETWORKS[card.network]
    if not getattr(kind, "global_context", False):
        return "any"
    side = f"{kind.tile} x {kind.tile}"
    return (
        f"at most {side} pixels: what is computed for a pixel depends on all that is shown, and MedDenoise cuts larger "
        f"slices into tiles of {side}, each with {HALO} pixels around it"
    )


def channels_in_words(card: Card, channels: int) -> str:
    """What the channels of the input are."""
    if channels == 1:
        return "the slice"
    return (
        f"the slice and its neighbours, the one in question in the middle, where slices are evenly spaced and at most "
        f"{card.context:g} mm apart (at the ends repeat the last slice); else the slice in all of them"
    )
