"""Weights are run only when they are what their card says."""

import json
from dataclasses import replace

import pytest
import torch

from meddenoise import weights
from meddenoise.errors import ModelError
from meddenoise.networks import Student
from meddenoise.networks.cost import gmac, parameter_count
from meddenoise.weights import Card

TINY = {"widths": [4, 4, 4], "blocks": [1, 1, 1]}
CARD = Card("tiny", "1.2.3", "student", TINY, "For tests", ["CT"], parameter_count(Student(**TINY)), 0.1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDENOISE_WEIGHTS", str(tmp_path))
    return tmp_path


@pytest.fixture
def saved(folder):
    torch.manual_seed(0)
    network = Student(widths=(4, 4, 4), blocks=(1, 1, 1))
    return network, weights.save(network, CARD, folder)


def test_weights_saved_by_halves_take_half_the_space_and_load_in_float32(tmp_path):
    network, images = Student(widths=(8, 8, 8), blocks=(1, 1, 1)).eval(), torch.rand(1, 1, 32, 32)
    for parameter in network.parameters():  # a fresh network changes nothing
        torch.nn.init.normal_(parameter, std=0.1)
    sizes = []
    for half in (False, True):
        weights.save(network, replace(CARD, arguments=network.arguments), tmp_path / str(half), half=half)
        sizes.append((tmp_path / str(half) / f"{CARD.name}.safetensors").stat().st_size)
    loaded, _ = weights.load(str(tmp_path / "True" / f"{CARD.name}.safetensors"))
    assert sizes[1] < 0.75 * sizes[0]
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    with torch.inference_mode():
        before, after = (one(images, torch.full_like(images, 0.1)) for one in (network, loaded.eval()))
    assert 0 < (after - before).abs().max() < 0.01 * (before - images).abs().max()


def test_saved_weights_come_back_by_name_and_by_path(saved, folder):
    network, card = saved
    for name in ("tiny", str(folder / "tiny.safetensors")):
        loaded, found = weights.load(name)
        assert found == card
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), network.parameters(), strict=True))
    assert weights.available() == ["tiny"]
    assert sorted(p.name for p in folder.iterdir()) == ["tiny.json", "tiny.safetensors"]


def test_unknown_model_is_refused_with_the_names_there_are(saved):
    with pytest.raises(ModelError, match="unknown model 'other'; available: tiny"):
        weights.load("other")


def test_one_flipped_byte_is_noticed(saved, folder):
    path = folder / "tiny.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        weights.load("tiny")


def test_missing_weights_are_named(saved, folder):
    (folder / "tiny.safetensors").unlink()
    with pytest.raises(ModelError, match=r"tiny\.safetensors cannot be read"):
        weights.load("tiny")


def test_damaged_card_is_named(saved, folder):
    (folder / "tiny.json").write_text("{")
    with pytest.raises(ModelError, match=r"tiny.json is damaged"):
        weights.load("tiny")


def test_a_file_that_is_no_weights_file_is_refused(folder):
    path = folder / "text.safetensors"
    path.write_text("hello")
    with pytest.raises(ModelError, match="not a MedDenoise weights file"):
        weights.load(str(path))


def test_weights_of_another_shape_are_refused(folder):
    network = Student(widths=(4, 4, 4), blocks=(1, 1, 1))
    weights.save(network, replace(CARD, arguments={"widths": [8, 4, 4], "blocks": [1, 1, 1]}), folder)
    with pytest.raises(ModelError, match="do not fit the network"):
        weights.load("tiny")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A hospital's own version beside the published ones."""
    monkeypatch.delenv("MEDDENOISE_WEIGHTS", raising=False)
    monkeypatch.setenv("MEDDENOISE_HOME", str(tmp_path))
    weights.save(Student(widths=(4, 4, 4), blocks=(1, 1, 1)), replace(CARD, name="student-site-2"), tmp_path / "models")
    return tmp_path / "models"


def published():
    """Names of the models that come with the package."""
    return sorted(path.stem for path in weights.folder().glob("*.json"))


def test_a_sites_own_model_is_found_beside_the_published_ones(site):
    assert weights.available() == sorted([*published(), "student-site-2"])
    network, card = weights.load("student-site-2")
    assert (card.name, card.version, parameter_count(network)) == ("student-site-2", "1.2.3", card.parameters)
    assert weights.read_card("student").parameters > card.parameters


def test_a_sites_model_cannot_take_the_place_of_a_published_one(site):
    before = weights.read_card("student")
    weights.save(Student(widths=(4, 4, 4), blocks=(1, 1, 1)), replace(CARD, name="student"), site)
    assert weights.read_card("student") == before
    assert weights.load("student")[1] == before


def test_a_sites_model_goes_by_its_file_name(site):
    for kind in ("json", "safetensors"):
        (site / f"student-site-2.{kind}").rename(site / f"ward-7.{kind}")
    assert weights.load("ward-7")[1].name == "ward-7"


def test_a_sites_damaged_model_is_named_with_the_way_out(site):
    (site / "student-site-2.safetensors").write_bytes(b"short")
    with pytest.raises(ModelError, match=r"student-site-2\.safetensors are damaged.* put the model there again"):
        weights.load("student-site-2")


def test_a_sites_model_of_an_odd_name_is_left_alone(site):
    for kind in ("json", "safetensors"):
        (site / f"student-site-2.{kind}").rename(site / f"ward 7 <b>.{kind}")
    assert weights.available() == published()


def test_named_folder_of_weights_is_the_only_one(site, saved):
    assert weights.available() == ["tiny"]


def test_published_student_was_distilled_folded_and_pruned_and_costs_a_tenth_of_the_teacher_at_most():
    network, student = weights.load("student")
    stages = {row["stage"]: row for row in student.training["stages"]}
    assert list(stages)[:4] == ["teacher", "distil", "refine", "fold"]
    assert stages["refine"]["parameters"] > stages["fold"]["parameters"] > stages["prune-1"]["parameters"]
    assert stages["prune-1"]["kept"]
    kept = [row for row in stages.values() if row.get("kept", True)]
    assert kept[-1]["parameters"] == parameter_count(network)
    assert student.gmac <= weights.read_card("teacher").gmac / 10


def test_every_published_model_loads_and_its_card_tells_its_size():
    assert "student" in weights.available()
    for name in weights.available():
        network, card = weights.load(name)
        assert card.parameters == parameter_count(network)
        image = torch.full((1, getattr(network, "channels", 1), 256, 256), 0.5)
        assert card.gmac == round(gmac(network, image, image), 2)
        assert card.training
        assert card.licence
        path = weights.folder() / f"{name}.safetensors"
        assert path.stat().st_size <= 16 * 2**20
        assert json.loads((weights.folder() / f"{name}.json").read_text())["sha256"] == card.sha256
