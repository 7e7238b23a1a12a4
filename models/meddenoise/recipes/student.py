"""The student's recipe: plain supervised training on every modality at once, blind to the noise level."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from meddenoise import weights
from meddenoise.networks import Student
from meddenoise.networks.cost import gmac, parameter_count
from meddenoise.noise_level import level_map
from meddenoise.training.data import Data, open_data
from meddenoise.training.distributed import processes
from meddenoise.training.hooks import validation
from meddenoise.training.loop import Schedule, train
from meddenoise.training.losses import neighbor2neighbor, relative_error
from meddenoise.training.patches import Mix
from meddenoise.training.progress import Hook
from meddenoise.weights import Card


@dataclass(frozen=True)
class Config:
    """What a student is trained with; where the published one's runs differed, its card says so.

    Attributes:
        widths: Channels at 1/2, 1/4 and 1/8 of the resolution.
        blocks: Residual blocks at each of them.
        mix: Algorithm 1 on 8-bit grey levels in a quarter of the patches, each modality's own noise in the others. The
            thin slices of one volume are halved in size to serve as targets, and a sharp kernel of 40 HU noise cannot
            serve.
        schedule: Length, rate and device.
        start: Model or weights to go on from; None for a fresh network.
        validate_every: Steps between validations.
        version: Of the weights.
    """

    widths: tuple[int, ...] = (48, 64, 128)
    blocks: tuple[int, ...] = (2, 2, 2)
    mix: Mix = field(
        default_factory=lambda: Mix(
            display=0.25,
            physical_modalities={"CT": 0.38, "MR": 0.24, "PET": 0.26, "XR": 0.12},
            shrink={"LIDC-IDRI-0314": 2.0},
            left_out=("Lung_Dx-A0002_B70f",),
        )
    )
    schedule: Schedule = field(default_factory=lambda: Schedule(steps=30000, learning_rate=1e-3))
    start: str | None = None
    validate_every: int = 500
    version: str = "0.3.0"


PRESETS = {"published": Config()}


class Objective:
    """The error over the noise scale, or the self-supervised loss where there are no clean images."""

    def __init__(self, config: Config, *, noisy_only: bool) -> None:
        torch.manual_seed(config.schedule.seed)
        network = Student(widths=config.widths, blocks=config.blocks).to(memory_format=torch.channels_last)  # faster
        if config.start is not None:
            weights.start_from(network, config.start)
        rate = config.schedule.learning_rate
        self.networks: Mapping[str, nn.Module] = {"student": network}
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
        self.optimizers: Mapping[str, torch.optim.Optimizer] = {"student": optimizer}
        self._schedule, self._noisy_only = config.schedule, noisy_only

    def denoise(self, networks: Mapping[str, nn.Module], noisy: Tensor) -> Tensor:
        """Network units in and out, shape (batch, 1, rows, columns)."""
        return self._denoised(networks["student"], noisy, level_map(noisy))

    def losses(self, noisy: Tensor, clean: Tensor, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """One loss for the one network."""
        if self._noisy_only:
            yield "student", neighbor2neighbor(lambda image: self.denoise(self.networks, image), noisy, generator)
            return
        level = level_map(noisy)  # in float32, as when denoising
        yield "student", relative_error(self._denoised(self.networks["student"], noisy, level), noisy, clean, level)

    def _denoised(self, network: nn.Module, noisy: Tensor, level: Tensor) -> Tensor:
        with self._schedule.autocast():
            denoised: Tensor = network(noisy, level)
        return denoised


def run(
    config: Config, folder: Path | None, out: Path, *, resume: bool, report: Callable[[str], None],
    trackers: Sequence[Hook] = (),
) -> Card:  # fmt: skip
    """Train the student and write its weights and card to ``out``.

    Args:
        config: What to train.
        folder: Images, as training.data.open_data takes them; not needed once they are read.
        out: Folder of slices, checkpoint and weights; it must be there.
        resume: Go on from the checkpoint there.
        report: Called with lines of progress.
        trackers: Further hooks.

    Raises:
        MedDenoiseError: What open_data and train raise.
    """
    with processes(config.schedule.device) as (group, device):
        config = replace(config, schedule=replace(config.schedule, device=device))
        data = open_data(folder, out, config.mix, report=report, group=group)
        objective = Objective(config, noisy_only=data.kind == "noisy")
        hooks = list(trackers)
        if data.validation is not None and group.first:
            hooks.insert(0, validation(data.validation, objective.denoise, every=config.validate_every, device=device))
        averages = train(
            objective, data.train, config.schedule, out, resume=resume, report=report, hooks=hooks, group=group
        )
        card = _card(averages["student"].cpu(), config, data)
        return weights.save(averages["student"], card, out) if group.first else card


def _card(network: nn.Module, config: Config, data: Data) -> Card:
    image = torch.full((1, 1, 256, 256), 0.5)
    return Card(
        name="student",
        version=config.version,
        network="student",
        arguments={"widths": list(config.widths), "blocks": list(config.blocks)},
        description="Small fast network for CT, MR, PET and X-ray, blind to the noise level",
        modalities=sorted({i.modality for i in data.used}),
        parameters=parameter_count(network),
        gmac=round(gmac(network, image, image), 2),
        training={
            "recipe": "meddenoise train student",
            "start": config.start and Path(config.start).name,
            "schedule": asdict(config.schedule),
            "mix": asdict(config.mix),
            **data.facts(),
        },
    )
