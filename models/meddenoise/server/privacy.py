"""Keeps names out of the server's log: MONAI Label logs whole requests, and file names often are patients' names."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

NOISY = ("monailabel", "task_train", "task_scoring", "task_batch_infer")
"""Loggers that write requests, file names and identifiers at the level INFO."""

FILE_NAME = re.compile(r"[^\s/\\'\"]*\.(nii\.gz|nii|nrrd|mha|mhd|dcm|png|jpe?g|tiff?)\b", re.IGNORECASE)
PERSON_NAME = re.compile(r"[^\s'\"=:,\[(]+\^[^'\",\])\n]*")
"""DICOM writes names as Family^Given."""
KEPT = 1000
SHORTEST = 3


class Scrubber:
    """Takes out of a text the paths below given folders, image file names, DICOM names, and identifiers seen lately."""

    def __init__(self, folders: Sequence[Path], pseudonym: Callable[[str], str]) -> None:
        roots = sorted({str(path) for folder in folders for path in (folder, folder.resolve())}, key=len, reverse=True)
        self._paths = re.compile("|".join(rf"{re.escape(root)}[^'\"\n]*" for root in roots)) if roots else None
        self._pseudonym = pseudonym
        self._seen: OrderedDict[str, None] = OrderedDict()

    def remember(self, identifier: str) -> None:
        """Take this identifier out of everything that is logged from now on."""
        if len(identifier) >= SHORTEST:
            self._seen[identifier] = None
            self._seen.move_to_end(identifier)
            while len(self._seen) > KEPT:
                self._seen.popitem(last=False)

    def __call__(self, text: str) -> str:
        """The text without names."""
        for identifier in sorted(self._seen.copy(), key=len, reverse=True):
            if identifier in text:
                text = text.replace(identifier, f"<{self._pseudonym(identifier)}>")
        if self._paths is not None:
            text = self._paths.sub("<path>", text)
        return PERSON_NAME.sub("<name>", FILE_NAME.sub(r"<file>.\1", text))


def quiet(scrub: Callable[[str], str]) -> None:
    """Have every log record of this process scrubbed as it is made, tracebacks and Python's warnings included."""
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    make, formatter = logging.getLogRecordFactory(), logging.Formatter()

    def scrubbed(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = "a log message that does not fit its arguments"
        record.msg, record.args = scrub(text), None
        if record.exc_info:
            record.exc_text = scrub(formatter.formatException(record.exc_info))
        return record

    logging.setLogRecordFactory(scrubbed)
