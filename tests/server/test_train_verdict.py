"""What counts as better for a site with clean partners: what comes nearer to these."""

from dataclasses import dataclass

import numpy as np
import pytest

from meddenoise.comparison import Case, Rule, compare
from meddenoise.phantom import anatomy
from meddenoise.server.train_verdict import RULE
from meddenoise.weights import Card

OWN, ADDED = 15.0, 30.0
KEPT = OWN**2 / (OWN**2 + ADDED**2)
"""Share of the noise in the best guess of a partner whose own noise the noisy image has, too."""


@dataclass
class Keeping:
    """Stands for a Denoiser that leaves a share of the noise."""

    truth: np.ndarray
    share: float
    card: Card = Card("student", "0.3.0", "student", {}, "For tests", ["CT"], 1, 0.1)  # noqa: RUF009 - frozen

    def __call__(self, volume):
        made = self.truth + self.share * (volume.array - self.truth)
        return type("Result", (), {"volume": volume.with_array(made.astype(np.float32))})


@pytest.fixture(scope="module")
def site():
    """Six low-dose images that were made of their partners by adding noise, and the truth of them all."""
    drawn = anatomy("CT", (4, 144, 192))
    truth, cases = drawn.array.astype(np.float64), []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        full = truth + OWN * rng.normal(size=truth.shape)
        low = full + ADDED * rng.normal(size=truth.shape)
        cases.append(Case(*(drawn.with_array(one.astype(np.float32)) for one in (low, full))))
    return truth, cases


def test_best_guess_of_the_partner_is_better_than_the_truth_only_as_a_site_is_judged(site):
    truth, cases = site
    guess, exact = Keeping(truth, KEPT), Keeping(truth, 0.0)
    assert compare(guess, exact, cases, [], rule=RULE).better
    assert not compare(guess, exact, cases, [], rule=Rule()).better
    assert not compare(Keeping(truth, 0.6), exact, cases, [], rule=RULE).better


def test_images_alone_are_judged_by_the_unseen_truth(site):
    truth, cases = site
    alone = [Case(one.noisy) for one in cases]
    results = [compare(Keeping(truth, 0.5), Keeping(truth, 0.0), alone, [], rule=rule) for rule in (RULE, Rule())]
    assert results[0].change == results[1].change > 0
