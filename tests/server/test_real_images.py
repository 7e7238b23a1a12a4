"""Real series of every modality through the running server, where MEDDENOISE_DATA names a folder of them."""

import os
from pathlib import Path

import numpy as np
import pytest
import requests

from meddenoise import read_volume

DATA = os.environ.get("MEDDENOISE_DATA")
SERIES = {
    "CT/NEMA_WG04_CT1_J2KR": "CT",
    "PET/IBSI_STS_005_PET": "PET",
    "MR/IBSI_STS_004_MR_T1": "MR",
    "XR/NIH_00000218_000": "XR",
}

pytestmark = pytest.mark.skipif(not DATA, reason="MEDDENOISE_DATA names no folder of real images")


@pytest.mark.parametrize("folder", SERIES)
def test_real_series_comes_back_where_it_was(server, folder):
    source = Path(DATA) / folder
    if not source.exists():
        pytest.skip(f"MEDDENOISE_DATA has no {folder}")
    options = {} if folder.startswith("CT") else {"modality": SERIES[folder]}  # NIfTI and PNG do not say
    sent = [("files", (path.name, path.read_bytes())) for path in sorted(source.iterdir())]
    session = requests.put(f"{server.url}/session/", files=sent, timeout=60).json()
    path, answer = server.client.infer("student", "", options, session_id=session["session_id"])
    before, after = read_volume(source), read_volume(path, modality=SERIES[folder])
    assert answer["settings"]["modality"] == SERIES[folder]
    assert after.array.shape == before.array.shape
    np.testing.assert_allclose(after.affine, before.affine, rtol=0, atol=1e-6)
    change = after.array.astype(np.float64) - before.array
    assert np.abs(change).max() > 0
    assert np.sqrt(np.mean(change**2)) < 0.2 * np.std(before.array.astype(np.float64))
