"""From a volume to a denoised volume, and to its noise."""

from meddenoise.inference.denoiser import Denoiser, Result
from meddenoise.inference.noise_estimate import NoiseEstimate, estimate_noise

__all__ = ["Denoiser", "NoiseEstimate", "Result", "estimate_noise"]
