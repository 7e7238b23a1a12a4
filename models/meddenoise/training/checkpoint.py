"""Checkpoints a run can be resumed from without loss: one safetensors file, replaced atomically."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


@dataclass(frozen=True)
class State:
    """What a run consists of: the network, the running average of its weights, the optimizer and the randomness."""

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator


def save_checkpoint(path: Path, state: State, *, step: int, facts: dict[str, Any]) -> None:
    """Write everything needed to go on after ``step`` steps; ``facts`` is JSON for the reader."""
    tensors: dict[str, Tensor] = {"generator": state.generator.get_state()}
    tensors |= {f"network.{k}": v for k, v in state.network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    for i, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": v for k, v in moments.items()}
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    partial = path.with_name(path.name + ".part")
    save_file(tensors, partial, metadata={"step": str(step), "facts": json.dumps(facts)})
    partial.replace(path)


def load_checkpoint(path: Path, state: State) -> int:
    """Restore everything save_checkpoint wrote into ``state``; returns the number of steps done."""
    with safe_open(path, framework="pt") as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - not a dict
        step = int(file.metadata()["step"])

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    state.network.load_state_dict(part("network."))
    state.average.load_state_dict(part("average."))
    state.generator.set_state(tensors["generator"])
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in part("optimizer.").items():
        index, name = key.split(".")
        moments.setdefault(int(index), {})[name] = value
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return step
