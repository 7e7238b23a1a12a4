"""A batch beside the network alone: 512x512x100 int16 CTs from raw NRRD to raw NRRD.

"network" is the time inside the network's forward passes, one volume after the other with nothing else going on;
"denoising" is the whole of what a Denoiser does with a volume in memory, its noise figures included; "one by one"
reads, denoises and writes each file before the next; "batch" is `meddenoise batch`, with hashing, journal and summary,
and "batch, overlapping" the same while the next image is read and the last one written, as it is done for a GPU.
The start of the process and loading the model are left out of all. Ratios count; seconds belong to the machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
import torch
from common import publish, table

from meddenoise.batch import BatchOptions, Item, PlainEngine, find_items, run_batch, work
from meddenoise.batch.engine import AHEAD
from meddenoise.inference import Denoiser
from meddenoise.io import read_volume

LIMIT = 1.15
"""Largest ratio of a batch to the network alone that is aimed at."""


class Timed(torch.nn.Module):
    """A network that adds up the time spent in it."""

    def __init__(self, network: Any, device: torch.device) -> None:
        super().__init__()
        self.network, self.device, self.seconds = network, device, 0.0
        self.channels, self.factor = getattr(network, "channels", 1), getattr(network, "factor", 1)

    def forward(self, *shown: torch.Tensor) -> Any:
        """As the network's."""
        self._wait()
        start = time.perf_counter()
        made = self.network(*shown)
        self._wait()
        self.seconds += time.perf_counter() - start
        return made

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def make_volumes(folder: Path, count: int, shape: tuple[int, int, int]) -> None:
    """Body-like ellipses with noise of 40 HU, all of other noise, in raw NRRD."""
    folder.mkdir()
    slices, rows, columns = shape
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    body = np.where((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1, 50.0, -1000.0).astype(np.float32)
    for number in range(count):
        noise = np.random.default_rng(number).standard_normal((slices, rows, columns), np.float32) * 40
        image = sitk.GetImageFromArray(np.clip(body + noise, -1024, 3071).astype(np.int16))
        image.SetSpacing((0.7, 0.7, 1.5))
        sitk.WriteImage(image, str(folder / f"ct{number:02d}.nrrd"))


def alone(items: Sequence[Item], denoiser: Denoiser) -> tuple[float, float]:
    """Seconds of the network and of denoising, for volumes that are in memory."""
    network = denoiser._network
    denoiser._network = timed = Timed(network, denoiser.device)
    whole = 0.0
    for item in items:
        volume = read_volume(item.source, modality="CT")
        start = time.perf_counter()
        denoiser(volume)
        whole += time.perf_counter() - start
    denoiser._network = network
    return timed.seconds, whole


def measure(items: Sequence[Item], denoiser: Denoiser, lanes: int | None, sample: int) -> dict[str, float]:
    """Seconds of each way over all items; the ways without overlap are measured on a sample and scaled up."""
    options = BatchOptions(modality="CT")
    folder = items[0].output.parent
    work(items[0], denoiser, options)  # the first one of a process is slower
    scale = len(items) / sample
    network, denoising = alone(items[:sample], denoiser)
    start = time.perf_counter()
    for item in items[:sample]:
        work(item, denoiser, options)
    one_by_one = time.perf_counter() - start
    start = time.perf_counter()
    run_batch(items[:sample], PlainEngine([denoiser], ahead=AHEAD), folder, options=options, resume=False)
    overlapping = time.perf_counter() - start
    start = time.perf_counter()
    summary = run_batch(items, PlainEngine([denoiser], lanes=lanes), folder, options=options, resume=False)
    batch = time.perf_counter() - start
    assert summary.count("done") == len(items), [outcome.reason for outcome in summary.outcomes]
    start = time.perf_counter()
    again = run_batch(items, PlainEngine([denoiser]), folder, options=options)
    assert again.count("skipped") == len(items), [outcome.state for outcome in again.outcomes]
    skipping = time.perf_counter() - start
    return {
        "network": network * scale,
        "denoising": denoising * scale,
        "one by one": one_by_one * scale,
        "batch, overlapping": overlapping * scale,
        "batch": batch,
        "second run, all skipped": skipping,
    }


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="student")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--volumes", type=int, default=20)
    parser.add_argument("--sample", type=int, default=5, help="volumes that the ways without overlap are measured on")
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lanes", type=int, help="volumes denoised at the same time (default: the engine's)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(arguments.threads)
    denoiser = Denoiser.load(arguments.model, device=arguments.device)
    with tempfile.TemporaryDirectory() as scratch:
        studies = Path(scratch) / "studies"
        make_volumes(studies, arguments.volumes, (arguments.slices, arguments.side, arguments.side))
        items, _, _ = find_items([studies], Path(scratch) / "out", model=arguments.model)
        seconds = measure(items, denoiser, arguments.lanes, min(arguments.sample, arguments.volumes))
    ratios = {way: spent / seconds["network"] for way, spent in seconds.items()}
    size = f"{arguments.volumes} CTs of {arguments.side}x{arguments.side}x{arguments.slices}"
    place = torch.cuda.get_device_name(denoiser.device) if denoiser.device.type == "cuda" else "processor"
    name = f"{denoiser.card.name} {denoiser.card.version}, {str(denoiser.precision).removeprefix('torch.')}"
    rows = [[way, f"{spent:.1f}", f"{ratios[way]:.2f}"] for way, spent in seconds.items()]
    said = "within" if ratios["batch"] <= LIMIT else "not within"
    text = "\n\n".join(
        [
            f"# {size}: {name}, on {place}, {arguments.threads} threads",
            (__doc__ or "").strip(),
            table(["", "seconds", "ratio to the network"], rows),
            f"The batch is {said} 15 % of the network alone.",
        ]
    )
    figures = {"seconds": seconds, "ratios": ratios, "size": size, "place": place, "threads": arguments.threads}
    publish(f"batch-{denoiser.card.name}-{denoiser.device.type}", text, figures)


if __name__ == "__main__":
    main()
