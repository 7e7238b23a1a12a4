"""The header of a derived DICOM object: what is added, and what no longer holds once the pixels have changed."""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    PositronEmissionTomographyImageStorage,
)

from meddenoise.io.source import MARK, Provenance
from meddenoise.notice import NOTICE

DISCLAIMER = f"denoised, {NOTICE}"
_SERIES_OFFSET = 1000
_LONG_STRING, _SHORT_TEXT = 64, 1024
_SMOOTHING = ("113087", "DCM", "Smoothing")
_PROCESSED = ("121322", "DCM", "Source image for image processing operation")
_MODIFIER = ("109103", "DCM", "Modifying Equipment")
_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)
_STALE = (
    "IconImageSequence", "DigitalSignaturesSequence", "MACParametersSequence", "DataSetTrailingPadding",
    "SmallestPixelValueInSeries", "LargestPixelValueInSeries", "SmallestImagePixelValueInPlane",
    "LargestImagePixelValueInPlane", "PixelDataProviderURL",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "OriginalAttributesSequence",
)  # fmt: skip


def describe_derivation(dataset: Dataset, provenance: Provenance, now: datetime) -> None:
    """Say in the header what the image is now, from which image it was made, with what, and when."""
    second = "PRIMARY" if dataset.SOPClassUID == PositronEmissionTomographyImageStorage else "SECONDARY"
    dataset.ImageType = ["DERIVED", second, *_values(dataset, "ImageType")[2:]]  # PET images allow PRIMARY only
    before = str(dataset.get("DerivationDescription") or "")
    text = f"{MARK} {provenance.sentence()}" + (f"; before: {before}" if before else "")
    dataset.DerivationDescription = text[:_SHORT_TEXT]
    codes = list(dataset.get("DerivationCodeSequence") or [])
    dataset.DerivationCodeSequence = Sequence([*codes, _code(*_SMOOTHING)])
    dataset.SourceImageSequence = Sequence([_reference(dataset)])
    dataset.SeriesDescription = _series_description(str(dataset.get("SeriesDescription") or ""))
    dataset.SeriesNumber = int(dataset.get("SeriesNumber") or 0) + _SERIES_OFFSET
    now = _in_zone_of(dataset, now)
    dataset.InstanceCreationDate = dataset.ContentDate = now.strftime("%Y%m%d")
    dataset.InstanceCreationTime = dataset.ContentTime = now.strftime("%H%M%S.%f")
    equipment = list(dataset.get("ContributingEquipmentSequence") or [])
    dataset.ContributingEquipmentSequence = Sequence([*equipment, _equipment(provenance)])
    _note_loss(dataset)


def describe_without_names(dataset: Dataset, provenance: Provenance) -> None:
    """Say again what de-identification removed with all free text: only words of our own."""
    dataset.DerivationDescription = f"{MARK} {provenance.sentence()}"[:_SHORT_TEXT]
    dataset.SeriesDescription = DISCLAIMER
    dataset.ContributingEquipmentSequence = Sequence([_equipment(provenance)])


def _in_zone_of(dataset: Dataset, now: datetime) -> datetime:
    """The moment in the time zone that the object states for all its times, else in the computer's."""
    try:
        return now.astimezone(datetime.strptime(str(dataset.get("TimezoneOffsetFromUTC")), "%z").tzinfo)
    except ValueError:
        return now


def drop_what_no_longer_holds(dataset: Dataset) -> None:
    """Remove icons, signatures, offset tables, group lengths, pixel statistics and overlays in unused pixel bits."""
    for keyword in _STALE:
        if keyword in dataset:
            del dataset[keyword]
    tags = list(dataset.keys())
    groups = {tag.group for tag in tags if 0x6000 <= tag.group <= 0x60FF}
    embedded = {group for group in groups if (group, 0x3000) not in dataset}  # no data of their own: in the pixels
    for tag in tags:
        if tag.element == 0 or tag.group in embedded:
            del dataset[tag]


def _series_description(before: str) -> str:
    """The original description, cut so that the whole of the disclaimer fits into 64 characters."""
    if before.endswith(DISCLAIMER):
        return before
    room = _LONG_STRING - len(DISCLAIMER) - 1
    return f"{before[:room].strip()} {DISCLAIMER}".strip()


def _reference(dataset: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = dataset.SOPClassUID
    item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = Sequence([_code(*_PROCESSED)])
    return item


def _equipment(provenance: Provenance) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Sequence([_code(*_MODIFIER)])
    item.Manufacturer = MARK
    item.ManufacturerModelName = provenance.model[:_LONG_STRING]
    item.SoftwareVersions = provenance.version[:_LONG_STRING]
    item.ContributionDescription = provenance.sentence()[:_SHORT_TEXT]
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _note_loss(dataset: Dataset) -> None:
    """Keep the history of lossy compression: a loss stays one after the image has been unpacked."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if dataset.get("LossyImageCompression") != "01" and syntax in _LOSSY:
        dataset.LossyImageCompression = "01"


def _values(dataset: Dataset, keyword: str) -> list[str]:
    value = dataset.get(keyword) or []
    return [value] if isinstance(value, str) else [str(v) for v in value]
