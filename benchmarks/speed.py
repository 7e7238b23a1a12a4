"""A 512x512x100 int16 CT from NRRD to NRRD: ours beside SimpleITK's CurvatureAnisotropicDiffusion, in one run.

Both read the same file, denoise it and write raw NRRD in int16, with two threads each, in turns; the diffusion runs
10 iterations. Loading the model is left out, as in a batch or on a server. The ratio is what counts; seconds belong to
the machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
import torch
from common import publish, table

from meddenoise.inference import Denoiser
from meddenoise.io import read_volume, write_volume

SHAPE = (100, 512, 512)
THREADS = 2


def make_volume(path: Path) -> None:
    """A body-like ellipse with noise of 40 HU."""
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    body = np.where((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1, 50.0, -1000.0)
    noise = np.random.default_rng(0).normal(0, 40, SHAPE)
    image = sitk.GetImageFromArray(np.clip(body + noise, -1024, 3071).astype(np.int16))
    image.SetSpacing((0.7, 0.7, 1.5))
    sitk.WriteImage(image, str(path))


def seconds(work: Callable[[], None]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="student")
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(THREADS)
    fast, exact = (Denoiser.load(arguments.model, device="cpu") for _ in range(2))
    exact.precision = torch.float32  # what machines without bfloat16 arithmetic use
    with tempfile.TemporaryDirectory() as folder:
        noisy = Path(folder) / "ct.nrrd"
        make_volume(noisy)

        def ours(denoise: Denoiser) -> None:
            write_volume(denoise(read_volume(noisy, modality="CT")).volume, Path(folder) / "ours.nrrd")

        def diffusion() -> None:
            image = sitk.Cast(sitk.ReadImage(str(noisy)), sitk.sitkFloat32)
            image = sitk.CurvatureAnisotropicDiffusion(image, 0.04, 3.0, 1, 10)
            sitk.WriteImage(sitk.Cast(image, sitk.sitkInt16), str(Path(folder) / "theirs.nrrd"))

        works = (lambda: ours(fast), lambda: ours(exact), diffusion)
        turns = [[seconds(work) for work in works] for _ in range(arguments.repeats)]
    quick, plain, theirs = (min(times) for times in zip(*turns, strict=True))
    name = f"{fast.card.name} {fast.card.version}"
    rows = [
        [f"{name}, {str(fast.precision).removeprefix('torch.')}", f"{quick:.1f}", f"{quick / theirs:.2f}"],
        [f"{name}, float32", f"{plain:.1f}", f"{plain / theirs:.2f}"],
        ["CurvatureAnisotropicDiffusion, 10 iterations", f"{theirs:.1f}", "1"],
    ]
    text = "\n\n".join(
        [
            "# 512x512x100 int16 CT, NRRD to NRRD, two threads",
            (__doc__ or "").strip(),
            table(["", f"seconds (best of {arguments.repeats})", "ratio"], rows),
        ]
    )
    figures = {"seconds": quick, "seconds_float32": plain, "seconds_diffusion": theirs}
    ratios = {"ratio": quick / theirs, "ratio_float32": plain / theirs}
    publish(f"speed-{fast.card.name}", text, figures | ratios)


if __name__ == "__main__":
    main()
