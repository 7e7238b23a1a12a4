"""Training shards: any folder becomes one small file, the same each time, split by patient, true to the values."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
import torch
from PIL import Image
from pydicom.data import get_testdata_file

from meddenoise.cli import main
from meddenoise.errors import InputError, OptionError
from meddenoise.training.build import MIB, build_slices, evenly, size_of
from meddenoise.training.slices import (
    Slice,
    SliceInfo,
    is_validation,
    load_slices,
    packed,
    save_slices,
    unpacked,
    with_neighbours,
)


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((1.0, 1.0, 3.0))
    sitk.WriteImage(image, str(path))


def body(slices: int = 6, side: int = 48, seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    flat = np.where(x**2 + y**2 < 0.7, 40.0, -1000.0)
    return (flat + np.random.default_rng(seed).normal(0, 10, (slices, side, side))).round().astype(np.int16)


@pytest.fixture
def site(tmp_path):
    """A folder as a site has it: two patients' NIfTI and NRRD, a DICOM file, and something else."""
    folder = tmp_path / "site"
    write(folder / "patient 1" / "ct" / "a.nii.gz", body(seed=1))
    write(folder / "patient 1" / "b.nrrd", body(seed=2))
    write(folder / "patient 2" / "a.nii.gz", body(seed=3))
    dicom = folder / "export" / "deep" / "x.dcm"
    dicom.parent.mkdir(parents=True)
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    dataset.PatientID = "MRN-7"
    dataset.save_as(dicom)
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_any_folder_of_a_site_becomes_shards_without_names_of_patients(site, tmp_path):
    slices = build_slices(site, tmp_path / "s.safetensors")
    assert len(slices) == 3 * 6 + 1
    assert len({s.info.volume for s in slices}) == 4
    assert len({s.info.subject for s in slices}) == 3
    stored = (tmp_path / "s.safetensors").read_bytes()
    assert not any(name in stored for name in (b"MRN-7", b"patient", b"export"))


def test_the_same_patient_is_one_subject_in_every_folder(site, tmp_path):
    dataset = pydicom.dcmread(site / "export" / "deep" / "x.dcm")
    dataset.SeriesInstanceUID += ".9"
    dataset.SOPInstanceUID += ".9"
    (site / "later").mkdir()
    dataset.save_as(site / "later" / "y.dcm")
    slices = build_slices(site, tmp_path / "s.safetensors")
    assert len({s.info.volume for s in slices}) == 5
    assert len({s.info.subject for s in slices}) == 3


def test_unreadable_volumes_are_named_and_passed_over(site, tmp_path):
    (site / "patient 2" / "broken.nii.gz").write_bytes(b"nothing")
    lines = []
    assert len(build_slices(site, tmp_path / "s.safetensors", report=lines.append)) == 19
    assert any("broken.nii.gz" in line for line in lines)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="no readable image"):
        build_slices(tmp_path, tmp_path / "s.safetensors")
    with pytest.raises(InputError, match="is not a folder"):
        build_slices(tmp_path / "nowhere", tmp_path / "s.safetensors")


def test_a_manifest_says_what_may_be_used(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / name / "v.nii.gz", body())
    head = "volume_id,modality,use,subject,path,intensity_units,dose,data_license"
    rows = [
        "A,CT,train and evaluate,one,a/v.nii.gz,HU,,CC0",
        "B,CT,evaluation only,two,b/v.nii.gz,HU,,CC0",
        "C,CT,train and evaluate,two,c/v.nii.gz,HU,quarter,CC0",
    ]
    (tmp_path / "MANIFEST.csv").write_text("\n".join([head, *rows]))
    slices = build_slices(tmp_path, tmp_path / "s.safetensors")
    assert {(s.info.volume, s.info.subject, s.info.licence) for s in slices} == {("A", "one", "CC0")}


def test_a_picture_of_a_ct_stays_a_ct(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 48)).astype(np.uint8)).save(folder / "a.png")
    (folder / "MANIFEST.csv").write_text(
        "volume_id,modality,use,subject,path,intensity_units,dose,data_license\n"
        "a,CT,train and evaluate,s,a.png,grey,,none\n"
    )
    (one,) = build_slices(folder, tmp_path / "s.safetensors")
    assert (one.info.modality, one.info.display) == ("CT", True)


def test_a_manifest_without_a_column_is_refused_by_its_name(tmp_path):
    (tmp_path / "MANIFEST.csv").write_text("volume_id,path\nA,a.nii.gz\n")
    with pytest.raises(InputError, match=r"lacks modality, use, subject"):
        build_slices(tmp_path, tmp_path / "s.safetensors")


def test_a_file_of_the_manifest_that_is_not_there_is_named_and_passed_over(tmp_path):
    write(tmp_path / "a.nii.gz", body())
    head = "volume_id,modality,use,subject,path,intensity_units,dose,data_license"
    rows = [f"{name},CT,train and evaluate,one,{name}.nii.gz,HU,,CC0" for name in ("a", "gone")]
    (tmp_path / "MANIFEST.csv").write_text("\n".join([head, *rows]), encoding="utf-8-sig")
    lines = []
    assert len(build_slices(tmp_path, tmp_path / "s.safetensors", report=lines.append)) == 6
    assert any("gone.nii.gz" in line for line in lines)


def test_slices_that_are_lines_are_left_out(tmp_path):
    write(tmp_path / "a" / "v.nii.gz", body(slices=1)[:, 24:25])
    with pytest.raises(InputError, match="no readable image"):
        build_slices(tmp_path, tmp_path / "s.safetensors")


def test_colour_pictures_are_named_and_passed_over(site, tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    (site / "photos").mkdir()
    Image.fromarray(colours).save(site / "photos" / "photo.png")
    lines = []
    slices = build_slices(site, tmp_path / "s.safetensors", report=lines.append)
    assert {s.values.ndim for s in slices} == {2}
    assert any("photo.png" in line and "colour" in line for line in lines)


def test_images_beside_dicom_that_are_not_taken_are_named_once(site, tmp_path):
    write(site / "export" / "deep" / "beside.nrrd", body())
    lines = []
    assert len(build_slices(site, tmp_path / "s.safetensors", report=lines.append)) == 19
    assert sum("beside.nrrd" in line for line in lines) == 1


def test_a_file_that_exists_is_never_overwritten_and_runs_have_a_slice(site, tmp_path):
    kept = tmp_path / "a.nii.gz"
    kept.write_bytes(b"precious")
    with pytest.raises(OptionError, match="exists"):
        build_slices(site, kept)
    assert kept.read_bytes() == b"precious"
    with pytest.raises(OptionError, match="got 0"):
        build_slices(site, tmp_path / "s.safetensors", limit_mib=1.0, depth=0)


def test_same_input_gives_the_same_bytes_below_the_limit(site, tmp_path):
    limit = 0.05
    whole = tmp_path / "whole.safetensors"
    files = [tmp_path / f"{i}.safetensors" for i in range(2)]
    build_slices(site, whole)
    for file in files:
        slices = build_slices(site, file, limit_mib=limit, depth=3)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].stat().st_size <= limit * MIB < whole.stat().st_size
    assert {s.info.volume for s in slices} >= {s.info.volume for s in load_slices(files[0], validation=False)}
    with pytest.raises(InputError, match=r"fits below 0\.001 MiB"):
        build_slices(site, tmp_path / "none.safetensors", limit_mib=0.001)


def ramp(count: int, shape: tuple[int, int] = (8, 8), subject: str = "a") -> list[Slice]:
    return [
        Slice(torch.full(shape, i, dtype=torch.int16), SliceInfo("v", subject, "CT", False, 0.0, 1.0, position=i))
        for i in range(count)
    ]


def test_slices_are_taken_evenly_in_runs_of_neighbours():
    slices = ramp(30)
    single = size_of(slices[0])
    assert [s.info.position for s in evenly(slices, 3 * single, 1)] == [5, 15, 25]
    assert [s.info.position for s in evenly(slices, 7 * single, 3)] == [6, 7, 8, 21, 22, 23]
    assert evenly(slices, 10**9, 3) == slices
    assert evenly(slices, single - 1, 1) == []


def test_neighbours_are_known_and_the_nearest_is_repeated_at_the_ends():
    triples = with_neighbours([*ramp(3), Slice(torch.zeros(8, 8), SliceInfo("w", "a", "CT", False, 0.0, 1.0))])
    assert [[int(t[0, 0]) for t in triple] for triple in triples] == [[0, 0, 1], [0, 1, 2], [1, 2, 2], [0, 0, 0]]


def test_neighbours_survive_the_file(tmp_path):
    slices = ramp(4)
    assert not is_validation("a")
    save_slices(slices, tmp_path / "s.safetensors")
    found = load_slices(tmp_path / "s.safetensors", validation=False)
    assert [s.info for s in found] == [s.info for s in slices]
    assert load_slices(tmp_path / "s.safetensors", validation=True) == []


NOISE = np.random.default_rng(0).normal(0.0, 1.0, (64, 64))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((100 + 20 * NOISE).clip(0, 255).astype(np.uint8), torch.uint8),
        ((40 + 20 * NOISE).astype(np.int16), torch.int16),
        ((30000 + 5000 * NOISE).astype(np.uint16), torch.int16),
        ((40 + 20 * NOISE).round().astype(np.float32), torch.int16),
        ((0.37 * (5000 + 900 * NOISE).round()).astype(np.float32), torch.int16),
        (np.where(np.eye(64) > 0, 1e9, NOISE).astype(np.float32), torch.float32),
    ],
    ids=["8 bit", "16 bit", "unsigned", "whole floats", "slope", "range too wide for 16 bit"],
)
def test_values_are_stored_exactly_in_the_smallest_type(values, dtype):
    stored, step, zero = packed(torch.from_numpy(values))
    assert stored.dtype == dtype
    np.testing.assert_allclose(unpacked(stored, step, zero).numpy(), values.astype(np.float32), rtol=3e-7)


def test_real_numbers_are_rounded_to_less_than_a_thousandth_of_their_noise():
    values = torch.from_numpy(5.0 + 0.2 * NOISE)
    stored, step, zero = packed(values)
    assert stored.dtype == torch.int16
    assert float((unpacked(stored, step, zero) - values).abs().max()) < 0.2e-3


def test_the_command_builds_shards(site, tmp_path, capsys):
    out = tmp_path / "new" / "s.safetensors"
    assert main(["shards", "--data", str(site), "--out", str(out), "--limit-mib", "1"]) == 0
    assert "19 slices of 3 subjects" in capsys.readouterr().out
    assert out.stat().st_size < MIB
    assert main(["shards", "--data", str(tmp_path / "nowhere"), "--out", str(out)]) == 1
