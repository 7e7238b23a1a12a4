"""What becomes of a candidate: compared with the model that runs, on patients of the site that it never saw."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from meddenoise import comparison, weights
from meddenoise.comparison import Case, Comparison, Judged, Rule
from meddenoise.errors import InputError, ModelError
from meddenoise.inference import Denoiser
from meddenoise.io import read_volume
from meddenoise.server import train_plan
from meddenoise.server.site_data import Example, SiteData
from meddenoise.training.progress import Report
from meddenoise.volume import MODALITIES, Modality
from meddenoise.weights import Card, versions
from meddenoise.weights.store import COLOUR, site_versions

logger = logging.getLogger(__name__)

CASES = 16
"""At most this many held-back images are compared on."""
FEW = 5
"""With fewer held-back patients, all of their images count; else one of each."""
SHARES = (1.0, 0.75, 0.5, 0.25)
"""Of what the weights changed by, tried in turn until a candidate is better: less is learned, and less forgotten."""
TRIES = 3
"""Times that the candidate is compared anew because another version was activated meanwhile."""
RULE = Rule(partners_count_as_they_are=True)
"""A site's clean images show what it wants. Where the noisy ones were made from them by adding noise, as for low doses,
the best guess of them keeps some of the noise that both have, which a comparison with the unseen truth would punish."""


class AsItIs(nn.Module):
    """Leaves images alone: what runs where no model runs yet."""

    def forward(self, image: Tensor, level: Tensor) -> Tensor:
        """The image."""
        return image


def held_back_cases(site: SiteData, files: dict[tuple[str, str | None], Path]) -> list[Case]:
    """The images that the models are compared on, with their partners where there are any."""
    examples = list({one.image: one for one in reversed(site.held_back)}.values())[::-1]
    by_patient = {one.looked.patient: one for one in sorted(examples, key=lambda one: one.looked.slices)}
    if len(by_patient) >= FEW:
        examples = list(by_patient.values())
    picks = np.unique(np.linspace(0, len(examples) - 1, min(CASES, len(examples))).round().astype(int))
    return [_case(examples[i], files) for i in picks]


def _case(one: Example, files: dict[tuple[str, str | None], Path]) -> Case:
    modality: Modality = next(m for m in MODALITIES if m == one.looked.modality)
    noisy, partner = (
        None if tag == "" else read_volume(files[one.image, tag or None], modality=modality)
        for tag in (None, one.partner or "")
    )
    assert noisy is not None
    return Case(noisy, partner)


def judged(
    file: Path, recipe: str, facts: dict[str, Any], site: Sequence[Case], *, device: str, publish: bool, tell: Report
) -> dict[str, Any]:
    """Compare a candidate with the running model, publish it if it is better, and say so, JSON-able.

    The comparison with its pictures is written beside the candidate, and beside the version where it is published.

    Args:
        file: The candidate's weights.
        recipe: Name of the model.
        facts: What it was trained on, for its card, in which no image is named.
        site: What to compare on.
        device: To denoise on.
        publish: Whether it may be published.
        tell: Called with a line.

    Raises:
        MedDenoiseError: What publish_if_better raises; the running model is untouched.
    """
    network, card = weights.load(str(file))
    for left in reversed(range(TRIES)):
        try:
            found, published = _best_of(network, card, recipe, facts, site, device=device, publish=publish, tell=tell)
            break
        except ModelError:
            if not left:
                raise
            tell("another version was activated meanwhile: comparing with that one")
    comparison.write(found, file.parent)
    said = comparison.read(file.parent) or {}
    tell(str(said.get("verdict")))
    return {
        "better": found.better,
        "published": published.version if published else None,
        **{key: said.get(key) for key in ("verdict", "reasons", "change", "uncertainty")},
        "cases": [_shown(one) for one in (*found.site, *found.built_in)],
    }


def _best_of(
    network: nn.Module,
    card: Card,
    recipe: str,
    facts: dict[str, Any],
    site: Sequence[Case],
    *,
    device: str,
    publish: bool,
    tell: Report,
) -> tuple[Comparison, Card | None]:
    """The comparison of the first candidate that is better, else that of the network as it was trained."""
    training = {key: value for key, value in card.training.items() if key != "volumes"}
    running = train_plan.running(recipe)
    start = train_plan.gone_on_from(running, facts["modalities"])
    before = weights.load(train_plan.start_of(start))[0] if start else None
    known = set(card.modalities) | set(running.modalities if running else ())
    elsewhere = left_to_others(running, facts["modalities"])
    card, first = replace(card, name=recipe, modalities=sorted(known), elsewhere=elsewhere), None
    for share in SHARES if before and alike(network, before) else SHARES[:1]:
        if train_plan.running(recipe) != running:
            raise ModelError(f"another version of {recipe} was activated meanwhile")
        candidate = network if before is None else between(before, network, share)
        told = replace(card, training={**training, "site": facts, "share_of_change": share})
        found, published = _compared(candidate, told, site, device=device, publish=publish)
        first = first or found
        if found.better:
            return found, published
        tell(f"with {share:.0%} of what was learned: {'; '.join(found.reasons)}")
    assert first is not None
    return first, None


def left_to_others(running: Card | None, learned: Iterable[str]) -> dict[str, str]:
    """The versions, by modality, that go on denoising what a candidate has not learned from: colour never is.

    Args:
        running: Card of the model that is served; None where there is none: the candidate then has all modalities.
        learned: Modalities of the site's images.
    """
    if running is None:
        return {}
    version = running.version if running.version in site_versions(running.name) else versions.BUILT_IN
    kinds = [*(m for m in MODALITIES if m not in learned), *([COLOUR] if running.colour else [])]
    return {kind: running.elsewhere.get(kind, version) for kind in kinds}


def alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have the same parameters, so that there are networks between them."""
    shapes = ({name: value.shape for name, value in network.state_dict().items()} for network in (one, other))
    return next(shapes) == next(shapes)


def between(running: nn.Module, trained: nn.Module, share: float) -> nn.Module:
    """A network on the straight line from one to another of the same shape; 1 is the trained one itself.

    Fine-tuned weights and those that they come from lie in one valley, and a network between them often keeps what was
    known and most of what was learned: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
    """
    if share == 1.0:
        return trained
    mixed = copy.deepcopy(trained)
    with torch.no_grad():
        for value, before in zip(mixed.state_dict().values(), running.state_dict().values(), strict=True):
            if value.is_floating_point():
                value.lerp_(before.to(value), 1.0 - share)
    return mixed


def _shown(one: Judged) -> dict[str, Any]:
    """Errors are over that of the noisy image: 1 is no gain, 0 is the truth."""
    return {
        "name": one.name,
        "modality": one.modality,
        "kind": one.kind,
        "error": {"running": one.running.error, "candidate": one.candidate.error},
        "change": one.mean_change,
        "shift": {"running": one.running.shift, "candidate": one.candidate.shift, "units": one.units},
    }


def _compared(
    network: nn.Module, card: Card, site: Sequence[Case], *, device: str, publish: bool
) -> tuple[Comparison, Card | None]:
    if not site:
        raise InputError("no held-back image to compare on")
    if card.name in weights.available() and publish:
        return comparison.publish_if_better(network, card, site, device=device, rule=RULE)
    candidate = Denoiser(network, card, device=device)
    known = card.name in weights.available()
    running = Denoiser.load(card.name, device=device) if known else _nothing(card, device)
    found = comparison.compare(candidate, running, site, rule=RULE)
    return found, versions.publish(network, card) if found.better and publish else None


def _nothing(card: Card, device: str) -> Denoiser:
    return Denoiser(AsItIs(), replace(card, version="none", description="The images as they are"), device=device)
