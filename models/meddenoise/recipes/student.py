"""The student's recipe: plain supervised training on every modality at once, blind to the noise level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from meddenoise import weights
from meddenoise.errors import OptionError
from meddenoise.networks import Student
from meddenoise.networks.cost import gmac, parameter_count
from meddenoise.training.build import build_slices
from meddenoise.training.loop import CHECKPOINT, Schedule, train
from meddenoise.training.patches import Mix, sampler
from meddenoise.training.slices import Slice, load_slices
from meddenoise.weights import Card

SLICES = "slices.safetensors"


@dataclass(frozen=True)
class Config:
    """What the published student was trained with.

    Attributes:
        widths: Channels at 1/2, 1/4 and 1/8 of the resolution.
        blocks: Residual blocks at each of them.
        mix: Algorithm 1 on 8-bit grey levels in half of the patches, each modality's own noise in the others. The thin
            slices of one volume are halved in size to serve as targets, and a sharp kernel of 40 HU noise cannot serve.
        schedule: Length, rate and device.
        version: Of the weights.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (1, 2, 2)
    mix: Mix = field(default_factory=lambda: Mix(shrink={"LIDC-IDRI-0314": 2.0}, left_out=("Lung_Dx-A0002_B70f",)))
    schedule: Schedule = field(default_factory=lambda: Schedule(steps=8000, learning_rate=1.5e-3))
    version: str = "0.1.0"


def run(config: Config, data: Path, out: Path, *, resume: bool, report: Callable[[str], None]) -> Card:
    """Train the student and write its weights and card to ``out``.

    Args:
        config: What to train.
        data: Folder of images with a manifest; needed only until the slices are built.
        out: Folder of slices, checkpoint and weights.
        resume: Go on from the checkpoint there.
        report: Called with lines of progress.

    Raises:
        InputError: No usable training data.
        OptionError: ``out`` holds a checkpoint that a fresh run would overwrite.
    """
    if not resume and (out / CHECKPOINT).exists():
        raise OptionError(f"{out} holds a checkpoint; resume it (--resume) or choose another folder (--out)")
    if not (out / SLICES).exists():
        build_slices(data, out / SLICES, report=report)
    slices = load_slices(out / SLICES, validation=False)
    torch.manual_seed(config.schedule.seed)
    network = Student(widths=config.widths, blocks=config.blocks)
    average = train(network, sampler(slices, config.mix), config.schedule, out, resume=resume, report=report)
    return weights.save(average, _card(average.cpu(), config, slices), out)


def _card(network: torch.nn.Module, config: Config, slices: list[Slice]) -> Card:
    image = torch.full((1, 1, 256, 256), 0.5)
    used = [s.info for s in slices if s.info.volume not in config.mix.left_out]
    volumes = sorted({(i.modality, i.volume, i.subject, i.licence) for i in used})
    return Card(
        name="student",
        version=config.version,
        network="student",
        arguments={"widths": list(config.widths), "blocks": list(config.blocks)},
        description="Small fast network for CT, MR, PET and X-ray, blind to the noise level",
        modalities=sorted({i.modality for i in used}),
        parameters=parameter_count(network),
        gmac=round(gmac(network, image, image), 2),
        training={
            "recipe": "meddenoise train student",
            "schedule": asdict(config.schedule),
            "mix": asdict(config.mix),
            "noise": "Algorithm 1 (0-75 grey levels); correlated CT noise (8-130 HU); correlated Rician (MR) and "
            "signal-dependent (PET, X-ray) noise",
            "slices": len(used),
            "volumes": [f"{modality} {name} (subject {who}; {licence})" for modality, name, who, licence in volumes],
            "split": "by subject: SHA-256 of its name as a number in 0..1; below 0.15 is held back from training",
        },
    )
