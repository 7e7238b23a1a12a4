"""Colour: Gaussian noise on two 8-bit medical pictures that scikit-image carries, beside BM3D in colour.

Data: tissue under the microscope (ihc.png) and an eye's fundus (retina.jpg, its 512x512 pixels around the optic disc,
halved), 256x256 pixels each; no model was trained on colour pictures. Noise: independent in each colour, sigma 10, 25
and 50 grey levels, clipped and rounded to 8 bits. PSNR over all pixels and colours, SSIM as the mean of the three
colours (Gaussian window, 11 taps, sigma 1.5), both on data range 255. The model is blind to the level; BM3D gets it,
once in colour (luminance and chrominance) and once for each colour alone. Two pictures are an anecdote.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from bm3d import bm3d, bm3d_rgb
from common import publish, table
from numpy.typing import NDArray
from skimage import data

from meddenoise.inference import Denoiser
from meddenoise.metrics import psnr, ssim
from meddenoise.volume import Header, Volume

Image = NDArray[np.float64]
"""Shape (rows, columns, 3), 0 to 255."""
Method = Callable[[Image, float], Image]
SIGMAS = (10.0, 25.0, 50.0)
HEADER = Header("uint8", (0.0, 255.0), display=True, ndim=2)


def pictures() -> dict[str, Image]:
    """The clean pictures by what they show."""
    tissue = data.immunohistochemistry()[128:384, 128:384].astype(float)
    eye = data.retina()[450:962, 100:612].astype(float).reshape(256, 2, 256, 2, 3).mean(axis=(1, 3)).round()
    return {"tissue": tissue, "fundus": eye}


def scores(result: Image, clean: Image) -> tuple[float, float]:
    """PSNR and SSIM."""
    by_colour = [ssim(result[..., c], clean[..., c], data_range=255.0) for c in range(3)]
    return psnr(result, clean, data_range=255.0), float(np.mean(by_colour))


def bm3d_each(noisy: Image, sigma: float) -> Image:
    """BM3D of each colour alone."""
    return np.stack([bm3d(noisy[..., c], sigma_psd=sigma) for c in range(3)], axis=-1)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="two_stage", help="one that takes colour (default: two_stage)")
    arguments = parser.parse_args()
    denoise = Denoiser.load(arguments.model)

    def ours(noisy: Image, _sigma: float) -> Image:
        return denoise(Volume(noisy[None].astype(np.uint8), np.eye(4), "XR", HEADER)).volume.array[0].astype(float)

    methods: dict[str, Method] = {
        "noisy": lambda noisy, _sigma: noisy,
        arguments.model: ours,
        "BM3D in colour, true level": lambda noisy, sigma: np.clip(bm3d_rgb(noisy, sigma_psd=sigma), 0, 255),
        "BM3D of each colour, true level": lambda noisy, sigma: np.clip(bm3d_each(noisy, sigma), 0, 255),
    }
    figures: dict[str, dict[str, dict[str, float]]] = {method: {} for method in methods}
    for name, clean in pictures().items():
        for sigma in SIGMAS:
            noise = np.random.default_rng(int(sigma)).normal(0.0, sigma, clean.shape)
            noisy = np.clip(clean + noise, 0, 255).round()
            for method, function in methods.items():
                found = scores(function(noisy, sigma), clean)
                figures[method][f"{name} {sigma:.0f}"] = dict(zip(("psnr", "ssim"), found, strict=True))
    columns = list(figures["noisy"])
    rows = [[m, *(f"{at[c]['psnr']:.2f} / {at[c]['ssim']:.3f}" for c in columns)] for m, at in figures.items()]
    card = denoise.card
    model = f"Model: {card.name} {card.version}, sha256 {card.sha256[:12]}."
    head = table(["PSNR dB / SSIM", *columns], rows)
    publish(f"colour-{card.name}", "\n\n".join(["# Colour", (__doc__ or "").strip(), head, model]), figures)


if __name__ == "__main__":
    main()
