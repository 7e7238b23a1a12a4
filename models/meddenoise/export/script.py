"""Denoises NIfTI files with the model of this bundle: read, scale, denoise slice by slice, write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch

AIR, HU_RANGE = -1024.0, 4095.0
PERCENTILES = (0.1, 99.9)
COARSER = 1.5
PIXELS = 2**18


class Denoise:
    """The bundle's model for one kind of images.

    Args:
        bundle_root: Folder of the bundle.
        modality: "CT" for images in HU, anything else for all others.
        device: Where to compute.
    """

    def __init__(self, bundle_root: str, modality: str, device: torch.device) -> None:
        root = Path(bundle_root)
        metadata = json.loads((root / "configs" / "metadata.json").read_text())
        self.channels = metadata["network_data_format"]["inputs"]["image"]["num_channels"]
        self.context, self.device, self.in_hu = metadata["context_mm"], device, modality == "CT"
        name = "model_ct.ts" if self.in_hu else "model.ts"
        self.network = torch.jit.load(str(root / "models" / name), map_location=device)  # type: ignore[no-untyped-call]

    def __call__(self, path: str, output_dir: str) -> str:
        """Denoise a file into a folder, under its own name and in its stored type; returns the new path."""
        image: Any = nibabel.load(path)
        scaled = image.dataobj.slope != 1 or image.dataobj.inter != 0
        values = np.asanyarray(image.dataobj).T  # (slices, rows, columns)
        if scaled or values.dtype.kind == "f":
            values = values.astype(np.float32)
        spacing = image.header.get_zooms()[::-1]
        if values.ndim == 2:
            values, spacing = values[None], (1.0, *spacing)
        if values.ndim != 3:
            raise ValueError(f"{path}: must have 2 or 3 axes, got shape {values.shape}")
        clean = self.denoised(values, spacing)
        header = image.header.copy()
        header.set_data_dtype(clean.dtype)
        header.set_slope_inter(1, 0)
        to = Path(output_dir) / Path(path).name
        to.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(type(image)(clean.T.reshape(image.shape), image.affine, header), to)
        return str(to)

    def denoised(self, values: Any, spacing: Any) -> Any:
        """Values of shape (slices, rows, columns), and spacing along these axes in mm; the same shape and type out."""
        kept_type = values.dtype
        axis = _slicing_axis(values.shape, spacing)
        offset, scale = self._rule(values)
        shown = np.maximum(values, AIR) if self.in_hu and kept_type.itemsize > 1 else values
        stack = np.moveaxis((shown.astype(np.float64) - offset) / scale, axis, 0).astype(np.float32)
        removed = self._removed(stack, neighbours=spacing[axis] <= self.context) * np.float32(scale)
        exact = values.astype(np.float64 if kept_type.itemsize > 2 else np.float32)
        clean = np.clip(exact - np.moveaxis(removed, 0, axis), values.min(), values.max())
        clean = (np.rint(clean) if kept_type.kind in "iu" else clean).astype(kept_type)
        return np.where(values < AIR, values, clean) if self.in_hu else clean

    def _rule(self, values: Any) -> tuple[float, float]:
        """Value that is 0 in network units, and width that is 1."""
        if values.dtype.itemsize == 1:
            return float(np.iinfo(values.dtype).min), 255.0
        if self.in_hu:
            return AIR, HU_RANGE
        low, high = (float(p) for p in np.percentile(values, PERCENTILES))
        if high <= low:
            low, high = float(values.min()), float(values.max())
        return low, high - low if high > low else 1.0

    def _removed(self, stack: Any, *, neighbours: bool) -> Any:
        """What the network takes away from each slice; network units, shape (slices, rows, columns)."""
        offsets = np.arange(self.channels) - self.channels // 2 if neighbours else np.zeros(self.channels, int)
        at_once = max(1, PIXELS // stack[0].size)
        removed = np.empty_like(stack)
        for start in range(0, len(stack), at_once):
            chosen = np.arange(start, min(start + at_once, len(stack)))
            image = stack[np.clip(chosen[:, None] + offsets, 0, len(stack) - 1)]
            with torch.inference_mode():
                clean = self.network(torch.from_numpy(image).to(self.device))[:, 0].cpu().numpy()
            removed[chosen] = stack[chosen] - clean
        return removed


def _slicing_axis(shape: Any, spacing: Any) -> int:
    """Axis across which the slices lie: one of a single voxel, else a clearly coarser one, else the first."""
    if 1 in shape:
        return int(shape.index(1))
    *_, second, coarsest = sorted(spacing)
    return int(spacing.index(coarsest)) if coarsest > COARSER * second else 0
