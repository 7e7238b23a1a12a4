"""The teacher: a wide student with context and attention at the end of each stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from meddenoise.networks.attention import ADWC
from meddenoise.networks.noise_context import NoiseContextBlock
from meddenoise.networks.student import ResidualBlock, Student


class Teacher(nn.Module):
    """Denoises one channel given a map of the noise scale, with about ten times the student's arithmetic.

    Muksimova et al., Sensors 23:9502 (2023), sections 2.1 to 2.3, give the parts and no widths, counts or order.
    Decisions: the student's U shape, so that both have features of one meaning at one resolution; a NoiseContextNet
    block and after it an ADWC at the end of each stage (algorithm 1 joins both); wide plain convolutions for the most
    part, which a CPU does fastest, and which hardly widen with depth, so that all this arithmetic takes no more than
    16 MiB of weights in half precision.

    Both of these look at a whole image, so what it computes for a pixel depends on all others that it is shown.

    Args:
        widths: Channels at 1/2, 1/4 and 1/8 of the resolution, multiples of 4.
        blocks: Residual blocks at each of them, as for the student.
        heads: Heads of attention at each of them; they divide the widths.

    Raises:
        ValueError: ``widths`` are no multiples of 4, or ``heads`` do not divide them.
    """

    factor = 8
    """Rows and columns must be multiples of this."""
    tile = 512
    """Larger slices are cut, so that what context and attention see of a slice grows no further with its size."""
    global_context = True
    """Smaller tiles would give other results."""

    def __init__(
        self,
        *,
        widths: Sequence[int] = (144, 160, 192),
        blocks: Sequence[int] = (2, 3, 2),
        heads: Sequence[int] = (4, 4, 6),
    ) -> None:
        super().__init__()
        self.trunk = Student(widths=widths, blocks=blocks)
        of_stage = ((widths[i], heads[i]) for i in (0, 1, 2, 1, 0))
        for stage, (width, count) in zip(self.trunk.stages_in_order, of_stage, strict=True):
            stage.extend([NoiseContextBlock(width=width), ADWC(width=width, heads=count)])

    def forward(self, image: Tensor, level: Tensor) -> Tensor:
        """Remove the noise; arguments and result as for `Student.forward`."""
        return self.anchors(image, level)[0]

    def anchors(self, image: Tensor, level: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Remove the noise, and give features as `Student.anchors` does, in the teacher's widths."""
        return self.trunk.anchors(image, level)

    @classmethod
    def widened_from(cls, student: Student, **sizes: Sequence[int]) -> Teacher:
        """A teacher that computes exactly what a student does, and goes on from there.

        As in Net2Net (Chen et al., ICLR 2016): the student's channels come first and see no other channel at first; the
        new channels see all of them with their own random weights. Blocks that the student has not start at zero.

        Args:
            student: A plain student whose widths and numbers of blocks are at most the teacher's.
            sizes: The constructor's arguments.

        Raises:
            ValueError: The student is wider or longer somewhere, or has branches.
        """
        teacher, known = cls(**sizes), student.state_dict()
        own = teacher.trunk.state_dict()
        for name, weights in known.items():
            if name not in own or any(n < s for n, s in zip(own[name].shape, weights.shape, strict=True)):
                raise ValueError(f"a teacher can be widened only from a smaller plain student; {name} is larger in it")
        with torch.no_grad():
            for name, module in teacher.trunk.named_modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and f"{name}.weight" in known:
                    _widen(module, known[f"{name}.weight"], known[f"{name}.bias"])
                elif isinstance(module, ResidualBlock) and f"{name}.project.weight" not in known:
                    nn.init.zeros_(module.project.weight)
                    nn.init.zeros_(module.project.bias)  # type: ignore[arg-type]
        return teacher


def _widen(convolution: nn.Conv2d | nn.ConvTranspose2d, weight: Tensor, bias: Tensor) -> None:
    """Put a smaller convolution's weights first; its outputs see none of the new inputs."""
    assert convolution.bias is not None
    out, into = (1, 0) if isinstance(convolution, nn.ConvTranspose2d) else (0, 1)
    convolution.weight.narrow(out, 0, weight.shape[out]).zero_()
    corner = convolution.weight.narrow(out, 0, weight.shape[out]).narrow(into, 0, weight.shape[into])
    corner.copy_(weight)
    convolution.bias[: len(bias)] = bias
