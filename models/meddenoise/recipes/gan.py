"""The GAN denoiser's recipe: content and noise predictor against a discriminator, every modality at once.

Osman et al., Seminars in Medical Writing and Education 4:838 (2025), "Proposed Approach" and "Ablation Studies", after
Geng et al., IEEE TMI 41(2):407-419 (2022). Discriminator and generator take turns (least-squares GAN), to which comes
100 times the L1 of content and noise, weighed alike; Adam with 0.5 and 0.999; the discriminator's loss is half of that
on real and made images; a constant rate of 2e-4 over 300 epochs. What is decided here:

- Rate: the paper prints "0,0002 %" and its relative's code has 2e-5; 2e-4 is what the digits say.
- "L1 of content": half of it is the fused image's and half the content predictor's own. The relative's code leaves that
  predictor without an error; it then hardly learns, and what is called content is no image.
- Errors are over each image's noise scale, because the mix reaches from 8 HU in 4095 to 75 grey levels in 255. The
  networks see that scale as 0.125 of a grey scale; on this the L1 counts 100 times, so an error over the noise 12.5.
- As in the other recipes it also counts squares and 8x8 means, which keep the tissue's HU (losses.relative_error).
- Without adversarial loss the paper has the squared error alone ("mse"); "l1" drops the adversarial loss and no more.
- WGAN-VGG: Wasserstein loss with gradient penalty 10, and the distance of features, which has the weight that pixels
  have in the others; the features are those of a frozen network of our own (adversarial.Perceptual). Its generator
  has 8 convolutions of 32 channels, its critic is the same PatchGAN and takes 4 steps for one. The added noise
  predictor has the generator's form, and the L1 of the noise is what makes it one.
- The discriminator learns first in each step, from the generator as it is.
- Noisy images alone have no real content to show a discriminator: the generator then learns by Neighbor2Neighbor.
- The weights that are published are a running average; batch normalisation, where there is any, keeps the trained
  network's statistics, those of one process's share where several train.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from meddenoise import weights
from meddenoise.errors import OptionError
from meddenoise.networks import Gan
from meddenoise.networks.cost import gmac, parameter_count
from meddenoise.networks.discriminator import LEAST_SIDE, PatchDiscriminator
from meddenoise.networks.gan import SHOWN_LEVEL, shown
from meddenoise.noise_level import level_map
from meddenoise.recipes.gan_variants import VARIANTS, Variant
from meddenoise.training.adversarial import Perceptual, gradient_penalty, towards
from meddenoise.training.data import Data, open_data
from meddenoise.training.distributed import processes
from meddenoise.training.hooks import validation
from meddenoise.training.loop import Schedule, train
from meddenoise.training.losses import neighbor2neighbor, noise_scale, relative_error
from meddenoise.training.patches import Mix
from meddenoise.training.progress import Hook
from meddenoise.weights import Card

WEIGHT = 100.0 * SHOWN_LEVEL
"""Of the errors over the noise scale: 100 times the L1 on the grey scale that the networks see."""
PENALTY, CRITIC_STEPS = 10.0, 4
BETAS = (0.5, 0.999)
PAPER: Mapping[str, Mapping[str, Any]] = {
    "unet": {"widths": (64, 128, 256, 512, 1024)},
    "dncnn": {"width": 64, "depth": 17},
    "srdensenet": {"growth": 16, "blocks": 6, "bottleneck": 256},
}
LIGHT: Mapping[str, Mapping[str, Any]] = {
    "unet": {"widths": (48, 80, 128, 192)},
    "dncnn": {"width": 48, "depth": 10},
    "srdensenet": {"growth": 8, "blocks": 5, "bottleneck": 64},
}
SMALL: Mapping[str, Mapping[str, Any]] = {
    "unet": {"widths": (32, 48, 80, 128)},
    "dncnn": {"width": 32, "depth": 10},
    "srdensenet": {"growth": 8, "blocks": 3, "bottleneck": 32},
}
WGAN_PREDICTOR = {"width": 32, "depth": 8}


def _mix(size: int) -> Mix:
    return Mix(size=size, shrink={"LIDC-IDRI-0314": 2.0}, left_out=("Lung_Dx-A0002_B70f",))


@dataclass(frozen=True)
class Config:
    """The paper's training, as far as its data can be had.

    Attributes:
        variant: Key of VARIANTS.
        sizes: Widths and other arguments of the predictors, by kind.
        light: Half the resolution and no batch normalisation; see networks.gan.
        judge: Channels of the discriminator.
        mix: Algorithm 1 in three of eight patches, each modality's own noise in the others.
        schedule: 300 epochs of 1,709 slices of 512x512, 2 a step; here 8 patches with as many pixels. Gradients are cut
            at the weight of the error, which the other recipes' losses do not have.
        start: Model or weights to go on from; None for a fresh network. The discriminator starts afresh.
        validate_every: Steps between validations.
        version: Of the weights.
    """

    variant: str = "unet"
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: PAPER)
    light: bool = False
    judge: tuple[int, ...] = (64, 128, 256, 512)
    mix: Mix = field(default_factory=lambda: _mix(256))
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            steps=256_350, batch=8, learning_rate=2e-4, warmup=0, decay="constant", clip=WEIGHT
        )
    )
    start: str | None = None
    validate_every: int = 1000
    version: str = "0.1.0"

    @property
    def plan(self) -> Variant:
        """What the variant's name stands for.

        Raises:
            OptionError: There is no variant of that name.
        """
        if self.variant not in VARIANTS:
            raise OptionError(f"unknown variant {self.variant!r}; known are {', '.join(VARIANTS)}")
        return VARIANTS[self.variant]

    @property
    def arguments(self) -> dict[str, Any]:
        """The generator's."""
        plan = self.plan
        sizes = {kind: dict(self.sizes[kind]) for kind in (plan.content, plan.noise) if kind is not None}
        if plan.loss == "wgan_vgg":
            sizes = {"dncnn": dict(WGAN_PREDICTOR)}
        elif plan.widen != 1.0:
            sizes["unet"]["widths"] = [8 * round(width * plan.widen / 8) for width in sizes["unet"]["widths"]]
        return {"content": plan.content, "noise": plan.noise, "sizes": sizes, "light": self.light}


PRESETS = {
    "paper": Config(),
    "cpu": Config(
        sizes=LIGHT,
        light=True,
        judge=(32, 64, 128, 256),
        mix=_mix(64),
        schedule=Schedule(steps=30_000, batch=16, learning_rate=1e-3, save_every=50, clip=WEIGHT),
        validate_every=500,
    ),
    "ablation": Config(
        sizes=SMALL,
        light=True,
        judge=(16, 32, 64, 128),
        mix=_mix(64),
        schedule=Schedule(steps=3_000, batch=16, learning_rate=1e-3, warmup=50, save_every=50, clip=WEIGHT),
        validate_every=500,
    ),
}
"""The paper's; one for two cores: light, small patches, and a rate that falls; and one to compare the variants."""


class Objective:
    """The discriminator tells real from made, and the generator comes near the truth and deceives it."""

    def __init__(self, config: Config, *, noisy_only: bool) -> None:
        torch.manual_seed(config.schedule.seed)
        self._plan, self._schedule, self._noisy_only = config.plan, config.schedule, noisy_only
        self._network = Gan(**config.arguments)
        if config.start is not None:
            weights.start_from(self._network, config.start)
        networks: dict[str, nn.Module] = {"gan": self._network}
        if self._plan.loss in ("lsgan", "wgan_vgg") and not noisy_only:
            if config.mix.size < LEAST_SIDE:
                raise OptionError(
                    f"the discriminator needs patches of {LEAST_SIDE} pixels or more, got {config.mix.size}; "
                    "give a larger --patch"
                )
            self._judge = networks["discriminator"] = PatchDiscriminator(widths=config.judge)
        if self._plan.loss == "wgan_vgg" and not noisy_only:
            self._features = networks["features"] = Perceptual()
        self.networks: Mapping[str, nn.Module] = networks
        moved = {"discriminator": networks.get("discriminator"), "generator": self._network}
        self.optimizers: Mapping[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(network.parameters(), lr=config.schedule.learning_rate, betas=BETAS)
            for name, network in moved.items()
            if network is not None
        }

    def denoise(self, networks: Mapping[str, nn.Module], noisy: Tensor) -> Tensor:
        """Network units in and out, shape (batch, 1, rows, columns); batch normalisation as in use."""
        return self._stages(networks["gan"].eval(), noisy, level_map(noisy))[1]

    def losses(self, noisy: Tensor, clean: Tensor, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """The discriminator's loss, as often as its variant wants, and then the generator's."""
        if self._noisy_only:
            yield "generator", neighbor2neighbor(self._denoised, noisy, generator)
            return
        level = level_map(noisy)
        with self._schedule.autocast():
            content, noise, fused = self._network.parts(noisy, level)
        real, made = shown(clean, noisy - clean, noisy, level), shown(fused, noise, noisy, level)
        if self._plan.loss == "lsgan":
            missed, taken_in = towards(self._verdict(real), 1.0), towards(self._verdict(made.detach()), 0.0)
            yield "discriminator", 0.5 * (missed + taken_in)
        elif self._plan.loss == "wgan_vgg":
            for _ in range(CRITIC_STEPS):
                apart = self._verdict(made.detach()).mean() - self._verdict(real).mean()
                yield "discriminator", apart + PENALTY * gradient_penalty(self._judge, real, made, generator)
        measure = _squared if self._plan.loss == "mse" else relative_error
        if self._plan.loss == "wgan_vgg":
            error = self._features.distance(made[:, :1], real[:, :1]) / SHOWN_LEVEL**2
        else:
            error = 0.5 * (measure(fused, noisy, clean, level) + measure(content, noisy, clean, level))
        if self._plan.noise_error:
            error = 0.5 * (error + measure(noisy - noise, noisy, clean, level))
        yield "generator", WEIGHT * error + self._caught(made)

    def _caught(self, made: Tensor) -> Tensor:
        """How well the discriminator tells what was made, if there is one; no gradient is left in its own weights."""
        if "discriminator" not in self.networks:
            return made.new_zeros(())
        self._judge.requires_grad_(False)
        verdict = self._verdict(made)
        self._judge.requires_grad_(True)
        return towards(verdict, 1.0) if self._plan.loss == "lsgan" else -verdict.mean()

    def _verdict(self, images: Tensor) -> Tensor:
        with self._schedule.autocast():
            verdict: Tensor = self._judge(images)
        return verdict.float()

    def _stages(self, network: Any, noisy: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        with self._schedule.autocast():
            stages: tuple[Tensor, Tensor] = network.stages(noisy, level)
        return stages

    def _denoised(self, noisy: Tensor) -> Tensor:
        return self._stages(self._network, noisy, level_map(noisy))[1]


def _squared(denoised: Tensor, noisy: Tensor, clean: Tensor, level: Tensor) -> Tensor:
    """Mean squared error over the noise scale."""
    return ((denoised - clean) / noise_scale(noisy, clean, level).reshape(-1, 1, 1, 1)).square().mean()


def run(
    config: Config, folder: Path | None, out: Path, *, resume: bool, report: Callable[[str], None],
    trackers: Sequence[Hook] = (),
) -> Card:  # fmt: skip
    """Train generator and discriminator and write the generator's weights and card to ``out``.

    Arguments as the student's recipe has.
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
        card = _card(averages["gan"].cpu(), config, data)
        return weights.save(averages["gan"], card, out) if group.first else card


def _card(network: nn.Module, config: Config, data: Data) -> Card:
    image = torch.full((1, 1, 256, 256), 0.5)
    published = config.variant == Config.variant
    return Card(
        name="gan" if published else f"gan-{config.variant}",
        version=config.version,
        network="gan",
        arguments=config.arguments,
        description="Content and noise predictor trained against a discriminator; shows the noise that it estimates",
        modalities=sorted({i.modality for i in data.used}),
        parameters=parameter_count(network),
        gmac=round(gmac(network.eval(), image, image), 2),
        training={
            "recipe": f"meddenoise train gan --variant {config.variant}",
            "start": config.start and Path(config.start).name,
            "schedule": asdict(config.schedule),
            "mix": asdict(config.mix),
            **data.facts(),
        },
    )
