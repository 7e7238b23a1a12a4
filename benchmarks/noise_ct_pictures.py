"""Plots and pictures of benchmarks/noise_ct.py: curves of all sets, images of redistributable ones only."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from common import RESULTS, data_folder, manifest
from noise_spectrum import Image
from PIL import Image as Picture
from PIL import ImageDraw
from scipy.ndimage import gaussian_filter

from meddenoise.noise import fast_low_dose_noise, low_dose_noise, same_scan
from meddenoise.noise.projection import Kernel

mpl.use("Agg")
import matplotlib.pyplot as plt

CHEST = "LDCT8bit_C162_00228"
CHEST_SPACING = 0.7
"""In mm; a guess, the file does not say it."""
CHEST_KERNEL = Kernel(cutoff=0.41 / CHEST_SPACING, falloff=4.0)
CHEST_AIR, CHEST_MUSCLE = 4.0, 104.0
"""Peaks of the full dose's grey levels."""


def curves(figures: dict[str, Any], name: str, unit: str) -> str:
    """Radial power, real and both forms, one panel per set."""
    sets = list(dict.fromkeys(key.rsplit(" ", 1)[0] for key in figures))
    figure, axes = plt.subplots(1, len(sets), figsize=(3.2 * len(sets), 2.8), constrained_layout=True)
    for axis, key in zip(axes, sets, strict=True):
        exact, fast = figures[f"{key} exact"], figures[f"{key} fast"]
        axis.plot(exact["frequency"], exact["real_power"], "k", label="real")
        axis.plot(exact["frequency"], exact["power"], "C0--", label="exact")
        axis.plot(exact["frequency"], fast["power"], "C3:", label="fast")
        axis.set(title=key, xlabel=f"frequency, 1/{unit}", ylim=(0, None))
    axes[0].set_ylabel(f"power, HU² {unit}²")
    axes[0].legend()
    return _save(figure, name, "Radial noise power, simulated beside real.")


def phantom_picture(noises: dict[int, dict[str, Image]]) -> str:
    """Noise of one real repeat and of both forms, one row per dose."""
    panels = []
    for dose, shown in noises.items():
        limit = 3 * shown["real"][64:192, 64:192].std()
        panels += [(f"{title}, {dose} %", image[54:202, 54:202], -limit, limit) for title, image in shown.items()]
    caption = "LCD_CT (CC0): noise of one real repeat beside simulated noise; grey is +-3 standard deviations."
    return _picture(panels, 3, "noise-ct-phantom", caption)


def chest_picture() -> str:
    """A real chest slice at a tenth of the dose between two that were simulated from its full-dose slice."""
    full, tenth = _grey("full"), _grey("tenth")
    slope, offset = np.polyfit(gaussian_filter(full, 6).ravel(), gaussian_filter(tenth, 6).ravel(), 1)
    same_scale = slope * full + offset
    smooth = gaussian_filter(full, 4)
    soft = np.abs(smooth - CHEST_MUSCLE) < 6
    hu = (full - CHEST_AIR) * (1050.0 / (CHEST_MUSCLE - CHEST_AIR)) - 1000.0
    image = torch.from_numpy(hu).float()[None, None]
    shown = {}
    for form, simulate in (("exact", low_dose_noise), ("fast", fast_low_dose_noise)):
        generator = torch.Generator().manual_seed(0)
        scan = same_scan(exposure=100.0, fraction=0.1)
        noise = simulate(image, scan, CHEST_KERNEL, spacing=CHEST_SPACING, generator=generator)[0, 0].double().numpy()
        noise *= (tenth - same_scale)[soft].std() / noise[soft].std()
        shown[f"simulated, {form}"] = np.clip(np.round(same_scale + noise), 0, 255)
    shown = {"real, full dose": same_scale, "real, tenth of the dose": tenth} | shown
    panels = [(title, picture[130:338, 130:338], 0.0, 130.0) for title, picture in shown.items()]
    caption = (
        "A chest at a tenth of the dose (TCIA LDCT-and-Projection-data, CC BY 4.0, doi 10.7937/9NPB-2637; 8-bit copy). "
        "Its scale, mAs, kernel and pixel size are not told: level and kernel were matched to the real noise for this "
        "picture, direction and local level were not."
    )
    return _picture(panels, 2, "noise-ct-chest", caption)


def _grey(dose: str) -> Image:
    (row,) = (r for r in manifest() if r["pair_key"] == CHEST and r["dose"] == dose)
    return np.asarray(Picture.open(data_folder() / row["path"]).convert("L"), dtype=np.float64)


def _picture(panels: list[tuple[str, Image, float, float]], columns: int, name: str, caption: str) -> str:
    """Panels (title, image, black, white) of one size at one screen pixel per pixel: noise must not be resampled."""
    rows, (height, width), bar = -(-len(panels) // columns), panels[0][1].shape, 14
    canvas = Picture.new("L", (columns * (width + 4), rows * (height + bar + 4)), 255)
    draw = ImageDraw.Draw(canvas)
    for k, (title, image, low, high) in enumerate(panels):
        x, y = (k % columns) * (width + 4), (k // columns) * (height + bar + 4)
        grey = np.clip((image - low) / (high - low) * 255.0, 0, 255).astype(np.uint8)
        draw.text((x + 2, y), title, fill=0)
        canvas.paste(Picture.fromarray(grey), (x, y + bar))
    canvas.quantize(64).save(RESULTS / f"{name}.png", optimize=True)
    return f"![{caption}]({name}.png)\n\n{caption}"


def _save(figure: Any, name: str, caption: str) -> str:
    figure.savefig(RESULTS / f"{name}.png", dpi=80)
    plt.close(figure)
    return f"![{caption}]({name}.png)\n\n{caption}"
