"""Noise models for training and benchmarks: pure torch functions of (image, parameters, generator).

Images are float32 of shape (batch, 1, rows, columns), on the device of their parameters and generator. Parameters are
drawn first and applied afterwards, so that one function can be tested against theory and the other stays free of
randomness in its choices. The same generator gives the same bits. One file per modality; `generic` holds the papers'
protocols.
"""

from meddenoise.noise.blur import gaussian_blur
from meddenoise.noise.ct import CTNoise, ct_noise, draw_ct_noise, draw_ct_spectrum
from meddenoise.noise.ct_scan import (
    CT_KERNELS,
    CTScan,
    Scanner,
    fast_low_dose_noise,
    level_maps,
    low_dose,
    low_dose_noise,
    same_scan,
)
from meddenoise.noise.generic import (
    GREY_LEVELS,
    Algorithm1,
    Impulses,
    apply_algorithm1,
    draw_algorithm1,
    gaussian,
    poisson,
    quantise,
    salt_and_pepper,
    speckle,
    to_8_bit,
)
from meddenoise.noise.mr import (
    MRNoise,
    Undersampling,
    draw_mr_noise,
    draw_undersampling,
    mr_noise,
    rician,
    undersampled,
)
from meddenoise.noise.pet import PETNoise, draw_pet_noise, pet_noise
from meddenoise.noise.pet_scan import PETScan, low_count, thin, water_body
from meddenoise.noise.random import log_uniform, normal, per_image, uniform
from meddenoise.noise.scintigraphy import CameraCounts, camera_counts, draw_camera_counts, expected_camera_counts
from meddenoise.noise.spectra import Spectrum, correlated, draw_smooth_spectrum, smooth_field
from meddenoise.noise.ultrasound import UltrasoundSpeckle, draw_ultrasound_speckle, ultrasound_speckle
from meddenoise.noise.xray import XRayNoise, draw_xray_noise, xray_noise

__all__ = [
    "CT_KERNELS",
    "GREY_LEVELS",
    "Algorithm1",
    "CTNoise",
    "CTScan",
    "CameraCounts",
    "Impulses",
    "MRNoise",
    "PETNoise",
    "PETScan",
    "Scanner",
    "Spectrum",
    "UltrasoundSpeckle",
    "Undersampling",
    "XRayNoise",
    "apply_algorithm1",
    "camera_counts",
    "correlated",
    "ct_noise",
    "draw_algorithm1",
    "draw_camera_counts",
    "draw_ct_noise",
    "draw_ct_spectrum",
    "draw_mr_noise",
    "draw_pet_noise",
    "draw_smooth_spectrum",
    "draw_ultrasound_speckle",
    "draw_undersampling",
    "draw_xray_noise",
    "expected_camera_counts",
    "fast_low_dose_noise",
    "gaussian",
    "gaussian_blur",
    "level_maps",
    "log_uniform",
    "low_count",
    "low_dose",
    "low_dose_noise",
    "mr_noise",
    "normal",
    "per_image",
    "pet_noise",
    "poisson",
    "quantise",
    "rician",
    "salt_and_pepper",
    "same_scan",
    "smooth_field",
    "speckle",
    "thin",
    "to_8_bit",
    "ultrasound_speckle",
    "undersampled",
    "uniform",
    "water_body",
    "xray_noise",
]
