"""Which image comes next, out of those without a final label that are not known to be unreadable."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from meddenoise.server.scores import IMAGE, Images, score_of

DAY = 24 * 60 * 60
"""Seconds for which an image that was offered waits behind those that were not."""

Info = Mapping[str, Any]


@dataclass(frozen=True)
class Candidate:
    """An image that may come next.

    Attributes:
        image: Its id.
        offered: When this strategy last offered it, in seconds since the epoch; 0 where it never did.
        noise: Its noise score, see `measures.noise`; empty where there is none of the image as it is now.
    """

    image: str
    offered: int
    noise: Info


Choice = Callable[[list[Candidate], int], dict[str, Any]]


def next_image(choose: Choice, name: str, images: Images, *, now: int | None = None) -> dict[str, Any] | None:
    """The next image by a strategy.

    Args:
        choose: The strategy: from candidates, at least one, and the time to the answer.
        name: The strategy's name, under which the datastore remembers what was offered.
        images: The datastore.
        now: Seconds since the epoch; the clock's by default.

    Returns:
        JSON-able, with "id" at least; None where there is no image left.
    """
    found = []
    for image in images.get_unlabeled_images():
        info = images.get_image_info(image)
        score = score_of("noise", info, {IMAGE: images.stamp(image)})
        if "failed" not in score:
            found.append(Candidate(image, int(info.get("strategy", {}).get(name, {}).get("ts", 0)), score))
    return choose(found, int(time.time()) if now is None else now) if found else None


def first(found: list[Candidate], now: int) -> dict[str, Any]:
    """The first by name, until it has a final label."""
    return {"id": min(candidate.image for candidate in found)}


def at_random(found: list[Candidate], now: int) -> dict[str, Any]:
    """Any, the rather the longer ago it was offered."""
    weights = [1 + max(0, now - candidate.offered) for candidate in found]
    return {"id": random.choices(found, weights)[0].image}  # noqa: S311 - no secret


def noisiest(found: list[Candidate], now: int) -> dict[str, Any]:
    """The one with most noise for its signal; those offered within a day come after the others, longest ago first.

    An image without a score comes after those with one, by name.
    """

    def rank(candidate: Candidate) -> tuple[int, bool, float, str]:
        lately = candidate.offered if now - candidate.offered < DAY else 0
        return lately, not candidate.noise, -float(candidate.noise.get("relative", 0.0)), candidate.image

    chosen = min(found, key=rank)
    unscored = sum(not candidate.noise for candidate in found)
    answer: dict[str, Any] = {"id": chosen.image, "unscored": unscored}
    if chosen.noise:
        answer["relative"] = chosen.noise["relative"]
    if unscored:
        answer["note"] = f"{unscored} of {len(found)} images have no noise score yet" + (
            "" if chosen.noise else "; this is the first of them by name"
        )
    return answer
