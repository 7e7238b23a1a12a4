"""De-identification by the basic profile of DICOM PS3.15 Annex E; the table of attributes is dicom-anonymizer's."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from pydicom.datadict import dictionary_has_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from meddenoise.errors import OutputError

EDITION = "2026c"
"""Edition of the DICOM standard whose table is followed."""

PIXELS_NOT_LOOKED_AT = (
    "only the header was de-identified: text burned into the pixels, and a face that can be rebuilt from a head scan, "
    "are not looked at"
)

_STANDARD_UIDS = "1.2.840.10008."
_DATES = {"DA": ("00010101", "19000101"), "DT": ("00010101010101.000000+0000", "19000101000000.000000+0000")}
"""The package's dates of the year 1, which validators refuse, and ours."""
_CODE = ("113100", "DCM", "Basic Application Confidentiality Profile")

Rule = Callable[[Dataset, Any], None]


class Deidentifier:
    """Takes out of a DICOM header what tells who the patient is, in place.

    Dates become 1900-01-01. UIDs and the patient's name and number become others: one object gives the same
    replacement for the same value every time, so that slices, series and studies stay together, and another object
    gives others. Private elements and elements that pydicom does not know are removed. The caller writes the file's
    meta information anew.
    """

    def __init__(self) -> None:
        self._salt = secrets.token_hex(16)
        self._rules = self._make_rules()

    def __call__(self, dataset: Dataset) -> None:
        """De-identify one object.

        Raises:
            OutputError: An attribute has a form for which there is no replacement; nothing may be written then.
        """
        code = self._code_of_patient(dataset)
        try:
            self._clean(dataset)
        except (NotImplementedError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise OutputError(f"the DICOM header cannot be de-identified ({error}); nothing was written") from error
        dataset.PatientName, dataset.PatientID = f"Anonymous^{code}", f"ANON-{code}"
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = [
            f"DICOM PS3.15 {EDITION} basic profile",
            f"dicom-anonymizer {version('dicom-anonymizer')}",
        ]
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = _CODE
        dataset.DeidentificationMethodCodeSequence = Sequence([item])
        dataset.LongitudinalTemporalInformationModified = "REMOVED"

    def _make_rules(self) -> dict[tuple[int, ...], Rule]:
        """The profile's rules by tag, with replacements of UIDs that another process cannot guess."""
        from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
        from dicomanonymizer.simpledicomanonymizer import initialize_actions

        edition = f"dicomfields_{EDITION}"
        rules: dict[tuple[int, ...], Rule] = initialize_actions(edition)
        table = dicom_anonymization_database_selector(edition)
        rules.update(dict.fromkeys(table["U_TAGS"], self._replace_uids))
        rules.update(dict.fromkeys(table["X_Z_U_STAR_TAGS"], _keep))  # references: their items are cleaned one by one
        return rules

    def _clean(self, dataset: Dataset) -> None:
        """Apply the rules to a dataset and to the items of the sequences that it keeps."""
        from dicomanonymizer.simpledicomanonymizer import anonymize_dataset

        for tag in [tag for tag in dataset.keys() if not tag.is_private and not _is_known(tag)]:  # noqa: SIM118
            del dataset[tag]
        anonymize_dataset(dataset, base_rules_gen=lambda: self._rules)
        for element in dataset:
            if element.VR == "SQ":
                for item in element.value:
                    self._clean(item)
            elif element.VR in _DATES and element.value == _DATES[element.VR][0]:
                element.value = _DATES[element.VR][1]

    def _replace_uids(self, dataset: Dataset, tag: Any) -> None:
        element = dataset.get(tag)
        if element is None or element.VR == "SQ" or not element.value:
            return
        values = [element.value] if isinstance(element.value, (str, bytes)) else list(element.value)
        others = [self._other_uid(value.decode() if isinstance(value, bytes) else str(value)) for value in values]
        element.VR, element.value = "UI", others if len(others) > 1 else others[0]

    def _other_uid(self, uid: str) -> str:
        """Another UID, always the same for the same one; those of the standard itself tell nothing and stay."""
        uid = uid.strip("\0 ")
        return uid if uid.startswith(_STANDARD_UIDS) or not uid else generate_uid(entropy_srcs=[self._salt, uid])

    def _code_of_patient(self, dataset: Dataset) -> str:
        """A code that keeps patients apart."""
        known = "\0".join(str(dataset.get(keyword, "")) for keyword in ("PatientID", "IssuerOfPatientID"))
        known = known if known.strip("\0") else str(dataset.get("PatientName", ""))
        return hashlib.sha256(f"{self._salt}{known}".encode()).hexdigest()[:12].upper()


def _keep(dataset: Dataset, tag: Any) -> None:
    """Leave an attribute where it is."""


def _is_known(tag: Any) -> bool:
    """Whether pydicom's dictionary has the tag, repeating groups included."""
    return tag.element == 0 or dictionary_has_tag(tag) or 0x5000 <= tag.group <= 0x50FF or 0x6000 <= tag.group <= 0x60FF
