"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def parameter_count(network: nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in network.parameters())


def gmac(network: nn.Module, *images: Tensor) -> float:
    """Billions of multiply-accumulates of convolutions, linear layers and matrix products for one call.

    Biases, activations and normalisation are not counted.

    Only shapes are computed, so this takes no time to speak of.

    Args:
        network: On any device.
        images: Arguments of the call, for one image of 256x256 pixels by convention.
    """
    shapes = copy.deepcopy(network).to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shapes(*(image.to("meta") for image in images))
    return int(counter.get_total_flops()) / 2e9
