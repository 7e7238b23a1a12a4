"""Models for other programs: TorchScript, ONNX or a MONAI bundle, each as a graph that takes the image alone."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch

from meddenoise import weights
from meddenoise.errors import OptionError
from meddenoise.export.bundle import fill_bundle
from meddenoise.export.facts import interface
from meddenoise.export.graph import ImageOnly, example
from meddenoise.io.atomic import replacing_file, replacing_folder
from meddenoise.weights import Card

Format = Literal["bundle", "onnx", "torchscript"]
ENDINGS = {"onnx": ".onnx", "torchscript": ".ts"}

__all__ = ["Format", "ImageOnly", "example", "export", "graphs"]


def export(name: str, form: Format, out: Path) -> Path:
    """Write a model for other programs.

    "torchscript" and "onnx" give NAME.ts or NAME.onnx, NAME-ct.ts or NAME-ct.onnx for CT in HU, and NAME.json, which
    says what goes in and comes out. "bundle" gives the folder NAME, a MONAI bundle with a script that reads and writes
    NIfTI. What was there under these names is replaced.

    Args:
        name: A model, or the path of a weights file.
        form: Which of them.
        out: Folder for the result; it is made if absent.

    Returns:
        The file for images that are no CT, or the bundle's folder.

    Raises:
        ModelError: No such model, or damaged weights.
        OptionError: ONNX is not installed.
        OutputError: The result cannot be written.
    """
    network, card = weights.load(name)
    if form == "bundle":
        with replacing_folder(out / card.name) as folder:
            for suffix, graph in graphs(network, card).items():
                (folder / "models").mkdir(exist_ok=True)
                _torchscript(graph, folder / "models" / f"model{suffix.replace('-', '_')}.ts")
            fill_bundle(folder, network, card)
        return out / card.name
    write = _torchscript if form == "torchscript" else _onnx
    if form == "onnx" and not (find_spec("onnx") and find_spec("onnxscript")):
        raise OptionError("ONNX is not installed; install meddenoise[export], or choose --format torchscript")
    for suffix, graph in graphs(network, card).items():
        with replacing_file(out / f"{card.name}{suffix}{ENDINGS[form]}") as file:
            write(graph, file)
    with replacing_file(out / f"{card.name}.json") as file:
        file.write_text(json.dumps(interface(card, graph.channels), indent=2) + "\n")
    return out / f"{card.name}{ENDINGS[form]}"


def graphs(network: torch.nn.Module, card: Card) -> dict[str, ImageOnly]:
    """The model's graphs by the end of their names: "" for all images, "-ct" for CT in HU if it was trained on CT."""
    kinds = {"": False, "-ct": True} if "CT" in card.own_modalities else {"": False}
    return {end: ImageOnly(network, hounsfield=hounsfield).eval() for end, hounsfield in kinds.items()}


def _torchscript(graph: ImageOnly, file: Path) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)  # deprecated, and still what bundles hold
        torch.jit.trace(graph, example(graph.channels), check_trace=False).save(file)  # type: ignore[no-untyped-call]


def _onnx(graph: ImageOnly, file: Path) -> None:
    free = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        torch.onnx.export(
            graph,
            (example(graph.channels),),
            file,
            input_names=["image"],
            output_names=["denoised"],
            dynamic_shapes=({0: free, 2: free, 3: free},),
            external_data=False,
            verbose=False,
        )
