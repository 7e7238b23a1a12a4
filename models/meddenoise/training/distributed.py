"""Training with several processes, one a GPU, as `torchrun` starts them.

Every process draws the same batch and keeps its share of it, and gradients are averaged before each step. So a run is
the same training on any number of processes, up to rounding, and all of them hold equal weights at all times.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from meddenoise.errors import OptionError


@dataclass(frozen=True)
class Processes:
    """One of ``count`` processes that train together; the first, ``rank`` 0, writes and reports."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def share(self, images: Tensor) -> Tensor:
        """Every ``count``-th image of the batch (axis 0), so that each process gets some of every kind.

        Raises:
            OptionError: The batch cannot be shared out evenly.
        """
        if len(images) % self.count:
            raise OptionError(f"a batch of {len(images)} cannot be shared by {self.count} processes; change --batch")
        return images[self.rank :: self.count]

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Put the mean over all processes into each tensor."""
        if self.count == 1:
            return
        tensors = list(tensors)
        flat = torch.cat([t.detach().flatten().float() for t in tensors])
        dist.all_reduce(flat)
        flat /= self.count
        for tensor, mean in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
            tensor.detach().copy_(mean.view(tensor.shape))

    def copy_from_first(self, networks: Iterable[nn.Module]) -> None:
        """Give every process the first one's weights."""
        if self.count > 1:
            for network in networks:
                for tensor in network.state_dict().values():
                    values = tensor.contiguous()
                    dist.broadcast(values, 0)
                    tensor.copy_(values)

    def any(self, wanted: bool) -> bool:
        """Whether it is wanted in any process."""
        if self.count == 1:
            return wanted
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        votes = torch.tensor(float(wanted), device=device)
        dist.all_reduce(votes)
        return bool(votes > 0)

    def wait(self) -> None:
        """Return once every process has come here."""
        if self.count > 1:
            dist.barrier()


ALONE = Processes()


@contextmanager
def processes(device: str) -> Iterator[tuple[Processes, str]]:
    """Join the processes that `torchrun` started, and leave them at the end; without it this process is alone.

    Args:
        device: "cpu", "cuda" or "cuda:N".

    Yields:
        The processes, and this one's own device.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE, device
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Processes(dist.get_rank(), count), device
    finally:
        dist.destroy_process_group()
