"""The networks, by the name that stands in a checkpoint. Torch only: no device, no download, no normalisation rule.

All are called as ``network(image, level)`` and give the denoised image. An attribute ``factor`` says what rows and
columns must be multiples of, ``channels`` how many channels an image has (1 where it is absent), and a method
``stages(image, level)`` gives the estimated noise beside the denoised image where the network estimates it. ``tile`` is
the side into which larger slices are cut, and ``global_context`` says that another one would change the result.
"""

from collections.abc import Callable

from torch import nn

from meddenoise.networks.gan import Gan
from meddenoise.networks.noise_meter import NoiseMeter
from meddenoise.networks.student import Student
from meddenoise.networks.teacher import Teacher
from meddenoise.networks.two_stage import TwoStage

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "gan": Gan,
    "noise_meter": NoiseMeter,
    "student": Student,
    "teacher": Teacher,
    "two_stage": TwoStage,
}

__all__ = ["NETWORKS", "Gan", "NoiseMeter", "Student", "Teacher", "TwoStage"]
