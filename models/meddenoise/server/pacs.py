"""A PACS over DICOMweb: image series are listed (QIDO-RS) and fetched (WADO-RS), results stored back (STOW-RS)."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from dicomweb_client import DICOMwebClient

from meddenoise.errors import ServiceError
from meddenoise.io.atomic import replacing_folder
from meddenoise.io.dicom_file import DAMAGE, open_dicom
from meddenoise.io.dicom_tags import DISCLAIMER
from meddenoise.server.home import data_folder

MODALITIES = ("CT", "MR", "PT", "CR", "DX", "XA", "RF", "MG", "RG", "IO", "PX")
"""DICOM modalities whose series are listed: those that can be denoised."""

CONNECT_SECONDS, READ_SECONDS = 5.0, 60.0
_PAGE, _AT_ONCE = 500, 32
_NOT_DICOM = tuple(kind for kind in DAMAGE if kind is not OSError)  # which is of the disk
_UID = re.compile(r"(?=.{1,64}$)[0-9]+(\.[0-9]+)*")
_SERIES, _STUDY, _MODALITY, _DESCRIPTION, _COUNT = "0020000E", "0020000D", "00080060", "0008103E", "00201209"


@dataclass(frozen=True)
class Series:
    """One series as the PACS lists it.

    Attributes:
        uid: SeriesInstanceUID.
        study: StudyInstanceUID.
        modality: DICOM Modality, such as "PT".
        description: SeriesDescription.
        instances: How many objects it holds; None where the PACS does not say.
    """

    uid: str
    study: str
    modality: str
    description: str
    instances: int | None

    @property
    def ours(self) -> bool:
        """Whether it is a result of ours, which is no image to denoise again."""
        return self.description.endswith(DISCLAIMER)


class Pacs:
    """A DICOMweb service. Safe to call from several threads as far as its HTTP session is, for reading and storing.

    Args:
        url: Its address, such as "http://pacs:8042/dicom-web".
        user: Name and password for HTTP basic authentication, or None.
        filters: Further QIDO-RS search terms for the list of series, by keyword.

    Raises:
        ServiceError: The address is none.
    """

    def __init__(
        self, url: str, *, user: tuple[str, str] | None = None, filters: Mapping[str, str] | None = None
    ) -> None:
        self.url = url.rstrip("/")
        _check_address(self.url)
        session = requests.Session()
        session.auth = user
        timeout = (CONNECT_SECONDS, READ_SECONDS)
        session.request = functools.partial(session.request, timeout=timeout)  # type: ignore[method-assign]
        self._client = DICOMwebClient(self.url, session=session, permissive_uid=True)
        self._client.set_http_retry_params(retry=False)
        self._filters = dict(filters or {})

    def check(self) -> None:
        """Raise ServiceError unless the PACS answers a search."""
        with self._asking("to be searched"):
            self._client.search_for_series(limit=1)

    def series(self) -> list[Series]:
        """The series of every modality that can be denoised, results of ours among them.

        Raises:
            ServiceError: The PACS does not answer, or refuses.
        """
        wanted = [self._filters["Modality"]] if "Modality" in self._filters else MODALITIES
        return [series for modality in wanted for series in self._search({**self._filters, "Modality": modality})]

    def find(self, uid: str) -> Series | None:
        """The series of that SeriesInstanceUID, or None.

        Raises:
            ServiceError: The PACS does not answer, or refuses.
        """
        if not _UID.fullmatch(uid):
            return None
        return next((series for series in self._search({"SeriesInstanceUID": uid}) if series.uid == uid), None)

    def fetch(self, series: Series, folder: Path) -> None:
        """Put every object of a series into a folder, as DICOM files; the folder appears whole or not at all.

        Raises:
            ServiceError: The PACS does not answer, refuses, or sends less than the series.
            OutputError: There is no room for it.
        """
        number = 0
        with replacing_folder(folder) as fresh, self._asking(f"to send series {series.uid}"):
            objects = self._client.iter_series(series.study, series.uid, media_types=(("application/dicom", "*"),))
            for number, dataset in enumerate(objects, 1):
                dataset.save_as(fresh / f"{number:05d}.dcm")  # names from outside could be paths
            if number == 0 or number < (series.instances or 0):
                raise ServiceError(
                    f"the PACS at {self.url} sent {number} of {series.instances or 'the'} objects of series "
                    f"{series.uid}; try again"
                )

    def store(self, files: Sequence[Path]) -> None:
        """Store DICOM files.

        Raises:
            ServiceError: The PACS does not answer, or refuses one of them.
        """
        for start in range(0, len(files), _AT_ONCE):  # the client builds each request in memory
            with self._asking("to store a result"):
                answer = self._client.store_instances([open_dicom(file) for file in files[start : start + _AT_ONCE]])
            refused = answer.get("FailedSOPSequence")
            if refused:
                reason = refused[0].get("FailureReason", "no reason given")
                raise ServiceError(f"the PACS at {self.url} refused {len(refused)} objects of a result ({reason})")

    def _search(self, filters: Mapping[str, str]) -> Iterator[Series]:
        """Page by page, until a page holds nothing new: some servers know no pages."""
        seen: set[str] = set()
        offset = 0
        while True:
            with self._asking("to be searched"):
                page = self._client.search_for_series(
                    search_filters=dict(filters),
                    fields=["SeriesDescription", "NumberOfSeriesRelatedInstances"],
                    limit=_PAGE,
                    offset=offset,
                )
            fresh = [series for series in map(_read, page) if series.uid and series.uid not in seen]
            yield from fresh
            seen |= {series.uid for series in fresh}
            offset += len(page)
            if not fresh or len(page) < _PAGE:
                return

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turn what goes wrong on the wire into one sentence."""
        try:
            yield
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            hint = "; set MONAI_LABEL_DICOMWEB_USERNAME and MONAI_LABEL_DICOMWEB_PASSWORD" if status == 401 else ""
            raise ServiceError(f"the PACS at {self.url} refused {what} (HTTP status {status}){hint}") from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise ServiceError(
                f"the PACS at {self.url} does not answer; check the address and that it is running"
            ) from error
        except (requests.RequestException, *_NOT_DICOM) as error:
            raise ServiceError(
                f"the PACS at {self.url} gave no DICOMweb answer when asked {what} ({type(error).__name__}); "
                "check that the address is the DICOMweb root, such as http://pacs:8042/dicom-web"
            ) from error


def pacs_of(url: str) -> Pacs:
    """The PACS at an address, with what MONAI Label's variables say.

    These are MONAI_LABEL_DICOMWEB_USERNAME, MONAI_LABEL_DICOMWEB_PASSWORD and MONAI_LABEL_DICOMWEB_SEARCH_FILTER, a
    JSON object of search terms; its default in MONAI Label, CT alone, stands for nothing said.

    Raises:
        ServiceError: The address is none, or the search terms are no JSON object.
    """
    name, password = (os.environ.get(f"MONAI_LABEL_DICOMWEB_{word}") for word in ("USERNAME", "PASSWORD"))
    variable = "MONAI_LABEL_DICOMWEB_SEARCH_FILTER"
    try:
        filters = json.loads(os.environ.get(variable) or "{}")
    except ValueError:
        filters = None
    if not isinstance(filters, dict):
        raise ServiceError(f'{variable} must be a JSON object such as {{"StudyDate": "20260101-"}}')
    return Pacs(
        url,
        user=(name, password) if name and password else None,
        filters={} if filters == {"Modality": "CT"} else filters,
    )


def cache_folder() -> Path:
    """The folder that holds the series fetched from any PACS; it holds patient data."""
    return Path(os.environ.get("MONAI_LABEL_DICOMWEB_CACHE_PATH") or data_folder() / "dicom")


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        secret = parts.password is not None or parts.username is not None
    except ValueError:
        usable, secret = None, False
    if secret:
        raise ServiceError(
            "the address of the PACS must hold no name and password; set MONAI_LABEL_DICOMWEB_USERNAME and "
            "MONAI_LABEL_DICOMWEB_PASSWORD"
        )
    if not usable:
        raise ServiceError(f"{url} is no address of a PACS; give one like http://pacs:8042/dicom-web")


def _read(found: Mapping[str, Any]) -> Series:
    """A series from QIDO-RS's DICOM JSON."""

    def value(tag: str) -> str:
        values = (found.get(tag) or {}).get("Value") or [""]
        return "" if values[0] is None else str(values[0])

    count = value(_COUNT)
    return Series(
        uid=value(_SERIES),
        study=value(_STUDY),
        modality=value(_MODALITY),
        description=value(_DESCRIPTION).strip(),
        instances=int(count) if count.isdecimal() else None,
    )
