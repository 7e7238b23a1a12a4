"""Run MONAI Label's own endpoint tests, which its wheel carries, against our app; results as JSON on the last line.

A program of its own, because those tests set MONAI Label's settings for the whole process. Arguments: the app folder, a
folder for data, "ours" or "plain" for the web layer, and the tests to leave out, as CLASS.METHOD after their module.
"""

import importlib
import json
import os
import shutil
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import SimpleITK as sitk  # noqa: N813

MODULES = (
    "activelearning", "batch_infer", "datastore", "dicomwebcache", "infer", "infer_v2", "infer_wsi", "info", "logs",
    "model", "ohif", "proxy", "scoring", "scoring_v2", "session", "train",
)  # fmt: skip
NAMES = (
    "deepedit", "deepedit_seg", "segmentation_spleen", "deepgrow_pipeline", "sam_2d", "sam_3d",
    "spleen_ct_segmentation",
)  # fmt: skip
"""What the tests call models; each is a copy of ours here."""


def prepare(data):
    """The images, the label and the models under the names that the tests expect."""
    from meddenoise import weights

    studies = data / "studies"
    (studies / "labels" / "final").mkdir(parents=True)
    rng = np.random.default_rng(3)
    for number in (3, 8, 9):
        image = sitk.GetImageFromArray(np.rint(rng.normal(40, 20, (4, 48, 48))).astype(np.int16))
        sitk.WriteImage(image, str(studies / f"spleen_{number}.nii.gz"))
    label = sitk.GetImageFromArray(np.ones((4, 48, 48), np.uint8))
    sitk.WriteImage(label, str(studies / "labels" / "final" / "spleen_3.nii.gz"))
    source, models = weights.folder(), data / "weights"
    models.mkdir()
    for name in NAMES:
        for end in (".json", ".safetensors"):
            shutil.copyfile(source / f"student{end}", models / f"{name}{end}")
    os.environ["MEDDENOISE_WEIGHTS"] = str(models)
    return studies


def suites(app, studies, data):
    """The tests, on our app and data, those included that would only run where there is a GPU."""
    context = importlib.import_module("tests.unit.endpoints.context")
    for suite in vars(context).values():
        if isinstance(suite, type) and issubclass(suite, unittest.TestCase):
            suite.app_dir, suite.studies, suite.data_dir = str(app), str(studies), str(data)
    for name in MODULES:
        module = importlib.import_module(f"tests.unit.endpoints.test_{name}")
        if hasattr(module, "torch"):  # its only use there is to ask for a GPU, which ours can do without
            module.torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: True))
        for test in each(unittest.defaultTestLoader.loadTestsFromModule(module)):
            yield f"{name}.{type(test).__name__}.{test._testMethodName}", test


def each(tests):
    for test in tests:
        yield from each(test) if isinstance(test, unittest.TestSuite) else [test]


def main(app, data, layer, *left_out):
    data = Path(data)
    studies = prepare(data)
    os.environ.update(MONAI_LABEL_APP_DIR=app, MONAI_LABEL_STUDIES=str(studies), MEDDENOISE_HOSTS="testserver")
    if layer == "ours":
        importlib.import_module("meddenoise.server.asgi")  # puts our layer around the app that the tests take
    chosen = dict(suites(app, studies, data))
    unknown = sorted(set(left_out) - set(chosen))
    order = unittest.TestSuite(test for name, test in chosen.items() if name not in left_out)
    names = {id(test): name for name, test in chosen.items()}
    result = unittest.TestResult()
    order._removeTestAtIndex = lambda index: None
    order.run(result)
    wrong = {names.get(id(test), str(test)): text[-1500:] for test, text in [*result.failures, *result.errors]}
    print("\n" + json.dumps({"run": result.testsRun, "wrong": wrong, "unknown": unknown}))


if __name__ == "__main__":
    main(*sys.argv[1:])
