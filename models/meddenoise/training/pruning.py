"""Pruning of the student: whole filters go, those of the smallest norm first, and the network really becomes smaller.

Muksimova et al., Sensors 23:9502 (2023), section 2.4: ``p(N, r)`` of equation 6, applied to the re-parameterised
(folded) student; fine-tuning and the stop rule are the recipe's. Algorithm 1 prunes in every training step and
contradicts that section, which is followed here. Decisions:

- Which filters (the paper says "filters"): those inside the residual blocks, with their slice of the convolution that
  reads them. Widths between blocks stay, so no block depends on another.
- Norm (section 2.4: "L2-norm values"): of the filter with its bias, times that of the weights that read it, because
  with a ReLU between them either can be made small at the other's expense without any change in what is computed; and
  over the mean of its block, without which blocks of few channels, whose norms are smaller, would be emptied first
  (tried on the published student with a short fine-tuning: it then breaks down in the second round).
- Rate r: share of all filters that remain, over all blocks at once. Filters go in groups of 8, as processors compute
  channels in such groups and 41 would take as long as 48; so a step takes the groups nearest to r, at least 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from meddenoise.errors import OptionError
from meddenoise.networks.student import ResidualBlock, Student

GROUP = 8
"""Filters that go together; every block keeps as many at least."""


def prune(student: Student, rate: float) -> Student:
    """Remove the share ``rate`` of the student's inner filters, those of the smallest norm first.

    Args:
        student: A plain (folded) student; it stays as it is.
        rate: Between 0 and 1, of all filters inside residual blocks.

    Returns:
        A smaller student with the remaining weights, on the same device.

    Raises:
        OptionError: The rate is not between 0 and 1, or more than what can be removed.
    """
    blocks = student.residual_blocks()
    if not 0.0 < rate < 1.0:
        raise OptionError(f"the pruning rate must lie between 0 and 1, got {rate:g}")
    total = sum(block.expand.out_channels for block in blocks)
    groups = sorted(
        (norm, index, size) for index, block in enumerate(blocks) for norm, size in _groups(filter_norms(block))
    )
    count = max(1, round(rate * total / GROUP))
    if count > len(groups):
        raise OptionError(
            f"of {total} filters a share of {rate:g} cannot be removed: each of {len(blocks)} blocks keeps {GROUP}; "
            "stop pruning or lower the rate"
        )
    inner = [block.expand.out_channels for block in blocks]
    for _, index, size in groups[:count]:
        inner[index] -= size
    smaller = Student(**student.arguments | {"inner": inner}).to(student.head.weight)
    smaller.load_state_dict(_remaining(student, inner))
    return smaller.train(student.training)


def filter_norms(block: ResidualBlock) -> Tensor:
    """How much each filter inside a block counts, as a multiple of the block's mean; see this file's head.

    Returns:
        Shape (inner,), float32, on the CPU.
    """
    assert block.expand.bias is not None
    with torch.no_grad():
        written = torch.cat([block.expand.weight.flatten(1), block.expand.bias[:, None]], dim=1)
        read = block.project.weight.transpose(0, 1).flatten(1)
        norms = (written.norm(dim=1) * read.norm(dim=1)).float().cpu()
        relative: Tensor = norms / norms.mean().clamp_min(torch.finfo(norms.dtype).tiny)
        return relative


def _groups(norms: Tensor) -> list[tuple[float, int]]:
    """Mean norm and size of the groups that can go, the smallest norms first; the first evens out what is over."""
    ordered = norms.sort().values
    over = len(ordered) % GROUP
    ends = list(range(over or GROUP, len(ordered), GROUP))
    return [(ordered[max(0, end - GROUP) : end].mean().item(), min(end, GROUP)) for end in ends]


def _remaining(student: Student, inner: list[int]) -> dict[str, Tensor]:
    """The student's tensors with as many of each block's filters as are to remain, in their old order."""
    names = {module: name for name, module in student.named_modules()}
    tensors = student.state_dict()
    for block, count in zip(student.residual_blocks(), inner, strict=True):
        stay = filter_norms(block).topk(count).indices.sort().values.to(block.expand.weight.device)
        expand, project = f"{names[block]}.expand", f"{names[block]}.project"
        for written in (f"{expand}.weight", f"{expand}.bias"):
            tensors[written] = tensors[written][stay]
        tensors[f"{project}.weight"] = tensors[f"{project}.weight"][:, stay]
    return tensors
