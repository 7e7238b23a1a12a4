"""The curve of a published model's training: its losses over the pixels it has seen, run after run.

Losses are those of the recipe, relative to each patch's noise, on the patches trained on; each point is the mean since
the point before. Runs and stages that followed one another are drawn one after the other; where the patches grew or
their mix changed, the losses before and after are of different patches.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from common import publish, table

from meddenoise.training.progress import HISTORY

POINTS = 8
"""Of a run in the table."""


def main() -> None:
    """Read the histories and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the model")
    parser.add_argument(
        "runs", nargs="+", metavar="FOLDER,BATCH,SIDE", help="a run or stage, its patches a step and their side"
    )
    arguments = parser.parse_args()
    points: list[dict[str, Any]] = []
    for run in arguments.runs:
        folder, batch, side = run.rsplit(",", 2)
        points += points_of(Path(folder) / HISTORY, int(batch) * int(side) ** 2, points[-1]["pixels"] if points else 0)
    names = sorted({name for point in points for name in point if name.startswith("loss.")})
    rows = [
        [p["run"], f"{p['step']:,}", f"{p['pixels'] / 1e6:.0f}", *(f"{p[n]:.3f}" if n in p else "" for n in names)]
        for p in points
    ]
    head = ["run", "step", "million pixels", *names]
    text = [f"# Training of {arguments.name}", (__doc__ or "").strip(), table(head, rows)]
    publish(f"training-{arguments.name}", "\n\n".join(text), {"points": points})


def points_of(path: Path, pixels_a_step: int, before: int) -> list[dict[str, Any]]:
    """Mean losses of equal parts of one run; ``before`` is what was seen earlier."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    each = max(1, len(lines) // POINTS)
    points = []
    for part in (lines[i : i + each] for i in range(0, len(lines), each)):
        last = part[-1]
        losses = {n: sum(line[n] for line in part) / len(part) for n in last if n.startswith("loss.")}
        seen = before + pixels_a_step * last["step"]
        run = path.parent.name
        points.append({"run": run, "step": last["step"], "pixels": seen} | losses)
    return points


if __name__ == "__main__":
    main()
