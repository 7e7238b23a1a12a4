"""Names for patients that only this user can link to them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

from MedDenoiseLib.Settings import GROUP, Store

KEY = f"{GROUP}/pseudonyms"


class Pseudonyms:
    """Always the same one for a patient, made with a secret that stays in the user's settings.

    Args:
        store: For example qt.QSettings().
    """

    def __init__(self, store: Store) -> None:
        """Makes no secret before it is needed."""
        self._store = store

    def of(self, patient: str) -> str:
        """That of a PatientID; "" for ""."""
        if not patient:
            return ""
        secret = str(self._store.value(KEY, "") or "")
        if not secret:
            secret = secrets.token_hex(16)
            self._store.setValue(KEY, secret)
        return "P-" + hmac.new(secret.encode(), patient.encode(), hashlib.sha256).hexdigest()[:10]


def patientOf(node: Any) -> str:
    """The PatientID that the subject hierarchy has for a volume, "" where it has none."""
    scene = node.GetScene()
    hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode") if scene else None
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    patient = hierarchy.GetItemAncestorAtLevel(item, "Patient") if item else 0
    if not patient:
        return ""
    return hierarchy.GetItemAttribute(patient, "DICOM.PatientID") or hierarchy.GetItemUID(patient, "DICOM") or ""
