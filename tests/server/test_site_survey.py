"""What is seen of the images of a datastore: partners that fit and that do not, patients, results of ours."""

from dataclasses import replace
from importlib.resources import as_file, files
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from meddenoise.errors import InputError, OutputError
from meddenoise.io import read_volume, write_volume
from meddenoise.server.datastore import PacsDatastore, studies_folder
from meddenoise.server.pacs import Series
from meddenoise.server.site_survey import check_room, checked, files_of, survey
from meddenoise.server.train_options import TrainOptions

AUTO = TrainOptions()


@pytest.fixture
def studies(tmp_path, make_site):
    return make_site(tmp_path / "studies", partners=(("final", 4.0), ("second", 30.0)), shape=(4, 64, 64))


@pytest.fixture
def home(tmp_path):
    (tmp_path / "training").mkdir()
    return tmp_path / "training"


def look(studies, home, options=AUTO, **how):
    return survey(studies_folder(str(studies)), options, home, **how)


def rewrite(path, change):
    """Change the voxels of an image file."""
    image = sitk.ReadImage(str(path))
    changed = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
    if changed.GetSize() == image.GetSize():
        changed.CopyInformation(image)
    sitk.WriteImage(changed, str(path))


def noise(level, shape):
    return np.random.default_rng(1).normal(0, level, shape)


def test_image_is_seen_with_its_partners_and_noise(studies, home):
    seen = look(studies, home).seen
    assert set(seen) == {"P0", "P1", "P2"}
    one = seen["P1"]
    assert (one.modality, one.slices, one.clean, one.repeats, one.problem) == ("CT", 4, ["final"], ["second"], "")
    assert one.noise == pytest.approx(30 / 1050, rel=0.3)
    assert not one.correlated


def test_datastore_makes_pairs_of_which_a_patient_is_held_back(studies, home):
    datastore = studies_folder(str(studies))
    found = survey(datastore, AUTO, home)
    site = checked(found, datastore, AUTO, home)
    assert site.facts()["learns_from"] == "pairs of images"
    assert 0 < site.facts()["held_back_patients"] < 3
    assert files_of(site, datastore)["P0", "final"] == (studies / "labels" / "final" / "P0.nrrd").resolve()


def test_results_of_ours_are_no_partners_by_tag_nor_by_mark(studies, home):
    marked = read_volume(studies / "P0.nrrd")
    marked = replace(marked, header=replace(marked.header, metadata={"MedDenoise": "student 0.3.0"}))
    write_volume(marked, studies / "P0.nrrd")
    (studies / "labels" / "second").rename(studies / "labels" / "denoised_student")
    for name in ("P1", "P2"):
        write_volume(marked, studies / "labels" / "final" / f"{name}.nrrd")
    seen = look(studies, home).seen
    assert seen["P0"].ours
    assert [partner.tag for partner in seen["P1"].partners] == ["final"]
    assert seen["P1"].partners[0].problem == "is a result of MedDenoise"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda v: np.roll(v, 32, axis=2), "does not show what the image shows"),
        (lambda v: v[:3], r"has \(3, 64, 64\) voxels, the image \(4, 64, 64\)"),
        (lambda v: (v > 0).astype(np.uint8), "looks like a label map"),
        (lambda v: (v + noise(60, v.shape)).astype(v.dtype), "is not cleaner than the image"),
    ],
    ids=["another place", "fewer slices", "a label map", "noisier"],
)
def test_partner_that_does_not_fit_is_named(studies, home, change, problem, match):
    rewrite(studies / "labels" / "final" / "P1.nrrd", change)
    datastore = studies_folder(str(studies))
    found = survey(datastore, AUTO, home)
    match(problem, found.seen["P1"].partners[0].problem)
    with pytest.raises(InputError, match=r"the clean partner of P1 .*; take it out, or set skip_unreadable"):
        checked(found, datastore, AUTO, home)


def test_shifted_partner_is_named(studies, home, match):
    path = studies / "labels" / "final" / "P1.nrrd"
    image = sitk.ReadImage(str(path))
    image.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(image, str(path))
    match("lies elsewhere than the image", look(studies, home).seen["P1"].partners[0].problem)


def test_cut_off_image_is_named_without_its_folder(studies, home):
    whole = studies / "P2.nrrd"
    whole.write_bytes(whole.read_bytes()[:900])
    problem = look(studies, home).seen["P2"].problem
    assert problem
    assert str(studies) not in problem


def test_patient_comes_from_what_was_told_or_from_the_name(studies, home):
    for name in ("P0", "P1", "P2"):
        (studies / f"{name}.nrrd").rename(studies / f"A_{name}.nrrd")
    datastore = studies_folder(str(studies))
    each = {one.patient for one in survey(datastore, AUTO, home).seen.values()}
    together = {one.patient for one in survey(datastore, TrainOptions(patient_from="_"), home).seen.values()}
    assert (len(each), len(together)) == (3, 1)
    datastore.update_image_info("A_P0", {"patient": "told"})
    told = survey(datastore, TrainOptions(patient_from="_"), home).seen
    assert len({one.patient for one in told.values()}) == 2


def test_modality_that_was_told_with_the_upload_counts(studies, home):
    datastore = studies_folder(str(studies))
    assert survey(datastore, AUTO, home).seen["P1"].modality == "CT"
    datastore.update_image_info("P1", {"modality": "PET"})
    datastore.update_image_info("P2", {"modality": "nonsense"})
    seen = survey(datastore, AUTO, home).seen
    assert [seen[name].modality for name in ("P0", "P1", "P2")] == ["CT", "PET", "CT"]


def test_patient_that_was_told_counts_before_the_name_that_dicom_says(tmp_path, home):
    studies = tmp_path / "studies"
    studies.mkdir()
    for name in ("A_1", "A_2", "B_1"):
        with as_file(files("pydicom") / "data" / "test_files" / "CT_small.dcm") as slice_:
            dataset = pydicom.dcmread(slice_)
        dataset.PatientID = "Anonymous"
        dataset.save_as(studies / f"{name}.dcm")
    datastore = studies_folder(str(studies))

    def patients(**options):
        seen = survey(datastore, TrainOptions(**options), home).seen
        return [seen[name].patient for name in ("A_1", "A_2", "B_1")]

    assert len(set(patients())) == len(set(patients(patient_from="+"))) == 1
    first, second, other = patients(patient_from="_")
    assert first == second != other
    datastore.update_image_info("A_1", {"patient": "told"})
    assert len(set(patients(patient_from="_"))) == 3


class Counting:
    """A datastore that knows which images were asked for."""

    def __init__(self, datastore):
        self._datastore, self.asked = datastore, []

    def __getattr__(self, name):
        return getattr(self._datastore, name)

    def get_image_uri(self, image):
        self.asked.append(image)
        return self._datastore.get_image_uri(image)


def test_images_are_looked_at_once_and_again_where_a_partner_changed(studies, home):
    datastore = Counting(studies_folder(str(studies)))
    first = survey(datastore, AUTO, home)
    datastore.asked.clear()
    assert survey(datastore, AUTO, home).seen == first.seen
    assert datastore.asked == []
    rewrite(studies / "labels" / "final" / "P1.nrrd", lambda v: v + 1)
    again = survey(datastore, AUTO, home)
    assert datastore.asked == ["P1"]
    assert again.identity() != first.identity()


def test_looking_ends_when_the_time_is_over_after_one_image_at_least(studies, home):
    found = look(studies, home, seconds=0.0)
    assert len(found.seen) == 1
    assert not found.whole
    assert found.identity() == look(studies, home).identity()


def test_surplus_images_are_thinned_out_those_with_partners_last(studies, home):
    for tag in ("final", "second"):
        (studies / "labels" / tag / "P1.nrrd").unlink()
    found = look(studies, home, TrainOptions(max_images=2))
    assert set(found.images) == {"P0", "P2"}


def test_empty_datastore_is_said_to_be(tmp_path, home):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images to train on: the datastore is empty"):
        look(tmp_path / "empty", home)


class Remote(PacsDatastore):
    """A PACS whose series are files of a folder: studies of a noisy and a clean series."""

    def __init__(self, studies):
        self.studies = studies
        self.listed = [
            Series(f"1.{n}.{kind}", f"1.{n}", "CT", words, 4)
            for n in range(3)
            for kind, words in enumerate(("Low Dose", "FULL dose Images"))
        ]

    def name(self):
        return "http://pacs"

    def series(self):
        return self.listed

    def get_image_info(self, image):
        return {"patient": image.split(".")[1]}

    def stamp(self, image, tag=""):
        return "4 instances"

    def get_image_uri(self, image):
        _, n, kind = image.split(".")
        return str(self.studies / ("labels/final" if kind == "1" else ".") / f"P{n}.nrrd")


def test_clean_series_of_a_pacs_are_named_by_their_description(studies, home):
    datastore, options = Remote(studies), TrainOptions(clean_series="full dose")
    found = survey(datastore, options, home)
    assert set(found.images) == {"1.0.0", "1.1.0", "1.2.0"}
    site = checked(found, datastore, options, home)
    assert {(one.image, one.partner) for one in site.examples} == {(f"1.{n}.0", f"1.{n}.1") for n in range(3)}
    assert files_of(site, datastore)["1.2.0", "1.2.1"].parent.name == "final"


def test_series_of_a_pacs_train_alone_where_no_clean_ones_are_named(studies, home):
    datastore = Remote(studies)
    found = survey(datastore, AUTO, home)
    assert len(found.images) == 6
    assert checked(found, datastore, AUTO, home).kind != "paired"


def test_too_little_disk_or_memory_is_said_with_the_way_out(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match=r"GiB of disk for 9 images.*max_images"):
        check_room(10**15, tmp_path, images=9)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1 << 30))
    with pytest.raises(InputError, match=r"1\.9 GiB of memory for 9 images, and 1\.0 GiB are free; train.*max_images"):
        check_room(50_000_000, tmp_path, images=9)
