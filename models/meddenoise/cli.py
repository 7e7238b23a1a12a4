"""The command `meddenoise`: what it understands. Each sub-command loads what it needs, so that --help is instant."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from meddenoise import __version__
from meddenoise.cli_batch import FORMATS, add_batch
from meddenoise.cli_models import add_models
from meddenoise.cli_noise import add_noise
from meddenoise.cli_serve import add_serve, add_token, port
from meddenoise.cli_train import add_export, add_train
from meddenoise.errors import MedDenoiseError, OptionError
from meddenoise.volume import MODALITIES

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; those of the process where None.

    Returns:
        The exit code: 0 done, 1 something failed, 2 asked for in a wrong way, 130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except OptionError as error:
        return _fail(error, USAGE)
    except MedDenoiseError as error:
        return _fail(error, FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    return code


def _fail(reason: object, code: int) -> int:
    print(f"meddenoise: {reason}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meddenoise",
        description="Takes the noise out of CT, MR, PET and X-ray images. Research use, not a medical device.",
    )
    parser.add_argument("--version", action="version", version=f"meddenoise {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_denoise(commands)
    add_batch(commands)
    add_noise(commands)
    add_models(commands)
    add_serve(commands)
    add_token(commands)
    _add_demo(commands)
    _add_shards(commands)
    add_train(commands)
    add_export(commands)
    return parser


Commands = argparse._SubParsersAction  # argparse gives the type no public name


def _add_denoise(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("denoise", help="denoise files and folders", description="Denoise files and folders.")
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="image, DICOM file, or folder of either (DICOM by series)"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--model", default="student", metavar="NAME", help="see `meddenoise models` (default: student)")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="default: auto")
    parser.add_argument("--modality", choices=MODALITIES, help="where the file does not say it; else it is guessed")
    parser.add_argument(
        "--strength", type=_share, default=1.0, metavar="0..1", help="0 leaves the image as it is (default: 1)"
    )
    parser.add_argument("--difference", action="store_true", help="also write what was taken away")
    parser.add_argument("--noise-map", action="store_true", help="also write the noise as the model estimates it")
    parser.add_argument("--report", action="store_true", help="also write a report as .json, .md and .png")
    parser.add_argument("--format", choices=FORMATS, help="format of the results (default: the input's own)")
    parser.add_argument("--series", metavar="UID", help="the one DICOM series to take, by SeriesInstanceUID")
    parser.add_argument(
        "--replace-nonfinite", type=_finite, metavar="VALUE", help="put VALUE in place of NaN and infinite voxels"
    )
    parser.add_argument(
        "--deidentify", action="store_true", help="take the patient out of DICOM results (PS3.15 basic profile)"
    )
    parser.set_defaults(run=_denoise)


def _add_demo(commands: Commands[argparse.ArgumentParser]) -> None:
    text = "denoise three example images through a server of its own"
    parser = commands.add_parser("demo", help=text, description=text.capitalize() + ".")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("meddenoise-demo"), metavar="DIR", help="default: ./meddenoise-demo"
    )
    parser.add_argument("--model", default="student", metavar="NAME", help="see `meddenoise models` (default: student)")
    parser.add_argument("--port", type=port, help="default: a free one")
    parser.set_defaults(run=_demo)


def _add_shards(commands: Commands[argparse.ArgumentParser]) -> None:
    text = "pack the images of a folder into one file to train from"
    parser = commands.add_parser("shards", help=text, description=text.capitalize() + ".")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="images, with or without a manifest")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="such as slices.safetensors")
    parser.add_argument("--limit-mib", type=_finite, metavar="MIB", help="largest size of the file (default: none)")
    parser.add_argument(
        "--depth", type=int, default=1, metavar="N", help="keep N neighbouring slices together (default: 1)"
    )
    parser.set_defaults(run=_build_shards)


def _denoise(arguments: argparse.Namespace) -> int:
    from meddenoise.cli_denoise import Job, run

    return run(
        Job(
            inputs=tuple(arguments.inputs),
            output=arguments.output,
            model=arguments.model,
            device=arguments.device,
            modality=arguments.modality,
            strength=arguments.strength,
            difference=arguments.difference,
            noise_map=arguments.noise_map,
            report=arguments.report,
            format=arguments.format,
            series=arguments.series,
            replace_nonfinite=arguments.replace_nonfinite,
            deidentify=arguments.deidentify,
        )
    )


def _demo(arguments: argparse.Namespace) -> int:
    from meddenoise.server.demo import demo

    return demo(arguments.output, model=arguments.model, port=arguments.port, say=_say)


def _build_shards(arguments: argparse.Namespace) -> int:
    from meddenoise.training.build import build_slices

    build_slices(arguments.data, arguments.out, limit_mib=arguments.limit_mib, depth=arguments.depth, report=_say)
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _share(text: str) -> float:
    value = _finite(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, got {text}")
    return value


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {text}")
    return value
