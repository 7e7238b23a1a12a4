"""Removes what holds patient data and nobody needs any more: uploads, sessions, results, images from a PACS."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)

OFTEN = 15 * 60.0
"""Seconds between two looks, or a quarter of the age where that is less."""


def purge(folders: Sequence[Path], *, seconds: float, now: float | None = None) -> int:
    """Remove every file and folder directly in one of the folders that has not changed for some time.

    Args:
        folders: Where to look; one that does not exist is passed over.
        seconds: The age from which on something goes. A folder is as old as the newest thing in it.
        now: Seconds since the epoch; the clock's by default.

    Returns:
        How many were removed. What cannot be removed stays and is logged.
    """
    limit = (time.time() if now is None else now) - seconds
    removed = 0
    for entry in (entry for folder in folders if folder.is_dir() for entry in folder.iterdir()):
        try:
            if _changed(entry) > limit:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
            removed += 1
        except FileNotFoundError:  # its own request or session has just removed it
            continue
        except OSError as error:
            logger.error("something in %s that is due cannot be purged (%s)", entry.parent, error.strerror)
    return removed


def _changed(entry: Path) -> float:
    """When the newest of a file, or of a folder and all in it, was changed; links are not followed."""
    times = [entry.lstat().st_mtime]
    if entry.is_dir() and not entry.is_symlink():
        times += [inner.lstat().st_mtime for inner in entry.rglob("*")]
    return max(times)


@contextmanager
def purging(folders: Callable[[], Sequence[Path]], *, seconds: float) -> Iterator[None]:
    """Purge the folders named at that time, at once and then again and again, as long as the block lasts."""
    stop = threading.Event()

    def work() -> None:
        while True:
            if removed := purge(folders(), seconds=seconds):
                logger.info("purged %d old files and folders", removed)
            if stop.wait(min(OFTEN, seconds / 4)):
                return

    thread = threading.Thread(target=work, name="purge", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)
