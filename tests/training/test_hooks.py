"""Validation, TensorBoard and MLflow see the same figures as the history, and none of them is needed."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from meddenoise.training.hooks import installed_trackers, patience, validation
from meddenoise.training.progress import Enough, Moment


def sample(batch, generator):
    clean = torch.rand((batch, 1, 16, 16), generator=generator)
    return clean + 0.1 * torch.randn(clean.shape, generator=generator), clean


def moment(step, figures=None, steps=20):
    return Moment(step, steps, figures or {"loss.net": 1.0 / step}, {"net": nn.Identity()})


def watched(every=10):
    return validation(sample, lambda networks, noisy: networks["net"](noisy), every=every, batch=4)


def test_validation_measures_every_so_often_and_at_the_end():
    hook = watched()
    found = [bool(hook(moment(step))) for step in (5, 10, 15, 19, 20)]
    assert found == [False, True, False, False, True]
    last = hook(moment(20))
    assert last["validation.psnr"] == last["validation.noisy.psnr"] == pytest.approx(20.0, abs=0.5)
    assert 0.5 < last["validation.ssim"] < 1.0


def test_patience_ends_where_validations_no_longer_rise():
    averages, hook = {"net": nn.Identity()}, patience(2)

    def at(psnr):
        return hook(Moment(1, 9, {"validation.psnr": psnr}, averages))

    for psnr in (30.0, 31.0, 30.5, 31.5, 31.4):
        at(psnr)
    hook(moment(5))  # without a validation nothing is judged
    with pytest.raises(Enough, match=r"better than 31\.500 dB"):
        at(31.5)


def test_patience_begins_anew_with_the_next_training():
    hook = patience(1)
    for psnr in (31.0, 29.0):  # the second is of other networks
        hook(moment(10, {"validation.psnr": psnr}))
    averages = {"net": nn.Identity()}
    hook(Moment(20, 30, {"validation.psnr": 20.0}, averages))
    with pytest.raises(Enough):
        hook(Moment(25, 30, {"validation.psnr": 20.0}, averages))


def test_validation_leaves_random_numbers_alone():
    before = torch.get_rng_state()
    watched()(moment(20))
    assert torch.equal(before, torch.get_rng_state())


def test_scores_with_and_without_monai_agree():
    pytest.importorskip("monai", reason="MONAI is not installed")
    from meddenoise.training.hooks import _monai_scores, _own_scores

    noisy, clean = sample(4, torch.Generator().manual_seed(0))
    monai, own = (score(noisy, clean) for score in (_monai_scores, _own_scores))
    assert monai["psnr"] == pytest.approx(own["psnr"], abs=0.01)
    assert monai["ssim"] == pytest.approx(own["ssim"], abs=0.01)


def test_tensorboard_shows_one_curve_over_a_resumed_run(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="no TensorBoard")
    for steps in ((5, 10, 15), (10, 15, 20)):  # the second run goes on from step 5
        (hook,) = installed_trackers(tmp_path)
        for step in steps:
            hook(moment(step, {"loss.net": step / 100}))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss.net")] == [5, 10, 15, 20]


@pytest.mark.slow
def test_mlflow_goes_on_in_the_run_it_began(tmp_path):
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    code = """
import pathlib, sys
from mlflow.tracking import MlflowClient
from meddenoise.training.hooks import installed_trackers
from meddenoise.training.progress import Enough, Moment
for step in (10, 20):
    hook = installed_trackers(pathlib.Path(sys.argv[1]))[-1]  # anew, as after --resume
    hook(Moment(step, 20, {"loss.net": step / 100}, {}))
client = MlflowClient()
(experiment,) = client.search_experiments(filter_string="name = 'meddenoise'")
(run,) = client.search_runs([experiment.experiment_id])
assert [m.step for m in client.get_metric_history(run.info.run_id, "loss.net")] == [10, 20]
assert run.info.status == "FINISHED", run.info.status
"""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def test_without_any_of_them_there_are_no_trackers_and_still_scores(tmp_path):
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('monai', 'mlflow', 'tensorboard', 'SimpleITK', 'pydicom', 'PIL', 'scipy', 'skimage'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import importlib.util
importlib.util.find_spec = lambda name: None
import pathlib, torch
from torch import nn
from meddenoise.training import hooks
from meddenoise.training.progress import Enough, Moment
assert hooks.installed_trackers(pathlib.Path({str(tmp_path)!r})) == []
sample = lambda batch, generator: (torch.zeros(batch, 1, 16, 16), torch.full((batch, 1, 16, 16), 0.1))
hook = hooks.validation(sample, lambda networks, noisy: noisy, every=1)
assert abs(hook(Moment(1, 1, {{}}, {{}}))['validation.psnr'] - 20.0) < 1e-3
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
