"""The objective of a single network that is called with an image and its noise level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from meddenoise.noise_level import level_map
from meddenoise.training.distillation import Guide
from meddenoise.training.loop import Schedule
from meddenoise.training.losses import neighbor2neighbor, relative_error

WEIGHT_DECAY = 1e-4
"""Of AdamW, times the rate. The paper's Adam has none: over its 100,000 steps at 1e-4 this takes a thousandth off."""


class Denoising:
    """The error over the noise scale, or the self-supervised loss without clean images; with a guide, its loss too.

    Args:
        name: Of the network among the objective's.
        network: Called as ``network(image, level)``, in training as ``network.anchors(image, level)``. It may be the
            running average of another training; from here on it learns.
        schedule: Its rate and precision.
        noisy_only: There are no clean images.
        guide: A teacher, on the schedule's device.
    """

    def __init__(
        self, name: str, network: nn.Module, schedule: Schedule, *, noisy_only: bool, guide: Guide | None = None
    ) -> None:
        self._name, self._network, self._schedule = name, network.requires_grad_(True), schedule
        self._noisy_only, self._guide = noisy_only, guide
        self.networks: Mapping[str, nn.Module] = {name: network}
        if guide is not None and guide.anchors is not None:
            self.networks = {name: network, "adapters": guide.anchors}
        moved = [parameter for each in self.networks.values() for parameter in each.parameters()]
        optimizer = torch.optim.AdamW(moved, lr=schedule.learning_rate, weight_decay=WEIGHT_DECAY)
        self.optimizers: Mapping[str, torch.optim.Optimizer] = {name: optimizer}

    def losses(self, noisy: Tensor, clean: Tensor, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """One loss for the one network."""
        if self._noisy_only and self._guide is None:
            yield self._name, self._neighbors(noisy, generator)
            return
        level = level_map(noisy)
        with self._schedule.autocast():
            denoised, features = self._network.anchors(noisy, level)  # type: ignore[operator]
            guided = 0.0 if self._guide is None else self._guide.loss(denoised, features, noisy, level)
        own = self._neighbors(noisy, generator) if self._noisy_only else relative_error(denoised, noisy, clean, level)
        yield self._name, own + guided

    def _neighbors(self, noisy: Tensor, generator: torch.Generator) -> Tensor:
        return neighbor2neighbor(lambda image: self.denoise(self.networks, image), noisy, generator)

    def denoise(self, networks: Mapping[str, nn.Module], noisy: Tensor) -> Tensor:
        """Network units in and out, shape (batch, 1, rows, columns)."""
        return denoised_by(networks[self._name], noisy, self._schedule)


def denoised_by(network: nn.Module, noisy: Tensor, schedule: Schedule) -> Tensor:
    """What a network makes of images whose noise scale is read from them.

    Args:
        network: Called as ``network(image, level)``, on the images' device.
        noisy: Network units, shape (batch, 1, rows, columns).
        schedule: Says in which precision.
    """
    level = level_map(noisy)  # in float32, as in every use of a network
    with schedule.autocast():
        denoised: Tensor = network(noisy, level)
    return denoised
