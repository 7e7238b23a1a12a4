"""What the user chose is kept in the scene."""

import pytest

from MedDenoiseLib.Parameters import Parameters
from scene import applicationOfTest, phantom, slicer  # noqa: F401


def test_nothing_is_chosen_at_first(app):
    parameters = Parameters(app.scene)
    assert parameters.inputVolume is parameters.region is parameters.statisticsRegion is None
    assert (parameters.modality, parameters.model, parameters.shown, parameters.statisticsSegment) == ("",) * 4
    assert parameters.uncertainty is False
    assert parameters.linkWindows is True


def test_choices_are_seen_by_whoever_asks(app):
    node = app.volume(phantom())
    mine, other = Parameters(app.scene), Parameters(app.scene)
    mine.inputVolume, mine.modality, mine.model, mine.uncertainty = node, "PET", "student", True
    mine.linkWindows = False
    assert other.inputVolume is node
    assert (other.modality, other.model, other.uncertainty, other.linkWindows) == ("PET", "student", True, False)
    assert other.node is mine.node


def test_deleted_nodes_are_no_longer_chosen(app):
    parameters = Parameters(app.scene)
    parameters.inputVolume = app.volume(phantom())
    app.scene.RemoveNode(parameters.inputVolume)
    assert parameters.inputVolume is None


def test_choice_can_be_taken_back(app):
    parameters = Parameters(app.scene)
    parameters.region = app.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    parameters.region = None
    assert parameters.region is None


@pytest.mark.parametrize("change", ["inputVolume", "modality"])
def test_observer_hears_of_parameters_and_references_until_released(app, change):
    parameters, heard = Parameters(app.scene), []
    node = app.volume(phantom())
    parameters.observe(lambda: heard.append(1))
    setattr(parameters, change, node if change == "inputVolume" else "CT")
    assert heard
    parameters.release()
    parameters.release()
    del heard[:]
    setattr(parameters, change, None if change == "inputVolume" else "MR")
    assert heard == []


def test_after_a_scene_close_they_start_anew(app):
    parameters = Parameters(app.scene)
    parameters.inputVolume = app.volume(phantom())
    parameters.modality = "CT"
    app.scene.Clear(0)
    assert parameters.inputVolume is None
    assert parameters.modality == ""


def test_node_is_one_of_its_scene_and_hidden(app):
    node = Parameters(app.scene).node
    assert node.GetModuleName() == "MedDenoise"
    assert node.GetHideFromEditors()
    assert len(slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")) == 1
