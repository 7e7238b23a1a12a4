"""Comparisons of small trainings: equal budgets whatever happens to the run, and gains that are judged by patient."""

import itertools
import json
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from light_training import Score, gain, groups_of, means, train_in_turns, verdict

from meddenoise.training.loop import Schedule
from meddenoise.training.progress import Moment

EVERY = 5


@dataclass(frozen=True)
class Config:
    name: str
    schedule: Schedule = field(default_factory=lambda: Schedule(steps=1, decay="cosine"))


class Recipe:
    """Counts steps as a recipe does, and dies when it is told to."""

    def __init__(self, die_after=10**9):
        self.asked, self.left = [], die_after

    def run(self, config, folder, out, *, resume, report, trackers):
        assert folder is None
        assert resume
        assert config.schedule.decay == "constant"
        self.asked.append((config.name, config.schedule.steps))
        path = out / "history.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        step = json.loads(lines[-1])["step"] if lines else 0
        while step < config.schedule.steps:
            if self.left == 0:
                raise KeyboardInterrupt
            step, self.left = step + EVERY, self.left - 1
            figures = dict(trackers[0](Moment(step, config.schedule.steps, {}, {})))
            lines.append(json.dumps({"step": step, **figures}))
            path.write_text("\n".join(lines) + "\n")
        return SimpleNamespace(name=config.name, parameters=7)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "slices.safetensors").write_bytes(b"slices")
    return tmp_path


VARIANTS = {"a": Config("a"), "b": Config("b")}


def test_variants_take_turns_and_end_with_the_same_number_of_steps(folder):
    recipe = Recipe()
    trained = train_in_turns(recipe, VARIANTS, folder, steps=25, turn=10)
    assert recipe.asked == [("a", 10), ("b", 10), ("a", 20), ("b", 20), ("a", 25), ("b", 25)]
    assert {one.steps for one in trained.values()} == {25}
    assert trained["a"].weights == folder / "a" / "a.safetensors"


def test_a_killed_comparison_goes_on_without_repeating_turns_and_counts_all_its_seconds(folder, monkeypatch):
    monkeypatch.setattr(time, "process_time", itertools.count(step=2.0).__next__)
    with pytest.raises(KeyboardInterrupt):
        train_in_turns(Recipe(die_after=5), VARIANTS, folder, steps=20, turn=10)
    before = json.loads((folder / "a" / "history.jsonl").read_text().splitlines()[-1])
    assert before["step"] == 15
    recipe = Recipe()
    trained = train_in_turns(recipe, VARIANTS, folder, steps=20, turn=10)
    assert recipe.asked == [("a", 20), ("b", 20)]
    assert {one.steps for one in trained.values()} == {20}
    assert before["cpu_seconds"] == 6.0
    assert trained["a"].cpu_seconds == 8.0


def test_a_longer_budget_goes_on_and_a_shorter_one_is_refused(folder):
    train_in_turns(Recipe(), VARIANTS, folder, steps=10, turn=10)
    assert train_in_turns(Recipe(), VARIANTS, folder, steps=20, turn=10)["b"].steps == 20
    with pytest.raises(SystemExit, match="a took 20 steps already"):
        train_in_turns(Recipe(), VARIANTS, folder, steps=10, turn=10)


def scores(values):
    return [
        Score("CT", f"v{i}", f"patient{i // 2}", "Gaussian 10", 0, value, value / 100) for i, value in enumerate(values)
    ]


def test_a_gain_counts_every_patient_once_and_its_interval_says_whether_it_holds():
    base = [30.0, 31.0, 28.0, 29.0, 33.0, 30.0]
    better = scores([value + 0.5 for value in base])
    mean, low, high = gain(better, scores(base))
    assert (mean, low, high) == pytest.approx((0.5, 0.5, 0.5))
    assert verdict(low, high) == "holds"
    assert verdict(*gain(scores(base), better)[1:]) == "does not hold: it is worse"
    mixed = scores([value + change for value, change in zip(base, (1, 1, -1, -1, 0.2, 0.2), strict=True)])
    assert verdict(*gain(mixed, scores(base))[1:]) == "not shown: the interval holds 0"


def test_groups_hold_what_their_names_say():
    found = [*scores([30.0, 40.0]), Score("MR", "m", "p", "speckle 10", 0, 20.0, 0.2)]
    groups = groups_of(found)
    assert list(groups) == ["Gaussian 10", "speckle 10", "CT", "MR", "all"]
    assert means(found, groups["CT"]) == pytest.approx((35.0, 0.35))
    assert means(found, groups["speckle 10"]) == pytest.approx((20.0, 0.2))
    assert means(found, groups["all"]) == pytest.approx((30.0, 0.3))
