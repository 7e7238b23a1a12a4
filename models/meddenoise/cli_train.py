"""`meddenoise train` and `meddenoise export`: what makes a model, and what carries it elsewhere."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from importlib import import_module
from math import ceil, inf
from pathlib import Path
from typing import Any

from meddenoise.errors import OptionError, OutputError
from meddenoise.recipes import gan_variants

RECIPES = {
    "gan": "content and noise predictor against a discriminator",
    "teacher": "the large network that the student learns from",
    "student": "the small fast network: distilled, refined, folded and pruned",
    "two_stage": "two stages, of which the first estimates the noise",
}
PRESETS = ("paper", "cpu", "ablation")
VARIANTS = {
    "gan": tuple(gan_variants.VARIANTS),
    "student": ("staggered", "final_output", "supervised", "plain"),
    "two_stage": ("full", "attention_alone", "without_attention", "noise_only"),
}
DEFAULT_VARIANTS = {
    "gan": "unet; the others are other predictors, and ablation",
    "student": "staggered where there is a teacher, else plain",
    "two_stage": "full; the others are for ablation",
}
STAGES = {
    "refinement": ("SHARE", "of the steps, once more with larger patches at a fifth of the rate; 0 for none"),
    "cooldown": (
        "SHARE",
        "of the steps, at the end, with larger patches and a rate that falls to a hundredth; 0 for none",
    ),
    "prune_rate": ("RATE", "share of the filters that a pruning step removes"),
    "prune_rounds": ("N", "most pruning steps; 0 for none"),
    "prune_share": ("SHARE", "of the steps, which tune the network after each pruning step"),
}
STAGES_OF = {"teacher": ("refinement", "cooldown"), "student": tuple(STAGES)}
"""What can be said of the stages after the first one, and where."""
SITE_RECIPES = ("student", "two_stage", "gan")
ON_SITE = ("steps", "batch", "patch", "learning_rate", "seed", "device")
NOT_ON_SITE = (
    *("data", "start", "resume", "preset", "variant", "teacher", "save_every", "precision", "no_trackers"),
    *STAGES,
)
"""Arguments that a site's training takes, and that it decides itself."""
FORMATS = ("bundle", "onnx", "torchscript")

Commands = argparse._SubParsersAction  # argparse gives the type no public name


def add_train(commands: Commands[argparse.ArgumentParser]) -> None:
    """Teach the command line `train`."""
    text = "Train a model. Start it with torchrun (-m meddenoise train ...) to use several GPUs."
    recipes = commands.add_parser("train", help="train a model", description=text).add_subparsers(
        metavar="RECIPE", required=True
    )
    for name, description in RECIPES.items():
        parser = recipes.add_parser(name, help=description, description=description.capitalize() + ".")
        parser.add_argument(
            "--data",
            type=Path,
            metavar="DIR",
            help="clean images (with a manifest or without), pairs (pairs.csv, or noisy/ and clean/), or noisy images "
            "alone (noisy/); default: $MEDDENOISE_DATA",
        )
        if name in SITE_RECIPES:
            _add_site(parser)
        parser.add_argument("--out", type=Path, default=Path("runs", name), metavar="DIR", help=f"default: runs/{name}")
        parser.add_argument("--start", metavar="MODEL", help="go on from the weights of a model, by name or as a file")
        parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
        parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="default: auto")
        parser.add_argument(
            "--steps", type=_count, metavar="N", help="length of the first stage (default: the preset's)"
        )
        parser.add_argument("--batch", type=_count, metavar="N", help="patches a step, over all GPUs")
        parser.add_argument("--patch", type=_patch, metavar="PIXELS", help="side of a patch, a multiple of 16")
        parser.add_argument("--save-every", type=_count, metavar="N", help="steps between checkpoints")
        parser.add_argument("--learning-rate", type=_rate, metavar="RATE", help="highest rate")
        parser.add_argument("--precision", choices=("bf16", "float32"), help="default: bf16")
        parser.add_argument("--seed", type=_count, metavar="N", help="of weights and batches (default: 0)")
        parser.add_argument("--no-trackers", action="store_true", help="tell neither TensorBoard nor MLflow")
        parser.set_defaults(run=_train, recipe=name, variant=None, teacher=None)
        parser.add_argument("--preset", choices=PRESETS, help="default: paper on a GPU, else cpu")
        if name in VARIANTS:
            parser.add_argument("--variant", choices=VARIANTS[name], help=f"default: {DEFAULT_VARIANTS[name]}")
        for stage in STAGES_OF.get(name, ()):
            metavar, text = STAGES[stage]
            parser.add_argument(f"--{stage.replace('_', '-')}", type=_KINDS[stage], metavar=metavar, help=text)
        if name == "student":
            parser.add_argument(
                "--teacher", metavar="NAME|FILE", help="model to learn from (default: the published teacher, if any)"
            )


def _add_site(parser: argparse.ArgumentParser) -> None:
    text = "The running model is trained further, compared, and published if better, as a server does it."
    site = parser.add_argument_group("a site's own images", text)
    site.add_argument(
        "--studies", metavar="DIR|URL", help="studies folder, or DICOMweb address of a PACS; in place of --data"
    )
    site.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="option of the server's training, such as minutes=30; may be repeated (only with --studies)",
    )


def add_export(commands: Commands[argparse.ArgumentParser]) -> None:
    """Teach the command line `export`."""
    text = "write a model for other programs: a MONAI bundle, ONNX or TorchScript"
    parser = commands.add_parser("export", help=text, description=text.capitalize() + ".")
    parser.add_argument("name", metavar="NAME", help="see `meddenoise models`")
    parser.add_argument("--format", choices=FORMATS, required=True, help="onnx needs the extra `export`")
    parser.add_argument("--out", type=Path, default=Path("exported"), metavar="DIR", help="default: ./exported")
    parser.set_defaults(run=_export)


def _train(arguments: argparse.Namespace) -> int:
    from meddenoise.inference.device import choose_device
    from meddenoise.training.hooks import installed_trackers

    if getattr(arguments, "studies", None):
        return _train_on_site(arguments)
    if getattr(arguments, "option", None):
        raise OptionError(f"--option {arguments.option[0]} is for a site's own images; name them with --studies")
    recipe: Any = import_module(f"meddenoise.recipes.{arguments.recipe}")
    device = choose_device(arguments.device)
    config = _config(arguments, recipe, str(device))
    data = arguments.data or (Path(os.environ["MEDDENOISE_DATA"]) if os.environ.get("MEDDENOISE_DATA") else None)
    if data is None and not arguments.out.exists():
        raise OptionError("training needs images: say --data DIR or set MEDDENOISE_DATA")
    _make(arguments.out)
    trackers = [] if arguments.no_trackers else installed_trackers(arguments.out)
    card = recipe.run(config, data, arguments.out, resume=arguments.resume, report=_say, trackers=trackers)
    if card.sha256:  # the first of several processes has saved it
        print(f"{card.name} {card.version}: {arguments.out / card.name}.safetensors, sha256 {card.sha256}")
    return 0


def _train_on_site(arguments: argparse.Namespace) -> int:
    """Train on a studies folder or a PACS: what a server does when it is asked to."""
    from meddenoise.server.serve import check_installed

    check_installed()
    for name in NOT_ON_SITE:
        value = getattr(arguments, name, None)
        if value is not None and value is not False:
            raise OptionError(f"--{name.replace('_', '-')} does not go with --studies")
    from meddenoise.server.manners import be_polite
    from meddenoise.server.serve import check_studies
    from meddenoise.server.site_survey import open_datastore
    from meddenoise.server.train_job import train_site

    check_studies(arguments.studies)
    asked = {name: getattr(arguments, name) for name in ON_SITE if getattr(arguments, name) is not None}
    asked |= dict(map(_named_value, arguments.option))
    if gpus := str(asked.get("gpus", "")).removeprefix("all"):
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    be_polite()
    result = train_site(arguments.recipe, asked, open_datastore(arguments.studies), report=_say)
    print(f"published as {result['published']}" if result["published"] else "the running model stays")
    return 0


def _named_value(text: str) -> tuple[str, Any]:
    """An option's name and value, which is JSON or else text."""
    name, sign, value = text.partition("=")
    if not sign:
        raise OptionError(f"--option must be NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _config(arguments: argparse.Namespace, recipe: Any, device: str) -> Any:
    """The recipe's preset with what the command line changes."""
    presets = recipe.PRESETS
    chosen = arguments.preset or ("cpu" if "cpu" in presets and device == "cpu" else next(iter(presets)))
    config = presets[chosen]
    options = ("steps", "batch", "save_every", "learning_rate", "precision", "seed")
    given = vars(arguments)
    changes = {key: given[key] for key in options if given[key] is not None}
    if arguments.steps:  # the rate is halved as often
        changes["halve_every"] = ceil(config.schedule.halve_every * arguments.steps / config.schedule.steps)
    config = replace(config, schedule=replace(config.schedule, device=device, **changes))
    if arguments.patch:
        config = replace(config, mix=replace(config.mix, size=arguments.patch))
    named = ("start", "variant", "teacher", "refinement", "cooldown")
    config = replace(config, **{key: given[key] for key in named if given.get(key) is not None})
    pruning = {
        key: given[f"prune_{key}"] for key in ("rate", "rounds", "share") if given.get(f"prune_{key}") is not None
    }
    return replace(config, pruning=replace(config.pruning, **pruning)) if pruning else config


def _export(arguments: argparse.Namespace) -> int:
    from meddenoise.export import export

    _make(arguments.out)
    print(export(arguments.name, arguments.format, arguments.out))
    return 0


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from error


def _say(line: str) -> None:
    print(line, flush=True)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return int(text)


def _natural(text: str) -> int:
    return 0 if text == "0" else _count(text)


def _patch(text: str) -> int:
    if _count(text) % 16:
        raise argparse.ArgumentTypeError(f"must be a multiple of 16, got {text}")
    return int(text)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"must be a number between 0 and 1, got {text!r}")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < inf:
        raise argparse.ArgumentTypeError(f"must be a number of 0 or more, got {text!r}")
    return value


def _positive(text: str) -> float:
    if value := _share(text):
        return value
    raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")


_KINDS = {
    "refinement": _share,
    "cooldown": _share,
    "prune_rate": _rate,
    "prune_rounds": _natural,
    "prune_share": _positive,
}
