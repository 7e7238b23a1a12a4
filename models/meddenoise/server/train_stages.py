"""How long each recipe of a training may take, and the files that it leaves."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

from meddenoise.io.atomic import replacing_file
from meddenoise.server.site_data import SiteData
from meddenoise.server.train_options import TrainOptions
from meddenoise.server.train_plan import of_length, steps_of_epochs, stretch
from meddenoise.server.train_run import Run, seconds_a_step, train
from meddenoise.server.train_status import Status
from meddenoise.training.data import PAIRS, SLICES
from meddenoise.training.slices import is_validation
from meddenoise.weights import Card

KEPT = 3
"""Runs that are kept, the one at work included."""
PLAN, PROBE = "plan.json", "probe"
TRAINING_SHARE = 0.75
"""Of the minutes that are left once the images are looked at; the comparison gets the rest."""
FIRST_SHARE = 0.4
"""Of the training's time for the first of two recipes, the teacher's."""
LEAST_STEPS = 20
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def trained(runs: Sequence[Run], options: TrainOptions, site: SiteData, minutes: float, told: Status) -> Card:
    """Run recipes one after the other, each from where it was ended; returns the last one's card.

    Args:
        runs: Still of the recipes' own length.
        options: The client's; they say how long.
        site: What is learned from.
        minutes: That are left.
        told: Hears of the stages.
    """
    end = monotonic() + 60.0 * TRAINING_SHARE * minutes
    for number, run in enumerate(runs):
        last = number == len(runs) - 1
        share = 1.0 if last else FIRST_SHARE
        run.out.mkdir(exist_ok=True, mode=0o700)
        if number:
            _link_data(runs[number - 1].out, run.out)
        planned = _planned(run, options, site, share * (end - monotonic()), told)
        told.enter(f"training the {run.recipe}")
        card = train(planned)
    return card


def _planned(run: Run, options: TrainOptions, site: SiteData, seconds: float, told: Status) -> Run:
    """The run with its length, as it was decided when it first began; its data is read."""
    plan = run.out / PLAN
    if not plan.exists():
        told.enter(f"measuring the speed of the {run.recipe}")
        steps = options.steps or _steps_of_epochs(run, options, site) or _steps_in(run, seconds, told)
        with replacing_file(plan) as fresh:
            fresh.write_text(json.dumps({"steps": steps}), encoding="utf-8")
    return replace(run, config=of_length(run.config, int(json.loads(plan.read_text(encoding="utf-8"))["steps"])))


def _steps_of_epochs(run: Run, options: TrainOptions, site: SiteData) -> int:
    used = {one.image: one.looked for one in site.examples if not is_validation(site.subjects[one.looked.patient])}
    return steps_of_epochs(options.epochs, sum(one.slices for one in used.values()), run.config.schedule.batch)


def _steps_in(run: Run, seconds: float, told: Status) -> int:
    """Steps of the first stage, so that all of them take so long."""
    probe = replace(run, out=run.out / PROBE, gpus=1)
    _empty(probe.out)
    _link_data(run.out, probe.out)
    each = seconds_a_step(probe)
    _link_data(probe.out, run.out)
    shutil.rmtree(probe.out)
    steps = max(LEAST_STEPS, int(seconds / stretch(run.config) / max(each, 1e-4)))
    told.say(f"{steps} steps of {each:.2g} s")
    return steps


def _link_data(source: Path, target: Path) -> None:
    """Give a folder the images that were read into another."""
    for name in (SLICES, PAIRS):
        if (source / name).exists() and not (target / name).exists():
            try:
                os.link(source / name, target / name)
            except OSError:  # a disk that knows no links
                shutil.copyfile(source / name, target / f"{name}.copy")
                (target / f"{name}.copy").replace(target / name)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)


def forget_images(out: Path) -> None:
    """Delete the copies of patients' images that a finished run holds, and its checkpoints."""
    for name in (SLICES, PAIRS, "checkpoint.safetensors"):
        for file in out.rglob(name):
            file.unlink(missing_ok=True)
    shutil.rmtree(out / "site", ignore_errors=True)


def clear_away(folder: Path, out: Path, *, finished: bool) -> None:
    """Make room for a run: an earlier one in its place that is finished goes, and the oldest others."""
    if finished:
        shutil.rmtree(out)
    others = sorted((f for f in folder.iterdir() if f.is_dir() and f != out), key=os.path.getmtime, reverse=True)
    for old in others[KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


def full_disk(error: Exception, folder: Path) -> str:
    """What to say where an error is that the disk is full, else ""; files that were half written are taken away.

    Args:
        error: Of Python; or of a library, which has the system's number or the words in its text alone.
        folder: Of all trainings.
    """
    said = re.search(r"os error (\d+)", str(error))
    number = error.errno if isinstance(error, OSError) else int(said[1]) if said else None
    if number not in FULL and not re.search(r"disk (is )?full", str(error)):
        return ""
    for file in folder.rglob("*.part"):
        file.unlink(missing_ok=True)
    return "the disk of the server's data folder is full; free some space and start the training again: it goes on"
