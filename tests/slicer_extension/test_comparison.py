"""Comparisons in the scene: several kept side by side, found again, and the windows linked."""

import pytest

from MedDenoiseLib.Comparison import Comparison
from MedDenoiseLib.Logic import Logic
from MedDenoiseLib.WindowLink import WindowLink
from scene import FIGURES, applicationOfTest, compare, phantom, serve, slicer, smooth  # noqa: F401


def test_comparison_remembers_what_made_it(app, tmp_path):
    logic, comparison = compare(app, tmp_path, model="two_stage", version="2.0", warnings=("The image is small.",))
    found = Comparison.allIn(app.scene)[0]
    assert found == comparison
    assert (found.model, found.version, found.strength) == ("two_stage", "2.0", 1.0)
    assert found.figures == FIGURES
    assert found.warnings == ("The image is small.",)
    assert found.name == "CT of Jane Doe: two_stage"
    assert found.original.GetName() == "CT of Jane Doe"
    assert found.denoised.GetName() == "CT of Jane Doe denoised"
    assert found.difference.GetName() == "CT of Jane Doe difference"
    assert found.uncertainty is None
    logic.close()


def test_figures_that_could_not_be_measured_stay_unknown(app, tmp_path):
    logic, comparison = compare(app, tmp_path, figures={"noise_before": None, "units": "grey levels"})
    assert comparison.figures["noise_before"] is None
    logic.close()


def test_several_models_of_one_image_are_kept(app, tmp_path):
    node = app.volume(phantom())
    logic = Logic(app.scene, app.logic, app.colorLogic)
    made = []
    for model in ("student", "teacher"):
        prepared = logic.prepare(node, None, str(tmp_path))
        made.append(logic.accept(prepared, serve(prepared, smooth, model=model)))
    assert logic.comparisons == made
    assert [comparison.model for comparison in logic.comparisons] == ["student", "teacher"]
    assert made[0].original is made[1].original is node
    assert len({comparison.denoised.GetName() for comparison in made}) == 2
    logic.show(made[0])
    logic.show(made[1])
    logic.show(made[0])
    assert logic.shown == made[0]
    assert logic.comparisons == made
    logic.close()


@pytest.mark.parametrize("role", ["original", "denoised", "difference"])
def test_comparison_whose_image_the_user_deletes_is_none_any_more(app, tmp_path, role):
    logic, comparison = compare(app, tmp_path)
    logic.show(comparison)
    told = []
    logic.onChanged = lambda: told.append(1)
    app.scene.RemoveNode(getattr(comparison, role))
    assert logic.comparisons == []
    assert logic.shown is None
    assert told
    logic.close()


def test_deleted_answer_is_not_replaced_by_the_mix_that_is_left(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    logic.setStrength(comparison, 0.5)
    app.scene.RemoveNode(comparison.answer)
    assert logic.comparisons == []
    logic.close()


def test_answer_deleted_at_full_strength_is_still_there_as_the_denoised_image(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    for strength in (0.5, 1.0):
        logic.setStrength(comparison, strength)
    app.scene.RemoveNode(comparison.answer)
    assert logic.comparisons == [comparison]
    logic.close()


def test_removing_takes_all_results_and_leaves_the_rest(app, tmp_path):
    node = app.volume(phantom())
    before = _ids(app)
    logic = Logic(app.scene, app.logic, app.colorLogic)
    prepared = logic.prepare(node, None, str(tmp_path))
    comparison = logic.accept(prepared, serve(prepared, smooth, spread=smooth))
    logic.setStrength(comparison, 0.5)
    assert comparison.uncertainty is not None
    logic.remove(comparison)
    assert _ids(app) - before <= {logic.parameters.node.GetID()}
    logic.close()


def test_removing_one_leaves_the_other_shown(app, tmp_path):
    logic, first = compare(app, tmp_path)
    prepared = logic.prepare(first.original, None, str(tmp_path))
    second = logic.accept(prepared, serve(prepared, smooth))
    logic.show(second)
    logic.remove(first)
    assert logic.comparisons == [second]
    assert logic.shown == second
    assert second.difference.GetDisplayNode().GetColorNode() is not None
    logic.close()


def test_keeping_leaves_plain_volumes(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    logic.show(comparison)
    denoised = comparison.denoised
    logic.keep(comparison)
    assert logic.comparisons == []
    assert denoised.GetScene() is app.scene
    assert denoised.GetAttribute("MedDenoise.Role") is None
    assert not logic.windowLink.on
    logic.close()


def test_everybody_is_told_when_comparisons_come_and_go(app, tmp_path):
    told = []
    node = app.volume(phantom())
    logic = Logic(app.scene, app.logic)
    logic.onChanged = lambda: told.append(len(logic.comparisons))
    prepared = logic.prepare(node, None, str(tmp_path))
    comparison = logic.accept(prepared, serve(prepared, smooth))
    logic.show(comparison)
    logic.remove(comparison)
    assert told == [1, 1, 0]
    logic.close()


class TestWindowLink:
    def test_window_level_and_colors_of_the_input_are_carried_over(self, app, tmp_path):
        node = app.volume(phantom(), window=(1500.0, -600.0))
        display = node.GetDisplayNode()
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeInvertedGrey")
        display.SetInterpolate(0)
        logic = Logic(app.scene, app.logic)
        prepared = logic.prepare(node, None, str(tmp_path))
        shown = logic.accept(prepared, serve(prepared, smooth)).denoised.GetDisplayNode()
        assert (shown.GetWindow(), shown.GetLevel()) == (1500, -600)
        assert shown.GetColorNodeID() == "vtkMRMLColorTableNodeInvertedGrey"
        assert not shown.GetInterpolate()
        assert not shown.GetAutoWindowLevel()
        logic.close()

    def test_automatic_window_of_the_input_is_taken_as_it_is(self, app, tmp_path):
        node = app.volume(phantom())
        node.GetDisplayNode().SetAutoWindowLevel(1)
        logic = Logic(app.scene, app.logic)
        prepared = logic.prepare(node, None, str(tmp_path))
        shown = logic.accept(prepared, serve(prepared, lambda sent: sent // 4)).denoised.GetDisplayNode()
        assert _look(shown) == _look(node.GetDisplayNode())
        logic.close()

    @pytest.mark.parametrize("changed", ["original", "denoised"])
    def test_whichever_is_changed_the_other_follows(self, app, tmp_path, changed):
        logic, comparison = compare(app, tmp_path)
        logic.show(comparison)
        displays = [comparison.original.GetDisplayNode(), comparison.denoised.GetDisplayNode()]
        getattr(comparison, changed).GetDisplayNode().SetWindowLevel(80, 35)
        getattr(comparison, changed).GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
        assert [_look(display) for display in displays] == [(80, 35)] * 2
        assert {display.GetColorNodeID() for display in displays} == {"vtkMRMLColorTableNodeRainbow"}
        logic.close()

    def test_switched_off_each_goes_its_own_way_and_on_again_the_original_leads(self, app, tmp_path):
        logic, comparison = compare(app, tmp_path)
        logic.show(comparison)
        logic.linkWindows(False)
        comparison.original.GetDisplayNode().SetWindowLevel(80, 35)
        assert _look(comparison.denoised.GetDisplayNode()) == (400, 40)
        logic.linkWindows(True)
        assert _look(comparison.denoised.GetDisplayNode()) == (80, 35)
        logic.close()

    def test_released_link_leaves_no_observer(self, app, tmp_path):
        logic, comparison = compare(app, tmp_path)
        display = comparison.original.GetDisplayNode()
        other = comparison.denoised.GetDisplayNode()
        link = WindowLink()
        link.link(comparison.original, comparison.denoised)
        link.release()
        link.release()
        display.SetWindowLevel(1, 2)
        assert _look(other) == (400, 40)
        logic.close()


def _look(display):
    return display.GetWindow(), display.GetLevel()


def _ids(app):
    return {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")}


def test_two_logics_see_the_same_comparisons(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    other = Logic(app.scene, app.logic)
    assert other.comparisons == [comparison]
    logic.close()
    other.close()
