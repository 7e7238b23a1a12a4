"""Which device and which precision."""

from __future__ import annotations

import torch

from meddenoise.errors import OptionError


def choose_device(name: str = "auto") -> torch.device:
    """The device for "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".

    Raises:
        OptionError: Another name, or a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()) or (kind == "cpu" and index):
        raise OptionError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise OptionError(f"device {name!r} is not there: {torch.cuda.device_count()} GPUs found; use auto or cpu")
    return torch.device(name)


def choose_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively, else float32. It moves results by about 1 % of the noise."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    native = any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
    return torch.bfloat16 if native else torch.float32
