"""The networks, by the name that stands in a checkpoint. Torch only: no device, no download, no normalisation rule."""

from collections.abc import Callable

from torch import nn

from meddenoise.networks.noise_meter import NoiseMeter
from meddenoise.networks.student import Student

NETWORKS: dict[str, Callable[..., nn.Module]] = {"noise_meter": NoiseMeter, "student": Student}

__all__ = ["NETWORKS", "NoiseMeter", "Student"]
