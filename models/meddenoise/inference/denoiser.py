"""Volume in, denoised volume out: the one way every front end (command line, server, benchmarks) denoises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from meddenoise.volume import Volume

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Result:
    """What one denoising gave.

    Attributes:
        volume: The denoised volume, in the input's geometry, units, stored type and range.
        difference: Input minus denoised as float32, in the input's units: what was taken away.
        figures: Numbers that say what was changed, JSON-able: "noise_before", "noise_after" (estimated standard
            deviations), "bias" (mean of denoised minus input), "rms_change", "fraction_changed", "units".
        model: JSON-able identity of the model: "name", "version", "sha256".
        settings: JSON-able: "strength", "device", "precision", "modality", "intensity".
        warnings: Sentences for the user.
    """

    volume: Volume
    difference: Volume
    figures: dict[str, Any]
    model: dict[str, Any]
    settings: dict[str, Any]
    warnings: tuple[str, ...]


class Denoiser:
    """A published model, loaded once and applied to any number of volumes. Safe to call from several threads."""

    @classmethod
    def load(cls, name: str = "student", *, device: str = "auto") -> Denoiser:
        """Load a published model by name.

        Args:
            name: One of ``weights.available()``, or the path of a weights file.
            device: "auto", "cpu", "cuda" or "cuda:N".

        Raises:
            ModelError: Unknown name, or missing or damaged weights.
            OptionError: Unknown or absent device.
        """
        raise NotImplementedError

    def __call__(self, volume: Volume, *, strength: float = 1.0, progress: Progress | None = None) -> Result:
        """Denoise a volume slice by slice.

        Args:
            volume: Any modality; see Volume for units and axis order.
            strength: 0 gives the input back bit for bit, 1 the full effect; values between mix linearly.
            progress: Called as progress(slices_done, slices_total).

        Raises:
            OptionError: strength outside 0..1.
            InputError: voxels that are not finite, or an empty array.
        """
        raise NotImplementedError
