"""Content, noise, fused and difference, as the GAN denoiser makes them: a picture of redistributable images alone.

By itself it draws the published model's; gan_ablation.py draws that of its best pair.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from algorithm1 import grey_levels, make_noisy
from common import RESULTS, data_folder, manifest
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw
from torch import Tensor

from meddenoise import weights
from meddenoise.io import find_sources, read_volume
from meddenoise.networks.gan import Gan
from meddenoise.noise_level import level_map

NAME, MODEL = "pictures", "gan"
HEAD, CHEST = "VS-SEG-001_T1Gd", "LDCT8bit_C016_00227_tenth"
"""Of subjects held back from training: TCIA Vestibular-Schwannoma-SEG and LDCT-and-Projection-data, both CC BY 4.0."""
SIGMA = 25.0
NOISE_WINDOW = 60.0
"""Grey levels that are black or white in noise and differences."""
SIDE, BAR, GAP = 192, 14, 4
CAPTION = (
    "Content, noise, what is made of both, and what that takes away; noise and difference are +-{window:.0f} grey "
    "levels. Above an MR of the head (TCIA Vestibular-Schwannoma-SEG, CC BY 4.0) with Gaussian noise of {sigma:.0f}; "
    "below a CT of the chest at a real tenth of the dose (TCIA LDCT-and-Projection-data, CC BY 4.0, doi "
    "10.7937/9NPB-2637; 8-bit copy)."
)


def picture(path: Path, title: str, png: Path) -> str:
    """Draw what a model makes of both images; returns what stands below the picture.

    Args:
        path: Weights of a Gan.
        title: Of the model.
        png: The picture.
    """
    network = weights.load(str(path))[0]
    assert isinstance(network, Gan)
    rows = [_panels(network, *_noisy(volume)) for volume in (HEAD, CHEST)]
    names = ("clean or full dose", "noisy", "content", "noise", "fused", "difference")
    canvas = Picture.new("L", (len(names) * (SIDE + GAP), len(rows) * (SIDE + BAR + GAP)), 255)
    draw = ImageDraw.Draw(canvas)
    for i, row in enumerate(rows):
        for k, (name, image) in enumerate(zip(names, row, strict=True)):
            x, y = k * (SIDE + GAP), i * (SIDE + BAR + GAP)
            draw.text((x + 2, y), name, fill=0)
            canvas.paste(Picture.fromarray(np.clip(image, 0, 255).astype(np.uint8)), (x, y + BAR))
    png.parent.mkdir(parents=True, exist_ok=True)
    canvas.quantize(64).save(png, optimize=True)
    caption = f"{title}: " + CAPTION.format(window=NOISE_WINDOW, sigma=SIGMA)
    return f"![{title}]({png.name})\n\n{caption}"


def _noisy(name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A clean and a noisy slice in grey levels, of SIDE pixels a side; real noise where there is a partner."""
    rows = {r["volume_id"]: r for r in manifest()}
    if name == HEAD:
        clean = _middle(rows[name])
        return clean, make_noisy(clean, SIGMA, False, seed=0)
    full = next(r for r in rows.values() if r["pair_key"] == rows[name]["pair_key"] and r["dose"] == "full")
    return _middle(full), _middle(rows[name])


def _middle(row: dict[str, str]) -> NDArray[np.float64]:
    (source, *_), _ = find_sources([data_folder() / row["path"]])
    volume = read_volume(source, modality=row["modality"])  # type: ignore[arg-type]  # checked by read_volume
    image = grey_levels(volume, volume.array[len(volume.array) // 2])
    top, left = ((n - SIDE) // 2 for n in image.shape)
    return image[top : top + SIDE, left : left + SIDE]


def _panels(network: Gan, clean: NDArray[np.float64], noisy: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    image = torch.from_numpy(noisy).float()[None, None] / 255.0
    with torch.inference_mode():
        content, noise, fused = (255.0 * _grey(part) for part in network.parts(image, level_map(image)))
    signed = (127.5 + 127.5 * part / NOISE_WINDOW for part in (noise, noisy - fused))
    return [clean, noisy, content, next(signed), fused, next(signed)]


def _grey(part: Tensor) -> NDArray[np.float64]:
    return part[0, 0].double().numpy()


def main() -> None:
    """Draw the published model's picture."""
    print(picture(weights.file_of(MODEL), MODEL, RESULTS / f"{NAME}-{MODEL}.png"))


if __name__ == "__main__":
    main()
