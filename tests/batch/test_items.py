"""What a batch takes out of folders, and where its results go."""

import os

import pytest

from meddenoise.batch import find_items
from meddenoise.batch.journal import JOURNAL
from meddenoise.errors import OptionError
from meddenoise.io import find_sources


def keys(found):
    return [item.key for item in found[0]]


def find(*folders, output=None, **options):
    return find_items(folders, output, model="student", **options)


def test_every_format_in_every_folder_is_found_and_results_lie_alike(archive, tmp_path):
    items, skipped, folder = find(archive, output=tmp_path / "out")
    wanted = {"a.nrrd", "deep/c.mha", "deep/er/b.nii.gz", "patient/study", "pictures/d.png", "pictures/e.tif"}
    assert {item.key for item in items} == wanted
    assert {item.output for item in items} == {tmp_path / "out" / key for key in wanted}
    assert (skipped, folder) == ([], tmp_path / "out")
    assert [item.key for item in items if item.as_dicom] == ["patient/study"]
    assert all(item.size > 100 for item in items)


def test_results_go_by_default_where_monai_label_looks_for_them(archive):
    items, _, folder = find(archive)
    assert folder == archive / "labels" / "denoised_student"
    assert items[0].output == folder / "a.nrrd"


def test_folders_keep_their_results_apart(archive, make_image, tmp_path):
    make_image(tmp_path / "other" / "a.nrrd")
    found = find(archive / "deep", tmp_path / "other", output=tmp_path / "out")
    assert keys(found) == ["deep/c.mha", "deep/er/b.nii.gz", "other/a.nrrd"]


def test_single_files_may_be_named(archive, tmp_path):
    assert keys(find(archive / "a.nrrd", archive / "pictures", output=tmp_path)) == [
        "a.nrrd", "pictures/d.png", "pictures/e.tif",
    ]  # fmt: skip


def test_several_folders_need_an_output(archive):
    with pytest.raises(OptionError, match="--output"):
        find(archive / "deep", archive / "pictures")


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(OptionError, match="gone does not exist"):
        find(tmp_path / "gone")


@pytest.mark.parametrize("inside", ["results", "deep/er/results"])
def test_output_folder_below_the_images_is_not_taken(archive, make_image, inside):
    before = keys(find(archive, output=archive / inside))
    make_image(archive / inside / "a.nrrd")
    assert keys(find(archive, output=archive / inside)) == before


def test_results_of_another_batch_and_labels_of_monai_label_are_left_out(archive, make_image):
    before = keys(find(archive))
    make_image(archive / "labels" / "final" / "a.nrrd")
    (archive / "datastore_v2.json").write_text("{}")
    make_image(archive / "before" / "a.nrrd")
    (archive / "before" / JOURNAL).write_text("")
    found = find(archive)
    assert keys(found) == before
    assert found[1] == [
        f"{archive / 'before'}: skipped, results of another batch; name the folder itself to denoise them again"
    ]


def test_labels_of_no_studies_folder_are_a_folder_like_others(archive, make_image):
    make_image(archive / "labels" / "film.nrrd")
    assert "labels/film.nrrd" in keys(find(archive))


def test_series_of_a_folder_and_of_those_below_are_kept_apart(tmp_path, make_series):
    make_series(tmp_path / "in" / "study", number=1)
    make_series(tmp_path / "in" / "study", number=2)
    make_series(tmp_path / "in" / "study" / "later", number=3)
    items = find(tmp_path / "in", output=tmp_path / "out")[0]
    assert {item.key: len(item.source.files) for item in items} == {"study-1": 2, "study-2": 2, "study/later": 2}


def test_series_stands_beside_a_folder_of_other_results_of_its_name(tmp_path, make_series, make_image):
    make_series(tmp_path / "in" / "study")
    make_image(tmp_path / "in" / "study" / "film.png")
    items = find(tmp_path / "in", output=tmp_path / "out")[0]
    assert {item.key for item in items} == {"study-series", "study/film.png"}
    assert all(item.output == tmp_path / "out" / item.key for item in items)


def test_series_keeps_its_place_when_a_file_of_it_is_damaged(tmp_path, make_series):
    make_series(tmp_path / "in" / "study", slices=4)
    whole = (tmp_path / "in" / "study" / "1-0.dcm").read_bytes()
    (tmp_path / "in" / "study" / "1-1.dcm").write_bytes(b"\1" * 500)
    (tmp_path / "in" / "study" / "1-2").write_bytes(whole[:150])
    items = find(tmp_path / "in", output=tmp_path / "out")[0]
    assert {item.output: len(item.source.files) for item in items if item.source.path.is_dir()} == {
        tmp_path / "out" / "study": 3
    }
    assert {item.source.path.name for item in items} == {"study", "1-1.dcm", "1-2"}


def test_damaged_dicom_is_an_item_that_will_be_named(tmp_path, make_series):
    make_series(tmp_path / "study")
    whole = (tmp_path / "study" / "1-0.dcm").read_bytes()
    (tmp_path / "study" / "zero.dcm").write_bytes(b"\0" * 500)
    (tmp_path / "study" / "torn.dcm").write_bytes(whole[:150])
    assert {"study", "zero.dcm", "torn.dcm"} <= {item.key.split("/")[-1] for item in find(tmp_path / "study")[0]}


def test_what_is_no_image_is_told(archive, make_image):
    (archive / "notes.txt").write_text("notes")
    make_image(archive / "parts.seg.nrrd")
    (archive / ".hidden.nrrd").write_text("")
    (archive / "link").symlink_to(archive / "deep")
    before = keys(find(archive))
    assert not {"parts.seg.nrrd", ".hidden.nrrd"} & set(before)
    assert [sentence.split(": ")[1] for sentence in find(archive)[1]] == [
        "skipped, not an image format",
        "skipped, a segmentation is not an image to denoise",
        "skipped, a link to a folder; name the folder itself",
    ]


def test_two_results_of_one_name_are_refused(archive, make_image, tmp_path):
    make_image(archive / "a.mha")
    assert {"a.mha", "a.nrrd"} <= set(keys(find(archive, output=tmp_path / "out")))
    with pytest.raises(OptionError, match=r"a.mha and .*a.nrrd would both be written to .*a.nrrd"):
        find(archive, output=tmp_path / "out", form="nrrd")


def test_results_in_the_place_of_their_inputs_are_refused(archive):
    with pytest.raises(OptionError, match="would replace an input"):
        find(archive, output=archive)


def test_dicom_results_need_dicom(archive, tmp_path):
    with pytest.raises(OptionError, match="need DICOM in"):
        find(archive, output=tmp_path / "out", form="dicom")


def test_a_file_alone_gives_the_source_that_denoise_takes(archive, tmp_path):
    (item,) = find(archive / "a.nrrd", output=tmp_path)[0]
    assert [item.source] == find_sources([archive / "a.nrrd"])[0]
    assert item.name == os.fspath(archive / "a.nrrd")
