"""The two-stage denoiser's recipe: each stage with its own objective and optimizer, every modality at once.

Sharif, Naqvi and Loh, IEEE TRPMS 8(5):521-531 (2024), II-B3 and II-B4. The stages, Adam with 0.9 and 0.99, the rate
5e-4 and the batch of 24 are the paper's. Three things are not:

- Errors are divided by each image's noise scale, because the mix reaches from 8 HU in 4095 to 75 grey levels in 255;
  the paper has 8-bit images alone.
- The L1 of stage II also counts 8x8 means, which keep the tissue's HU (losses.relative_error).
- The weights that are published are a running average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from meddenoise import weights
from meddenoise.networks import TwoStage
from meddenoise.networks.cost import gmac, parameter_count
from meddenoise.networks.two_stage import Variant
from meddenoise.noise_level import level_map
from meddenoise.training.data import Data, open_data
from meddenoise.training.distributed import processes
from meddenoise.training.hooks import validation
from meddenoise.training.loop import Schedule, train
from meddenoise.training.losses import neighbor2neighbor, noise_scale, relative_error
from meddenoise.training.patches import Mix
from meddenoise.training.progress import Hook
from meddenoise.weights import Card


def _mix(size: int) -> Mix:
    return Mix(size=size, shrink={"LIDC-IDRI-0314": 2.0}, left_out=("Lung_Dx-A0002_B70f",), neighbours=0.6)


@dataclass(frozen=True)
class Config:
    """The paper's training, as far as its data can be had.

    Attributes:
        width: Channels of the features.
        growth: Channels that each convolution adds within a dense block.
        blocks: Gated blocks of each stage.
        variant: "full", "attention_alone", "without_attention" or "noise_only".
        mix: Algorithm 1 in three of eight patches, each modality's own noise in the others.
        schedule: 100 epochs of 24,000 images.
        context: Millimetres up to which slices are shown with their neighbours, if the training showed them so.
        start: Model or weights to go on from; None for a fresh network.
        validate_every: Steps between validations.
        version: Of the weights.
    """

    width: int = 32
    growth: int = 8
    blocks: int = 3
    variant: Variant = "full"
    mix: Mix = field(default_factory=lambda: _mix(256))
    schedule: Schedule = field(
        default_factory=lambda: Schedule(steps=100_000, batch=24, learning_rate=5e-4, warmup=0, decay="constant")
    )
    context: float = 3.0
    start: str | None = None
    validate_every: int = 1000
    version: str = "0.2.0"


PRESETS = {
    "paper": Config(),
    "cpu": Config(
        mix=_mix(64),
        schedule=Schedule(steps=20_000, batch=24, learning_rate=1e-3, save_every=50),
        validate_every=500,
    ),
    "ablation": Config(
        width=16,
        blocks=1,
        mix=replace(_mix(64), neighbours=None),
        schedule=Schedule(steps=2_000, batch=24, learning_rate=1e-3, warmup=50, save_every=50),
        validate_every=500,
    ),
}
"""The paper's; one for two cores: small patches, and a rate that falls; and one to compare the variants in minutes, on
slices alone, as the paper's images are."""


class Objective:
    """Stage I lessens the squared error of the noise (eq 11), stage II the absolute error of the image (eq 13)."""

    def __init__(self, config: Config, *, noisy_only: bool) -> None:
        torch.manual_seed(config.schedule.seed)
        self._network = TwoStage(width=config.width, growth=config.growth, blocks=config.blocks, variant=config.variant)
        if config.start is not None:
            weights.start_from(self._network, config.start)
        self.networks: Mapping[str, nn.Module] = {"two_stage": self._network}
        stages = {"noise": self._network.nen, "image": self._network.rn}
        self.optimizers: Mapping[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(stage.parameters(), lr=config.schedule.learning_rate, betas=(0.9, 0.99))
            for name, stage in stages.items()
            if stage is not None
        }
        self._schedule, self._noisy_only = config.schedule, noisy_only

    def denoise(self, networks: Mapping[str, nn.Module], noisy: Tensor) -> Tensor:
        """Network units in and out, shape (batch, 1 or 3, rows, columns)."""
        images = three_channels(noisy)
        with self._schedule.autocast():
            denoised: Tensor = networks["two_stage"](images, level_map(images))
        return denoised[:, : noisy.shape[1]]

    def losses(self, noisy: Tensor, clean: Tensor, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """One loss a stage; no gradient flows from the second into the first."""
        noisy, clean = three_channels(noisy), three_channels(clean)
        if self._noisy_only:
            for index, name in enumerate(self.optimizers):
                yield name, neighbor2neighbor(partial(self._stage, index), noisy, generator)
            return
        level = level_map(noisy)
        with self._schedule.autocast():
            noise, denoised = self._network.stages(noisy, level)
        scale = noise_scale(noisy, clean, level).reshape(-1, 1, 1, 1)
        yield "noise", (((noise - (noisy - clean)) / scale) ** 2).mean()
        if "image" in self.optimizers:
            yield "image", relative_error(denoised, noisy, clean, level)

    def _stage(self, index: int, image: Tensor) -> Tensor:
        """The image denoised by stage I (0) or stage II (1)."""
        with self._schedule.autocast():
            noise, denoised = self._network.stages(image, level_map(image))
        return image - noise if index == 0 else denoised


def three_channels(images: Tensor) -> Tensor:
    """Shape (batch, 3, rows, columns); a single slice is repeated."""
    return images.expand(-1, 3, -1, -1)


def run(
    config: Config, folder: Path | None, out: Path, *, resume: bool, report: Callable[[str], None],
    trackers: Sequence[Hook] = (),
) -> Card:  # fmt: skip
    """Train both stages together and write their weights and card to ``out``; arguments as the student's recipe has."""
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
        card = _card(averages["two_stage"].cpu(), config, data)
        return weights.save(averages["two_stage"], card, out) if group.first else card


def _card(network: nn.Module, config: Config, data: Data) -> Card:
    image = torch.full((1, 3, 256, 256), 0.5)
    neighbours = data.train(2, torch.Generator().manual_seed(0))[0].shape[1] > 1
    sizes = {"width": config.width, "growth": config.growth, "blocks": config.blocks, "variant": config.variant}
    return Card(
        name="two_stage" if config.variant == "full" else f"two_stage-{config.variant}",
        version=config.version,
        network="two_stage",
        arguments=sizes,
        description="Two-stage network with self-guided noise attention, which also shows the noise that it estimates",
        modalities=sorted({i.modality for i in data.used}),
        parameters=parameter_count(network),
        gmac=round(gmac(network, image, image), 2),
        context=config.context if neighbours else 0.0,
        colour=True,
        training={
            "recipe": f"meddenoise train two_stage --variant {config.variant}",
            "start": config.start and Path(config.start).name,
            "schedule": asdict(config.schedule),
            "mix": asdict(config.mix),
            **data.facts(),
        },
    )
