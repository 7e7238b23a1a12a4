"""What a de-identified result still says: nothing of the patient, and everything of the image."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from meddenoise.errors import OutputError
from meddenoise.io import Deidentifier, Provenance, provenance_of, read_volume, write_dicom_series

PROVENANCE = Provenance("student", "1.0.0", 1.0)
NAMES = {
    "PatientName": "Mustermann^Erika",
    "PatientID": "KH-4711-0815",
    "PatientBirthDate": "19520817",
    "PatientAddress": "Heidestrasse 17",
    "OtherPatientIDs": "OLD-123-987",
    "StudyDate": "20230919",
    "SeriesDate": "20230919",
    "AcquisitionDateTime": "20230919101112.345678",
    "StudyTime": "101112.345678",
    "AccessionNumber": "ACC-998877",
    "StudyID": "STU-5566",
    "ReferringPhysicianName": "Hausarzt^Hans",
    "InstitutionName": "Klinikum Beispielstadt",
    "InstitutionAddress": "Beispielweg 5",
    "StationName": "CTRAUM7",
    "OperatorsName": "Radiograf^Rita",
    "StudyDescription": "Erika Mustermann Verlauf",
    "SeriesDescription": "Thorax Mustermann",
    "ImageComments": "Pat. Mustermann atmet",
    "DerivationDescription": "made for Mustermann",
    "DeviceSerialNumber": "SN-31415926",
}
SECRETS = ("Mustermann", "KH-47", "4711-0815", "OLD-123", "19520817", "20230919", "101112.345", "ACC-99", "STU-55",
           "Hausarzt", "Beispiel", "CTRAUM7", "Rita", "SN-3141", "Heidestr", "PRIVATE", "Schwester")  # fmt: skip


@pytest.fixture
def patient(make_series, tmp_path):
    """Two slices that name their patient wherever a header can: nested, private and unknown elements included."""

    def name(dataset, index):
        for keyword, value in NAMES.items():
            setattr(dataset, keyword, value)
        request = Dataset()
        request.RequestedProcedureDescription = "Mustermann, Thorax"
        dataset.RequestAttributesSequence = Sequence([request])
        code = Dataset()  # a sequence that the profile keeps, with what it does not keep inside
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-D3000", "SRT", "Chest"
        code.OperatorsName, code.ContentDate = "Schwester^Sara", "20230919"
        code.add_new((0x0009, 0x0010), "LO", "PRIVATE CREATOR")
        dataset.AnatomicRegionSequence = Sequence([code])
        dataset.ReferencedImageSequence = Sequence([Dataset()])
        dataset.ReferencedImageSequence[0].ReferencedSOPClassUID = dataset.SOPClassUID
        dataset.ReferencedImageSequence[0].ReferencedSOPInstanceUID = generate_uid()
        block = dataset.private_block(0x0029, "PRIVATE", create=True)
        block.add_new(0x01, "LO", "Mustermann")
        dataset.add_new((0x0008, 0x9999), "LO", "Mustermann, in an element nobody knows")
        dataset.WindowCenter, dataset.WindowWidth = 40, 400
        dataset.file_meta.SourceApplicationEntityTitle = "CTRAUM7"

    return make_series(tmp_path / "Mustermann", positions=(0.0, 5.0), each=name)


@pytest.fixture
def deidentify(tmp_path):
    """deidentify(folder, deidentifier): the files of the derived series."""

    def run(folder, deidentifier=None):
        target = tmp_path / "out" / generate_uid()
        return write_dicom_series(read_volume(folder), target, PROVENANCE, deidentifier=deidentifier or Deidentifier())

    return run


def uids(dataset):
    """Every UID of a dataset that is not of the standard, nested ones included."""
    found = set()
    dataset.walk(lambda _, element: found.update([element.value] if isinstance(element.value, str) else element.value)
                 if element.VR == "UI" else None)  # fmt: skip
    return {str(uid) for uid in found if not str(uid).startswith("1.2.840.10008.")}


def test_nothing_of_the_patient_is_left_anywhere_in_the_files(patient, deidentify):
    before = [pydicom.dcmread(file) for file in sorted(patient.iterdir())]
    originals = set().union(*map(uids, before))
    assert len(originals) >= 6
    for file in deidentify(patient):
        text = file.read_bytes()
        assert [secret for secret in (*SECRETS, *originals) if secret.encode() in text] == []
        assert "Mustermann" not in file.name


def test_secrets_of_the_test_are_in_the_files_without_deidentification(patient, tmp_path):
    files = write_dicom_series(read_volume(patient), tmp_path / "named", PROVENANCE)
    text = files[0].read_bytes()
    missing = [secret for secret in SECRETS if secret.encode() not in text]
    assert missing == []


def test_names_of_files_are_numbers(patient, deidentify):
    assert [file.name for file in deidentify(patient)] == ["00000.dcm", "00001.dcm"]


def test_image_is_the_same_as_without_deidentification(patient, deidentify):
    before, after = read_volume(patient), read_volume(deidentify(patient)[0].parent)
    np.testing.assert_array_equal(after.array, before.array)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.modality == before.modality
    dataset = pydicom.dcmread(deidentify(patient)[0])
    assert (dataset.WindowCenter, dataset.WindowWidth, dataset.RescaleIntercept) == (40, 400, -1024)
    assert dataset.AnatomicRegionSequence[0].CodeMeaning == "Chest"


def test_file_says_that_and_how_it_was_deidentified(patient, deidentify):
    dataset = pydicom.dcmread(deidentify(patient)[0])
    assert dataset.PatientIdentityRemoved == "YES"
    assert "PS3.15 2026c basic profile" in dataset.DeidentificationMethod[0]
    assert re.fullmatch(r"dicom-anonymizer 2\.\d+\.\d+", dataset.DeidentificationMethod[1])
    code = dataset.DeidentificationMethodCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113100", "DCM")
    assert dataset.LongitudinalTemporalInformationModified == "REMOVED"


def test_result_still_says_what_made_it(patient, deidentify):
    dataset = pydicom.dcmread(deidentify(patient)[0])
    assert dataset.DerivationDescription == f"MedDenoise {PROVENANCE.sentence()}"
    assert dataset.SeriesDescription == "denoised, research use, not a medical device"
    assert dataset.ContributingEquipmentSequence[0].Manufacturer == "MedDenoise"
    assert "already a result" in provenance_of(deidentify(patient)[0].parent)


def test_slices_stay_together_and_refer_to_their_replaced_sources(patient, deidentify):
    deidentifier = Deidentifier()
    first, second = (pydicom.dcmread(file) for file in deidentify(patient, deidentifier))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert first[keyword].value == second[keyword].value
    source = pydicom.dcmread(sorted(patient.iterdir())[0])
    deidentifier(source)
    assert first.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert first.SourceImageSequence[0].ReferencedSOPClassUID == source.SOPClassUID
    assert first.StudyInstanceUID == source.StudyInstanceUID


def test_another_deidentifier_gives_other_replacements(patient, deidentify):
    first, other = (pydicom.dcmread(deidentify(patient, Deidentifier())[0]) for _ in range(2))
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert first[keyword].value != other[keyword].value


def test_two_patients_stay_apart(make_series, tmp_path, deidentify):
    deidentifier = Deidentifier()
    ids = set()
    for number in ("A", "B"):
        folder = make_series(tmp_path / number, positions=(0.0,), PatientID=number)
        ids.add(pydicom.dcmread(deidentify(folder, deidentifier)[0]).PatientID)
    assert len(ids) == 2


def test_header_that_cannot_be_deidentified_is_not_written(patient, tmp_path):
    file = sorted(patient.iterdir())[0]
    dataset = pydicom.dcmread(file)
    dataset.add_new((0x0040, 0xA730), "OD", b"\0" * 8)  # no replacement for doubles in place of a sequence
    dataset.save_as(file)
    volume = read_volume(file)
    with pytest.raises(OutputError, match="cannot be de-identified"):
        write_dicom_series(volume, tmp_path / "result.dcm", PROVENANCE, deidentifier=Deidentifier())
    assert not (tmp_path / "result.dcm").exists()


def test_difference_of_strength_is_kept_in_what_the_file_says(patient, tmp_path):
    weak = replace(PROVENANCE, strength=0.5)
    (file, _) = write_dicom_series(read_volume(patient), tmp_path / "weak", weak, deidentifier=Deidentifier())
    assert "strength 0.5" in pydicom.dcmread(file).DerivationDescription


@pytest.mark.parametrize(
    "name", ["CT/CRLM-CT-1004", "MR/VS-SEG-001_T1Gd", "PET/STS_001_FDG_PET_raw", "XR/NEMA_WG04_RG2_J2KR"]
)
def test_real_object_keeps_no_identifier(data, tmp_path, name):
    file = sorted((data / name).iterdir())[0]
    source = pydicom.dcmread(file)
    write_dicom_series(read_volume(file), tmp_path / "result.dcm", PROVENANCE, deidentifier=Deidentifier())
    text, result = (tmp_path / "result.dcm").read_bytes(), pydicom.dcmread(tmp_path / "result.dcm")
    assert [uid for uid in uids(source) if uid.encode() in text] == []
    for word in ("PatientName", "PatientID", "StudyDate", "AcquisitionDate", "PatientBirthDate", "AccessionNumber"):
        value = str(source.get(word, ""))
        assert value == "" or value != str(result.get(word, ""))
        assert len(value) < 6 or value.encode() not in text
    assert result.Modality == source.Modality
    assert (result.Rows, result.Columns) == (source.Rows, source.Columns)


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy is not installed (Debian package dicom3tools)")
def test_deidentified_file_is_as_valid_as_its_source(patient, deidentify, tmp_path):
    def errors(file):
        done = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
        return {line for line in done.stderr.splitlines() if line.startswith("Error")}

    (source, _) = write_dicom_series(read_volume(patient), tmp_path / "named", PROVENANCE)
    assert errors(deidentify(patient)[0]) <= errors(source)
