"""The student's benchmark judges by patient, stops pruning where the recipe would, and draws what a card holds."""

import pytest
import torch
from distillation_report import CLAIMS, curve_of_card, effective
from light_training import Score, claims

from meddenoise import weights
from meddenoise.networks import Student
from meddenoise.weights import Card

SIZES = {"widths": [8, 8, 8], "blocks": [1, 1, 1]}


def test_a_claim_is_judged_by_the_patients_differences():
    methods = {name for _, better, worse in CLAIMS for name in (better, worse)}
    level = {"plain": 30.0, "supervised": 30.0, "supervised_long": 31.0, "final_output": 30.2, "staggered": 30.5}
    assert methods == set(level)
    scores = {
        method: [Score("CT", f"v{i}", f"s{i}", "Gaussian 10", 0, level[method] + 0.01 * i, 0.8) for i in range(5)]
        for method in methods
    }
    text, figures = claims(scores, CLAIMS)
    found = {figure["claim"]: figure["found"].split(";")[0] for figure in figures}
    verdicts = ["holds", "holds", "holds", "does not hold: it is worse", "not shown: the interval holds 0"]
    assert list(found.values()) == [f"PSNR: {verdict}" for verdict in verdicts]
    assert all(sentence in text for sentence in found)


@pytest.mark.parametrize(
    ("psnr", "kept"), [([30.0, 30.1, 29.96, 29.94, 30.2], 2), ([30.0, 29.9], 0), ([30.0, 30.0, 30.0], 2)]
)
def test_the_step_before_the_first_that_is_too_much_counts(psnr, kept):
    assert effective([{"held back psnr": value} for value in psnr]) == kept


def test_the_curve_of_a_card_is_drawn_and_a_card_without_one_is_told(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="the benchmarks' plots (the extra `bench`) are not installed")
    monkeypatch.setenv("MEDDENOISE_WEIGHTS", str(tmp_path))
    torch.manual_seed(0)
    row = {"stage": "fold", "parameters": 9000, "gmac": 0.2, "psnr": 33.0, "ssim": 0.8}
    stages = [row, {**row, "stage": "prune-1", "gmac": 0.1, "psnr": 32.9, "kept": True}]
    for name, found in (("cut", stages), ("whole", stages[:1])):
        card = Card(name, "1.0.0", "student", SIZES, "For tests", ["CT"], 1, 0.1, training={"stages": found})
        weights.save(Student(**SIZES), card, tmp_path)
    assert curve_of_card("cut", tmp_path) == tmp_path / "pruning-cut.png"
    assert (tmp_path / "pruning-cut.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="holds no pruning steps"):
        curve_of_card("whole", tmp_path)
