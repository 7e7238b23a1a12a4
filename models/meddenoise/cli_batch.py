"""`meddenoise batch`: a whole archive, one image after the other, to be gone on with after an interruption."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from meddenoise.errors import InputError, OptionError
from meddenoise.volume import MODALITIES

if TYPE_CHECKING:
    from meddenoise.batch import Engine, Item, Outcome, Progress

FORMATS = ("nii.gz", "nii", "nrrd", "mha", "mhd", "png", "tif", "jpg", "dicom")
ENGINES = ("plain", "ray")

Commands = argparse._SubParsersAction  # argparse gives the type no public name


def add_batch(commands: Commands[argparse.ArgumentParser]) -> None:
    """Teach the command line `batch`."""
    parser = commands.add_parser(
        "batch",
        help="denoise an archive: folders with all below them, or a PACS",
        description="Denoise every image and DICOM series in folders and all below them, or in a PACS. What is done is "
        "remembered: the same command again does what is left.",
    )
    parser.add_argument(
        "--studies", nargs="+", required=True, metavar="DIR|URL", help="folders, or the DICOMweb address of a PACS"
    )
    parser.add_argument("--model", default="student", metavar="NAME", help="see `meddenoise models` (default: student)")
    parser.add_argument(
        "--output",
        "-o",
        type=Path,
        metavar="DIR",
        help="folder for the results (default: labels/denoised_MODEL in the folder of images, where MONAI Label finds "
        "them; from a PACS, back into it as derived series)",
    )
    parser.add_argument(
        "--resume", action=argparse.BooleanOptionalAction, default=True, help="leave what is done (default)"
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="default: auto")
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="who does the work: plain (the default), this machine; ray, every node of a Ray cluster, on all of which "
        "the folders have the same paths",
    )
    parser.add_argument("--modality", choices=MODALITIES, help="where the file does not say it; else it is guessed")
    parser.add_argument("--strength", type=float, default=1.0, metavar="0..1", help="default: 1, the full effect")
    parser.add_argument("--format", choices=FORMATS, help="format of the results (default: the inputs' own)")
    parser.add_argument(
        "--replace-nonfinite", type=float, metavar="VALUE", help="put VALUE in place of NaN and infinite voxels"
    )
    parser.set_defaults(run=_batch)


def _batch(arguments: argparse.Namespace) -> int:
    from meddenoise.batch import BatchOptions, run_batch

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be valid text
    options = BatchOptions(arguments.modality, arguments.strength, arguments.replace_nonfinite)
    items, skipped, folder = _items(arguments)
    for sentence in skipped:
        _warn(sentence)
    if not items:
        raise InputError(f"{', '.join(arguments.studies)}: there is no image to denoise")
    summary = run_batch(
        items,
        _engine(arguments),
        folder,
        options=options,
        resume=arguments.resume,
        skipped_files=skipped,
        tell=_tell,
    )
    done, before, failed = (summary.count(state) for state in ("done", "skipped", "failed"))
    print(f"{done} denoised, {before} done before, {failed} failed; see {folder / 'batch-summary.json'}")
    return 1 if failed else 0


def _items(arguments: argparse.Namespace) -> tuple[list[Item], list[str], Path]:
    from meddenoise.batch import find_items

    remote = [studies for studies in arguments.studies if "://" in studies]
    if not remote:
        folders = [Path(studies) for studies in arguments.studies]
        return find_items(folders, arguments.output, model=arguments.model, form=arguments.format)
    if len(arguments.studies) > 1:
        raise OptionError(f"{remote[0]}: one PACS at a time, and no folders beside it")
    from meddenoise.server.batch_pacs import pacs_items

    return pacs_items(remote[0], arguments.output, model=arguments.model, form=arguments.format)


def _engine(arguments: argparse.Namespace) -> Engine:
    from meddenoise.batch import PlainEngine

    if arguments.engine == "ray":
        from meddenoise.batch.ray_engine import RayEngine

        return RayEngine(arguments.model, device=arguments.device)
    return PlainEngine.load(arguments.model, devices=[arguments.device])


def _tell(outcome: Outcome, progress: Progress) -> None:
    for sentence in outcome.warnings:
        _warn(_named(sentence, outcome.item.name))
    if outcome.state == "failed":
        _warn(f"{progress} {outcome.reason}")
        return
    where = outcome.item.output or "the PACS"
    end = "  done before" if outcome.state == "skipped" else _noise(outcome)
    print(f"{progress} {outcome.item.name} -> {where}{end}", flush=True)


def _named(sentence: str, name: str) -> str:
    """The sentence with the image's whole path, where it has the file's name alone: an archive has many of a name."""
    return sentence if name in sentence else f"{name}: {sentence.removeprefix(f'{Path(name).name}: ')}"


def _noise(outcome: Outcome) -> str:
    before, after = outcome.figures.get("noise_before"), outcome.figures.get("noise_after")
    if before is None or after is None:
        return ""
    return f"  noise {before:.3g} -> {after:.3g} {outcome.figures.get('units', '')}".rstrip()


def _warn(sentence: str) -> None:
    print(f"meddenoise: {sentence}", file=sys.stderr, flush=True)
