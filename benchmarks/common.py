"""What the benchmarks share: where the images are, and how tables are shown and kept."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def data_folder() -> Path:
    """The folder MEDDENOISE_DATA names."""
    folder = os.environ.get("MEDDENOISE_DATA")
    if not folder or not (Path(folder) / "MANIFEST.csv").exists():
        sys.exit("set MEDDENOISE_DATA to a folder of images with a MANIFEST.csv")
    return Path(folder)


def manifest() -> list[dict[str, str]]:
    """The rows of the manifest."""
    return list(csv.DictReader((data_folder() / "MANIFEST.csv").read_text().splitlines()))


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def publish(name: str, text: str, figures: dict[str, Any]) -> None:
    """Print a result and keep it as results/NAME.md and .json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text + "\n")
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(text)
