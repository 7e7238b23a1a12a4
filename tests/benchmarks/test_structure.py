"""The check for invented and lost structure finds both, and passes what has neither."""

import numpy as np
import pytest
from structure import (
    Insert,
    at,
    attainable,
    contrast_kept,
    distance,
    fires,
    interval,
    judged,
    level_by_radius,
    power_of,
    realise,
    responses,
    spread,
    template,
)

SIDE = 128
INSERT = Insert("9 px 10 HU", 50.5, 70.5, 4.5)
WHERE = distance((SIDE, SIDE), 63.5, 63.5) < 40
FREQUENCY = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE))
SMOOTH = 200.0 * np.exp(-((FREQUENCY / 0.2) ** 2))
FLAT = np.ones((SIDE, SIDE))


def disc(contrast=10.0):
    return np.where(distance((SIDE, SIDE), INSERT.row, INSERT.column) <= INSERT.radius, contrast, 0.0)


def filtered(images, transfer):
    return np.fft.ifft2(np.fft.fft2(images) * transfer).real


def scores(absent, present, threshold):
    truth = disc(), np.zeros((SIDE, SIDE))
    return {
        "fires 9 px": interval(100 * fires(absent, INSERT.radius, threshold, WHERE)),
        "contrast 9 px": interval(100 * contrast_kept(present, absent, truth, INSERT)),
    }


def test_made_noise_has_the_power_that_was_measured():
    known = realise(SMOOTH, FLAT, 40, seed=1)
    mask = np.broadcast_to(distance((SIDE, SIDE), 63.5, 63.5) < 55, known.shape)
    made = realise(power_of(known, mask, (SIDE, SIDE)), FLAT, 40, seed=2)
    assert made.std() == pytest.approx(np.sqrt(SMOOTH.mean()), rel=0.03)
    rings = (FREQUENCY * 20).astype(int)
    power = (np.abs(np.fft.fft2(made)) ** 2).mean(axis=0) / SIDE**2
    radial = [np.bincount(rings.ravel(), p.ravel())[:6] / np.bincount(rings.ravel())[:6] for p in (power, SMOOTH)]
    assert radial[0] == pytest.approx(radial[1], rel=0.1, abs=0.02 * SMOOTH.max())


def test_the_level_that_falls_from_the_centre_is_found():
    square = distance((SIDE, SIDE), 63.5, 63.5) ** 2
    known = np.sqrt(1.2 - 1e-4 * square)
    mask = np.broadcast_to(square < 55**2, (60, SIDE, SIDE))
    found = level_by_radius(realise(SMOOTH, known, 60, seed=3), mask)
    inside = square < 55**2
    expected = known / np.sqrt((known[inside] ** 2).mean())
    assert found[inside] == pytest.approx(expected[inside], rel=0.05)
    assert found[0, 0] == found[~inside].min(), "outside the mask the level stays what it is at its edge"


def test_equal_seeds_give_equal_noise_and_other_seeds_other_noise():
    assert np.array_equal(realise(SMOOTH, FLAT, 2, seed=4), realise(SMOOTH, FLAT, 2, seed=4))
    assert not np.array_equal(realise(SMOOTH, FLAT, 2, seed=4), realise(SMOOTH, FLAT, 2, seed=5))


@pytest.mark.parametrize("radius", [0.0, 1.7, 4.5])
def test_a_template_sees_neither_a_constant_nor_a_slope(radius):
    slope = np.add.outer(3.0 * np.arange(SIDE), np.arange(SIDE)) + 1000.0
    assert responses(slope[None], radius)[0][WHERE] == pytest.approx(0.0, abs=1e-8)


def test_a_template_sees_a_disc_s_whole_contrast_in_its_place():
    seen = responses(disc()[None], INSERT.radius)[0]
    assert seen.max() == pytest.approx(10.0)
    assert np.unravel_index(seen.argmax(), seen.shape) == (50, 70)
    assert at(INSERT, disc()) == pytest.approx(10.0)


def test_a_threshold_fires_as_often_as_it_was_set_to_and_more_often_in_more_noise():
    noise = realise(SMOOTH, FLAT, 100, seed=6)
    threshold = np.percentile(responses(noise[:50], 4.5)[:, WHERE], 99)
    assert fires(noise[50:], 4.5, threshold, WHERE).mean() == pytest.approx(0.01, abs=0.004)
    assert fires(2 * noise[50:], 4.5, threshold, WHERE).mean() > 0.08


def test_the_spread_of_a_template_grows_with_the_noise():
    noise = realise(SMOOTH, FLAT, 20, seed=10)
    known = np.sqrt((np.abs(np.fft.fft2(template(4.5, (SIDE, SIDE)))) ** 2 * SMOOTH).mean())
    assert spread(noise, 4.5, WHERE).mean() == pytest.approx(known, rel=0.05)
    assert spread(3 * noise, 4.5, WHERE) == pytest.approx(3 * spread(noise, 4.5, WHERE))


def test_a_disc_that_is_not_there_fires():
    threshold = 5.0
    assert fires(disc()[None], INSERT.radius, threshold, WHERE)[0] > 0
    assert fires(disc(4.0)[None], INSERT.radius, threshold, WHERE)[0] == 0


def test_smearing_and_halving_lose_contrast_and_noise_does_not():
    noise = realise(SMOOTH, FLAT, 10, seed=7)
    truth = disc(), np.zeros((SIDE, SIDE))
    assert contrast_kept(noise + disc(), noise, truth, INSERT) == pytest.approx(1.0)
    assert contrast_kept(0.5 * (noise + disc()), 0.5 * noise, truth, INSERT) == pytest.approx(0.5)
    smear = np.exp(-((FREQUENCY * 40) ** 2))
    assert contrast_kept(filtered(noise + disc(), smear), filtered(noise, smear), truth, INSERT).max() < 0.3


def test_what_is_attainable_in_white_noise_is_what_theory_says():
    weights = template(4.5, (SIDE, SIDE))
    discs, rings = (weights > 0).sum(), (weights < 0).sum()
    assert attainable(9.0 * FLAT, FLAT, disc(), 4.5) == pytest.approx(np.sqrt(1 + discs / rings) / 3)


@pytest.mark.parametrize(("full", "reached"), [(FLAT, 0.7), (SMOOTH + 0.1, 0.1)])
def test_no_filter_leaves_more_than_what_is_attainable(full, reached):
    low = 10 * full
    weights = np.abs(np.fft.fft2(template(4.5, (SIDE, SIDE)))) ** 2
    shares = []
    for cutoff in (0.02, 0.03, 0.05, 0.1, 0.2):
        smooth = np.exp(-((FREQUENCY / cutoff) ** 2))
        quiet = smooth * np.sqrt((weights * full).sum() / (weights * low * smooth**2).sum())  # as full dose is
        shares.append(at(INSERT, filtered(disc(), quiet)) / at(INSERT, disc()))
    best = attainable(low, full, disc(), 4.5)
    assert reached * best < max(shares) <= best


def test_full_dose_passes_and_noise_left_in_and_smoothing_away_fail():
    full, low = realise(SMOOTH, FLAT, 40, seed=8), realise(10 * SMOOTH, FLAT, 40, seed=9)
    threshold = np.percentile(responses(full, 4.5)[:, WHERE], 99)
    reference = scores(full, full + disc(), threshold)
    assert judged(reference, reference) == "passes"
    assert judged(scores(low, low + disc(), threshold), reference) == "fires too often (9 px)"
    nothing = np.zeros_like(low)
    assert judged(scores(nothing, nothing, threshold), reference) == "loses contrast (9 px)"
    half = 0.6 * low, 0.6 * (low + disc())
    assert judged(scores(*half, threshold), reference) == "fires too often (9 px); loses contrast (9 px)"


def test_an_interval_holds_the_mean_and_narrows_with_more_values():
    values = np.random.default_rng(0).standard_normal(400) + 3.0
    mean, low, high = interval(values)
    few = interval(values[:25])
    assert low < mean < high
    assert mean == pytest.approx(3.0, abs=0.2)
    assert few[2] - few[1] > 2 * (high - low)
