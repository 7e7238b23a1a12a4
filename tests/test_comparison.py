"""A candidate takes the running model's place only where it is better for the site, and no worse elsewhere."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from meddenoise import weights
from meddenoise.comparison import Case, Rule, built_in_cases, compare, pictures_in, publish_if_better, read, write
from meddenoise.comparison.cases import Run, runs_of, with_made_noise
from meddenoise.comparison.errors import reference_noise
from meddenoise.errors import InputError, ModelError
from meddenoise.noise_level import gaussian_blur
from meddenoise.phantom import anatomy, phantom
from meddenoise.volume import Header, Volume
from meddenoise.weights import Card, versions

SHAPE = (8, 96, 128)


@dataclass
class Smoother:
    """Stands for a Denoiser: mixes the image with a smooth one, and adds a shift to images of some modalities."""

    share: float
    shift: float = 0.0
    worse_on_phantoms: bool = False
    card: Card = Card("student", "0.3.0", "student", {}, "For tests", ["CT"], 1, 0.1)  # noqa: RUF009 - frozen

    def __call__(self, volume):
        array = volume.array.astype(np.float32)
        smooth = gaussian_blur(torch.from_numpy(array[:, None]), 1.0)[:, 0].numpy()
        share = 0.2 if self.worse_on_phantoms and len(array) == 1 else self.share  # their slices come one by one
        made = array + share * (smooth - array) + self.shift
        return type("Result", (), {"volume": replace(volume, array=made)})


@pytest.fixture(scope="module")
def pairs():
    """Three patients with clean partners."""
    return [Case(noisy, truth) for truth, noisy in (phantom(SHAPE, seed=seed) for seed in (1, 2, 3))]


@pytest.fixture(scope="module")
def phantoms():
    truth, noisy = phantom((4, *SHAPE[1:]), seed=9)
    return [Case(noisy, truth, exact=True)]


def noisy_pair(*, shared, seed=0, own=15.0, added=30.0):
    """The truth, an image and a reference with noise: the image's too, or the reference's own."""
    draw = np.random.default_rng(seed)
    truth = anatomy("CT", (4, 144, 192)).array.astype(np.float64)
    noise = [np.stack([smooth(draw.normal(0, 1, truth.shape[1:])) for _ in truth]) for _ in range(2)]
    reference = truth + own * noise[0]
    noisy = (reference if shared else truth) + added * noise[1]
    return truth, noisy, reference


def smooth(image, sigma=0.5):
    return gaussian_blur(torch.from_numpy(image)[None, None], sigma)[0, 0].numpy()


def run_of(noisy, reference):
    volume = Volume(noisy.astype(np.float32), np.eye(4), "CT", Header(units="HU"))
    truth = volume.with_array(anatomy("CT", noisy.shape).array.astype(np.float32))
    (run,) = runs_of(Case(volume, truth))
    return Run(volume, reference, run.body, run.tissue)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("own", [0.5, 15.0])
def test_error_against_the_unseen_truth_is_found_through_a_noisy_reference(shared, own):
    truth, noisy, reference = noisy_pair(shared=shared, own=own)
    noise = reference_noise([run_of(noisy, reference)])
    assert noise.shared == shared or own < 1
    body = truth > -300
    for sigma in (0.4, 0.8, 1.5):
        denoised = np.stack([smooth(one, sigma) for one in noisy])
        expected = np.mean((denoised - truth)[body] ** 2) / np.mean((noisy - truth)[body] ** 2)
        found = noise.square(denoised[body], noisy[body], reference[body])
        assert found == pytest.approx(expected, abs=0.03, rel=0.03)


def test_the_ratio_to_a_noisy_reference_alone_would_reward_noise_that_is_left():
    truth, noisy, reference = noisy_pair(shared=True)
    noise = reference_noise([run_of(noisy, reference)])
    body = truth > -300
    assert np.mean((truth - reference)[body] ** 2) / np.mean((noisy - reference)[body] ** 2) > 0.2
    assert noise.square(truth[body], noisy[body], reference[body]) == pytest.approx(0.0, abs=0.03)


def test_a_better_candidate_is_better_and_the_same_one_is_not(pairs, phantoms):
    weak, strong = Smoother(0.4), Smoother(0.8)
    found = compare(strong, weak, pairs, phantoms)
    assert found.better
    assert found.reasons == ()
    assert found.change + found.uncertainty < 0
    assert all(one.candidate.error < one.running.error < 1 for one in (*found.site, *found.built_in))
    assert not compare(weak, strong, pairs, phantoms).better
    same = compare(weak, weak, pairs, phantoms)
    assert same.change == 0
    assert "its error is not smaller: +0.0% +/- 0.0%" in same.reasons[0]


def test_images_alone_are_judged_with_made_noise_to_the_same_end(pairs, phantoms):
    alone = [Case(one.noisy) for one in pairs]
    found = compare(Smoother(0.8), Smoother(0.4), alone, phantoms)
    assert found.better, found.reasons
    assert {one.kind for one in found.site} == {"made noise"}
    assert all(one.reference.shared and 0 < one.reference.share < 0.5 for one in found.site)


def test_a_gain_within_the_noise_of_the_measurement_is_none(pairs, phantoms):
    def unsteady(volume):
        better = volume.array.sum() % 2 == 0  # one run or another
        return Smoother(0.62 if better else 0.57)(volume)

    unsteady.card = Smoother(0.6).card
    found = compare(unsteady, Smoother(0.6), pairs, phantoms)
    assert abs(found.change) < found.uncertainty
    assert not found.better


def test_a_candidate_that_is_worse_on_the_phantoms_is_refused(pairs, phantoms):
    found = compare(Smoother(0.8, worse_on_phantoms=True), Smoother(0.4), pairs, phantoms)
    assert not found.better
    assert any("on the CT phantom its error is larger by" in reason for reason in found.reasons)


def test_small_losses_on_the_phantoms_do_not_add_up(pairs, phantoms):
    candidate, running, installed = Smoother(0.54), Smoother(0.56), Smoother(0.7)
    generous = Rule(tolerance=0.05)
    alone = compare(candidate, running, pairs, phantoms, rule=generous)
    assert not [reason for reason in alone.reasons if "phantom" in reason]
    found = compare(candidate, running, pairs, phantoms, installed=installed, rule=generous)
    assert [reason for reason in found.reasons if "on the CT phantom its error is larger" in reason]


def test_a_candidate_that_shifts_soft_tissue_is_refused(pairs, phantoms):
    found = compare(Smoother(0.8, shift=1.5), Smoother(0.4), pairs, phantoms)
    assert not found.better
    assert any("shifts the mean by +1.5" in reason and "1 are allowed" in reason for reason in found.reasons)


def test_a_candidate_that_fails_one_patient_is_refused(pairs, phantoms):
    sharp = replace(pairs[0], noisy=pairs[0].reference, reference=pairs[0].noisy)  # smoothing only harms this one
    found = compare(Smoother(0.8), Smoother(0.4), [*pairs, sharp], phantoms)
    assert any("for patient 4 its error is larger by" in reason for reason in found.reasons)


def test_one_image_is_too_little_to_tell(pairs, phantoms):
    one = Case(pairs[0].noisy.with_array(pairs[0].noisy.array), pairs[0].reference)
    slices = [replace(v, array=v.array[:1].copy(), affine=v.affine.copy()) for v in (one.noisy, one.reference)]
    found = compare(Smoother(0.8), Smoother(0.4), [Case(*slices)], phantoms)
    assert found.reasons == ("one run of slices is too little to tell whether it is better: hold back more images",)


def test_what_cannot_be_judged_is_named(pairs, phantoms):
    volume = pairs[0].noisy
    nan = replace(volume, array=np.full(SHAPE, np.nan, np.float32))
    cut = replace(volume, array=volume.array[:2].copy())
    wrong = [
        ([], "no held-back patient"),
        ([Case(nan)], "NaN or infinite"),
        ([Case(volume, cut)], "must have one shape"),
        ([Case(volume, volume)], "the image and its partner are the same"),
        ([Case(replace(volume, array=np.zeros((3, 20, 20, 3), np.uint8)))], "is in colour"),
        ([Case(replace(volume, array=volume.array[:, :4].copy()))], "too small to judge"),
        (
            [Case(replace(volume, array=np.full(SHAPE, -1000, np.int16)), volume.with_array(volume.array * 0 - 1000))],
            "bg",
        ),
    ]
    for site, reason in wrong[:-1]:
        with pytest.raises(InputError, match=reason):
            compare(Smoother(0.8), Smoother(0.4), site, phantoms)
    with pytest.raises(InputError, match="nothing but background"):
        compare(Smoother(0.8), Smoother(0.4), wrong[-1][0], phantoms)


@pytest.mark.parametrize("modality", ["CT", "MR", "PET", "XR"])
def test_phantoms_are_the_same_every_time_and_noisy(modality):
    first, second = (built_in_cases([modality])[0] for _ in range(2))
    np.testing.assert_array_equal(first.noisy.array, second.noisy.array)
    assert len(first.noisy.array) == 4
    errors = [np.std(a - b) for a, b in zip(first.noisy.array * 1.0, first.reference.array * 1.0, strict=True)]
    assert min(errors) > 0
    assert len(set(errors)) == 4


def test_made_noise_is_louder_than_that_of_the_image_and_keeps_its_type():
    _, noisy = phantom(SHAPE, seed=5)
    made = with_made_noise(noisy, seed=1, level=40.0)
    assert made.array.dtype == noisy.array.dtype
    inside = noisy.array > -300
    assert np.std((made.array - noisy.array * 1.0)[inside]) > 60
    assert made.array.min() >= -1024


def test_phantoms_are_those_of_the_modalities_that_a_candidate_denoises_itself(pairs):
    known = replace(Smoother.card, modalities=["CT", "MR"])
    candidate = replace(known, elsewhere={"MR": "built-in"})
    found = compare(Smoother(0.8, card=candidate), Smoother(0.4, card=known), pairs)
    assert [one.modality for one in found.built_in] == ["CT"]


def test_squares_below_what_any_model_reaches_are_no_change(pairs, monkeypatch):
    found = iter([-0.4, -0.1] * 100)
    monkeypatch.setattr("meddenoise.comparison.errors.ReferenceNoise.square", lambda *a: next(found))
    result = compare(Smoother(0.8), Smoother(0.4), pairs, [])
    assert [one.change for one in result.site] == [(0.0,) * len(one.change) for one in result.site]


def test_a_comparison_is_written_as_json_page_and_pictures(pairs, phantoms, tmp_path):
    header = replace(pairs[0].noisy.header, sources=(Path("Mustermann_Erika.nrrd"),))
    site = [replace(pairs[0], noisy=replace(pairs[0].noisy, header=header)), *pairs[1:]]
    found = compare(Smoother(0.8), Smoother(0.4), site, phantoms)
    write(found, tmp_path)
    data = read(tmp_path)
    assert data["better"] is True
    assert data["verdict"].startswith("better than 0.3.0 for CT: on this site's images its error is smaller by ")
    assert [one["name"] for one in data["site"]] == ["patient 1", "patient 2", "patient 3"]
    page = (tmp_path / "comparison.md").read_text()
    assert "| patient 1, CT | pair |" in page
    assert pictures_in(tmp_path) == ["comparison-CT-phantom.png", *(f"comparison-patient-{n}.png" for n in (1, 2, 3))]
    with Image.open(tmp_path / "comparison-patient-1.png") as picture:
        assert picture.width > 4 * 340
    assert "Mustermann" not in page + json.dumps(data)
    assert read(tmp_path / "nowhere") is None


@pytest.fixture
def ward(tmp_path, monkeypatch):
    """The student, and a site's model "ward" that is the student a little spoilt."""
    monkeypatch.delenv("MEDDENOISE_WEIGHTS", raising=False)
    monkeypatch.setenv("MEDDENOISE_HOME", str(tmp_path))
    network, card = weights.load("student")
    card = replace(card, name="ward", modalities=["CT"])
    worse, _ = weights.load("student")
    for parameter in list(worse.parameters())[-2:]:
        parameter.mul_(0.7)
    return network, weights.save(worse, card, tmp_path / "models")


def test_a_better_network_is_published_with_its_comparison(ward, pairs):
    network, card = ward
    seen = []
    found, published = publish_if_better(
        network, card, pairs, device="cpu", progress=lambda done, total: seen.append((done, total))
    )
    assert found.better, found.reasons
    assert published.version == f"{card.version}+site.1"
    assert weights.read_card("ward") == published
    place = versions.versions("ward")[-1].folder
    assert read(place)["running"]["sha256"] == card.sha256
    assert len(pictures_in(place)) == 4
    assert seen == [(n, 4) for n in (1, 2, 3, 4)]


def test_a_network_that_is_not_better_leaves_everything_as_it_was(ward, pairs):
    _, card = ward
    found, published = publish_if_better(weights.load("ward")[0], card, pairs[:1], device="cpu")
    assert published is None
    assert not found.better
    assert [one.version for one in versions.versions("ward")] == ["built-in"]


def test_nothing_is_published_where_another_version_was_activated_meanwhile(ward, pairs):
    network, card = ward

    def meanwhile(done, total):
        if done == total:
            versions.publish(weights.load("student")[0], replace(card, description="another"))

    with pytest.raises(ModelError, match="another version of ward was activated meanwhile"):
        publish_if_better(network, card, pairs, device="cpu", progress=meanwhile)
    assert weights.read_card("ward").description == "another"
