"""The noise meter's recipe: a small network learns the local level of simulated noise of every modality."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from meddenoise import noise, weights
from meddenoise.errors import InputError
from meddenoise.networks import NoiseMeter
from meddenoise.networks.cost import gmac, parameter_count
from meddenoise.noise_level import CELL, gaussian_blur, relative_detail
from meddenoise.training.build import build_slices
from meddenoise.training.physical import for_each_slice
from meddenoise.training.slices import Slice, load_slices
from meddenoise.weights import Card

SLICES = "slices.safetensors"
MODALITIES = ("CT", "CT", "MR", "MR", "MR", "PET", "PET", "XR")
"""Drawn from with even chances."""
SOURCES = {"CT": ("CT",), "MR": ("MR",), "PET": ("PET", "MR"), "XR": ("XR",)}
"""Real PET is never free of noise, so MR anatomy at PET's resolution stands in for most of it."""
LEVELS = {"CT": (8.0, 120.0), "MR": (3.0, 50.0), "XR": (3.0, 50.0)}
"""CT: HU. Others: the 95th percentile of the slice over the level."""
PET_DRAWS = 8
"""Of one patch with the same parameters."""
SHRINK = {"CT": 1.5, "MR": 2.0, "PET": 1.0, "XR": 2.5}
"""Slices are shrunk by up to 1.6 times this, if they are 200 pixels wide: that takes their own noise out."""


@dataclass(frozen=True)
class Config:
    """How the noise meter is trained.

    Attributes:
        steps: Batches.
        batch: Patches in each.
        size: Side of a patch in pixels.
        learning_rate: Falls to nothing along half a cosine.
        start: Model or weights to go on from; None for a fresh network.
        left_out: Volumes whose own noise is too strong.
        seed: Of everything.
        version: Of the weights.
    """

    steps: int = 3000
    batch: int = 12
    size: int = 128
    learning_rate: float = 2e-3
    start: str | None = None
    left_out: tuple[str, ...] = ("Lung_Dx-A0002_B70f", "UCSF-BR-06_3DFGRE_pre")
    seed: int = 0
    version: str = "0.2.0"


def run(config: Config, data: Path, out: Path, *, report: Callable[[str], None]) -> Card:
    """Train the noise meter and write its weights and card to ``out``.

    Args:
        config: What to train.
        data: Folder of images; needed only until the slices are built.
        out: Folder of slices and weights.
        report: Called with lines of progress.

    Raises:
        InputError: No usable training data.
    """
    if not (out / SLICES).exists():
        build_slices(data, out / SLICES, report=report)
    slices = [s for s in load_slices(out / SLICES, validation=False) if _usable(s, config)]
    if not slices:
        raise InputError(f"{out / SLICES}: no slices to train the noise meter on; give CT, MR or PET in physical units")
    torch.manual_seed(config.seed)
    network = NoiseMeter()
    if config.start is not None:
        weights.start_from(network, config.start)
    generator = torch.Generator().manual_seed(config.seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    smooth = math.nan
    for step in range(config.steps):
        rate = 0.5 * (1.0 + math.cos(math.pi * step / config.steps)) * min(1.0, (step + 1) / 50)
        optimizer.param_groups[0]["lr"] = config.learning_rate * rate
        loss = error(network, *draw_batch(slices, config, generator))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            report(f"step {step + 1} of {config.steps}, mean error of the logarithm {smooth:.3f}")
    return weights.save(network, card_of(network, config, slices), out)


def error(network: NoiseMeter, noisy: Tensor, level: Tensor, told: Tensor) -> Tensor:
    """Mean absolute error of the logarithm of the level, over cells where it is told."""
    detail, scale = relative_detail(noisy)
    share = F.avg_pool2d(told, CELL)
    target = (F.avg_pool2d(level.square() * told, CELL) / share.clamp_min(0.01)).sqrt() / scale
    counted = (share > 0.5).to(noisy.dtype)
    difference = (network(detail) - target.clamp_min(1e-6).log()).abs()
    mean: Tensor = (difference * counted).sum() / counted.sum().clamp_min(1.0)
    return mean


def draw_batch(slices: Sequence[Slice], config: Config, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy patches in physical units, the true local level, and 1 where it is told; all (batch, 1, size, size)."""
    groups = {m: [s for s in slices if s.info.modality in SOURCES[m]] for m in SOURCES}
    present = [m for m in MODALITIES if groups[m]]
    drawn = [present[_integer(len(present), generator)] for _ in range(config.batch)]
    clean = torch.stack([_patch(groups[m], config.size, generator, activity=m == "PET") for m in drawn])
    draws = [_noisy(m, clean[i : i + 1], generator) for i, m in enumerate(drawn)]
    noisy, level, told = (torch.cat(parts) for parts in zip(*draws, strict=True))
    return noisy, level, told


def _noisy(modality: str, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """One patch, shape (1, 1, size, size), with noise, its level and where the level is told."""
    shape = (1, 1, clean.shape[-2], clean.shape[-1])
    signal = torch.quantile(clean, 0.95).clamp_min(1e-3)
    if modality == "PET":
        return _pet(clean, signal, generator)
    drawn = noise.log_uniform(1, *LEVELS[modality], generator)
    typical = drawn if modality == "CT" else signal / drawn
    back_projected = modality == "CT" and _integer(4, generator) > 0  # iterative reconstruction has no ramp
    draw_spectrum = noise.draw_ct_spectrum if back_projected else noise.draw_smooth_spectrum
    spectrum = draw_spectrum(1, generator)
    level = typical * noise.smooth_field(shape, noise.uniform(1, 0.0, 0.35, generator), generator=generator)
    if modality == "MR":
        channels = [level * noise.correlated(shape, spectrum, generator=generator) for _ in range(2)]
        return noise.rician(clean, (channels[0], channels[1])), rician_level(clean, level), torch.ones_like(clean)
    if modality == "XR":
        relative = gaussian_blur(clean, 1.0).clamp_min(0.0) / signal + 0.03
        level = level * relative ** noise.uniform(1, 0.0, 1.0, generator)
    noisy = clean + level * noise.correlated(shape, spectrum, generator=generator)
    if modality == "CT":
        return noisy.clamp_min(-1024.0), level, (clean > -900.0).to(clean.dtype)
    return noisy.round(), level, torch.ones_like(clean)


def _pet(clean: Tensor, signal: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """As _noisy; the level of cut off, skewed noise is that of several draws."""
    parameters = for_each_slice(noise.draw_pet_noise(signal.reshape(1), generator), PET_DRAWS)
    draws = noise.pet_noise(clean.expand(PET_DRAWS, -1, -1, -1), parameters, generator=generator)
    level = gaussian_blur(draws.var(dim=0, keepdim=True), 2.0).sqrt()
    return draws[:1], level, (clean > 0.05 * signal).to(clean.dtype)


def rician_level(signal: Tensor, sigma: Tensor) -> Tensor:
    """Standard deviation of a Rician magnitude; Gudbjartsson and Patz 1995, doi:10.1002/mrm.1910340618."""
    power = (signal / sigma) ** 2 / 2.0
    laguerre = (1.0 + power) * torch.special.i0e(power / 2.0) + power * torch.special.i1e(power / 2.0)
    variance = 2.0 * sigma**2 + signal**2 - math.pi / 2.0 * sigma**2 * laguerre**2
    return torch.maximum(variance, 0.1 * sigma**2).sqrt()  # rounding at large signals


def _usable(one: Slice, config: Config) -> bool:
    return one.info.volume not in config.left_out and one.info.display == (one.info.modality == "XR")


def _patch(slices: Sequence[Slice], size: int, generator: torch.Generator, *, activity: bool) -> Tensor:
    """A random crop of a random slice of a random volume, shrunk, turned; physical units, shape (1, size, size)."""
    volumes = sorted({s.info.volume for s in slices})
    volume = volumes[_integer(len(volumes), generator)]
    inside = [s for s in slices if s.info.volume == volume]
    chosen = inside[_integer(len(inside), generator)]
    values = chosen.values[None, None]
    draw = torch.rand(2, generator=generator)
    longest = max(values.shape[-2:])
    if activity and chosen.info.modality == "MR":
        factor = max(1.0, longest / (96 + 64 * float(draw[1])))
    else:
        factor = (SHRINK[chosen.info.modality] if longest >= 200 else 1.0) * (1.0 + 0.6 * float(draw[1]))
    if factor > 1.02:
        shrunk = [max(24, round(n / factor)) for n in values.shape[-2:]]
        values = F.interpolate(values, size=shrunk, mode="area")
    if activity:
        values = gaussian_blur(values, (1.0 if chosen.info.modality == "PET" else 0.5) + 0.5 * float(draw[0]))
    while min(values.shape[-2:]) < size:
        rows, columns = (min(n - 1, max(0, size - n)) for n in values.shape[-2:])
        values = F.pad(values, (0, columns, 0, rows), mode="reflect")
    top, left = (_integer(n - size + 1, generator) for n in values.shape[-2:])
    patch = values[0, :, top : top + size, left : left + size]
    return torch.rot90(patch, _integer(4, generator), (1, 2))


def _integer(high: int, generator: torch.Generator) -> int:
    return int(torch.randint(high, (1,), generator=generator))


def card_of(network: NoiseMeter, config: Config, slices: Sequence[Slice]) -> Card:
    """The card of weights that were trained so."""
    used = sorted({(s.info.modality, s.info.volume, s.info.subject, s.info.licence) for s in slices})
    return Card(
        name="noise-meter",
        version=config.version,
        network="noise_meter",
        arguments={"width": 24},
        description="Reads the local noise level of CT, MR, PET and X-ray; it is no denoiser",
        modalities=sorted({modality for modality, *_ in used}),
        parameters=parameter_count(network),
        gmac=round(gmac(network, torch.zeros(1, 2, 256, 256)), 2),
        training={
            "recipe": "meddenoise.recipes.noise_meter",
            "config": asdict(config) | {"start": config.start and Path(config.start).name},
            "noise": "CT 8-120 HU, mostly with a ramp spectrum; Rician MR of SNR 3-50; PET at 5-50 % of the counts; "
            "X-ray that follows the signal",
            "volumes": [f"{modality} {name} (subject {who}; {licence})" for modality, name, who, licence in used],
            "split": "by subject: SHA-256 of its name as a number in 0..1; below 0.15 is held back from training",
        },
    )
