"""The student's training form: sequential and parallel branches and residuals that fold into plain convolutions.

Muksimova et al., Sensors 23:9502 (2023), section 2.1: branches "amplify the student network's learning potential" and,
once it has converged, are "redefined into a more streamlined framework". The paper gives no form of the branches.
Decisions:

- Branches (section 2.1: "sequential and parallel branches, along with residuals"): beside each 3x3 convolution a 1x1
  convolution (parallel), a 1x1 before a 3x3 convolution (sequential), and, where as many channels go in as out, the
  input itself with one gain per channel (residual).
- Bias: the 3x3 convolution's alone. A bias between the sequential branch's convolutions could not be folded at the
  border, where the second one sees zeros in place of it.
- Normalisation: none. Statistics of the batch would tie an image's result to its neighbours in the batch, and the
  deployed student has none.
- Start: the last factor of every branch is zero, so the network computes what it did before, and its gradient is not.
- Since all branches are linear and meet before the activation, their kernels are added first and one convolution is
  computed, in training too: equal to adding the branches' outputs, and not much slower than the plain network.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddenoise.networks.precision import without_autocast
from meddenoise.networks.student import Student


class BranchedConv(nn.Module):
    """A 3x3 convolution with branches; `kernel` is what they fold into.

    Args:
        plain: The convolution to begin with: 3x3, stride 1, zero padding 1; its weights are copied.
        generator: Of the sequential branch's first weights.
    """

    def __init__(self, plain: nn.Conv2d, *, generator: torch.Generator) -> None:
        super().__init__()
        outputs, inputs = plain.out_channels, plain.in_channels
        self.out_channels = outputs
        self.weight = nn.Parameter(plain.weight.detach().clone())
        self.bias = nn.Parameter(plain.bias.detach().clone()) if plain.bias is not None else None
        self.parallel = nn.Parameter(torch.zeros(outputs, inputs))
        self.sequential_1x1 = nn.Parameter(torch.empty(outputs, inputs))
        nn.init.kaiming_uniform_(self.sequential_1x1, a=math.sqrt(5), generator=generator)
        self.sequential_3x3 = nn.Parameter(torch.zeros(outputs, outputs, 3, 3))
        self.residual = nn.Parameter(torch.zeros(outputs)) if outputs == inputs else None

    def kernel(self) -> Tensor:
        """The sum of all branches as one kernel, shape (outputs, inputs, 3, 3), in the parameters' precision."""
        with without_autocast(self.weight):
            centre = self.parallel if self.residual is None else self.parallel + torch.diag(self.residual)
            sequential = torch.einsum("ohyx,hi->oiyx", self.sequential_3x3, self.sequential_1x1)
            return self.weight + sequential + F.pad(centre[:, :, None, None], (1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, inputs, rows, columns) in, (batch, outputs, rows, columns) out."""
        return F.conv2d(x, self.kernel(), self.bias, padding=1)

    def folded(self) -> nn.Conv2d:
        """The plain convolution that computes the same at every pixel."""
        outputs, inputs = self.weight.shape[:2]
        plain = nn.Conv2d(inputs, outputs, 3, padding=1, bias=self.bias is not None, device=self.weight.device)
        with torch.no_grad():
            plain.weight.copy_(self.kernel())
            if plain.bias is not None and self.bias is not None:
                plain.bias.copy_(self.bias)
        return plain


def branched(student: Student, *, generator: torch.Generator) -> Student:
    """A trainable copy of a student, each of its 3x3 convolutions with branches; it computes the same so far.

    Args:
        student: A plain student, on the CPU.
        generator: Of the new weights.
    """
    network = copy.deepcopy(student)
    for name, module in student.named_modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            network.set_submodule(name, BranchedConv(module, generator=generator))
    return network.requires_grad_()


def folded(network: Student) -> Student:
    """A trainable plain copy of a student, with or without branches; it computes the same."""
    plain = copy.deepcopy(network)
    for name, module in network.named_modules():
        if isinstance(module, BranchedConv):
            plain.set_submodule(name, module.folded())
    return plain.requires_grad_()
