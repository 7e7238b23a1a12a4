"""A site's training in this process: from its images to a model that is served, or not; and on from where it ended."""

import copy
import itertools
import json
import math
from dataclasses import replace

import pytest
import torch

from meddenoise import weights
from meddenoise.errors import InputError, OptionError
from meddenoise.networks import Student
from meddenoise.server.datastore import studies_folder
from meddenoise.server.problems import Problem
from meddenoise.server.site_data import WORDS
from meddenoise.server.train_job import at_work, looked_over, only_one, status, train_site, training_folder
from meddenoise.server.train_plan import gone_on_from
from meddenoise.server.train_verdict import alike, between, left_to_others
from meddenoise.weights import versions

QUICK = {"steps": 4, "patch": 32, "batch": 2, "device": "cpu"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDENOISE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MEDDENOISE_WEIGHTS", raising=False)
    torch.set_num_threads(1)
    return tmp_path / "home"


@pytest.fixture
def datastore(tmp_path, make_site):
    return studies_folder(str(make_site(tmp_path / "studies")))


@pytest.mark.slow
def test_training_ends_with_a_verdict_and_forgets_the_images(home, datastore):
    before = weights.read_card("student").sha256
    result = train_site("student", QUICK, datastore)
    held = status().read()
    assert (held["state"], held["stage"], held["result"]) == ("done", "comparing", result)
    assert held["data"]["learns_from"] == "pairs of images"
    assert result["verdict"]
    assert [case["kind"] for case in result["cases"]][:2] == ["pair", "phantom"]
    now = weights.read_card("student")
    assert (now.sha256 != before) == result["better"] == (result["published"] is not None)
    (run,) = [folder for folder in training_folder().iterdir() if folder.is_dir()]
    assert not [file for file in run.rglob("*") if file.name in ("pairs.safetensors", "site", "checkpoint.safetensors")]
    assert (run / "comparison.md").exists()
    card = json.loads((run / "student.json").read_text())
    assert card["training"]["start"].startswith("student@")


def test_better_model_is_served_as_a_new_version_whose_card_names_no_image(home, datastore, monkeypatch):
    # What is better is judged elsewhere: here every candidate is.
    monkeypatch.setattr("meddenoise.comparison.Comparison.better", True)
    result = train_site("student", QUICK, datastore)
    card = weights.read_card("student")
    assert result["published"] == card.version
    assert card.version.endswith("+site.1")
    assert card.training["site"]["patients"] == 3
    assert "P1" not in json.dumps(card.training)
    assert [one.version for one in versions.versions("student")][-1] == card.version
    assert card.elsewhere == dict.fromkeys(("MR", "PET", "XR"), "built-in")


def test_training_on_another_modality_goes_on_from_what_denoises_it_and_leaves_the_rest(home):
    built_in = weights.read_card("student")
    assert gone_on_from(None, {"CT": 1}) is None
    assert gone_on_from(built_in, {"CT": 1}) == built_in
    ct = replace(built_in, elsewhere=left_to_others(built_in, ["CT"]))
    ct = versions.publish(weights.load("student")[0], ct)
    assert gone_on_from(ct, {"CT": 2, "MR": 1}) == ct
    assert gone_on_from(ct, {"CT": 1, "MR": 2}) == built_in
    mr = replace(ct, elsewhere=left_to_others(ct, ["MR"]))
    assert mr.elsewhere == {"CT": ct.version, "PET": "built-in", "XR": "built-in"}
    mr = versions.publish(weights.load("student")[0], mr)
    assert gone_on_from(mr, {"CT": 2, "MR": 1}) == ct
    assert left_to_others(mr, ["CT"]) == {"MR": mr.version, "PET": "built-in", "XR": "built-in"}
    assert left_to_others(None, ["CT"]) == {}
    assert left_to_others(replace(built_in, colour=True), ["XR"])["colour"] == "built-in"


@pytest.mark.slow
def test_training_goes_on_where_it_was_ended_and_gives_the_same_weights(home, datastore, tmp_path, monkeypatch):
    unbroken = train_site("student", {**QUICK, "publish": False}, datastore)
    monkeypatch.setenv("MEDDENOISE_HOME", str(tmp_path / "other"))
    monkeypatch.setattr("meddenoise.server.train_job.judged", _killed)
    with pytest.raises(KeyboardInterrupt):
        train_site("student", QUICK, datastore)
    monkeypatch.undo()
    monkeypatch.setenv("MEDDENOISE_HOME", str(tmp_path / "other"))
    job, _ = looked_over("student", QUICK, datastore)
    assert job.resumed
    assert not looked_over("student", {**QUICK, "steps": 5}, datastore)[0].resumed
    resumed = train_site("student", {**QUICK, "publish": False}, datastore)
    assert status().read()["resumed"]
    assert resumed["cases"] == unbroken["cases"]


def _killed(*arguments, **options):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_finished_training_is_not_gone_on_with(home, datastore, monkeypatch):
    monkeypatch.setattr("meddenoise.server.train_job.judged", lambda *a, **k: {"better": False})
    for _ in range(2):
        train_site("student", QUICK, datastore)
        assert not status().read()["resumed"]


def test_what_fails_is_kept_as_a_sentence_and_leaves_the_model(home, datastore, monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError

    before = weights.read_card("student").sha256
    monkeypatch.setattr("meddenoise.server.train_job.trained", broken)
    with pytest.raises(ZeroDivisionError):
        train_site("student", QUICK, datastore)
    held = status().read()
    assert (held["state"], held["problem"]) == (
        "failed",
        "the training failed (ZeroDivisionError); the server's log says why",
    )
    assert weights.read_card("student").sha256 == before
    with pytest.raises(OptionError, match="patch"):
        train_site("student", {"patch": 7}, datastore)
    assert status().read()["problem"].startswith("patch must be a multiple of 16")


def test_one_training_at_a_time(home, datastore):
    assert not at_work()
    with only_one():
        assert at_work()
        with pytest.raises(Problem, match="a training is running already"):
            train_site("student", QUICK, datastore)


def test_unknown_recipe_is_named(home, datastore):
    with pytest.raises(OptionError, match="no training 'nobody'; this server has: student"):
        looked_over("nobody", {}, datastore)


def test_one_patient_is_refused_at_once(home, tmp_path, make_site):
    alone = studies_folder(str(make_site(tmp_path / "alone", patients=1)))
    with pytest.raises(InputError, match="CT images of 1 patient are too few"):
        looked_over("student", {}, alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "options", "partners", "kind"),
    [
        ("two_stage", {}, (("final", 4.0),), "paired"),
        ("student", {}, (("again", 30.0),), "paired"),
        ("student", {"noise_low": 0.5, "self_supervised": "off"}, (), "clean"),
        ("student", {"patience": 1}, (), "noisy"),
        ("student", {"steps": 0, "epochs": 1}, (("final", 4.0),), "paired"),
        ("student", {"steps": 0, "minutes": 0.5}, (("final", 4.0),), "paired"),
        ("gan", {}, (("final", 4.0),), "paired"),
    ],
)
@pytest.mark.usefixtures("home")
def test_every_recipe_learns_from_every_kind_of_images(tmp_path, make_site, recipe, options, partners, kind):
    site = studies_folder(str(make_site(tmp_path / "site", partners=partners)))
    result = train_site(recipe, {**QUICK, **options, "publish": False}, site)
    assert status().read()["data"]["learns_from"] == WORDS[kind]
    assert result["verdict"]


def test_network_between_two_has_the_mean_of_their_weights_and_is_refused_for_other_sizes():
    running, _ = weights.load("student")
    trained = copy.deepcopy(running)
    with torch.no_grad():
        for value in trained.parameters():
            value.add_(1.0)
    for one, before in zip(between(running, trained, 0.25).parameters(), running.parameters(), strict=True):
        torch.testing.assert_close(one, before + 0.25)
    assert between(running, trained, 1.0) is trained
    assert alike(running, trained)
    assert not alike(running, Student(widths=(8, 8, 8), blocks=(1, 1, 1)))


def test_less_of_what_was_learned_is_tried_where_all_of_it_is_not_better(home, datastore, monkeypatch):
    # What is better is judged elsewhere: here every second candidate is.
    asked = itertools.count()
    monkeypatch.setattr("meddenoise.comparison.Comparison.better", property(lambda self: self.change < half(asked)))
    result = train_site("student", QUICK, datastore)
    card = weights.read_card("student")
    assert result["published"] == card.version
    assert card.training["share_of_change"] == 0.75
    assert set(card.modalities) >= {"CT", "MR", "PET", "XR"}
    assert any(line.startswith("with 100% of what was learned: ") for line in status().read()["lines"])


def half(asked):
    """No candidate is better than minus infinity, the first time; any is than infinity, from then on."""
    return math.inf if next(asked) >= 2 else -math.inf
