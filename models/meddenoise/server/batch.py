"""Many images in one request: MONAI Label's batch task, done as `meddenoise batch` does it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from monailabel.interfaces.tasks.batch_infer import BatchInferTask

from meddenoise.batch import BatchOptions, Item, Outcome, PlainEngine, Progress, run_batch
from meddenoise.batch.items import item_of, results_folder
from meddenoise.errors import OptionError
from meddenoise.io import Source, find_sources
from meddenoise.server import batch_pacs
from meddenoise.server.datastore import PacsDatastore, need_pacs
from meddenoise.server.models import POOL, ModelPool
from meddenoise.server.options import DICOM, DTYPES, Options
from meddenoise.server.problems import http_errors

logger = logging.getLogger(__name__)

Infer = Callable[[dict[str, Any], Any], dict[str, Any]]


class BatchTask(BatchInferTask):  # type: ignore[misc] # MONAI Label ships no types
    """Denoises the images of the studies folder, or of the PACS, that are not done; a bad one does not stop the others.

    Results go beside the studies under the tag ``denoised_MODEL`` in the images' own formats, or into the PACS as
    derived series. Without a GPU the processor does the work. MONAI Label's option max_workers means nothing here.

    Args:
        pool: Where the loaded models are.
    """

    def __init__(self, pool: ModelPool = POOL) -> None:
        self._pool = pool

    def __call__(self, request: dict[str, Any], datastore: Any, infer: Infer) -> dict[str, Any]:
        """Denoise.

        Args:
            request: "model"; "images": "all", "labeled", "unlabeled" or a list of ids; "max_batch_size"; "resume",
                where false does everything again; "device", "multi_gpu" and "gpus" as MONAI Label has them; and of the
                options of infer "strength", "modality", "replace_nonfinite", "result_extension" and, with a PACS,
                "deidentify".
            datastore: The app's.
            infer: Not used: it works on one image after the other and copies results into place.

        Returns:
            By image id {"label", "tag", "params"} as MONAI Label has it, where params say "state" ("done", or "skipped"
            where an earlier batch did it), "figures" and "warnings"; or {"error": sentence}.

        Raises:
            Problem: Nothing was done: the model is not there, the options are not valid, or the PACS does not answer.
        """
        model, remote = str(request.get("model")), isinstance(datastore, PacsDatastore)
        with http_errors():
            options = _options(request, datastore)
            images = sorted(self.get_images(request, datastore))
            images = images[: int(request.get("max_batch_size") or len(images))]
            items, folder = (_series if remote else _files)(images, datastore, model, request)
            summary = run_batch(
                list(items.values()),
                PlainEngine([self._pool.get(model, device) for device in _devices(request)]),
                folder,
                options=BatchOptions(options.modality, options.strength, options.replace_nonfinite),
                resume=request.get("resume", True) is not False,
                tell=_tell,
            )
        tag = f"denoised_{model}"
        outcomes = {outcome.item.key: outcome for outcome in summary.outcomes}
        found = {image: outcomes[item.key] for image, item in items.items()}
        if not remote:
            _register(found, datastore, tag)
        missing = {image: {"error": f"there is no image {image!r}"} for image in images if image not in items}
        return {image: _answer(image, outcome, tag) for image, outcome in found.items()} | missing


def _options(request: Mapping[str, Any], datastore: Any) -> Options:
    """The options of an inference, as far as a batch has them."""
    remote = isinstance(datastore, PacsDatastore)
    options = Options.from_request({**request, "store": True} if remote else request)
    if options.store:
        need_pacs(datastore)
    if (options.output_type, options.result_dtype) != ("denoised", DTYPES[0]):
        raise OptionError("a batch gives denoised images in the inputs' type; leave output_type and result_dtype out")
    if options.deidentify and not remote:
        raise OptionError("a batch over a folder de-identifies nothing; use `meddenoise denoise --deidentify`")
    return options


def _devices(request: Mapping[str, Any]) -> list[str]:
    """The devices to work on: all the GPUs that MONAI Label's options name, or one; the processor without a GPU."""
    if not torch.cuda.is_available():
        return ["cpu"]
    if not request.get("multi_gpu", True):
        return [Options.from_request(request).device]
    named = str(request.get("gpus") or "all")
    numbers = range(torch.cuda.device_count()) if named == "all" else named.split(",")
    return [f"cuda:{str(number).strip()}" for number in numbers]


def _files(
    images: Iterable[str], datastore: Any, model: str, request: Mapping[str, Any]
) -> tuple[dict[str, Item], Path]:
    """Items by image id, and the folder of the batch, for a studies folder."""
    folder = results_folder(Path(datastore._datastore_path), model)
    wanted = Options.from_request(request).result_extension if request.get("result_extension") else None
    form = "dicom" if wanted == DICOM else wanted and wanted[1:]
    paths = {image: datastore.get_image_uri(image) for image in images}
    sources = {image: find_sources([Path(path)])[0][0] for image, path in paths.items() if path}
    return {image: item_of(source, folder, form=form) for image, source in sources.items()}, folder


def _series(
    images: Iterable[str], datastore: PacsDatastore, model: str, request: Mapping[str, Any]
) -> tuple[dict[str, Item], Path]:
    """The same for a PACS."""
    deidentifier = datastore.deidentifier if request.get("deidentify") else None
    listed = {series.uid: series for series in datastore.series()}
    items = {
        uid: batch_pacs.item_of(datastore.pacs, listed[uid], deidentifier=deidentifier)
        for uid in images
        if uid in listed
    }
    return items, batch_pacs.journal_folder(datastore.pacs, model)


def _register(found: Mapping[str, Outcome], datastore: Any, tag: str) -> None:
    """Have the datastore know the results, and no earlier one of the same tag in another format."""
    for image, outcome in found.items():
        old = datastore.get_label_uri(image, tag)
        if outcome.state != "failed" and old and os.path.realpath(old) != os.path.realpath(outcome.item.output or ""):
            datastore.remove_label(image, tag)
    datastore.refresh()
    for image, outcome in found.items():
        if outcome.state == "done":
            datastore.update_label_info(
                image, tag, {"model": tag.removeprefix("denoised_"), "params": _params(outcome)}
            )


def _answer(image: str, outcome: Outcome, tag: str) -> dict[str, Any]:
    if outcome.state == "failed":
        return {"error": _without_folder(outcome)}
    return {"label": image, "tag": tag, "params": _params(outcome)}


def _params(outcome: Outcome) -> dict[str, Any]:
    return {"state": outcome.state, "figures": dict(outcome.figures), "warnings": list(outcome.warnings)}


def _without_folder(outcome: Outcome) -> str:
    """Why it failed; a client is not told where the server keeps its files."""
    source = outcome.item.source
    return outcome.reason.replace(f"{source.path.parent}{os.sep}", "") if isinstance(source, Source) else outcome.reason


def _tell(outcome: Outcome, progress: Progress) -> None:
    """Into the log, of which MONAI Label shows the last lines as the state of the batch."""
    if outcome.state == "failed":
        logger.error("batch %s %s", progress, _without_folder(outcome))
    else:
        logger.info("batch %s %s %s", progress, outcome.state, outcome.item.key)
