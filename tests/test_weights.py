"""Weights are run only when they are what their card says."""

import json
from dataclasses import replace

import pytest
import torch

from meddenoise import weights
from meddenoise.errors import ModelError
from meddenoise.networks import Student
from meddenoise.networks.cost import parameter_count
from meddenoise.weights import Card

CARD = Card("tiny", "1.2.3", "student", {"widths": [4, 4, 4], "blocks": [1, 1, 1]}, "For tests", ["CT"], 1, 0.1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDENOISE_WEIGHTS", str(tmp_path))
    return tmp_path


@pytest.fixture
def saved(folder):
    torch.manual_seed(0)
    network = Student(widths=(4, 4, 4), blocks=(1, 1, 1))
    return network, weights.save(network, CARD, folder)


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


def test_every_published_model_loads_and_its_card_tells_its_size():
    assert "student" in weights.available()
    for name in weights.available():
        network, card = weights.load(name)
        assert card.parameters == parameter_count(network)
        assert card.training
        assert card.licence
        path = weights.folder() / f"{name}.safetensors"
        assert path.stat().st_size <= 16 * 2**20
        assert json.loads((weights.folder() / f"{name}.json").read_text())["sha256"] == card.sha256
