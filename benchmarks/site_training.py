"""A site trains a model further on its own images, through HTTP alone: is the model then better for another patient?

The site is a running `meddenoise serve` with the quarter-dose slices of two patients (L096, L143) in its datastore, put
there by MONAI Label's own client, with or without the full-dose slices as labels `final`. The client starts the
training with its usual options, stops it midway, starts it again and watches it to its end. The patient L192, whom
nothing was chosen by, is denoised over HTTP before and after, and judged as by quarter_dose.py: ratio, t and shift are
explained there. A request for a slice is timed without a training, and while the model trains. What was trained is
thrown away with the server's folders.

gain      mean relative change of the ratio over L192's sets: negative is better.
published whether the site's own comparison, on the patient that it held back, found the trained model better.
minutes   from the first start to the verdict, the stop included; and of these, what each stage took.
wait      median seconds (slowest) until a slice of 512 x 512 is answered.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, data_folder, manifest, publish, table
from quarter_dose import Pair, Scores, pairs, scores

from meddenoise.io import read_volume
from meddenoise.server.process import server_process
from meddenoise.server.serve import free_port

with warnings.catch_warnings():  # it imports cgi
    warnings.simplefilter("ignore", DeprecationWarning)
    from monailabel.client.client import MONAILabelClient

RESULT = "site_training"
SITE, JUDGED = ("L096", "L143"), "L192"
AIM, SHIFT = -0.05, 1.0
"""Of the ratio's change with partners, and HU; without partners, the ratio must not grow."""
QUIET = 9
"""Requests that are timed without a training."""
EVERY = 15.0
"""Seconds between requests that are timed during the training."""
POLL = 1.0
STOP_AT = 10
"""Step of the training, at the earliest, at which it is stopped once."""
STARTING = 1200.0
"""Seconds after which a training that has done no step counts as failed."""


@dataclass
class Watched:
    """What was seen of a training.

    Attributes:
        stages: Seconds by stage, in order.
        seconds: From the first start to the end.
        resumed: Whether it went on where it was stopped.
        waits: Seconds of requests that were answered while the model trained.
        end: The last status.
    """

    stages: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    resumed: bool = False
    waits: list[float] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)


@contextmanager
def site(folder: Path) -> Iterator[MONAILabelClient]:
    """A server over an empty datastore with a data folder of its own, as MONAI Label's client sees it."""
    port, studies = free_port(), folder / "studies"
    for name in ("studies", "tmp", "client"):
        (folder / name).mkdir()
    environment = {
        "MEDDENOISE_HOME": str(folder / "home"),
        "MEDDENOISE_WEIGHTS": "",
        "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
        "TMPDIR": str(folder / "tmp"),
    }
    with server_process(studies, port=port, log=folder / "log", environment=environment) as url:
        yield MONAILabelClient(url, tmpdir=str(folder / "client"))


def fill(client: MONAILabelClient, folder: Path, *, partners: bool) -> int:
    """Put the site's slices into the datastore, as a user would; returns how many."""
    rows = {(r["pair_key"], r["dose"]): r for r in manifest() if r["use"] == "evaluation only" and r["subject"] in SITE}
    count = 0
    for key in sorted({key for key, _ in rows}):
        quarter, full = (sorted((data_folder() / rows[key, dose]["path"]).iterdir()) for dose in ("quarter", "full"))
        for number, (noisy, clean) in enumerate(zip(quarter, full, strict=True)):
            name = f"{key.removeprefix('LDCT_')}_{number}"
            client.upload_image(_as_dicom(noisy, folder), name)
            if partners:
                client.save_label(name, _as_dicom(clean, folder), tag="final")
            count += 1
    return count


def _as_dicom(file: Path, folder: Path) -> Path:
    """A copy whose name a server takes for an image's."""
    return Path(shutil.copyfile(file, folder / "slice.dcm"))


def denoised(client: MONAILabelClient, model: str, file: Path, folder: Path) -> tuple[np.ndarray[Any, Any], float]:
    """A slice as the server denoises it, shape (1, rows, columns), in HU; and the seconds until it was answered."""
    sent = _as_dicom(file, folder)
    start = time.monotonic()
    answer, _ = client.infer(model, "", {}, file=sent)
    waited = time.monotonic() - start
    array = read_volume(Path(answer), modality="CT").array
    Path(answer).unlink()
    return array, waited


def judged(client: MONAILabelClient, model: str, sets: list[Pair], folder: Path) -> dict[str, Scores]:
    """The scores of L192's sets; where no model is served yet, those of the images as they are."""
    if model not in client.info()["models"]:
        return {pair.name: scores(pair, pair.q) for pair in sets}
    found = {}
    for pair in sets:
        assert pair.quarter is not None
        files = pair.quarter.header.sources
        made = np.concatenate([denoised(client, model, file, folder)[0] for file in files])
        found[pair.name] = scores(pair, made.astype(np.float64))
    return found


def trained(client: MONAILabelClient, model: str, options: dict[str, Any], ask: Callable[[], float]) -> Watched:
    """Start the training, stop it midway, start it again, and watch it to its end; meanwhile, requests are timed."""
    seen, start = Watched(), time.monotonic()
    client.train_start(model, dict(options))
    _watch(client, seen, until=lambda progress: progress.get("step", 0) >= STOP_AT and _trains(progress))
    if client.train_stop()["status"] != "STOPPED":
        sys.exit("the training cannot be stopped")
    _say("stopped by the client")
    while client.train_status(check_if_running=True):
        time.sleep(POLL)
    seen.resumed = client.train_start(model, dict(options))["resumed"]
    _say("started again by the client")
    over = threading.Event()
    asking = threading.Thread(target=_ask_now_and_then, args=(client, ask, over, seen.waits))
    asking.start()
    try:
        _watch(client, seen, until=lambda progress: False)
    finally:
        over.set()
        asking.join()
    seen.seconds = time.monotonic() - start
    return seen


def _trains(progress: dict[str, Any]) -> bool:
    return str(progress.get("stage", "")).startswith("training")


def _watch(client: MONAILabelClient, seen: Watched, *, until: Callable[[dict[str, Any]], bool]) -> None:
    """Note stages and their seconds until a condition holds or the training ends."""
    said, begun = "", time.monotonic()
    last = begun
    while True:
        task = client.train_status()
        progress = task.get("progress", {})
        for line in progress.get("lines", [])[-1:]:
            if line != said:
                _say(f"{progress.get('stage')}: {line}")
            said = line
        if task["status"] not in ("SUBMITTED", "RUNNING"):
            seen.end = progress
            return
        if until(progress):
            return
        if not seen.stages.get("training") and time.monotonic() - begun > STARTING:
            sys.exit(f"no step within {STARTING:.0f} s: {task}")
        stage = "training" if _trains(progress) else str(progress.get("stage", "starting"))
        time.sleep(POLL)
        now = time.monotonic()
        seen.stages[stage] = seen.stages.get(stage, 0.0) + now - last
        last = now


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", file=sys.stderr, flush=True)


def _ask_now_and_then(
    client: MONAILabelClient, ask: Callable[[], float], over: threading.Event, waits: list[float]
) -> None:
    while not over.wait(EVERY):
        if _trains(client.train_status().get("progress", {})):
            waits.append(ask())


def measure(model: str, minutes: float, *, partners: bool) -> dict[str, Any]:
    """All of it, in folders that are removed."""
    sets = [pair for pair in pairs() if pair.name.startswith(JUDGED)]
    with tempfile.TemporaryDirectory() as scratch, site(Path(scratch)) as client:
        folder = Path(scratch) / "client"
        asked = model if model in client.info()["models"] else next(iter(client.info()["models"]))
        other = folder / "other"  # requests are timed while others are made
        other.mkdir()
        images = fill(client, folder, partners=partners)
        before = judged(client, model, sets, folder)
        one = next(Path(scratch, "studies").glob("*.dcm"))

        def ask() -> float:
            return denoised(client, asked, one, other)[1]

        quiet = [ask() for _ in range(QUIET)]
        _say(f"before: {json.dumps(before)}; wait {np.median(quiet):.2f} s")
        options = {"minutes": minutes, "patient_from": "_", "device": "cpu"}
        seen = trained(client, model, options, ask)
        if seen.end.get("state") != "done":
            sys.exit(f"the training ended as {seen.end.get('state')}: {seen.end.get('problem')}")
        after = judged(client, model, sets, folder)
        versions = client.info()["models"].get(model, {}).get("version")
    ratios = {name: after[name]["ratio"] / before[name]["ratio"] - 1 for name in before}  # type: ignore[operator]
    return {
        "model": model,
        "partners": partners,
        "budget_minutes": minutes,
        "images": images,
        "data": seen.end["data"],
        "before": before,
        "after": after,
        "gain": float(np.mean(list(ratios.values()))),
        "gains": ratios,
        "version": versions,
        "result": seen.end["result"],
        "resumed": seen.resumed,
        "seconds": round(seen.seconds),
        "stages": {stage: round(seconds) for stage, seconds in seen.stages.items()},
        "wait_quiet": [round(value, 3) for value in quiet],
        "wait_training": [round(value, 3) for value in seen.waits],
    }


def missed(figures: dict[str, Any]) -> list[str]:
    """The aims that were missed."""
    shifts = [abs(one["shift"]) for one in figures["after"].values()]
    found = []
    if figures["partners"] and figures["gain"] > AIM:
        found.append(f"the ratio on {JUDGED} changed by {figures['gain']:+.1%}, wanted {AIM:+.0%}")
    if not figures["partners"] and figures["gain"] > 0:
        found.append(f"without partners the ratio on {JUDGED} grew by {figures['gain']:.1%}")
    if max(shifts) >= SHIFT:
        found.append(f"soft tissue shifts by {max(shifts):.2f} HU, wanted less than {SHIFT:g}")
    if not figures["resumed"]:
        found.append("the training did not go on where it was stopped")
    return found


def page(runs: dict[str, dict[str, Any]]) -> str:
    """The figures of all runs as a Markdown page."""
    head = ["run", "set", "ratio before", "after", "t before", "after", "shift HU before", "after"]
    rows = [
        [name, key]
        + [
            f"{one[side][key][figure]:{form}}"
            for figure, form in (("ratio", ".3f"), ("t", ".3f"), ("shift", "+.2f"))
            for side in ("before", "after")
        ]
        for name, one in runs.items()
        for key in one["before"]
    ]
    facts = [
        "run",
        "learns from",
        "gain",
        "published",
        "minutes (budget)",
        "stages, minutes",
        "wait alone",
        "wait beside",
    ]
    told = [
        [
            name,
            f"{one['data']['learns_from']}: {one['data']['slices']} slices",
            f"{one['gain']:+.1%}",
            str(one["result"]["published"] or "no"),
            f"{one['seconds'] / 60:.1f} ({one['budget_minutes']:g})",
            ", ".join(f"{stage} {seconds / 60:.1f}" for stage, seconds in one["stages"].items()),
            *(_waits(one[key]) for key in ("wait_quiet", "wait_training")),
        ]
        for name, one in runs.items()
    ]
    verdicts = [f"{name}: {one['result']['verdict']}" for name, one in runs.items()]
    parts = ["# A site trains on its own images", (__doc__ or "").strip(), table(head, rows), table(facts, told)]
    return "\n\n".join([*parts, *verdicts])


def _waits(seconds: list[float]) -> str:
    return f"{np.median(seconds):.2f} ({max(seconds):.2f}) of {len(seconds)}" if seconds else "none"


def main() -> None:
    """Measure one run and publish it beside the others; exit 1 where an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("student", "two_stage", "gan"), default="student")
    parser.add_argument("--minutes", type=float, default=20.0, help="that the training may take (default 20)")
    parser.add_argument("--partners", choices=("yes", "no"), default="yes", help="whether full-dose slices are there")
    parser.add_argument("--dry", action="store_true", help="print the figures, publish nothing")
    arguments = parser.parse_args()
    figures = measure(arguments.model, arguments.minutes, partners=arguments.partners == "yes")
    path = RESULTS / f"{RESULT}.json"
    kept = json.loads(path.read_text()) if path.exists() and not arguments.dry else {}
    kept[f"{arguments.model}, {'with' if figures['partners'] else 'without'} partners"] = figures
    if arguments.dry:
        print(page(kept), json.dumps(figures, indent=1), sep="\n\n")
    else:
        publish(RESULT, page(kept), kept)
    if found := missed(figures):
        sys.exit("; ".join(found))


if __name__ == "__main__":
    main()
