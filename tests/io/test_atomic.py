from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from meddenoise.errors import OutputError
from meddenoise.io import read_volume, write_volume
from meddenoise.io.atomic import replacing_file, replacing_folder

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from pydicom.data import get_testdata_file
from meddenoise.errors import OutputError
from meddenoise.io import Provenance, read_volume, write_dicom_series, write_volume
from meddenoise.volume import Header, Volume

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit then fails as it does on a full disk
folder = Path(sys.argv[1])
series = read_volume(get_testdata_file("CT_small.dcm"))
noise = np.random.default_rng(0).integers(0, 255, (1, 500, 500)).astype("uint8")
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for target in sorted(folder.iterdir()):
    try:
        if target.suffix == ".dcm":
            write_dicom_series(series, target, Provenance("student", "1.0.0", 1.0))
        else:
            write_volume(Volume(noise, np.eye(4), "MR", Header(dtype="uint8")), target)
    except OutputError as error:
        print(target.name if str(target) in str(error) else error)
"""


def test_disk_full_halfway_is_an_error_and_leaves_the_old_result(tmp_path):
    formats = [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".png", ".tif", ".dcm"]
    names = sorted(f"a{ext}" for ext in formats)
    for name in names:
        (tmp_path / name).write_text("old")
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.split() == names, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert all((tmp_path / name).read_text() == "old" for name in names)


def test_existing_result_is_replaced(tmp_path, make_volume):
    volume = make_volume()
    write_volume(volume.with_array(volume.array + 1), tmp_path / "a.mhd")
    write_volume(volume, tmp_path / "a.mhd")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mhd").array, volume.array)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mhd", "a.raw"]


def test_missing_output_folder_is_made(tmp_path, make_volume):
    assert write_volume(make_volume(), tmp_path / "x" / "y" / "a.nrrd").is_file()


def test_output_folder_that_is_a_file_is_refused(tmp_path, make_volume):
    (tmp_path / "x").write_text("a file")
    with pytest.raises(OutputError, match="is not a folder; choose another output folder"):
        write_volume(make_volume(), tmp_path / "x" / "a.nrrd")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_refused(tmp_path, make_volume):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission to write"):
        write_volume(make_volume(), tmp_path / "a.nrrd")


def test_result_that_is_a_folder_is_refused(tmp_path, make_volume):
    (tmp_path / "a.nrrd").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_volume(make_volume(), tmp_path / "a.nrrd")
    assert [p.name for p in tmp_path.iterdir()] == ["a.nrrd"]


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "no permission to write"),
        (errno.EIO, "choose another output folder"),
    ],
)
def test_system_errors_become_one_sentence(tmp_path, number, sentence):
    def fail(temporary):
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError, match=sentence), replacing_file(tmp_path / "a.txt") as temporary:
        fail(temporary)
    assert not list(tmp_path.iterdir())


def test_any_exception_leaves_the_old_folder(tmp_path):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "old").touch()

    def fail(fresh):
        (fresh / "new").touch()
        raise KeyError

    with pytest.raises(KeyError), replacing_folder(tmp_path / "o") as fresh:
        fail(fresh)
    assert [p.name for p in tmp_path.rglob("*")] == ["o", "old"]


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="nothing was written"), replacing_file(tmp_path / "a.txt"):
        pass
