"""`meddenoise denoise`: plan every output name, load the model once, then one input after the other."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from meddenoise.errors import GeometryError, MedDenoiseError, OptionError, OutputError
from meddenoise.inference import Denoiser, Result
from meddenoise.inference.channels import check_noise_map
from meddenoise.io import Deidentifier, Provenance, Source, find_sources, read_volume, write_dicom_series, write_volume
from meddenoise.io.atomic import replacing_file
from meddenoise.io.deidentify import PIXELS_NOT_LOOKED_AT
from meddenoise.io.detached import payload_of
from meddenoise.report import as_dict, as_markdown, picture
from meddenoise.volume import Modality, Volume

SIGNED = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
"""Formats that hold a difference or a noise map: signed floats with their geometry."""


@dataclass(frozen=True)
class Job:
    """What was asked for; see `meddenoise denoise --help`."""

    inputs: tuple[Path, ...]
    output: Path
    model: str = "student"
    device: str = "auto"
    modality: Modality | None = None
    strength: float = 1.0
    difference: bool = False
    noise_map: bool = False
    report: bool = False
    format: str | None = None
    series: str | None = None
    replace_nonfinite: float | None = None
    deidentify: bool = False


@dataclass(frozen=True)
class Plan:
    """One input and every file that it leads to.

    Attributes:
        source: What is read.
        result: File, or folder where a folder of DICOM came in; a DICOM folder has no extension.
        difference: None where not asked for.
        noise_map: None where not asked for.
        reports: .json, .md and .png; empty where not asked for.
        as_dicom: Whether the result is a derived DICOM series.
    """

    source: Source
    result: Path
    difference: Path | None
    noise_map: Path | None
    reports: tuple[Path, ...]
    as_dicom: bool

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Every path that will be written, data files of detached headers among them."""
        images = [path for path in (self.result, self.difference, self.noise_map) if path]
        return (*images, *(file for image in images for file in payload_of(image)), *self.reports)


def run(job: Job) -> int:
    """Denoise every input; a bad one is named on stderr and does not stop the others.

    Returns:
        0 where all were written, else 1.

    Raises:
        OptionError: Two inputs map to one name, an output is an input, or options do not go together; nothing was
            started.
        ModelError: The model cannot be loaded.
        OutputError: The output folder cannot be made or written.
    """
    sources, skipped = find_sources(job.inputs, series=job.series)
    for sentence in skipped:
        _warn(sentence)
    plans = [_plan(source, job) for source in (_unnamed(sources) if job.deidentify else sources)]
    _check_names(plans)
    _check_writable(job.output)
    deidentifier = _deidentifier(plans) if job.deidentify else None
    denoiser = Denoiser.load(job.model, device=job.device)
    if job.noise_map:
        check_noise_map(denoiser.card)
    failed, this_run = 0, uuid.uuid4().hex
    for number, plan in enumerate(plans, 1):
        progress = _Progress(f"[{number}/{len(plans)}] {plan.source.stem}")
        try:
            line = _one(plan, job, denoiser, progress, this_run, deidentifier)
        except (MedDenoiseError, OSError, MemoryError) as error:
            failed += 1
            progress.clear()
            _warn(_naming(plan.source, error))
        else:
            progress.clear()
            print(line, flush=True)
    if failed and len(plans) > 1:
        _warn(f"{len(plans) - failed} of {len(plans)} inputs were denoised, {failed} failed")
    return 1 if failed else 0


def _unnamed(sources: Sequence[Source]) -> list[Source]:
    """The sources under names that tell nothing, because results are called like their inputs."""
    return [replace(source, stem=f"deidentified-{number:03d}") for number, source in enumerate(sources, 1)]


def _deidentifier(plans: Sequence[Plan]) -> Deidentifier:
    """One for all results, so that they stay together by patient and study.

    Raises:
        OptionError: A result would not be DICOM, or would name its input.
    """
    if any(plan.reports for plan in plans):
        raise OptionError("--report repeats the names of files, which may be patients'; leave it out with --deidentify")
    other = next((plan for plan in plans if not plan.as_dicom), None)
    if other is not None:
        raise OptionError(
            f"{other.source.path}: --deidentify is for DICOM to DICOM, and this would become {other.result.name}; "
            "give DICOM and leave --format out"
        )
    _warn(f"--deidentify: {PIXELS_NOT_LOOKED_AT}")
    return Deidentifier()


def _plan(source: Source, job: Job) -> Plan:
    ext = _result_extension(source, job.format)
    signed = ext if ext in SIGNED else ".nrrd"
    folder, stem = job.output, source.stem
    return Plan(
        source,
        result=folder / f"{stem}{ext}",
        difference=folder / f"{stem}-difference{signed}" if job.difference else None,
        noise_map=folder / f"{stem}-noise{signed}" if job.noise_map else None,
        reports=tuple(folder / f"{stem}-report{end}" for end in (".json", ".md", ".png")) if job.report else (),
        as_dicom=source.series_uid is not None and ext in ("", ".dcm"),
    )


def _result_extension(source: Source, wanted: str | None) -> str:
    """The extension of the result; "" for a folder of DICOM."""
    is_dicom = source.series_uid is not None
    if wanted not in (None, "dicom"):
        return f".{wanted}"
    if is_dicom:
        return "" if source.path.is_dir() else ".dcm"
    if wanted == "dicom":
        raise OptionError(f"{source.path}: --format dicom needs DICOM in, for its tags; choose nrrd or nii.gz")
    return source.path.name[len(source.stem) :]


def _check_names(plans: Sequence[Plan]) -> None:
    """Refuse names that would overwrite an input or each other; case does not tell names apart on every system."""
    read = {path.resolve(): path for plan in plans for path in (plan.source.path, *plan.source.files)}
    taken: dict[str, Plan] = {}
    for plan in plans:
        for path in plan.outputs:
            if path.resolve() in read:
                raise OptionError(f"{path}: the result would replace an input; choose another output folder with -o")
            other = taken.setdefault(str(path.resolve()).casefold(), plan)
            if other is not plan:
                raise OptionError(
                    f"{_named(other.source)} and {_named(plan.source)} would both be written to {path}; "
                    "denoise them into different folders"
                )


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder") from error


def _one(
    plan: Plan, job: Job, denoiser: Denoiser, progress: _Progress, run: str, deidentifier: Deidentifier | None
) -> str:
    """Read, denoise and write one input; returns the line for the user. `run` is the same text for all of one run."""
    volume = read_volume(plan.source, modality=job.modality, replace_nonfinite=job.replace_nonfinite)
    if not volume.header.even and (plan.difference or plan.noise_map or not plan.as_dicom):
        raise GeometryError(
            "its slices are unevenly spaced, which only DICOM holds: omit --difference, --noise-map and --format"
        )
    result = denoiser(volume, strength=job.strength, noise_map=job.noise_map, progress=progress)
    progress.clear()
    for sentence in result.warnings:
        _warn(sentence)
    if plan.as_dicom:
        made_by = Provenance(result.model["name"], result.model["version"], job.strength)
        write_dicom_series(result.volume, plan.result, made_by, run=run, deidentifier=deidentifier)
    else:
        write_volume(result.volume, plan.result)
    for image, path in ((result.difference, plan.difference), (result.noise, plan.noise_map)):
        if image and path:
            write_volume(image, path)
    if plan.reports:
        _write_reports(volume, result, plan)
    return f"{_named(plan.source)} -> {plan.result}{_noise(result)}"


def _write_reports(volume: Volume, result: Result, plan: Plan) -> None:
    as_json, as_text, as_picture = plan.reports
    name = plan.source.stem if plan.source.path.is_dir() else plan.source.path.name
    numbers = json.dumps(as_dict(volume, result, name=name), indent=2, ensure_ascii=False) + "\n"
    for path, text in ((as_json, numbers), (as_text, as_markdown(volume, result, name=name))):
        with replacing_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    picture(volume, result, as_picture, name=name)


def _noise(result: Result) -> str:
    before, after = result.figures.get("noise_before"), result.figures.get("noise_after")
    if before is None or after is None:
        return ""
    return f"  noise {before:.3g} -> {after:.3g} {result.figures.get('units', '')}".rstrip()


def _named(source: Source) -> str:
    """The input as the user gave it, with the series where its folder may hold several."""
    many = source.path.is_dir() and source.stem != source.path.resolve().name
    return f"{source.path} ({source.stem})" if many else str(source.path)


def _naming(source: Source, error: BaseException) -> str:
    """The error, which must say which input it was."""
    text = str(error) or type(error).__name__
    return text if str(source.path) in text else f"{_named(source)}: {text}"


def _warn(sentence: str) -> None:
    print(f"meddenoise: {sentence}", file=sys.stderr, flush=True)


class _Progress:
    """One line on stderr that follows the slices; silent where stderr is no terminal."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown = 0
        self._live = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        if self._live:
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            line = f"{self._title}  {100 * done // total:3d} % ({done} of {total} slices)"[: max(20, width - 1)]
            sys.stderr.write("\r" + line.ljust(self._shown))
            sys.stderr.flush()
            self._shown = len(line)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r" + " " * self._shown + "\r")
            sys.stderr.flush()
            self._shown = 0
