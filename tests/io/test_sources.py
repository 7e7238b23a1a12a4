from __future__ import annotations

import shutil

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from meddenoise.errors import InputError, OptionError
from meddenoise.io import Provenance, find_sources, read_volume, write_dicom_series, write_volume


def test_files_are_sources_named_by_their_stem(tmp_path, make_volume):
    names = ["a.nii.gz", "b.tar.nrrd", "c.PNG", "1.2.840.7"]
    sources, skipped = find_sources([tmp_path / name for name in names])
    assert [s.stem for s in sources] == ["a", "b.tar", "c", "1.2.840.7"]
    assert skipped == []


def test_plain_folder_gives_its_image_files_but_not_those_below(tmp_path, make_volume):
    write_volume(make_volume(), tmp_path / "a.nrrd")
    write_volume(make_volume(), tmp_path / "b.mhd")
    (tmp_path / "below").mkdir()
    write_volume(make_volume(), tmp_path / "below" / "c.nrrd")
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "x.seg.nrrd").write_text("hello")
    sources, skipped = find_sources([tmp_path])
    assert [s.path.name for s in sources] == ["a.nrrd", "b.mhd"]
    assert len(skipped) == 2


def test_folder_with_one_series_is_one_source_named_like_the_folder(tmp_path, make_series):
    folder = make_series(tmp_path / "head")
    (source,), skipped = find_sources([folder])
    assert (source.stem, source.path, len(source.files)) == ("head", folder, 4)
    assert skipped == []


def test_dicom_is_found_by_content_and_in_subfolders(tmp_path, make_series):
    folder = make_series(tmp_path / "study" / "deep")
    for file in list(folder.iterdir()):
        file.rename(file.with_suffix(".xyz"))
    (source,), _ = find_sources([tmp_path / "study"])
    assert len(source.files) == 4


def test_folder_with_two_series_is_split_and_numbered(tmp_path, make_series):
    make_series(tmp_path / "s", SeriesNumber=3)
    make_series(tmp_path / "s", SeriesNumber=5, positions=(0.0, 1.0))
    sources, _ = find_sources([tmp_path / "s"])
    assert sorted((s.stem, len(s.files)) for s in sources) == [("s-3", 4), ("s-5", 2)]
    with pytest.raises(InputError, match="must hold one image or series, got 2"):
        read_volume(tmp_path / "s")


def test_equal_series_numbers_still_give_different_names(tmp_path, make_series):
    make_series(tmp_path / "s", SeriesNumber=3)
    make_series(tmp_path / "s", SeriesNumber=3)
    assert sorted(s.stem for s in find_sources([tmp_path / "s"])[0]) == ["s-3-1", "s-3-2"]


def test_one_series_is_selected_by_its_uid(tmp_path, make_series):
    make_series(tmp_path / "s")
    make_series(tmp_path / "s", positions=(0.0, 1.0))
    uid = find_sources([tmp_path / "s"])[0][1].series_uid
    (source,), _ = find_sources([tmp_path / "s"], series=uid)
    assert source.series_uid == uid


def test_unknown_series_names_those_there(tmp_path, make_series):
    make_series(tmp_path / "s")
    uid = find_sources([tmp_path / "s"])[0][0].series_uid
    with pytest.raises(OptionError, match=rf"series 1.2.3 is not among the inputs; there are: {uid}"):
        find_sources([tmp_path / "s"], series="1.2.3")


def test_objects_that_are_no_images_are_skipped_by_name(tmp_path, make_series):
    folder = make_series(tmp_path / "s")
    for name in ("rtplan.dcm", "rtdose.dcm", "reportsi.dcm"):
        shutil.copy(get_testdata_file(name), folder / name)
    sources, skipped = find_sources([folder])
    assert len(sources) == 1
    text = "\n".join(skipped)
    for word in ("RT Plan Storage", "RT Dose Storage", "SR Storage"):
        assert word in text


def test_folder_of_non_images_only_is_refused_by_name(tmp_path):
    shutil.copy(get_testdata_file("rtplan.dcm"), tmp_path / "rtplan.dcm")
    with pytest.raises(InputError, match=r"rtplan\.dcm: skipped, RT Plan Storage"):
        read_volume(tmp_path)


def test_copies_of_one_object_are_taken_once(tmp_path, make_series):
    folder = make_series(tmp_path / "s")
    shutil.copy(folder / "s000.dcm", folder / "copy.dcm")
    (source,), skipped = find_sources([folder])
    assert len(source.files) == 4
    assert "the same object as" in skipped[0]


def test_images_beside_dicom_are_skipped_by_name(tmp_path, make_series, make_volume):
    write_volume(make_volume(), make_series(tmp_path / "s") / "a.nrrd")
    assert "a.nrrd: skipped, the folder holds DICOM" in find_sources([tmp_path / "s"])[1][0]


def test_localizer_in_a_series_becomes_its_own_stack(tmp_path, make_series):
    def turn_first(dataset, index):
        if index == 0:
            dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]

    sources, _ = find_sources([make_series(tmp_path / "s", each=turn_first)])
    assert sorted(len(s.files) for s in sources) == [1, 3]
    assert len({s.stem for s in sources}) == 2


def test_projections_of_one_series_are_read_one_by_one(tmp_path, make_series, set_pixels):
    def projection(dataset, index):
        dataset.Modality = "CR"
        del dataset.ImagePositionPatient
        set_pixels(dataset, np.zeros((8 + index, 8), np.uint16))

    sources, _ = find_sources([make_series(tmp_path / "s", each=projection)])
    assert sorted(read_volume(s).array.shape[1] for s in sources) == [8, 9, 10, 11]


def test_the_same_path_twice_is_one_source(tmp_path):
    assert len(find_sources([tmp_path / "a.nrrd", tmp_path / "a.nrrd"])[0]) == 1


def test_missing_path_is_a_source_whose_reading_fails(tmp_path):
    (source,), _ = find_sources([tmp_path / "gone"])
    with pytest.raises(InputError, match="gone: no such file or folder"):
        read_volume(source)


def test_results_of_an_earlier_run_below_the_folder_are_left_out(tmp_path, make_series):
    folder = make_series(tmp_path / "s")
    files = write_dicom_series(read_volume(folder), folder / "out" / "s", Provenance("student", "1.0.0", 1.0))
    (source,), skipped = find_sources([folder])
    assert all(file.parent == folder for file in source.files)
    assert "4 files skipped, results of MedDenoise" in skipped[0]
    (again,), _ = find_sources([folder / "out"])
    assert set(again.files) == set(files)
    (named,), _ = find_sources([folder], series=again.series_uid)
    assert set(named.files) == set(files)


def test_data_files_of_a_detached_header_belong_to_the_source(tmp_path, make_volume):
    (source,), _ = find_sources([write_volume(make_volume(), tmp_path / "a.mhd")])
    assert source.files == (tmp_path / "a.mhd", tmp_path / "a.raw")
    assert find_sources([tmp_path])[0][0].files == source.files
