"""The picture of a denoising: original, denoised and their difference side by side, with every scale it uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from meddenoise.inference import Result
from meddenoise.io.atomic import replacing_file
from meddenoise.notice import NOTICE
from meddenoise.volume import Volume

DISCLAIMER = f"Denoised, {NOTICE}"

CT_WINDOW = (-160.0, 240.0)
"""Soft tissue, in HU."""
WINDOW_PERCENTILES = (0.5, 99.5)
DIFFERENCE_PERCENTILE = 99.5

PANEL = 480
"""Longest side of an image in the picture, in pixels."""
MARGIN, GAP, COLUMN = 28, 24, 340
BAR_WIDTH, BAR_SPACE = 18, 96
BACKGROUND, TEXT, FAINT = (16, 18, 22), (240, 240, 240), (165, 170, 178)
BLUE, WHITE, RED = (33, 102, 172), (247, 247, 247), (178, 24, 43)


def picture(volume: Volume, result: Result, path: Path, *, name: str | None = None) -> Path:
    """Draw the middle slice before and after in one window, and what was taken away, into a PNG file.

    The window is soft tissue for CT in HU; for all else, display images included, it goes from the 0.5 to the 99.5
    percentile of the input's slice. The difference, input minus denoised, is blue below zero, white at zero and red
    above; of colours it is the mean. Slices are turned the radiological way (left of the patient on the right, front or
    head up) where the axes allow it by flipping, and drawn with square millimetres.

    Args:
        volume: The input, as read.
        result: What denoising it gave.
        path: The PNG file; replaced as a whole or not at all.
        name: What the image is called; the name of its first file where None.

    Raises:
        OutputError: the file cannot be written.
    """
    shown = volume.as_slices()
    middle = len(shown.array) // 2
    before, after, removed = (
        _upright(v.as_slices().array[middle].astype(np.float32), shown.affine)
        for v in (volume, result.volume, result.difference)
    )
    removed = removed.mean(axis=2) if volume.colour else removed
    units = str(result.figures.get("units") or volume.header.units)
    low, high = _window(volume, before)
    limit = _round_up(float(np.percentile(np.abs(removed), DIFFERENCE_PERCENTILE)))
    size = _size(before.shape, shown.spacing)
    panels = [
        _Panel("Original", _windowed(_resize(before, size), low, high), _noise(result, "noise_before", units)),
        _Panel("Denoised", _windowed(_resize(after, size), low, high), _noise(result, "noise_after", units)),
        _Panel("Difference (original - denoised)", _diverging(_resize(removed, size), limit), _shift(result, units)),
    ]
    slices = len(shown.array)
    place = f"slice {middle + 1} of {slices}, " if slices > 1 else ""
    model, strength = result.model, result.settings.get("strength", 1.0)
    heads = [
        name or title_of(volume),
        f"{volume.modality}, {place}window {low:g} to {high:g}{_unit(units)}, "
        f"model {model.get('name', '?')} {model.get('version', '')}, strength {strength:g}",
    ]
    with replacing_file(path) as temporary:
        _compose(heads, panels, limit, units).save(temporary, format="PNG", optimize=True)
    return path


def side_by_side(images: Sequence[tuple[str, str, Volume]], path: Path, *, heads: tuple[str, str]) -> Path:
    """Draw the middle slice of several images in one window, and the difference of the last two, into a PNG file.

    Window, colours and directions are those of ``picture``; the window is the first image's.

    Args:
        images: Title, caption and values of each, all of one geometry.
        path: The PNG file; replaced as a whole or not at all.
        heads: Two lines above the picture; the window is added to the second.

    Raises:
        OutputError: the file cannot be written.
    """
    first = images[0][2].as_slices()
    middle = len(first.array) // 2
    slices = [_upright(v.as_slices().array[middle].astype(np.float32), first.affine) for *_, v in images]
    units, (low, high) = first.header.units, _window(first, slices[0])
    difference = slices[-2] - slices[-1]
    limit = _round_up(float(np.percentile(np.abs(difference), DIFFERENCE_PERCENTILE)))
    size = _size(slices[0].shape, first.spacing)
    panels = [
        _Panel(title, _windowed(_resize(pixels, size), low, high), caption)
        for (title, caption, _), pixels in zip(images, slices, strict=True)
    ]
    named = f"Difference ({images[-2][0]} - {images[-1][0]})"
    panels.append(
        _Panel(named, _diverging(_resize(difference, size), limit), f"rms {_rms(difference):.3g}{_unit(units)}")
    )
    lines = [heads[0], f"{heads[1]}, window {low:g} to {high:g}{_unit(units)}"]
    with replacing_file(path) as temporary:
        _compose(lines, panels, limit, units).save(temporary, format="PNG", optimize=True)
    return path


def _rms(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def title_of(volume: Volume) -> str:
    """The name of the first file read, or "image" for a volume that was never a file."""
    sources = volume.header.sources
    return sources[0].name if sources else "image"


@dataclass(frozen=True)
class _Panel:
    title: str
    image: Image.Image
    caption: str


def _window(volume: Volume, pixels: NDArray[Any]) -> tuple[float, float]:
    if volume.header.units == "HU":
        return CT_WINDOW
    low, high = (float(p) for p in np.percentile(pixels, WINDOW_PERCENTILES))
    if high <= low:
        return low - 0.5, low + 0.5
    digits = 2 - math.floor(math.log10(high - low))  # three significant digits of the width
    return round(low, digits), round(high, digits)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten; 1 for zero, so that an unchanged image gets a scale too."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= value * (1 - 1e-6))


def _upright(pixels: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """Flip rows and columns so that the patient's left is right, the back or the feet are down."""
    toward = (1.0, 1.0, -1.0)  # picture axes point to the left, to the back, to the feet (LPS)
    for array_axis, column in ((1, 0), (0, 1)):
        direction = affine[:3, column]
        world = int(np.argmax(np.abs(direction)))
        if direction[world] * toward[world] < 0:
            pixels = np.flip(pixels, axis=array_axis)
    return np.ascontiguousarray(pixels)


def _size(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> tuple[int, int]:
    """Width and height in pixels of the picture, with square millimetres."""
    width, height = shape[1] * spacing[0], shape[0] * spacing[1]
    scale = PANEL / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resize(pixels: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if pixels.ndim == 3:
        return np.stack([_resize(colour, size) for colour in np.moveaxis(pixels, -1, 0)], axis=-1)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BICUBIC))


def _windowed(pixels: NDArray[np.float32], low: float, high: float) -> Image.Image:
    scaled = np.clip((pixels - low) / (high - low), 0, 1) * 255
    return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")


def _diverging(pixels: NDArray[np.float32], limit: float) -> Image.Image:
    position = np.clip(pixels / limit, -1, 1)
    channels = [np.interp(position, (-1, 0, 1), (b, w, r)) for b, w, r in zip(BLUE, WHITE, RED, strict=True)]
    return Image.fromarray(np.rint(np.stack(channels, axis=-1)).astype(np.uint8))


def _unit(units: str) -> str:
    return f" {units}" if units else ""


def _noise(result: Result, key: str, units: str) -> str:
    value = _number(result, key)
    return "noise not measurable" if value is None else f"estimated noise {value:.3g}{_unit(units)}"


def _shift(result: Result, units: str) -> str:
    change, shift = _number(result, "rms_change"), _number(result, "bias")
    words = [] if change is None else [f"rms {change:.3g}{_unit(units)}"]
    if shift is not None:
        decimals = 2 - math.floor(math.log10(change)) if change else 2
        words.append(f"mean shift {round(shift, decimals) + 0.0:+.3g}{_unit(units)}")  # + 0.0: no minus zero
    return ", ".join(words)


def _number(result: Result, key: str) -> float | None:
    """A figure, or None where it was not measured."""
    value = result.figures.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _compose(heads: list[str], panels: list[_Panel], limit: float, units: str) -> Image.Image:
    width, height = panels[0].image.size
    column = max(width, COLUMN)
    total = 2 * MARGIN + len(panels) * column + (len(panels) - 1) * GAP + BAR_SPACE
    top = MARGIN + 96
    canvas = Image.new("RGB", (total, top + height + 34 + 20 + 24 + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    inner = total - 2 * MARGIN
    _write(draw, (MARGIN, MARGIN), heads[0], 24, TEXT, inner)
    _write(draw, (MARGIN, MARGIN + 34), heads[1], 16, FAINT, inner)
    left = MARGIN
    for panel in panels:
        x = left + (column - width) // 2
        _write(draw, (x, top - 26), panel.title, 18, TEXT, column)
        canvas.paste(panel.image, (x, top))
        _write(draw, (x, top + height + 8), panel.caption, 15, FAINT, column)
        left += column + GAP
    _color_bar(canvas, (x + width + 14, top), height, limit, units)
    _write(draw, (MARGIN, top + height + 46), f"{DISCLAIMER}.", 16, TEXT, inner)
    return canvas


def _color_bar(canvas: Image.Image, corner: tuple[int, int], height: int, limit: float, units: str) -> None:
    """The scale of the difference, +limit at the top, with a tick at both ends, the halves and zero."""
    ramp = np.linspace(limit, -limit, height, dtype=np.float32)[:, None].repeat(BAR_WIDTH, axis=1)
    canvas.paste(_diverging(ramp, limit), corner)
    draw = ImageDraw.Draw(canvas)
    right = corner[0] + BAR_WIDTH
    for share in (1.0, 0.5, 0.0, -0.5, -1.0):
        y = corner[1] + round((1 - share) / 2 * (height - 1))
        draw.line((right, y, right + 5, y), fill=TEXT)
        draw.text((right + 9, y), f"{share * limit:+g}" if share else "0", font=_font(14), fill=TEXT, anchor="lm")
    if units:
        draw.text((corner[0], corner[1] - 8), units, font=_font(14), fill=TEXT, anchor="ls")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _write(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, size: int, fill: tuple[int, int, int], width: int
) -> None:
    """Text in one line; its middle gives way to dots where it is longer than `width` pixels."""
    font, shown, kept = _font(size), text, len(text)
    while draw.textlength(shown, font=font) > width and kept > 2:
        kept -= 1
        shown = f"{text[: (kept + 1) // 2]}...{text[-(kept // 2) :]}"
    draw.text(corner, shown, font=font, fill=fill)
