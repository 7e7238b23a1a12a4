"""Checkpoints a run can be resumed from without loss: one safetensors file, replaced atomically."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from meddenoise.errors import ModelError, OutputError


@dataclass(frozen=True)
class State:
    """What a run consists of, by name: networks, running averages of their weights, optimizers."""

    networks: Mapping[str, nn.Module]
    averages: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]


def save_checkpoint(path: Path, state: State, *, generator: Tensor, step: int, facts: dict[str, Any]) -> None:
    """Write everything needed to go on after ``step`` steps, or leave the older checkpoint as it was.

    Args:
        path: Of the checkpoint.
        state: What is saved.
        generator: State of the batches' generator after the last batch used.
        step: Steps done.
        facts: JSON for the reader.

    Raises:
        OutputError: The file cannot be written, for example because the disk is full.
    """
    tensors: dict[str, Tensor] = {"generator": generator, "random": torch.get_rng_state()}
    for group, networks in (("network", state.networks), ("average", state.averages)):
        for name, network in networks.items():
            tensors |= {f"{group}.{name}.{k}": v for k, v in network.state_dict().items()}
    for name, optimizer in state.optimizers.items():
        for i, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{name}.{i}.{k}": v for k, v in moments.items()}
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("wb") as file:
            file.write(save(tensors, metadata={"step": str(step), "facts": json.dumps(facts)}))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = "the disk is full; free some space" if full else f"{error.strerror}; look at the folder"
        raise OutputError(f"{path}: cannot be written: {reason} and go on with --resume") from error


def load_checkpoint(path: Path, state: State) -> tuple[int, Tensor, dict[str, Any]]:
    """Restore what save_checkpoint wrote into ``state``.

    Returns:
        Steps done, the state of the batches' generator, and the facts.

    Raises:
        ModelError: The file is damaged, or another recipe's or variant's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - not a dict
            step, facts = int(file.metadata()["step"]), json.loads(file.metadata()["facts"])
        for name, network in state.networks.items():
            network.load_state_dict(_part(tensors, f"network.{name}."))
            state.averages[name].load_state_dict(_part(tensors, f"average.{name}."))
        for name, optimizer in state.optimizers.items():
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in _part(tensors, f"optimizer.{name}.").items():
                index, moment = key.split(".")
                moments.setdefault(int(index), {})[moment] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": moments, "param_groups": groups})
        torch.set_rng_state(tensors["random"])
    except (OSError, SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"checkpoint {path} is damaged or not of this recipe and variant ({error}); choose another --out"
        ) from error
    return step, tensors["generator"], facts


def steps_done(path: Path) -> int:
    """Steps after which a checkpoint was written; 0 where there is none.

    Raises:
        ModelError: The file is damaged.
    """
    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            return int(file.metadata()["step"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"checkpoint {path} is damaged ({error}); choose another --out") from error


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
