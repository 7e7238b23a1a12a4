"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def parameter_count(network: nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in network.parameters())


def gmac(network: nn.Module, *images: Tensor) -> float:
    """Billions of multiply-accumulates of the convolutions and linear layers for one call, biases excluded.

    Args:
        network: On the CPU.
        images: Arguments of the call, for one image of 256x256 pixels by convention.
    """
    total = 0

    def count(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.ConvTranspose2d):
            positions = output.numel() // (module.out_channels * module.stride[0] * module.stride[1])
            total += positions * module.weight.numel()
        elif isinstance(module, nn.Conv2d):
            total += output.numel() // module.out_channels * module.weight.numel()
        elif isinstance(module, nn.Linear):
            total += output.numel() // module.out_features * module.weight.numel()

    hooks = [m.register_forward_hook(count) for m in network.modules()]
    with torch.inference_mode():
        network(*images)
    for hook in hooks:
        hook.remove()
    return total / 1e9
