"""The command `meddenoise batch`, run as a user runs it, and what it told."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FRESH = re.compile(r" -> (?!.*done before$)")
COUNTS = ("denoised", "done before", "failed")


def batch(studies: list[Path], model: str, output: Path, kill_after: int | None = None) -> dict[str, Any]:
    """Run the command, up to a random moment after that many items; what it told and how it ended."""
    command = [sys.executable, "-m", "meddenoise", "batch", "--studies", *map(str, studies), "--model", model]
    start, told = time.perf_counter(), list[str]()
    with subprocess.Popen(
        [*command, "--output", str(output), "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            told.append(line.strip())
            if kill_after is not None and sum(bool(FRESH.search(line)) for line in told) > kill_after:
                time.sleep(random.uniform(0, 10))
                process.kill()
                break
    ended = {"exit code": process.returncode, "seconds": round(time.perf_counter() - start, 1)}
    counts = {word: next(iter(map(int, re.findall(rf"(\d+) {word}", told[-1]))), None) for word in COUNTS}
    said = [re.sub(r"^meddenoise: \[[^]]*\] ", "", line) for line in told if line.startswith("meddenoise: [")]
    for folder in studies:
        said = [line.replace(f"{folder}/", "") for line in said]
    return {**ended, **counts, "remembered": len(remembered(output)), "failures": said}


def remembered(output: Path) -> list[str]:
    """The items in the journal, one for each line that is whole."""
    journal = output / "batch-journal.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [json.loads(line)["item"] for line in lines if line.endswith("}")]
