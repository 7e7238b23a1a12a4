"""Denoises a volume through a running server, inside Slicer; run by ctest.

The environment variable MEDDENOISE_SERVER names the server, such as http://127.0.0.1:8000, and MEDDENOISE_TOKEN its
token where it asks for one. Without the first the tests are skipped.
"""

from __future__ import annotations

import os
import tempfile
import unittest

import numpy as np
import slicer
import slicer.util


class MedDenoiseServerTest(unittest.TestCase):
    """Connects, denoises, compares."""

    def setUp(self):
        """Needs a server that somebody started."""
        address = os.environ.get("MEDDENOISE_SERVER", "")
        if not address:
            self.skipTest("MEDDENOISE_SERVER names no server")
        from MedDenoiseLib.Address import serverAddress
        from MedDenoiseLib.Client import Client

        slicer.mrmlScene.Clear(0)
        token = os.environ.get("MEDDENOISE_TOKEN", "")
        self.client = Client(serverAddress(address), token=token, consented=lambda _host: True)

    def testServerNamesItsModels(self):
        """There is at least one."""
        self.assertTrue(self.client.info().models)

    def testNoiseGetsLess(self):
        """A noisy block becomes smoother, on the same grid, and the input stays as it was."""
        from MedDenoiseLib.Client import Request
        from MedDenoiseLib.Logic import Logic

        noise = np.random.default_rng(0).normal(40, 25, (8, 96, 96)).astype(np.int16)
        volume = slicer.util.addVolumeFromArray(noise, name="noise")
        logic = Logic(slicer.mrmlScene, slicer.app.applicationLogic())
        with tempfile.TemporaryDirectory() as folder:
            prepared = logic.prepare(volume, None, folder, "CT")
            model = self.client.info().models[0].name
            request = Request(model=model, imagePath=prepared.path, folder=folder, modality="CT")
            answer = self.client.denoise(request, lambda _progress: None, lambda: False)
            comparison = logic.accept(prepared, answer)
        self.assertTrue(np.array_equal(slicer.util.arrayFromVolume(volume), noise))
        self.assertLess(slicer.util.arrayFromVolume(comparison.denoised).std(), 0.7 * noise.std())
        logic.close()
