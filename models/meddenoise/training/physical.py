"""Each modality's own noise for patches in network units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from meddenoise import noise

CT_LIMITS = (-1024.0, 3071.0)
"""In HU: 0 and 1 of the network units of CT."""
LEAST_SIGNAL = 0.1
"""In network units: a patch of mere background gets the noise of an image whose tissue has this signal."""


def _ct(clean: Tensor, generator: torch.Generator) -> Tensor:
    parameters = for_each_slice(noise.draw_ct_noise(len(clean), generator), clean.shape[1])
    shape = (len(clean) * clean.shape[1], 1, clean.shape[-2], clean.shape[-1])
    added = noise.ct_noise(shape, parameters, generator=generator)
    return clean + added.reshape(clean.shape) / (CT_LIMITS[1] - CT_LIMITS[0])


def _mr(clean: Tensor, generator: torch.Generator) -> Tensor:
    return _by_slice(clean, noise.mr_noise, noise.draw_mr_noise(_signal(clean), generator), generator)


def _pet(clean: Tensor, generator: torch.Generator) -> Tensor:
    return _by_slice(clean, noise.pet_noise, noise.draw_pet_noise(_signal(clean), generator), generator)


def _xray(clean: Tensor, generator: torch.Generator) -> Tensor:
    low = torch.zeros(len(clean), device=clean.device)
    return _by_slice(clean, noise.xray_noise, noise.draw_xray_noise(low, low + 1.0, generator), generator)


NOISE: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {"CT": _ct, "MR": _mr, "PET": _pet, "XR": _xray}
"""By modality: (clean patches, generator) -> noisy ones, shape (batch, slices, rows, columns) in network units.

The parameters are drawn once a patch; its slices get noise of the same level and spectrum, drawn independently.
"""


def _by_slice(clean: Tensor, model: Callable[..., Tensor], parameters: Any, generator: torch.Generator) -> Tensor:
    slices = clean.reshape(-1, 1, *clean.shape[-2:])
    return model(slices, for_each_slice(parameters, clean.shape[1]), generator=generator).reshape(clean.shape)


def for_each_slice(parameters: Any, slices: int) -> Any:
    """Noise parameters (a dataclass of tensors, one entry per patch), each entry repeated for the slices of a patch."""
    repeated = {}
    for field in fields(parameters):
        value = getattr(parameters, field.name)
        if isinstance(value, Tensor):
            repeated[field.name] = value.repeat_interleave(slices, dim=0)
        elif is_dataclass(value):
            repeated[field.name] = for_each_slice(value, slices)
    return replace(parameters, **repeated)


def _signal(clean: Tensor) -> Tensor:
    """What the tissue's signal is taken to be, shape (batch,): 95th percentile, or more where there is no tissue."""
    return torch.quantile(clean.flatten(1), 0.95, dim=1).clamp_min(LEAST_SIGNAL)
