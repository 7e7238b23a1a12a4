"""MONAI Label's own endpoint tests against our app, with and without our web layer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meddenoise.server.home import PACKAGE, copy_app

ROOT = Path(__file__).parents[2]
RUNNER = Path(__file__).with_name("conformance.py")

MOCKED = "replaces MONAI Label's own DICOMweb client by a mock and expects segmentations; ours is tested with Orthanc"
TRAINING = "trains a segmentation; our models are trained by `meddenoise train`"
PATHOLOGY = "whole-slide images are colour, and segmented into polygons"
SCORING = "scores segmentations"
DETECTION = "detects nodules in an image of a data set that the test would download"
NOT_FOR_US = {
    "dicomwebcache.EndPointDICOMWebDatastore.test_datastore_stats": MOCKED,
    "dicomwebcache.EndPointDICOMWebDatastore.test_datastore_all": MOCKED,
    "dicomwebcache.EndPointDICOMWebDatastore.test_save_label": MOCKED,
    "dicomwebcache.EndPointDICOMWebDatastore.test_datastore_train": MOCKED,
    "infer_v2.TestDetectionBundleInferTask.test_lung_nodule_detector_infer": DETECTION,
    "infer_wsi.EndPointWSIInfer.test_segmentation_asap": PATHOLOGY,
    "infer_wsi.EndPointWSIInfer.test_segmentation_dsa": PATHOLOGY,
    "infer_wsi.EndPointWSIInfer.test_segmentation_json": PATHOLOGY,
    "scoring.EndPointScoring.test_dice": SCORING,
    "scoring.EndPointScoring.test_epistemic": SCORING,
    "scoring.EndPointScoring.test_strategy_epistemic": SCORING,
    "scoring.EndPointBundleScoring.test_bundle_epistemic": SCORING,
    "train.TestEndPointTrain.test_001_train": TRAINING,
    "train.TestEndPointTrain.test_002_train": TRAINING,
    "train.TestEndPointTrain.test_003_stop": TRAINING,
    "train.TestBundleTrainTask.test_006_spleen_bundle_train": TRAINING,
    "train.TestDetectionBundleTrainTask.test_007_lung_nodule_detection_train": TRAINING,
    "train.TestDetectionBundleTrainTask.test_008_bundle_stop": TRAINING,
    "ohif.TestEndPointLogs.test_ohif": "expects a MONAI Label without its viewer, which the wheel carries",
    "logs.TestEndPointLogs.test_logs_gpu": "asks the driver of a GPU",
}
"""Tests of segmentation, or of a machine: each with the reason why it does not apply."""
NOT_FOR_PLAIN = {
    "model.EndPointModel.test_info": "MONAI Label's route would also let anybody replace the weights",
    "model.EndPointModel.test_download": "MONAI Label's route would also let anybody replace the weights",
}
"""Without our web layer, that is under `monailabel start_server`."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("layer", ["ours", pytest.param("plain", marks=pytest.mark.slow)])
def test_monai_labels_own_endpoint_tests_pass(tmp_path, layer):
    left_out = [*NOT_FOR_US, *(NOT_FOR_PLAIN if layer == "plain" else ())]
    app = copy_app(ROOT / "apps" / "meddenoise", tmp_path / "app")
    (tmp_path / "data").mkdir()
    paths = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    home = {"MEDDENOISE_HOME": str(tmp_path / "home"), "MONAI_LABEL_SESSION_PATH": str(tmp_path / "data" / "sessions")}
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(app), str(tmp_path / "data"), layer, *left_out],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **home, "PYTHONPATH": paths}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["wrong"] == {}
    assert outcome["unknown"] == []  # what is left out must be there
    assert outcome["run"] >= 30
