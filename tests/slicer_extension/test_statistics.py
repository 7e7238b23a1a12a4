"""The table: the server's figures, the mix in between, and what is measured in a region."""

import tracemalloc

import numpy as np
import pytest

from MedDenoiseLib.Input import InputError
from MedDenoiseLib.Logic import Logic
from scene import FIGURES, applicationOfTest, compare, phantom, serve  # noqa: F401

SHAPE = (4, 64, 64)
NOISE = np.random.default_rng(3).normal(0, 10, SHAPE).astype(np.float32)


def values(rows):
    return {row.quantity.split(" (")[0]: (row.original, row.denoised) for row in rows}


def roi(app, center=(32, 32, 1.5), size=(40, 40, 4)):
    node = app.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Liver")
    node.SetSize(*size)
    node.SetCenter(*center)
    return node


def quarter(sent):
    """A denoiser that leaves a quarter of the noise and shifts all by 2."""
    return sent - np.float32(0.75) * NOISE + np.float32(2)


def test_whole_image_shows_the_servers_figures_at_full_strength(app, tmp_path):
    logic, comparison = compare(app, tmp_path)
    rows = logic.statistics(comparison)
    got = values(rows)
    assert got["Noise"] == (FIGURES["noise_before"], FIGURES["noise_after"])
    assert got["Bias"] == (None, FIGURES["bias"])
    assert got["Root mean square change"] == (None, FIGURES["rms_change"])
    assert {row.unit for row in rows[:3]} == {"HU"}
    assert all("server" in row.source for row in rows[:3])
    logic.close()


def test_whole_image_follows_the_strength(app, tmp_path):
    array = NOISE + 100
    figures = {"noise_before": 10.0, "noise_after": 2.5, "bias": 2.0, "rms_change": 7.8, "units": "HU"}
    logic, comparison = compare(app, tmp_path, array, denoise=quarter, figures=figures)
    for strength in (0.5, 0.2):
        logic.setStrength(comparison, strength)
        got = values(logic.statistics(comparison))
        assert got["Noise"][1] == pytest.approx(10 * (1 - 0.75 * strength), rel=1e-3)  # wholly alike noise
        assert got["Bias"][1] == pytest.approx(2 * strength)
    logic.setStrength(comparison, 0.0)
    got = values(logic.statistics(comparison))
    assert got["Noise"] == (10, 10)
    assert got["Bias"][1] == got["Voxels changed"][1] == 0
    logic.close()


def test_noise_that_was_replaced_by_another_is_not_taken_for_the_same(app, tmp_path):
    other = np.random.default_rng(9).normal(0, 10, SHAPE).astype(np.float32)
    figures = {"noise_before": 10.0, "noise_after": 10.0, "units": "HU"}
    logic, comparison = compare(app, tmp_path, NOISE + 100, denoise=lambda _: other + 100, figures=figures)
    logic.setStrength(comparison, 0.5)
    assert values(logic.statistics(comparison))["Noise"][1] == pytest.approx(10 / np.sqrt(2), rel=0.05)
    logic.close()


def test_figures_that_the_server_could_not_measure_stay_empty(app, tmp_path):
    logic, comparison = compare(app, tmp_path, figures={"noise_before": None, "noise_after": None, "bias": None})
    logic.setStrength(comparison, 0.5)
    got = values(logic.statistics(comparison))
    assert got["Noise"] == (None, None)
    assert got["Bias"] == (None, None)
    logic.close()


def test_share_of_changed_voxels_is_counted(app, tmp_path):
    def half(sent):
        answer = sent.copy()
        answer[:, : sent.shape[1] // 2] += 1
        return answer

    logic, comparison = compare(app, tmp_path, denoise=half)
    assert values(logic.statistics(comparison))["Voxels changed"][1] == pytest.approx(50)
    logic.close()


def test_what_the_server_took_for_the_foreground_is_said(app, tmp_path):
    logic, comparison = compare(app, tmp_path, figures={**FIGURES, "foreground": "soft tissue, 20 to 110 HU"})
    rows = logic.statistics(comparison)
    assert rows[0].source == "whole image, estimated by the server: soft tissue, 20 to 110 HU"
    logic.close()


def test_figures_of_a_limited_denoising_do_not_claim_to_be_of_the_whole_image(app, tmp_path):
    logic = Logic(app.scene, app.logic)
    prepared = logic.prepare(app.volume(phantom(SHAPE)), roi(app), str(tmp_path))
    rows = logic.statistics(logic.accept(prepared, serve(prepared, lambda sent: sent + 1)))
    assert [row.source for row in rows[:3]] == ["the region that was sent, estimated by the server"] * 3
    assert rows[3].source == "whole image"
    logic.close()


class TestRegion:
    def test_noise_of_a_flat_region_is_right_before_and_after(self, app, tmp_path):
        logic, comparison = compare(app, tmp_path, NOISE + 100, denoise=quarter)
        got = values(logic.statistics(comparison, roi(app)))
        assert got["Noise"][0] == pytest.approx(10, rel=0.05)
        assert got["Noise"][1] == pytest.approx(got["Noise"][0] / 4, rel=1e-3)
        assert got["Bias"][1] == pytest.approx(2 - 0.75 * NOISE[:, 12:53, 12:53].mean(), abs=1e-3)
        assert got["Mean"][0] == pytest.approx(100, abs=1)
        assert got["Voxels changed"][1] == 100
        logic.close()

    def test_slope_of_the_tissue_is_no_noise(self, app, tmp_path):
        slope = np.arange(64, dtype=np.float32) * 5
        logic, comparison = compare(app, tmp_path, NOISE + slope, denoise=quarter)
        got = values(logic.statistics(comparison, roi(app)))
        assert got["Noise"][0] == pytest.approx(10, rel=0.05)
        assert got["Standard deviation"][0] > 50
        logic.close()

    def test_grain_coarser_than_a_voxel_is_measured_in_full(self, app, tmp_path):
        coarse = np.repeat(np.repeat(np.random.default_rng(5).normal(0, 10, (4, 16, 16)), 4, 1), 4, 2)
        logic, comparison = compare(app, tmp_path, coarse.astype(np.float32) + 100)
        got = values(logic.statistics(comparison, roi(app)))
        assert got["Noise"][0] == pytest.approx(coarse[:, 12:53, 12:53].std(), rel=0.05)
        logic.close()

    def test_region_follows_the_strength(self, app, tmp_path):
        logic, comparison = compare(app, tmp_path, NOISE + 100, denoise=quarter)
        region = roi(app)
        full = values(logic.statistics(comparison, region))
        logic.setStrength(comparison, 0.0)
        none = values(logic.statistics(comparison, region))
        assert none["Noise"][1] == none["Noise"][0] == full["Noise"][0]
        assert none["Bias"][1] == 0
        logic.close()

    def test_closed_curve_is_measured_too(self, app, tmp_path):
        logic, comparison = compare(app, tmp_path, NOISE + 100, denoise=quarter)
        curve = app.scene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", "Liver")
        for x, y in ((10, 10), (50, 10), (50, 50), (10, 50)):
            curve.AddControlPoint(x, y, 2)
        rows = logic.statistics(comparison, curve)
        assert values(rows)["Noise"][0] == pytest.approx(10, rel=0.1)
        assert {row.source for row in rows} == {"in the region"}
        logic.close()

    def test_large_region_takes_little_memory(self, app, tmp_path):
        logic, comparison = compare(app, tmp_path, np.zeros((40, 128, 128), np.int16))
        tracemalloc.start()
        logic.statistics(comparison, roi(app, size=(300, 300, 100)))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 8 * 40 * 128 * 128
        logic.close()

    def test_too_small_a_region_is_refused(self, app, tmp_path):
        logic, comparison = compare(app, tmp_path, NOISE + 100)
        with pytest.raises(InputError, match="fewer than 16 voxels") as caught:
            logic.statistics(comparison, roi(app, size=(2, 2, 4)))
        assert "larger" in caught.value.advice
        logic.close()

    def test_what_is_no_region_is_refused(self, app, tmp_path):
        logic, comparison = compare(app, tmp_path)
        line = app.scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "Ruler")
        with pytest.raises(InputError, match="Ruler is no region"):
            logic.statistics(comparison, line)
        logic.close()


def test_rows_of_a_small_radiograph_can_be_had(app, tmp_path):
    logic, comparison = compare(app, tmp_path, phantom((1, 12, 10), np.uint16))
    logic.setStrength(comparison, 0.5)
    assert len(logic.statistics(comparison)) == 4
    logic.close()
