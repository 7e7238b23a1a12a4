"""A training gives way to others, halves its batch where memory ends, and does not outlive its server."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from meddenoise import weights
from meddenoise.errors import OptionError
from meddenoise.networks import Teacher
from meddenoise.recipes import student
from meddenoise.server.train_options import TrainOptions
from meddenoise.server.train_plan import configured, first_stage_alone, of_length, recipes, running, stretch
from meddenoise.server.train_run import Run, train
from meddenoise.server.train_status import LINES, Status
from meddenoise.training.progress import Moment
from meddenoise.weights import Card


def planned(recipe="student", options=None, card=None):
    return configured(recipe, options or TrainOptions(), device="cpu", card=card, shrink={})


def test_recipes_are_those_of_the_published_models():
    assert set(recipes()) >= {"student", "two_stage"}


def test_plan_is_the_recipes_preset_with_the_running_model_and_a_lower_rate():
    card = running("student")
    config = planned(card=card, options=TrainOptions(batch=4, patch=32, seed=7, noise_low=0.5))
    preset = student.PRESETS["cpu"]
    assert config.start == f"student@{card.version}"
    assert weights.read_card(config.start).sha256 == card.sha256
    assert config.variant == "plain"  # no teacher without a GPU
    assert config.schedule.learning_rate == pytest.approx(0.4 * preset.schedule.learning_rate)
    assert (config.schedule.batch, config.schedule.seed, config.mix.size) == (4, 7, 32)
    assert config.mix.strength == (0.5, 1.0)
    assert config.mix.physical_modalities == preset.mix.physical_modalities


def test_fresh_model_is_trained_with_the_recipes_own_rate():
    config = planned("two_stage")
    assert config.start is None
    assert config.schedule.learning_rate == pytest.approx(1e-3)


def test_distillation_without_a_teacher_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDENOISE_WEIGHTS", str(tmp_path))
    with pytest.raises(OptionError, match="there is no teacher to distil from"):
        planned(options=TrainOptions(distil="on"))


@pytest.mark.parametrize(("version", "variant"), [("0.1.0", "plain"), ("1.0.0", "staggered")])
def test_gpus_distil_by_themselves_from_a_teacher_that_is_no_interim_one(version, variant, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDENOISE_WEIGHTS", str(tmp_path))
    sizes = {"widths": (8, 8, 8), "blocks": (1, 1, 1), "heads": (1, 1, 1)}
    weights.save(Teacher(**sizes), Card("teacher", version, "teacher", sizes, "For tests", ["CT"], 1, 0.1), tmp_path)
    config = configured("student", TrainOptions(), device="cuda", card=None, shrink={})
    assert config.variant == variant
    assert configured("student", TrainOptions(distil="on"), device="cuda", card=None, shrink={}).variant == "staggered"


@pytest.mark.parametrize("refine", [True, False])
def test_refinement_and_cooldown_are_left_out_together(refine, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDENOISE_WEIGHTS", str(tmp_path))
    sizes = {"widths": (8, 8, 8), "blocks": (1, 1, 1), "heads": (1, 1, 1)}
    card = Card("teacher", "1.0.0", "teacher", sizes, "For tests", ["CT"], 1, 0.1)
    weights.save(Teacher(**sizes), card, tmp_path)
    config = planned(options=TrainOptions(distil="on", refine=refine))
    assert (config.refinement > 0, config.cooldown > 0) == (refine, refine)
    assert config.pruning == student.PRESETS["cpu"].pruning


def test_later_stages_are_counted_and_can_be_left_out():
    config = student.PRESETS["cpu"]
    pruning = config.pruning.rounds * config.pruning.share
    cooldown = 4 * config.cooldown  # a step sees four times the pixels
    assert cooldown > 0
    assert stretch(config) == pytest.approx(1 + config.refinement + pruning + cooldown)
    assert stretch(first_stage_alone(config)) == 1.0
    assert stretch(planned()) == 1.0


def test_length_brings_checkpoints_and_validations_that_suit_it():
    for steps in (1, 20, 10_000):
        config = of_length(planned(), steps)
        assert config.schedule.steps == steps
        assert 1 <= config.schedule.save_every <= 50
        assert config.schedule.warmup <= steps // 10
        assert config.validate_every >= 1


def run_of(tmp_path, batch=16, gpus=1):
    return Run(
        "student",
        planned(options=TrainOptions(batch=batch)),
        tmp_path,
        tmp_path,
        Status(tmp_path / "status.json"),
        gpus,
    )


def starved(largest):
    """A training whose memory holds so many patches."""
    seen = []

    def start(run):
        seen.append(run.config.schedule.batch)
        if seen[-1] > largest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "card"

    return start, seen


def test_batch_is_halved_until_memory_holds_it(tmp_path):
    start, seen = starved(5)
    assert train(run_of(tmp_path), start=start) == "card"
    assert seen == [16, 8, 4]
    assert "going on with 4 patches a step" in Status(tmp_path / "status.json").read()["lines"][-1]


def test_halved_batch_is_shared_evenly_by_the_gpus(tmp_path):
    start, seen = starved(6)
    train(run_of(tmp_path, batch=18, gpus=3), start=start)
    assert seen == [18, 9, 3]


def test_a_patch_that_memory_does_not_hold_is_an_error_of_the_options(tmp_path):
    start, seen = starved(0)
    with pytest.raises(OptionError, match="does not hold a single patch; choose a smaller patch"):
        train(run_of(tmp_path, batch=2), start=start)
    assert seen == [2, 1]


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path):
    def start(run):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        train(run_of(tmp_path), start=start)


def python(code, **environment):
    return [sys.executable, "-c", code], {**os.environ, **environment}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are counted by Linux's own call")
def test_training_is_polite_and_leaves_a_core():
    command, environment = python(
        "import os, torch; from meddenoise.server.manners import be_polite; torch.set_num_threads(64); be_polite();"
        "print(os.nice(0), torch.get_num_threads(), len(os.sched_getaffinity(0)))"
    )
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    nice, threads, cores = map(int, done.stdout.split())
    assert nice >= 10
    assert threads == max(1, cores - 1)


@pytest.mark.skipif(os.name != "posix", reason="only POSIX tells a process that its parent is gone")
def test_training_ends_with_its_server_even_when_that_is_killed(tmp_path):
    marker = tmp_path / "pid"
    child = (
        "import os, pathlib, time; from meddenoise.server.manners import end_with_parent; end_with_parent();"
        f"pathlib.Path({str(marker)!r}).write_text(str(os.getpid())); time.sleep(100)"
    )
    command, environment = python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")
    with subprocess.Popen(command, env=environment) as parent:
        assert within(100, lambda: marker.exists() and marker.read_text())
        pid = int(marker.read_text())
        parent.kill()
    assert within(20, lambda: not alive(pid))


def within(seconds, condition):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_status_outlives_whoever_writes_it_and_keeps_the_last_lines(tmp_path):
    path = tmp_path / "status.json"
    Status(path).begin(recipe="student")
    for number in range(30):
        Status(path).say(f"distil: step {number} of 30")
    Status(path).end("done", result={"better": True})
    held = Status(path).read()
    assert (held["state"], held["recipe"], held["substage"], len(held["lines"])) == ("done", "student", "distil", LINES)
    assert held["ended"] >= held["started"]


def test_status_tells_the_time_left_by_the_speed_so_far(tmp_path):
    told = Status(tmp_path / "status.json")
    hook = told.tracker()
    hook(Moment(10, 100, {}, {}))
    assert told.read()["seconds_left"] is None
    time.sleep(0.2)
    hook(Moment(20, 100, {}, {}))
    held = told.read()
    assert (held["step"], held["steps"]) == (20, 100)
    assert 1 <= held["seconds_left"] <= 60


def test_status_tells_the_losses_of_the_stage_as_json_can_hold_them(tmp_path):
    told = Status(tmp_path / "status.json")
    told.tracker()(Moment(10, 100, {"loss.l1": 0.25, "loss.odd": float("nan"), "rmse": 3.0}, {}))
    assert told.read()["losses"] == {"l1": 0.25}
    told.enter("comparing")
    assert told.read()["losses"] == {}


def test_damaged_status_counts_as_none(tmp_path):
    path = tmp_path / "status.json"
    path.write_text("{")
    assert Status(path).read() == {}
