"""Headers with their voxels in another file: nothing of the user's may vanish under a result."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from meddenoise.errors import OutputError
from meddenoise.io import read_volume, write_volume
from meddenoise.io.detached import data_files

EXTENSIONS = [".mhd", ".nhdr"]


@pytest.mark.parametrize("ext", EXTENSIONS)
def test_unrelated_data_file_is_never_replaced(tmp_path, make_volume, ext):
    (tmp_path / "a.raw").write_bytes(b"somebody's own")
    with pytest.raises(OutputError, match=r"would replace a\.raw, which belongs to no header"):
        write_volume(make_volume(), tmp_path / f"a{ext}")
    assert [file.name for file in tmp_path.iterdir()] == ["a.raw"]
    assert (tmp_path / "a.raw").read_bytes() == b"somebody's own"


@pytest.mark.parametrize("ext", EXTENSIONS)
@pytest.mark.parametrize("name", ["a", "other"])
def test_data_file_of_another_header_is_never_replaced(tmp_path, make_volume, ext, name):
    volume = make_volume()
    there = write_volume(volume, tmp_path / f"a{ext}")
    other = there.rename(tmp_path / f"{name}{ext}")
    (target,) = (end for end in EXTENSIONS if end != ext)
    with pytest.raises(OutputError, match=rf"belongs to {name}{ext}"):
        write_volume(volume.with_array(volume.array + 1), tmp_path / f"a{target}")
    np.testing.assert_array_equal(read_volume(other).array, volume.array)


@pytest.mark.parametrize("ext", EXTENSIONS)
def test_data_file_shared_with_a_copy_of_the_header_is_not_replaced(tmp_path, make_volume, ext):
    path = write_volume(make_volume(), tmp_path / f"a{ext}")
    shutil.copy(path, tmp_path / f"copy{ext}")
    with pytest.raises(OutputError, match=rf"belongs to copy{ext}"):
        write_volume(make_volume(), path)


@pytest.mark.parametrize("ext", EXTENSIONS)
def test_own_data_file_is_replaced(tmp_path, make_volume, ext):
    volume = make_volume()
    write_volume(volume, tmp_path / f"a{ext}")
    again = read_volume(write_volume(volume.with_array(volume.array + 1), tmp_path / f"a{ext}"))
    np.testing.assert_array_equal(again.array, volume.array + 1)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.mhd", "NDims = 3\nElementDataFile = b c.raw\n", ["b c.raw"]),
        ("a.mha", "NDims = 3\nElementDataFile = LOCAL\n", []),
        ("a.mhd", "ElementDataFile = LIST\nx.raw\ny.raw\n", ["x.raw", "y.raw"]),
        ("a.mhd", "ElementDataFile = s%02d.raw 1 5 2\n", ["s01.raw", "s03.raw", "s05.raw"]),
        ("a.nhdr", "NRRD0004\ndata file: b.raw\n", ["b.raw"]),
        ("a.nrrd", "NRRD0004\ntype: short\n\ndata file: b.raw\n", []),
        ("a.nhdr", "NRRD0004\ndatafile: LIST\nx.raw\ny.raw\n", ["x.raw", "y.raw"]),
        ("a.nhdr", "NRRD0004\ndata file: %s%s.raw 1 2 1\n", ["%s%s.raw 1 2 1"]),
        ("a.png", "data file: b.raw\n", []),
    ],
)
def test_data_files_are_found_in_the_header(tmp_path, name, text, found):
    (tmp_path / name).write_text(text)
    assert [file.name for file in data_files(tmp_path / name)] == found
