"""`meddenoise demo`: three images through a real MONAI Label server and back, with files, pictures and a table."""

from __future__ import annotations

import http.client
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from meddenoise import weights
from meddenoise.errors import OutputError, ServiceError
from meddenoise.inference import Result
from meddenoise.io import read_volume, write_volume
from meddenoise.metrics import rmse
from meddenoise.phantom import phantom
from meddenoise.report import DISCLAIMER, picture
from meddenoise.server.home import why_not_writable
from meddenoise.server.process import server_process
from meddenoise.server.serve import LOOPBACK, check_installed, check_port, free_port
from meddenoise.volume import Modality, Volume

Say = Callable[[str], None]
MODEL = "student"
BODY_HU = -300.0
"""Voxels whose truth lies above are the body, where the error to the truth is counted."""
HEADINGS = ("image", "modality", "noise before -> after", "bias", "RMSE to truth before -> after", "seconds")


@dataclass(frozen=True)
class Case:
    """One image of the demo: its id in the studies folder, its file, its modality, and its truth where known."""

    name: str
    file: Path
    modality: Modality
    truth: Volume | None = None


@dataclass(frozen=True)
class Outcome:
    """What came back: the answer's JSON, seconds from request to answer, and RMSE to the truth before and after."""

    case: Case
    answer: dict[str, Any]
    seconds: float
    errors: tuple[float, float] | None


def demo(output: Path, *, model: str = MODEL, port: int | None = None, say: Say) -> int:
    """Denoise a real CT slice, a real MR slice and a CT phantom through a server of our own on this machine.

    Args:
        output: Folder for the results; made if it does not exist.
        model: Which model denoises.
        port: Loopback port of the server; a free one by default.
        say: Called with each line for the user.

    Returns:
        0; everything that goes wrong is raised.

    Raises:
        OptionError: MONAI Label is not installed.
        ModelError: Unknown model.
        OutputError: The folder cannot be written.
        ServiceError: The port is taken, or the server does not come up or refuses an image.
    """
    check_installed()
    weights.read_card(model)  # an unknown model is named before anything starts
    _check_output(output)
    if port is None:
        port = free_port()
    check_port(LOOPBACK, port)
    with tempfile.TemporaryDirectory(prefix="meddenoise-demo-") as scratch:
        temporary = Path(scratch)
        say("Preparing a CT slice and an MR slice (from pydicom) and a 3D CT phantom whose truth is known")
        cases = _prepare(temporary / "studies")
        say(f"Starting MONAI Label on http://{LOOPBACK}:{port}, which takes some ten seconds")
        started = time.perf_counter()
        own = {
            "MONAI_LABEL_SESSION_PATH": str(temporary / "sessions"),
            "MEDDENOISE_HOME": str(temporary / "home"),
        }
        with server_process(temporary / "studies", port=port, log=temporary / "server.log", environment=own) as url:
            say(f"The server is up after {time.perf_counter() - started:.0f} s")
            outcomes = []
            for number, case in enumerate(cases, 1):
                say(f"[{number}/{len(cases)}] {case.name}: sending, denoising, fetching the result")
                outcomes.append(_denoise(case, url, model, output, temporary))
        say("The server is stopped")
    _write_report(outcomes, output)
    for line in _table(outcomes):
        say(line)
    say(f"Results, differences, pictures and report.json are in {output}. {DISCLAIMER}.")
    return 0


def _check_output(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        reason = why_not_writable(output)
    except OSError as error:
        reason = error.strerror or str(error)
    if reason is not None:
        raise OutputError(f"{output} cannot be written ({reason}); name another folder with -o")


def _prepare(studies: Path) -> list[Case]:
    """Put the images where the server finds them."""
    studies.mkdir()
    cases = []
    modalities: tuple[tuple[str, Modality], ...] = (("CT_small", "CT"), ("MR_small", "MR"))
    for name, modality in modalities:
        with as_file(files("pydicom") / "data" / "test_files" / f"{name}.dcm") as carried:
            cases.append(Case(name, Path(shutil.copyfile(carried, studies / carried.name)), modality))
    truth, noisy = phantom()
    return [*cases, Case("phantom", write_volume(noisy, studies / "phantom.nrrd"), "CT", truth)]


def _denoise(case: Case, url: str, model: str, output: Path, temporary: Path) -> Outcome:
    """Ask for the denoised image, then for the difference; keep both, and draw the picture."""
    start = time.perf_counter()
    denoised, answer = ask(case, url, temporary, model, "denoised")
    seconds = time.perf_counter() - start
    difference, _ = ask(case, url, temporary, model, "difference")
    try:
        kept = [
            Path(shutil.copyfile(result, output / f"{case.name}-{kind}.nrrd"))
            for kind, result in (("denoised", denoised), ("difference", difference))
        ]
    except OSError as error:
        raise OutputError(f"{output} cannot be written ({error.strerror})") from error
    before, after, removed = (read_volume(path, modality=case.modality) for path in (case.file, *kept))
    result = Result(after, removed, answer["figures"], answer["model"], answer["settings"], tuple(answer["warnings"]))
    picture(before, result, output / f"{case.name}.png", name=case.name)
    return Outcome(case, answer, seconds, _errors(case, before, after))


def ask(case: Case, url: str, temporary: Path, model: str, output_type: str) -> tuple[Path, dict[str, Any]]:
    """One request through MONAI Label's own client.

    Raises:
        ServiceError: The server refused the image, or broke off before its whole answer was here.
    """
    from monailabel.client.client import MONAILabelClient, MONAILabelClientException

    client = MONAILabelClient(url, tmpdir=str(temporary))
    try:
        path, answer = client.infer(model, case.name, {"modality": case.modality, "output_type": output_type})
    except MONAILabelClientException as error:
        raise ServiceError(f"the server refused {case.name}: {_reason(error.msg)}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ServiceError(f"the server broke off while answering for {case.name} ({error}); try again") from error
    if path is None or answer is None:
        raise ServiceError(f"the server's answer for {case.name} is cut off; try again")
    return Path(path), answer


def _reason(message: str) -> str:
    """The server's own sentence inside the message of MONAI Label's client, which ends in ``Response: JSON``."""
    try:
        return str(json.loads(message.partition("Response: ")[2])["detail"])
    except (ValueError, KeyError, TypeError):
        return message


def _errors(case: Case, before: Volume, after: Volume) -> tuple[float, float] | None:
    if case.truth is None:
        return None
    truth, first, second = (volume.array.astype(np.float64) for volume in (case.truth, before, after))
    body = truth > BODY_HU
    return rmse(first, truth, mask=body), rmse(second, truth, mask=body)


def _write_report(outcomes: list[Outcome], output: Path) -> None:
    images = [
        {
            "image": outcome.case.name,
            "modality": outcome.case.modality,
            "files": [f"{outcome.case.name}{end}" for end in ("-denoised.nrrd", "-difference.nrrd", ".png")],
            "seconds": round(outcome.seconds, 3),
            "rmse_to_truth_before": outcome.errors[0] if outcome.errors else None,
            "rmse_to_truth_after": outcome.errors[1] if outcome.errors else None,
            "answer": outcome.answer,
        }
        for outcome in outcomes
    ]
    text = json.dumps({"disclaimer": DISCLAIMER, "images": images}, indent=2)
    try:
        (output / "report.json").write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{output / 'report.json'} cannot be written ({error.strerror})") from error


def _table(outcomes: list[Outcome]) -> list[str]:
    rows = [HEADINGS, *(_row(outcome) for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _row(outcome: Outcome) -> tuple[str, ...]:
    figures = outcome.answer["figures"]
    units = figures.get("units") or ""
    noise = f"{_said(figures['noise_before'])} -> {_said(figures['noise_after'])} {units}".rstrip()
    shift = f"{_said(figures['bias'], sign='+')} {units}".rstrip()
    error = "unknown" if outcome.errors is None else f"{outcome.errors[0]:.1f} -> {outcome.errors[1]:.1f} {units}"
    return outcome.case.name, outcome.case.modality, noise, shift, error, f"{outcome.seconds:.2f}"


def _said(value: float | None, *, sign: str = "") -> str:
    return "not measurable" if value is None else f"{value:{sign}.3g}"
