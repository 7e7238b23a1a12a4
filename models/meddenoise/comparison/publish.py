"""A candidate takes the running model's place only where it is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from meddenoise.comparison.cases import Case
from meddenoise.comparison.compare import Comparison, Progress, Rule, compare
from meddenoise.comparison.page import write
from meddenoise.inference import Denoiser
from meddenoise.weights import Card, versions
from meddenoise.weights.store import built_in_card


def publish_if_better(
    network: nn.Module,
    card: Card,
    site: Sequence[Case],
    *,
    device: str = "auto",
    rule: Rule | None = None,
    keep: int = versions.KEPT,
    progress: Progress | None = None,
) -> tuple[Comparison, Card | None]:
    """Compare a network with the active version of the model its card names, and publish it if it is better.

    The comparison is stored beside the version. Should another version be activated meanwhile, nothing is published.

    Args:
        network: The candidate; it is moved to the device.
        card: Its card; the version it is given counts on from the running model's.
        site: Patients of the site that it was not trained on.
        device: "auto", "cpu", "cuda" or "cuda:N".
        rule: When it is better; the default one if None.
        keep: Versions of the site to keep.
        progress: As for compare().

    Returns:
        The comparison; and the card as published, None where the candidate is not better.

    Raises:
        InputError: No patient, or an image that nothing can be measured on.
        ModelError: Another version was activated meanwhile.
        OptionError: MEDDENOISE_WEIGHTS names the only folder of models.
        OutputError: The data folder cannot be written; the running model is untouched.
    """
    candidate = Denoiser(network.eval().requires_grad_(False), card, device=device)
    running = Denoiser.load(card.name, device=device)
    has_built_in = built_in_card(card.name) is not None
    installed = Denoiser.load(f"{card.name}@{versions.BUILT_IN}", device=device) if has_built_in else None
    found = compare(candidate, running, site, installed=installed, rule=rule, progress=progress)
    if not found.better:
        return found, None
    published = versions.publish(
        network,
        replace(card, version=running.card.version),
        beside=lambda folder: write(found, folder),
        instead_of=running.card.sha256,
        keep=keep,
    )
    return found, published
