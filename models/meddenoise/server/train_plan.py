"""From a client's options to a recipe's configuration: the preset that trained the published weights, changed."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib import import_module
from typing import Any

from meddenoise import weights
from meddenoise.errors import ModelError, OptionError
from meddenoise.recipes.student import FIRST_STAGE_ALONE
from meddenoise.server.train_options import STUDENT, TrainOptions
from meddenoise.training.stages import GROWTH
from meddenoise.weights import Card
from meddenoise.weights.site import pinned

RECIPES = {
    "student": "the small fast network",
    "two_stage": "the network of two stages, which also shows the noise that it estimates",
    "gan": "the network that was taught by a discriminator",
}
"""What can be trained, in words; those count whose recipe is there."""
TEACHER = "teacher"
INTERIM = "0."
"""Versions of a teacher that begin so are no better than the student, and are learned from only where that is asked."""
FINE = 0.4
"""Of a recipe's rate for a fresh network, for one that goes on from learnt weights."""
SAVES, VALIDATIONS, LEAST_SAVE = 20, 10, 50
"""Checkpoints and validations of a training, and steps after which there is a checkpoint at the latest."""


def recipes() -> list[str]:
    """Names of the recipes that a site can train."""
    return [name for name in RECIPES if importlib.util.find_spec(f"meddenoise.recipes.{name}")]


def recipe_of(name: str) -> Any:
    """The recipe's module: PRESETS and run()."""
    return import_module(f"meddenoise.recipes.{name}")


def running(name: str) -> Card | None:
    """The card of the model that is served under a name; None where there is none yet.

    Raises:
        ModelError: It is there and damaged.
    """
    return weights.read_card(name) if name in weights.available() else None


def start_of(card: Card) -> str:
    """The name of a running model by which exactly its version is loaded, whatever is activated meanwhile."""
    return card.name if pinned() else f"{card.name}@{card.version}"


def gone_on_from(card: Card | None, modalities: Mapping[str, int]) -> Card | None:
    """The card of the version whose network is trained further: the one that denoises most of the images now.

    Args:
        card: Of the model that is served; None where there is none, and so no network to go on from.
        modalities: Of the images that are learned from, with their numbers.

    Raises:
        ModelError: That version is damaged.
    """
    if card is None:
        return None
    version = card.elsewhere.get(max(sorted(modalities), key=lambda modality: modalities[modality]))
    return card if version is None else weights.read_card(f"{card.name}@{version}")


def configured(
    recipe: str, options: TrainOptions, *, device: str, card: Card | None, shrink: Mapping[str, float]
) -> Any:
    """The recipe's configuration for a site.

    Args:
        recipe: Its name.
        options: The client's.
        device: To train on; the preset for the processor is taken there, else the recipe's first.
        card: Of the running model, which is gone on from; None for a fresh one.
        shrink: Volumes whose targets are shrunk, and how much.
    """
    presets = recipe_of(recipe).PRESETS
    config = presets["cpu"] if device == "cpu" and "cpu" in presets else next(iter(presets.values()))
    rate = options.learning_rate or config.schedule.learning_rate * (1.0 if card is None else FINE)
    changes = {"learning_rate": rate, "batch": options.batch or config.schedule.batch}
    config = replace(
        config,
        schedule=replace(config.schedule, device=device, seed=options.seed, decay="cosine", **changes),
        mix=replace(
            config.mix,
            size=options.patch or config.mix.size,
            shrink=dict(shrink),
            left_out=(),
            strength=(options.noise_low, options.noise_high),
        ),
    )
    if card is not None:
        config = replace(config, start=start_of(card), version=card.version.split("+")[0], **_sizes(recipe, card))
    return _ladder(config, options) if recipe == STUDENT else config


def _ladder(config: Any, options: TrainOptions) -> Any:
    """The student's configuration with its stages: those of the options, or of the plain network alone."""
    if not distils(options, config.schedule.device):
        return replace(config, variant="plain")
    return replace(
        config,
        variant="staggered",
        refinement=config.refinement if options.refine else 0.0,
        pruning=config.pruning if options.prune else None,
        cooldown=config.cooldown if options.refine else 0.0,
    )


def distils(options: TrainOptions, device: str) -> bool:
    """Whether a student learns from a teacher.

    Raises:
        OptionError: It is to, and there is no teacher.
    """
    there = TEACHER in weights.available()
    if options.distil == "on" and not there:
        raise OptionError("there is no teacher to distil from; leave distil at auto, or publish a model called teacher")
    if options.distil != "auto":
        return options.distil == "on"
    return there and device != "cpu" and not weights.read_card(TEACHER).version.startswith(INTERIM)


def stretch(config: Any) -> float:
    """Time that a recipe's later stages take, on top of the first one's and as a share of it: 1 for none."""
    if getattr(config, "variant", "") == "plain":
        return 1.0
    pruning = getattr(config, "pruning", None)
    tuning = pruning.rounds * pruning.share if pruning else 0.0
    return 1.0 + getattr(config, "refinement", 0.0) + tuning + GROWTH**2 * getattr(config, "cooldown", 0.0)


def first_stage_alone(config: Any) -> Any:
    """The configuration without the later stages."""
    known = {field.name for field in fields(config)}
    return replace(config, **{key: value for key, value in FIRST_STAGE_ALONE.items() if key in known})


def of_length(config: Any, steps: int) -> Any:
    """The configuration with so many steps, and with checkpoints and validations that suit them."""
    schedule = replace(
        config.schedule,
        steps=steps,
        warmup=min(config.schedule.warmup, steps // 10),
        save_every=max(1, min(LEAST_SAVE, steps // SAVES)),
    )
    return replace(config, schedule=schedule, validate_every=max(1, steps // VALIDATIONS))


def steps_of_epochs(epochs: int, slices: int, batch: int) -> int:
    """Steps that show as many patches as there are slices, so many times."""
    return math.ceil(epochs * slices / batch)


def _sizes(recipe: str, card: Card) -> dict[str, Any]:
    """What a recipe's configuration says of the network's sizes, by the card of the network that is gone on from."""
    if card.network != recipe:
        raise ModelError(f"{card.name} is a network of the kind {card.network}, which the recipe {recipe} cannot train")
    if recipe == STUDENT:  # takes the sizes from the weights
        return {}
    if recipe == "gan":
        return {name: card.arguments[name] for name in ("sizes", "light")}
    return dict(card.arguments)
