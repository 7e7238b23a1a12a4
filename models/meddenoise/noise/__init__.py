"""Noise models for training and benchmarks: pure torch functions of (image, parameters, generator).

Images have shape (batch, 1, rows, columns). Parameters are drawn first and applied afterwards, so that one function
can be tested against theory and the other stays free of randomness in its choices. The same generator gives the same
bits. One file per modality; `generic` holds the papers' protocols.
"""

from meddenoise.noise.ct import CTNoise, ct_noise, draw_ct_noise, draw_ct_spectrum
from meddenoise.noise.generic import GREY_LEVELS, Algorithm1, apply_algorithm1, draw_algorithm1, to_8_bit
from meddenoise.noise.mr import rician
from meddenoise.noise.random import log_uniform, normal, per_image, uniform
from meddenoise.noise.spectra import Spectrum, correlated, draw_smooth_spectrum, smooth_field

__all__ = [
    "GREY_LEVELS",
    "Algorithm1",
    "CTNoise",
    "Spectrum",
    "apply_algorithm1",
    "correlated",
    "ct_noise",
    "draw_algorithm1",
    "draw_ct_noise",
    "draw_ct_spectrum",
    "draw_smooth_spectrum",
    "log_uniform",
    "normal",
    "per_image",
    "rician",
    "smooth_field",
    "to_8_bit",
    "uniform",
]
