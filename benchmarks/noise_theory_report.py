"""Tables, plots and pictures of noise_theory.py."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from common import RESULTS, data_folder, manifest, table
from PIL import Image
from torch import Tensor

from meddenoise import noise
from meddenoise.io import find_sources, read_volume

mpl.use("Agg")
import matplotlib.pyplot as plt

REAL = {"MR": ("torchio_fernando_FLAIR", 0.5), "PET": ("STS_001_FDG_PET_raw", 0.56), "XR": ("NIH_00001285_001", 0.5)}
"""Redistributable images: MIT (F. Pérez-García), CC BY 3.0 (TCIA Soft-tissue-Sarcoma), NIH Clinical Center."""
RING = 0.05


def text_of(description: str, figures: dict[str, Any]) -> str:
    """The tables."""
    mr, pet, fast, real, xray = (figures[k] for k in ("MR", "PET", "fast PET", "real PET slice", "X-ray"))
    worst = {c: [max(abs(p[i] - p[i + 1]) / p[i + 1] for p in points) for i in (1, 3)] for c, points in mr.items()}
    parts = [
        "# Simulated noise against theory",
        description.strip(),
        "![curves](noise-theory.png)",
        "![pictures](noise-pictures.png)",
        "Left column: real images (MR: F. Pérez-García, MIT; PET: TCIA Soft-tissue-Sarcoma, CC BY 3.0; X-ray: NIH "
        "Clinical Center). All others are simulated from these; no real low-count PET, low-exposure X-ray or repeated "
        "MR was at hand to put beside them.",
        "## MR: measured over exact, SNR 0 to 20",
        table(
            ["coils", "largest error of the mean", "largest error of the standard deviation"],
            [[c, *(f"{100 * e:.2f} %" for e in errors)] for c, errors in worst.items()],
        ),
        "## PET",
        table(
            [
                "",
                *(f"variation at {100 * f:.0f} %" for f in pet["OSEM"]["fractions"]),
                "exponent of counts, 100 to 10 %",
                "of activity",
            ],
            [
                [
                    name,
                    *(f"{v:.3f}" for v in pet[name]["variation"]),
                    f"{pet[name]['slope from 100 to 10 %']:.3f}",
                    f"{pet[name]['exponent']:.2f}",
                ]
                for name in ("OSEM", "FBP")
            ],
        ),
        "Variation is that of a pixel in the body at activity 1. Theory: the exponent of counts (100 to 10 %) is "
        "-0.5; OSEM's level grows with activity to a power of 0.5 to 1, that of filtered back-projection hardly. "
        "Thinned counts: mean "
        f"{pet['thinned, mean over expected']:.4f} of the expected, variance "
        f"{pet['thinned, variance over mean']:.3f} of the mean (theory 1).",
        "Fast form beside the exact one, a tenth of the counts, fitted on full counts:",
        table(
            ["", "width, pixels", "level, fast / exact", "skewness, fast", "exact", "spectrum, largest difference"],
            [
                [
                    name,
                    f"{f['width']:.2f}",
                    f"{f['fast']['level'] / f['exact']['level']:.2f}",
                    f"{f['fast']['skewness']:.2f}",
                    f"{f['exact']['skewness']:.2f}",
                    f"{np.abs(np.subtract(f['fast']['spectrum'], f['exact']['spectrum'])).max():.3f}",
                ]
                for name, f in fast.items()
            ],
        ),
        "The spectrum is in ten rings up to Nyquist whose sum is 1. On a real slice: "
        + ", ".join(f"{k} {v:.2f}" for k, v in real.items())
        + ".",
        "## X-ray, a quarter of the exposure: exponent of the level over the exposure or the logarithmic value",
        table(
            ["", "measured", "theory", "lag-1 autocorrelation", ""],
            _xray_rows(xray),
        ),
        "## Ultrasound and gamma camera",
        table(["", "measured"], [[k, f"{v:.3f}"] for k, v in figures["others"].items()]),
    ]
    return "\n\n".join(parts)


def _xray_rows(xray: dict[str, Any]) -> list[list[str]]:
    """Level against exposure: a power in linear units, an exponential in logarithmic ones."""
    values, rows = xray["values"], []
    for name, found in xray.items():
        if name == "values":
            continue
        bone = name.startswith("white")
        measured = float(np.polyfit(values if bone else np.log(values), np.log(found["level"]), 1)[0])
        theory = "1.50 (3 / 2)" if bone else "below 0.5" if "electronic" in name else "0.50"
        rows.append([name, f"{measured:.2f}", theory, f"{found['lag-1'][0]:.2f}", f"to {found['lag-1'][-1]:.2f}"])
    return rows


def slice_of(modality: str) -> Tensor:
    """A real slice, shape (1, 1, rows, columns)."""
    name, where = REAL[modality]
    row = next(r for r in manifest() if r["volume_id"] == name)
    (source, *_), _ = find_sources([data_folder() / row["path"]])
    array = read_volume(source, modality=modality).array  # type: ignore[arg-type]  # checked by read_volume
    return torch.from_numpy(array[int(where * (len(array) - 1))].astype(np.float32))[None, None]


def plots(figures: dict[str, Any]) -> None:
    """Six panels of curves, noise-theory.png."""
    figure, axes = plt.subplots(2, 3, figsize=(12, 7), constrained_layout=True)
    for coils, points in figures["MR"].items():
        snr, mean, mean_theory, sd, sd_theory = np.array(points).T
        for axis, measured, theory in ((axes[0, 0], mean - snr, mean_theory - snr), (axes[0, 1], sd, sd_theory)):
            axis.plot(snr, measured, "o", label=f"{coils} coil{'s' * (coils != '1')}")
            axis.plot(snr, theory, "k-", lw=0.8)
    axes[0, 0].set(title="MR: bias, line is theory", xlabel="SNR", ylabel="mean - signal, sigma", yscale="symlog")
    axes[0, 1].set(title="MR: standard deviation, line is theory", xlabel="SNR", ylabel="sigma")
    pet = figures["PET"]
    for name in ("OSEM", "FBP"):
        fractions, variation = np.array(pet[name]["fractions"]), np.array(pet[name]["variation"])
        axes[0, 2].loglog(fractions, variation, "o", label=f"{name} {pet[name]['slope from 100 to 10 %']:.2f}")
        axes[0, 2].loglog(fractions, variation[0] * fractions**-0.5, "k-", lw=0.8)
        axes[1, 0].loglog(
            pet[name]["activities"], pet[name]["level"], "o-", label=f"{name} {pet[name]['exponent']:.2f}"
        )
    axes[0, 2].set(title="PET: variation, line is counts^-1/2", xlabel="share of counts")
    axes[1, 0].xaxis.set_minor_formatter("")
    axes[1, 0].set(
        title="PET: level against local activity", xlabel="activity", ylabel="standard deviation", xticks=[0.25, 1, 4]
    )
    rings = np.arange(10) * RING + RING / 2
    for name, found in figures["fast PET"].items():
        (line,) = axes[1, 1].plot(rings, found["exact"]["spectrum"], "o", label=f"{name}, exact")
        axes[1, 1].plot(rings, found["fast"]["spectrum"], "-", color=line.get_color(), label=f"{name}, fast")
    axes[1, 1].set(title="PET: noise spectrum at 10 % counts", xlabel="cycles per pixel")
    xray = figures["X-ray"]
    for name, found in xray.items():
        if name != "values":
            axes[1, 2].semilogy(xray["values"], found["level"], "o-", label=name)
    axes[1, 2].set(title="X-ray: level at quarter exposure", xlabel="pixel value")
    for axis in axes.flat:
        axis.legend(fontsize=7)
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "noise-theory.png", dpi=70)
    plt.close(figure)


def side_by_side(pet: list[Tensor]) -> None:
    """Real slices beside the same with simulated noise, noise-pictures.png; ``pet`` is real, exact, fast."""
    g = torch.Generator().manual_seed(11)
    mr, xray = slice_of("MR"), slice_of("XR")[..., 260:516, 260:516]
    pet = [image[..., 28:100, 26:112] for image in pet]
    tissue = mr.flatten().quantile(0.95)

    def magnetic(snr: float, coils: int, extent: float) -> Tensor:
        values = (torch.tensor([v]) for v in (float(tissue) / snr, coils, 2.0))
        return noise.mr_noise(
            mr, noise.MRNoise(*values, extent=torch.full((1, 2), extent), taper=torch.zeros(1)), generator=g
        )

    def exposed(share: float, blur: float) -> Tensor:
        values = (share, 2e4, 5.0, blur, 3.0, 0.0, 255.0)
        return noise.xray_noise(xray, noise.XRayNoise(*(torch.tensor([v]) for v in values)), generator=g)

    lines = noise.draw_undersampling(1, mr.shape[-2], g)
    grey = 255.0 * (mr / mr.max()).sqrt()
    speckle = noise.UltrasoundSpeckle(torch.tensor([[1.5, 3.0]]), *(torch.tensor([v]) for v in (60.0, 0.0, 255.0)))
    rows = [
        [
            ("MR, real", mr),
            ("SNR 20, Rician", magnetic(20, 1, 1.0)),
            ("SNR 8, zero-filled", magnetic(8, 1, 0.6)),
            ("SNR 8, 8 coils", magnetic(8, 8, 1.0)),
            ("4-fold undersampled: artefact", noise.undersampled(mr, lines)),
        ],
        [
            ("PET, real", pet[0]),
            ("10 % counts, exact", pet[1]),
            ("10 % counts, fast", pet[2]),
            ("as planar counts, 200 000", _camera(pet[0], g)),
            ("MR as ultrasound", noise.ultrasound_speckle(grey, speckle, generator=g)),
        ],
        [
            ("X-ray, real", xray),
            ("half exposure", exposed(0.5, 2.0)),
            ("quarter, blurred detector", exposed(0.25, 2.0)),
            ("quarter, sharp detector", exposed(0.25, 0.0)),
            ("tenth, sharp detector", exposed(0.1, 0.0)),
        ],
    ]
    figure, axes = plt.subplots(3, 5, figsize=(12, 7.6), constrained_layout=True)
    for row, line in zip(rows, axes, strict=True):
        low, high = (float(row[0][1].quantile(q)) for q in (0.005, 0.998))
        for (title, image), axis in zip(row, line, strict=True):
            own = title.startswith(("as planar", "MR as"))
            limits = (None, None) if own else (low, high)
            axis.imshow(image[0, 0], cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
            axis.set_title(title, fontsize=8)
            axis.axis("off")
    figure.savefig(RESULTS / "noise-pictures.png", dpi=66)
    plt.close(figure)
    Image.open(RESULTS / "noise-pictures.png").convert("L").save(RESULTS / "noise-pictures.png", optimize=True)


def _camera(image: Tensor, g: torch.Generator) -> Tensor:
    parameters = noise.CameraCounts(*(torch.tensor([v]) for v in (2e5, 1.5, 0.05)))
    return noise.camera_counts(image, parameters, generator=g)
