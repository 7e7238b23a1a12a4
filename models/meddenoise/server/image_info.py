"""What is known about each image, such as its scores, in JSON files that several processes may read and write.

MONAI Label scores in a process of its own, and writes its list of a studies folder anew from each process's memory: the
later of two takes away what the earlier has found, and one that is killed meanwhile leaves half a list, with which no
server starts again.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from filelock import FileLock
from monailabel.datastore.local import LocalDatastore

from meddenoise.io.atomic import replacing_file


def stamp_of(path: Path) -> str | None:
    """Size, times and place of a file, which change whenever it does; None where there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


class InfoFile:
    """Facts about images by their ids, in one file that changes as a whole or not at all.

    Args:
        path: The JSON file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = FileLock(f"{path}.lock")
        self._mutex = threading.Lock()
        self._seen: str | None = None
        self._held: dict[str, dict[str, Any]] = {}

    def of(self, image: str) -> dict[str, Any]:
        """What is known about an image now, whichever process found it."""
        with self._mutex:
            return dict(self._read().get(image, {}))

    def update(self, image: str, info: dict[str, Any]) -> None:
        """Add to what is known about an image, key by key.

        Raises:
            OutputError: The folder is not writable, or the disk is full.
        """
        with self._mutex, self._turn:
            held = {**self._read(), image: {**self._read().get(image, {}), **info}}
            with replacing_file(self.path) as fresh:
                fresh.write_text(json.dumps(held, indent=1), encoding="utf-8")

    def _read(self) -> dict[str, dict[str, Any]]:
        stamp = stamp_of(self.path)
        if stamp != self._seen:
            self._held = json.loads(self.path.read_text(encoding="utf-8")) if stamp else {}
            self._seen = stamp
        return self._held


def _alone(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of MONAI Label's datastore, on the list as the disk has it now, and with nobody else changing it."""

    @functools.wraps(method)
    def alone(self: StudiesFolder, *args: Any, **kwargs: Any) -> Any:
        with self._turn():
            return method(self, *args, **kwargs)

    return alone


class StudiesFolder(LocalDatastore):  # type: ignore[misc] # MONAI Label ships no types
    """MONAI Label's datastore over a folder, for several processes and threads at once, and safe against being killed.

    Its own lock is taken inside ours and does not suffice: it guards the writing, not the reading before it.
    """

    def __init__(self, folder: str, **options: Any) -> None:
        self._file = Path(folder) / "datastore_v2.json"
        self._lock = FileLock(Path(folder) / ".meddenoise.lock")
        self._mutex = threading.RLock()
        self._seen: str | None = None
        super().__init__(folder, datastore_config=self._file.name, **options)

    update_image_info = _alone(LocalDatastore.update_image_info)
    update_label_info = _alone(LocalDatastore.update_label_info)
    save_label = _alone(LocalDatastore.save_label)
    remove_label = _alone(LocalDatastore.remove_label)
    add_image = _alone(LocalDatastore.add_image)
    remove_image = _alone(LocalDatastore.remove_image)
    _reconcile_datastore = _alone(LocalDatastore._reconcile_datastore)

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known about an image now, whichever process found it."""
        self._refresh()
        return cast(dict[str, Any], super().get_image_info(image_id))

    def json(self) -> dict[str, Any]:
        """Every image with its labels and what is known about them now."""
        self._refresh()
        return cast(dict[str, Any], super().json())

    def stamp(self, image_id: str, tag: str = "") -> str | None:
        """What changes whenever the image, or its label of a tag, does; None where there is none."""
        path = self.get_label_uri(image_id, tag) if tag else self.get_image_uri(image_id)
        return stamp_of(Path(path)) if path else None

    @contextmanager
    def borrowed(self, image_id: str) -> Iterator[Path]:
        """The image's file, for the time of the block."""
        yield Path(self.get_image_uri(image_id))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._mutex, self._lock:
            self._init_from_datastore_file()
            yield

    def _refresh(self) -> None:
        if stamp_of(self._file) != self._seen:
            with self._turn():
                pass

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        stamp = stamp_of(self._file)
        if stamp != self._seen:
            self._config_ts = None  # by which MONAI Label knows the list it has read: seconds alone are too coarse
            super()._init_from_datastore_file(throw_exception)
            self._seen = stamp

    def _update_datastore_file(self, lock: bool = True) -> None:
        """Write the list under another name and move it into place; whoever calls this has the turn."""
        listed = self._datastore.model_dump(exclude={"base_path"})
        with replacing_file(self._file) as fresh:
            fresh.write_text(json.dumps(listed, indent=2, default=str), encoding="utf-8")
        self._seen = stamp_of(self._file)
