"""From a volume to a denoised volume."""

from meddenoise.inference.denoiser import Denoiser, Result

__all__ = ["Denoiser", "Result"]
