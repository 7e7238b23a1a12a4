"""One item: its result, what the result is remembered by, and what becomes of what goes wrong."""

import logging
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from meddenoise import Denoiser, read_volume
from meddenoise.batch import BatchOptions, find_items, work
from meddenoise.errors import OptionError


def only(folder, **options):
    (item,) = find_items([folder], model="student", **options)[0]
    return item


@pytest.fixture
def item(tmp_path, make_image):
    make_image(tmp_path / "in" / "scan.nrrd")
    return only(tmp_path / "in")


@pytest.fixture
def again(quick):
    """again(item, options) works on an item that was done before; the state of both outcomes."""

    def run(item, change=lambda: None, denoiser=quick, options=BatchOptions(modality="MR")):  # noqa: B008
        first = work(item, quick, BatchOptions(modality="MR"))
        change()
        return first.state, work(replace(item, done=first.record), denoiser, options).state

    return run


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.nii.gz", "scan.mha", "scan.mhd", "film.png", "film.tif"])
def test_result_is_what_the_denoiser_gives_in_the_inputs_format(tmp_path, make_image, quick, name):
    path = make_image(tmp_path / "in" / name)
    item = only(tmp_path / "in", output=tmp_path / "out")
    outcome = work(item, quick, BatchOptions(strength=0.5))
    assert (outcome.state, outcome.reason) == ("done", "")
    assert outcome.figures["fraction_changed"] > 0.5
    expected, found = quick(read_volume(path), strength=0.5).volume, read_volume(tmp_path / "out" / name)
    np.testing.assert_array_equal(found.array, expected.array)
    np.testing.assert_allclose(found.affine, expected.affine)


def test_series_becomes_a_derived_series(tmp_path, make_series, quick):
    uid = make_series(tmp_path / "in" / "study", slices=3)
    item = only(tmp_path / "in", output=tmp_path / "out")
    assert work(item, quick, BatchOptions()).state == "done"
    results = [pydicom.dcmread(file) for file in (tmp_path / "out" / "study").iterdir()]
    assert len(results) == 3
    assert {result.ImageType[0] for result in results} == {"DERIVED"}
    assert {result.SeriesInstanceUID for result in results} != {uid}


def test_same_input_weights_and_options_are_done_once(item, again):
    assert again(item) == ("done", "skipped")


@pytest.mark.parametrize(
    "options", [{"modality": "CT"}, {"modality": "MR", "strength": 0.5}, {"modality": "MR", "replace_nonfinite": 0.0}]
)
def test_other_options_make_it_again(item, again, options):
    assert again(item, options=BatchOptions(**options)) == ("done", "done")


def test_other_weights_make_it_again(item, again, quick):
    other = Denoiser(quick._network, replace(quick.card, sha256="4567"), device="cpu")
    assert again(item, denoiser=other) == ("done", "done")


def test_other_content_of_the_same_size_makes_it_again(item, again, make_image):
    assert again(item, lambda: make_image(item.source.path, seed=1)) == ("done", "done")


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_result_that_is_gone_or_cut_off_is_made_again(item, again, change):
    assert again(item, lambda: change(item.output)) == ("done", "done")
    assert read_volume(item.output).array.shape == (3, 24, 20)


def test_voxels_beside_a_header_count_as_input_and_as_result(tmp_path, make_image, again):
    make_image(tmp_path / "in" / "scan.mhd")
    item = only(tmp_path / "in")
    assert again(item, (tmp_path / "in" / "labels" / "denoised_student" / "scan.raw").unlink) == ("done", "done")
    assert again(item, lambda: (tmp_path / "in" / "scan.raw").write_bytes(bytes(2 * 3 * 24 * 20))) == ("done", "done")


def test_slice_of_a_series_that_is_gone_from_the_result_is_made_again(tmp_path, make_series, again):
    make_series(tmp_path / "in")
    item = only(tmp_path / "in", output=tmp_path / "out")
    assert again(item, lambda: next((tmp_path / "out" / "in").iterdir()).unlink()) == ("done", "done")
    assert len(list((tmp_path / "out" / "in").iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"no image", b"\x1f\x8b broken"])
def test_bad_file_fails_with_a_sentence_and_leaves_nothing(tmp_path, quick, content):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "scan.nii.gz").write_bytes(content)
    outcome = work(only(tmp_path / "in", output=tmp_path / "out"), quick, BatchOptions())
    assert (outcome.state, outcome.record) == ("failed", None)
    assert outcome.reason.startswith(str(tmp_path / "in" / "scan.nii.gz"))
    assert "\n" not in outcome.reason
    assert not list((tmp_path / "out").rglob("*"))


def test_file_that_went_away_fails_with_a_sentence(item, quick):
    item.source.path.unlink()
    outcome = work(item, quick, BatchOptions())
    assert outcome.state == "failed"
    assert outcome.reason == f"{item.source.path}: cannot be read (No such file or directory)"


def test_unwritable_place_fails_with_a_sentence(tmp_path, make_image, quick):
    make_image(tmp_path / "in" / "scan.nrrd")
    (tmp_path / "out").write_text("")
    outcome = work(only(tmp_path / "in", output=tmp_path / "out"), quick, BatchOptions())
    assert outcome.state == "failed"
    assert "is not a folder" in outcome.reason


def test_defect_of_ours_is_an_outcome_and_in_the_log(item, quick, caplog):
    class Broken:
        card, identity = quick.card, quick.identity

        def __call__(self, volume, **options):
            raise ZeroDivisionError("by zero")

    with caplog.at_level(logging.ERROR):
        outcome = work(item, Broken(), BatchOptions())
    assert outcome.state == "failed"
    assert outcome.reason == f"{item.source.path}: ZeroDivisionError: by zero"
    assert "Traceback" in caplog.text


def test_unevenly_spaced_series_is_refused_in_a_format_that_cannot_hold_it(tmp_path, make_series, quick):
    make_series(tmp_path / "in", slices=3)
    path = tmp_path / "in" / "1-2.dcm"
    dataset = pydicom.dcmread(path)
    dataset.ImagePositionPatient[2] = 70
    dataset.save_as(path)
    assert work(only(tmp_path / "in", output=tmp_path / "dicom"), quick, BatchOptions()).state == "done"
    outcome = work(only(tmp_path / "in", output=tmp_path / "nrrd", form="nrrd"), quick, BatchOptions())
    assert "unevenly spaced" in outcome.reason


def test_image_from_elsewhere_goes_back_there_and_leaves_no_file(tmp_path, make_image, elsewhere, quick, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = make_image(tmp_path / "scan.nrrd")
    item, sent = elsewhere(path)
    outcome = work(item, quick, BatchOptions(modality="MR"))
    np.testing.assert_array_equal(sent[0].array, quick(read_volume(path, modality="MR")).volume.array)
    assert work(replace(item, done=outcome.record), quick, BatchOptions(modality="MR")).state == "skipped"
    assert [file.name for file in tmp_path.iterdir()] == ["scan.nrrd"]
    assert len(sent) == 1


def test_image_that_cannot_be_had_fails_with_its_name(tmp_path, elsewhere, quick):
    outcome = work(elsewhere(tmp_path / "gone.nrrd")[0], quick, BatchOptions())
    assert (outcome.state, outcome.reason) == ("failed", "1.2.3: gone.nrrd cannot be had")


@pytest.mark.parametrize("wrong", [{"strength": 1.5}, {"strength": float("nan")}, {"replace_nonfinite": float("inf")}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(OptionError, match="must be"):
        BatchOptions(**wrong)
