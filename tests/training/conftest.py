"""A small set of slices on which a few steps already tell."""

import numpy as np
import pytest
import torch

from meddenoise.training.slices import Slice, SliceInfo

SCALES = {"CT": (-1024.0, 4095.0), "MR": (0.0, 1.0), "PET": (0.0, 10.0), "XR": (0.0, 255.0)}


@pytest.fixture(scope="session")
def slices():
    """A striped disc in four modalities, of two subjects for training and one that is held back."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    body = np.where(x**2 + y**2 < 0.7, 1.0, 0.0) * (0.5 + 0.3 * np.sin(6 * x))
    return [
        Slice(
            torch.from_numpy(body * 0.4 * scale + offset).float(),
            SliceInfo(f"{subject}-{modality}", subject, modality, modality == "XR", offset, scale),
        )
        for subject in ("a", "b", "VS-SEG-001")
        for modality, (offset, scale) in SCALES.items()
    ]


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors are faster on one thread, and several would compete with other processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
