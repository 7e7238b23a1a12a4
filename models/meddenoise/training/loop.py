"""The training loop: reads top to bottom, resumes where it was killed."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddenoise.noise_level import level_map
from meddenoise.training.checkpoint import State, load_checkpoint, save_checkpoint
from meddenoise.training.patches import Sampler

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: Optimizer steps in all.
        batch: Patches a step.
        learning_rate: Peak of a cosine that falls to a hundredth, after ``warmup`` steps of linear rise.
        warmup: Steps of linear rise.
        average: Decay of the running average of the weights that is published.
        save_every: Steps between checkpoints.
        seed: Of weights and batches.
        device: "cpu", "cuda", ...
        precision: "bf16" (autocast) or "float32".
    """

    steps: int
    batch: int = 16
    learning_rate: float = 1e-3
    warmup: int = 200
    average: float = 0.999
    save_every: int = 100
    seed: int = 0
    device: str = "cpu"
    precision: str = "bf16"

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ..., steps - 1."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def relative_error(denoised: Tensor, noisy: Tensor, clean: Tensor, level: Tensor) -> Tensor:
    """Mean absolute and mean squared error of the pixels plus the absolute error of 8x8 means, over the noise scale.

    An image of 8 HU noise then counts about as much as one of 75 grey levels. The scale is the noise's standard
    deviation; where the level map is larger, because an image is rich in detail for its faint noise, the geometric
    mean of the two, so that such images do not outweigh all others. The square asks for the mean where clipping or
    magnitudes make the possible truths skewed. The means keep large areas where they were: pixel errors alone leave
    them a shift that is small beside the noise yet visible in the tissue's HU.
    Images and level map: network units, shape (batch, 1, rows, columns).
    """
    noise = ((noisy - clean) ** 2).mean(dim=(1, 2, 3)).sqrt().clamp_min(1e-3)
    scale = (noise * torch.maximum(noise, level.mean(dim=(1, 2, 3)))).sqrt().reshape(-1, 1, 1, 1)
    error = (denoised - clean) / scale
    return error.abs().mean() + error.square().mean() + F.avg_pool2d(error, 8).abs().mean()


def train(
    network: nn.Module,
    sample: Sampler,
    schedule: Schedule,
    out: Path,
    *,
    resume: bool = True,
    report: Callable[[str], None] = lambda line: None,
) -> nn.Module:
    """Train a denoiser ``network(image, level)`` and return the running average of its weights.

    Args:
        network: Freshly built, on the CPU.
        sample: Source of batches.
        schedule: How long and how fast.
        out: Folder of the checkpoint, which is made if absent.
        resume: Go on from the checkpoint in ``out`` if there is one.
        report: Called with a line of progress now and then.
    """
    out.mkdir(parents=True, exist_ok=True)
    network = network.to(schedule.device).to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=schedule.learning_rate, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(schedule.seed)
    state = State(network, average, optimizer, generator)
    step = load_checkpoint(out / CHECKPOINT, state) if resume and (out / CHECKPOINT).exists() else 0
    started, first, smooth = time.monotonic(), step, math.nan
    while step < schedule.steps:
        noisy, clean = (images.to(schedule.device) for images in sample(schedule.batch, generator))
        optimizer.param_groups[0]["lr"] = schedule.rate(step)
        level = level_map(noisy)  # in float32, as when denoising
        with torch.autocast(schedule.device.split(":")[0], torch.bfloat16, enabled=schedule.precision == "bf16"):
            denoised = network(noisy, level)
        loss = relative_error(denoised, noisy, clean, level)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            decay = min(schedule.average, (1 + step) / (10 + step))
            for mean, value in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
        if step % schedule.save_every == 0 or step == schedule.steps:
            save_checkpoint(out / CHECKPOINT, state, step=step, facts=asdict(schedule))
            left = (time.monotonic() - started) / (step - first) * (schedule.steps - step) / 60
            report(f"step {step} of {schedule.steps}, loss {smooth:.4f}, {left:.0f} min left")
    return average
