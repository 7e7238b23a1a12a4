"""What a site's images are used for, who is held back, and what is said where nothing can be learned."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from meddenoise.errors import InputError
from meddenoise.server.site_data import Example, decide, split, volume_name, write_folder
from meddenoise.server.site_images import Looked, Partner
from meddenoise.server.train_options import TrainOptions
from meddenoise.training.pairs import find_entries
from meddenoise.training.slices import is_validation

AUTO = TrainOptions()
IMAGE = Looked(modality="CT", slices=4, voxels=4096, noise=0.005)
FINAL, REPEAT = Partner("final", clean=True), Partner("second", clean=False)


def site(count=3, **changes):
    """Images of as many patients."""
    return {f"i{n}": replace(IMAGE, patient=f"p{n}", **changes) for n in range(count)}


def decided(found, options=AUTO, *, strict=True):
    return decide(found, options, strict_partners=strict)


def sides(found):
    return {is_validation(subject) for subject in found.subjects.values()}


def test_clean_partners_make_pairs_and_take_precedence_over_repeats():
    found = decided(site(partners=(FINAL, REPEAT)))
    assert found.kind == "paired"
    assert [one.partner for one in found.examples] == ["final"] * 3


def test_repeats_make_noisy_pairs_both_ways_round(tmp_path):
    found = decided(site(partners=(REPEAT,)))
    tags = (None, "second")
    files = {(image, tag): tmp_path / f"{image}{tag or ''}.nrrd" for image in ("i0", "i1", "i2") for tag in tags}
    for file in files.values():
        file.touch()
    write_folder(found, tmp_path / "data", files)
    pairs = {(entry.noisy.name, entry.clean.name) for entry in find_entries(tmp_path / "data")}
    assert {("i0.nrrd", "i0second.nrrd"), ("i0second.nrrd", "i0.nrrd")} <= pairs
    assert len(pairs) == 6


def test_clean_images_alone_are_laid_out_without_their_names(tmp_path):
    found = decided(site())
    assert found.kind == "clean"
    write_folder(found, tmp_path, {(f"i{n}", None): Path(f"/x/{n}.nrrd") for n in range(3)})
    rows = list(csv.DictReader((tmp_path / "MANIFEST.csv").read_text().splitlines()))
    assert [row["volume_id"] for row in rows] == [volume_name(f"i{n}") for n in range(3)]


@pytest.mark.parametrize(
    ("noise", "correlated", "option", "kind"),
    [
        (0.005, False, "auto", "clean"),
        (0.05, False, "auto", "noisy"),
        (0.05, True, "auto", "clean"),
        (0.05, False, "off", "clean"),
        (0.005, False, "on", "noisy"),
    ],
)
def test_images_alone_are_used_as_their_noise_asks_for_or_as_was_said(noise, correlated, option, kind):
    found = decided(site(noise=noise, correlated=correlated), replace(AUTO, self_supervised=option))
    assert found.kind == kind
    assert (found.shrink != {}) == (kind == "clean" and noise > 0.02)


@pytest.mark.parametrize(("white", "kind"), [(9, "noisy"), (8, "clean")])
def test_noisy_images_train_as_they_are_only_where_the_noise_of_hardly_any_is_correlated(white, kind):
    found = site(white + 1, noise=0.05)
    found["i0"] = replace(found["i0"], correlated=True)
    assert decided(found).kind == kind


def test_self_supervised_leaves_partners_aside_where_asked_for():
    assert decided(site(partners=(FINAL,)), replace(AUTO, self_supervised="on")).kind == "noisy"


def test_partners_of_one_patient_are_too_few_and_the_images_train_alone():
    found = decided({**site(), "i0": replace(IMAGE, patient="p0", partners=(FINAL,))})
    assert found.kind == "clean"
    assert "the partners of one patient alone are too few: none are used" in found.notes


def test_images_without_a_partner_are_left_out_beside_pairs():
    found = decided({**site(partners=(FINAL,)), "bare": replace(IMAGE, patient="p9")})
    assert {one.image for one in found.examples} == {"i0", "i1", "i2"}
    assert "1 images without a partner are left out" in found.notes


def test_results_of_ours_are_left_out_and_said_so():
    ours = Looked(problem="is a result of MedDenoise", ours=True)
    found = decided({**site(), "ours": ours})
    assert "ours" not in {one.image for one in found.examples}
    assert "left out: 1 results of MedDenoise" in found.notes
    with pytest.raises(InputError, match="no images to train on: 1 results of MedDenoise"):
        decided({"ours": ours})


def test_an_image_that_cannot_be_used_is_named_unless_it_may_be_passed_over():
    found = {**site(), "bad": Looked(problem="is cut off")}
    with pytest.raises(InputError, match=r"^bad is cut off; take it out, or set skip_unreadable"):
        decided(found)
    assert len(decided(found, replace(AUTO, skip_unreadable=True)).examples) == 3


def test_a_partner_that_does_not_fit_is_named_in_a_folder_and_no_partner_in_a_pacs():
    found = site(partners=(replace(FINAL, problem="lies elsewhere"),))
    with pytest.raises(InputError, match=r"the clean partner of i0 lies elsewhere \(and 2 more\)"):
        decided(found)
    assert decided(found, strict=False).kind == "clean"


def test_one_patient_is_too_few():
    with pytest.raises(InputError, match="CT images of 1 patient are too few: at least 2 patients are needed"):
        decided({"i0": replace(IMAGE, patient="p"), "i1": replace(IMAGE, patient="p")})


def test_a_modality_of_one_patient_is_named_with_the_way_out():
    with pytest.raises(InputError, match=r"MR images of 1 patient are too few.*choose another modality than MR"):
        decided({**site(), "mr": replace(IMAGE, patient="q", modality="MR")})


def test_images_of_another_modality_than_asked_for_are_no_error():
    other = replace(IMAGE, patient="q", modality="MR", problem="is MR, not CT")
    found = decided({**site(), "mr": other}, replace(AUTO, modality="CT"))
    assert found.facts()["modalities"] == {"CT": 3}


@pytest.mark.parametrize("count", [2, 3, 5, 12, 40])
def test_there_is_always_a_patient_on_each_side(count):
    found = decided(site(count))
    assert sides(found) == {True, False}
    if count == 2:
        assert len(found.held_back) == 1


@pytest.mark.parametrize("count", [1, 9])
def test_of_two_patients_that_would_both_be_trained_on_the_one_with_fewer_slices_is_held_back(count):
    one, other = [name for name in "abcdefgh" if not is_validation(name)][:2]
    images = {one: [f"{one}{n}" for n in range(count)], other: [f"{other}{n}" for n in range(5)]}
    found = decided({image: replace(IMAGE, patient=name) for name, named in images.items() for image in named})
    assert {held.looked.patient for held in found.held_back} == {one if count < 5 else other}


def test_a_patient_is_on_one_side_with_all_images():
    found = decided({**site(8), "again": replace(IMAGE, patient="p3")})
    assert len(found.subjects) == 8
    assert len(set(found.subjects.values())) == 8


def test_patients_that_the_usual_split_parts_keep_their_names():
    examples = [Example(f"i{n}", None, replace(IMAGE, patient=f"p{n}")) for n in range(40)]
    assert split(examples) == {f"p{n}": f"p{n}" for n in range(40)}


def test_both_sides_have_every_modality():
    found = decided({**site(6), **{f"m{n}": replace(IMAGE, patient=f"q{n}", modality="MR") for n in range(2)}})
    held_back = {one.looked.modality for one in found.held_back}
    assert held_back == {"CT", "MR"}
