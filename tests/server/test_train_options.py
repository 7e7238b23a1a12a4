"""Options of a training are checked before anything is read, and shown as MONAI Label's clients expect them."""

import json

import pytest

from meddenoise.errors import OptionError
from meddenoise.server.train_options import LADDER, TrainOptions, explained, shown_to_clients


def test_what_is_shown_can_be_sent_back_as_it_is():
    for recipe in ("student", "two_stage"):
        shown = json.loads(json.dumps(shown_to_clients(recipe)))
        assert TrainOptions.from_request(shown, recipe) == TrainOptions()


def test_choices_are_lists_whose_first_entry_is_the_default():
    shown = shown_to_clients("student")
    assert shown["self_supervised"] == ["auto", "on", "off"]
    assert shown["modality"][0] == "auto"
    assert shown["publish"] is True


@pytest.mark.parametrize("recipe", ["student", "two_stage", "gan"])
def test_every_option_that_is_shown_is_explained(recipe):
    said = explained(recipe)
    assert list(said) == list(shown_to_clients(recipe))
    assert said["patch"].startswith("Side of a patch in pixels, a multiple of 16")
    assert said["minutes"].endswith("how long one takes here.")
    assert all(text.endswith(".") and "  " not in text for text in said.values())


def test_only_the_student_has_the_stages_of_distillation():
    assert set(LADDER) <= set(shown_to_clients("student"))
    assert not set(LADDER) & set(shown_to_clients("gan"))
    with pytest.raises(OptionError, match="the training of gan has no option 'distil'"):
        TrainOptions.from_request({"distil": "on"}, "gan")


def test_what_monai_labels_clients_add_is_no_option():
    options = TrainOptions.from_request({"model": "student", "client_id": "me", "max_epochs": 3}, "student")
    assert options == TrainOptions(epochs=3)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"learnig_rate": 1e-4}, "has no option 'learnig_rate'"),
        ({"learning_rate": "fast"}, "learning_rate must be a number from 0 to 0.1, got 'fast'"),
        ({"learning_rate": 5}, "learning_rate must be a number from 0 to 0.1, got 5"),
        ({"steps": 2.5}, "steps must be a whole number, got 2.5"),
        ({"steps": True}, "steps must be a number"),
        ({"minutes": 0}, "a training needs a length"),
        ({"patch": 50}, "patch must be a multiple of 16, got 50"),
        ({"noise_low": 2, "noise_high": 1}, "noise_low must be at most noise_high, got 2 and 1"),
        ({"self_supervised": "maybe"}, "self_supervised must be one of auto, on, off"),
        ({"publish": "yes"}, "publish must be true or false"),
        ({"gpus": "first"}, 'gpus must be "all" or numbers'),
        ({"max_images": 1}, "max_images must be a number from 2"),
    ],
)
def test_what_is_wrong_is_named_with_its_value(request_, sentence):
    with pytest.raises(OptionError, match=sentence):
        TrainOptions.from_request(request_, "student")
