"""A comparison as JSON, as a Markdown page and as pictures, all beside the version they are about."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from meddenoise.comparison.compare import Comparison, Judged
from meddenoise.errors import OutputError
from meddenoise.notice import NOTICE
from meddenoise.picture import side_by_side

FILE = "comparison"
WHO = ("running", "candidate")
PICTURES = 8
"""At most this many cases are drawn, the phantoms among them first."""


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON-able values; numbers that are not finite become None."""
    return {
        "better": comparison.better,
        "verdict": verdict(comparison),
        "reasons": list(comparison.reasons),
        "candidate": comparison.candidate,
        "running": comparison.running,
        "change": comparison.change,
        "uncertainty": comparison.uncertainty if math.isfinite(comparison.uncertainty) else None,
        "site": [_case(one) for one in comparison.site],
        "built_in": [_case(one) for one in comparison.built_in],
        "rule": asdict(comparison.rule),
        "notice": NOTICE,
    }


def verdict(comparison: Comparison) -> str:
    """The outcome in a sentence."""
    other = f"{comparison.running['version']} for {', '.join(sorted({one.modality for one in comparison.site}))}"
    if comparison.reasons:
        return f"not better than {other}: {'; '.join(comparison.reasons)}"
    change, unsure = -comparison.change, comparison.uncertainty
    return (
        f"better than {other}: on this site's images its error is smaller by {change:.1%} "
        f"+/- {unsure:.1%}, and on no phantom clearly larger"
    )


def as_markdown(comparison: Comparison) -> str:
    """The comparison as a page."""
    measured = ("error", "RMSE ratio", "shift")
    head = ("images", "noise", "change of the error", *(f"{what}, {who}" for what in measured for who in WHO))
    rows = [_row(one) for one in (*comparison.site, *comparison.built_in)]
    lines = [
        f"# A candidate for {comparison.running['name']}, compared with {comparison.running['version']}",
        f"**The candidate is {verdict(comparison)}.** {NOTICE.capitalize()}.",
        "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)),
        "Error: against the truth, over that of the noisy image (1: nothing gained, 0: the truth); where a reference "
        "is noisy itself, its noise is taken off. RMSE ratio: to the reference as it is, over that of the noisy image; "
        "it rewards noise that is left in. Shift: of the mean of soft tissue against the noisy image (CT), of the body "
        "against the reference (others).",
    ]
    return "\n\n".join(lines) + "\n"


def write(comparison: Comparison, folder: Path) -> None:
    """Write comparison.json, comparison.md and a picture per case into a folder.

    The pictures show patients of the site.

    Raises:
        OutputError: The folder cannot be written.
    """
    try:
        (folder / f"{FILE}.json").write_text(json.dumps(as_dict(comparison), indent=2) + "\n", encoding="utf-8")
        (folder / f"{FILE}.md").write_text(as_markdown(comparison), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: the comparison cannot be written ({error.strerror or error})") from error
    judged = {one.name: one for one in (*comparison.site, *comparison.built_in)}
    for shown in [*reversed(comparison.shown)][:PICTURES]:
        one = judged[shown.name]
        side_by_side(
            [
                ("Image", "", shown.noisy),
                (f"Running ({comparison.running['version']})", f"error {one.running.error:.3f}", shown.running),
                ("Candidate", f"error {one.candidate.error:.3f}", shown.candidate),
            ],
            folder / f"{FILE}-{shown.name.replace(' ', '-')}.png",
            heads=(f"{shown.name}, {one.kind}", f"{one.modality}, error {one.mean_change:+.1%}"),
        )


def read(folder: Path) -> dict[str, Any] | None:
    """The comparison that was written into a folder, as ``as_dict`` gives it; None where there is none to be read."""
    try:
        found: dict[str, Any] = json.loads((folder / f"{FILE}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def pictures_in(folder: Path) -> list[str]:
    """Names of the pictures that were written into a folder."""
    return sorted(path.name for path in folder.glob(f"{FILE}-*.png"))


def _case(one: Judged) -> dict[str, Any]:
    return {**asdict(one), "mean_change": one.mean_change}


def _row(one: Judged) -> list[str]:
    scores = (one.running, one.candidate)
    cells = [f"{score.error:.3f}" for score in scores] + [f"{score.ratio:.3f}" for score in scores]
    cells += [f"{score.shift:+.3g} {one.units}" for score in scores]
    return [f"{one.name}, {one.modality}", one.kind, f"{one.mean_change:+.1%}", *cells]
