"""`meddenoise noise`: how noisy each input is, and the map of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from meddenoise.errors import InputError, MedDenoiseError, OptionError
from meddenoise.volume import MODALITIES

MAPS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


def add_noise(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command."""
    text = "estimate how noisy images are"
    parser = commands.add_parser("noise", help=text, description=text.capitalize() + ".")
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="image, DICOM file, or folder of either")
    parser.add_argument("--modality", choices=MODALITIES, help="where the file does not say it; else it is guessed")
    parser.add_argument(
        "--map", type=Path, metavar="FILE", help=f"write the local noise of the one input; one of {', '.join(MAPS)}"
    )
    parser.set_defaults(run=_noise)


def _noise(arguments: argparse.Namespace) -> int:
    from meddenoise.inference import estimate_noise
    from meddenoise.io import find_sources, read_volume, write_volume

    sources, skipped = find_sources(arguments.inputs)
    _warn(*skipped)
    _check(arguments.map, len(sources))
    failed = 0
    for source in sources:
        try:
            volume = read_volume(source, modality=arguments.modality)
            if volume.colour:
                raise InputError(f"{source.path}: the noise of a colour picture is not mapped; give a grey image")
            found = estimate_noise(volume)
            _warn(*volume.header.warnings)
            if found.level is None:
                print(f"{source.path}: too small to tell its noise", flush=True)
            else:
                units = volume.header.units or "grey levels"
                print(f"{source.path}: {found.level:.3g} {units} ({found.place})", flush=True)
            if arguments.map is not None:
                if found.map is None:
                    raise InputError(f"{source.path}: too small to map its noise; {arguments.map} is not written")
                write_volume(found.map, arguments.map)
        except MedDenoiseError as error:
            failed += 1
            _warn(str(error))
    return 1 if failed else 0


def _check(file: Path | None, inputs: int) -> None:
    if file is None:
        return
    if inputs != 1:
        raise OptionError(f"--map is for one input, got {inputs}; name one image or series")
    if not file.name.endswith(MAPS):
        raise OptionError(f"{file}: a map needs a format of signed floats; use one of {', '.join(MAPS)}")
    if file.exists():
        raise OptionError(f"{file} exists; choose another name with --map")


def _warn(*sentences: str) -> None:
    for sentence in sentences:
        print(f"meddenoise: {sentence}", file=sys.stderr, flush=True)
