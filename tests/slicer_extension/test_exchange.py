"""What is sent, what is read back, and that grid and type survive."""

import numpy as np
import pytest

from MedDenoiseLib.Exchange import asType, readBack, writeForServer
from MedDenoiseLib.Images import GeometryError, ijkToRas, inOrder, voxels, voxelsOn
from MedDenoiseLib.Region import Box
from scene import GRIDS, applicationOfTest, grid, phantom, readNrrd, slicer, vectors, writeNrrd  # noqa: F401

TYPES = [np.int16, np.uint16, np.uint8, np.float32, np.float64, np.int8, np.int32, np.uint32]
BOX = Box((1, 3, 5), (4, 11, 20))


@pytest.mark.parametrize("name", GRIDS)
def test_file_holds_the_voxels_on_their_exact_grid(app, tmp_path, name):
    node = app.volume(phantom(), grid=GRIDS[name])
    writeForServer(node, None, str(tmp_path / "image.nrrd"))
    fields, values = readNrrd(tmp_path / "image.nrrd")
    lps = np.diag([-1, -1, 1, 1]) @ ijkToRas(node)
    np.testing.assert_array_equal(values, phantom())
    np.testing.assert_array_equal(vectors(fields["space directions"]), lps[:3, :3].T)
    np.testing.assert_array_equal(vectors(fields["space origin"])[0], lps[:3, 3])
    assert fields["space"] == "left-posterior-superior"


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("box", [None, BOX])
def test_what_comes_back_unchanged_is_the_input(app, tmp_path, name, box):
    node = app.volume(phantom(), grid=GRIDS[name])
    path = str(tmp_path / "image.nrrd")
    writeForServer(node, box, path)
    back = readBack(path, node, box)
    np.testing.assert_array_equal(back, phantom()[box.slices] if box else phantom())


@pytest.mark.parametrize("dtype", TYPES)
def test_type_is_kept_both_ways(app, tmp_path, dtype):
    node = app.volume(phantom(dtype=dtype))
    path = str(tmp_path / "image.nrrd")
    writeForServer(node, None, path)
    assert readNrrd(path)[1].dtype == dtype
    back = readBack(path, node, None)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, phantom(dtype=dtype))


def test_radiograph_stays_one_slice(app, tmp_path):
    node = app.volume(phantom((1, 31, 17), np.uint16), grid=grid((0.14, 0.14, 1.0)))
    path = str(tmp_path / "image.nrrd")
    writeForServer(node, None, path)
    assert readNrrd(path)[0]["sizes"] == "17 31 1"
    assert readBack(path, node, None).shape == (1, 31, 17)


def test_slicers_own_reader_finds_the_same_grid(app, tmp_path):
    node = app.volume(phantom(), grid=GRIDS["left-handed"])
    writeForServer(node, None, str(tmp_path / "image.nrrd"))
    read, storage = slicer.vtkMRMLScalarVolumeNode(), slicer.vtkMRMLNRRDStorageNode()
    storage.SetFileName(str(tmp_path / "image.nrrd"))
    assert storage.ReadData(read)
    np.testing.assert_allclose(ijkToRas(read), ijkToRas(node), atol=1e-12)


def test_file_says_nothing_of_the_patient(app, tmp_path):
    node = app.volume(phantom(), name="Doe^Jane 1970")
    node.SetAttribute("DICOM.instanceUIDs", "1.2.840.99")
    node.SetAttribute("DICOM.PatientID", "PAT-4711")
    node.SetDescription("Referred by Dr Smith")
    storage = node.CreateDefaultStorageNode()
    storage.SetFileName("/hospital/doe_jane.nrrd")
    writeForServer(node, None, str(tmp_path / "image.nrrd"))
    header = (tmp_path / "image.nrrd").read_bytes().partition(b"\n\n")[0].decode()
    keys = [line.split(":")[0] for line in header.splitlines()]
    assert keys == ["NRRD0004", "type", "dimension", "space", "sizes", "space directions", "kinds", "endian",
                    "encoding", "space origin"]  # fmt: skip
    assert not any(word in header for word in ("Doe", "doe", "1.2.840.99", "4711", "Smith", "hospital"))


def test_no_part_of_a_file_is_left_where_writing_fails(app, tmp_path):
    with pytest.raises(OSError, match="missing"):
        writeForServer(app.volume(phantom()), None, str(tmp_path / "missing" / "image.nrrd"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("axes", [(2,), (0,), (0, 1, 2)], ids=str)
def test_answer_in_turned_voxel_order_is_turned_back(app, tmp_path, axes):
    node = app.volume(phantom(), grid=GRIDS["oblique"])
    path = str(tmp_path / "image.nrrd")
    writeForServer(node, None, path)
    fields, values = readNrrd(path)
    directions, origin = vectors(fields["space directions"]), vectors(fields["space origin"])[0]
    for axis in axes:
        origin = origin + directions[axis] * (values.shape[2 - axis] - 1)
        directions[axis] *= -1
        values = np.flip(values, 2 - axis)
    fields["space directions"] = " ".join("(" + ",".join(map(repr, row.tolist())) + ")" for row in directions)
    fields["space origin"] = "(" + ",".join(map(repr, origin.tolist())) + ")"
    writeNrrd(path, fields, values)
    np.testing.assert_array_equal(readBack(path, node, None), phantom())


def test_slicers_general_reader_turns_slices_round_and_that_is_undone(app, tmp_path):
    node = app.volume(phantom(), grid=GRIDS["left-handed"])
    path = str(tmp_path / "image.nrrd")
    writeForServer(node, None, path)
    read, storage = slicer.vtkMRMLScalarVolumeNode(), slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(path)
    assert storage.ReadData(read)
    assert not np.array_equal(voxels(read), phantom())  # the trap is real
    np.testing.assert_array_equal(voxelsOn(node, read), phantom())
    writeForServer(read, None, path)  # a server that keeps its images as Slicer does
    np.testing.assert_array_equal(readBack(path, node, None), phantom())


def test_axes_in_another_order_are_brought_back():
    array, grid = phantom((3, 4, 5)), GRIDS["oblique"]
    turned = array.transpose(1, 2, 0)  # its slices were rows, its rows columns, its columns slices
    turn = np.eye(4)[[2, 0, 1, 3]]  # old (column, row, slice) to new (slice, column, row)
    np.testing.assert_array_equal(turned[3, 4, 2], array[2, 3, 4])
    np.testing.assert_array_equal(turn @ (4, 3, 2, 1), (2, 4, 3, 1))
    np.testing.assert_array_equal(inOrder(turned, grid @ np.linalg.inv(turn), grid, array.shape), array)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("space origin", "(1,0,0)", "away"),
        ("space directions", "(1.1,0,0) (0,1,0) (0,0,1)", "away"),
        ("space directions", "(0.7,0.7,0) (-0.7,0.7,0) (0,0,1)", "axes"),
        ("sizes", "24 20 5", "size"),
    ],
)
def test_answer_on_another_grid_is_refused(app, tmp_path, field, value, why):
    node = app.volume(phantom())
    path = str(tmp_path / "image.nrrd")
    writeForServer(node, None, path)
    fields, values = readNrrd(path)
    writeNrrd(path, fields, values[:5] if field == "sizes" else values)
    old, new = f"{field}: {fields[field]}".encode(), f"{field}: {value}".encode()
    (tmp_path / "image.nrrd").write_bytes((tmp_path / "image.nrrd").read_bytes().replace(old, new))
    with pytest.raises(GeometryError, match=why):
        readBack(path, node, None)


@pytest.mark.parametrize("content", [b"", b"<html>login</html>", None], ids=["empty", "a page", "none"])
def test_answer_that_is_no_image_is_refused(app, tmp_path, content, capfd):
    if content is not None:
        (tmp_path / "answer.nrrd").write_bytes(content)
    with pytest.raises(GeometryError, match="no image that can be read"):
        readBack(str(tmp_path / "answer.nrrd"), app.volume(phantom()), None)


def test_floats_become_integers_by_rounding_within_the_type():
    values = np.array([-1.0, 0.4, 0.6, 254.6, 300.0])
    np.testing.assert_array_equal(asType(values, np.dtype(np.uint8)), [0, 0, 1, 255, 255])


def test_wider_integers_are_cut_off_at_the_ends_of_the_type():
    np.testing.assert_array_equal(asType(np.array([-40000, 5, 40000]), np.dtype(np.int16)), [-32768, 5, 32767])
