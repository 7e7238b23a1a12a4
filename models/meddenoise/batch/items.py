"""What a batch consists of: every image and series below the folders given, and where its result goes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from meddenoise.batch.journal import JOURNAL, Record
from meddenoise.errors import OptionError
from meddenoise.io import Provenance, Source, find_sources
from meddenoise.io.dicom_file import is_dicom, kind_of, read_head
from meddenoise.io.source import DICOM_EXTENSIONS, IMAGE_EXTENSIONS, extension_of
from meddenoise.volume import Volume

STUDIES_LIST = "datastore_v2.json"
"""The file by which MONAI Label's studies folder is known; the labels below it are no images."""

LABELS = "labels"


class Remote(Protocol):
    """An image that lies in no folder, such as a series in a PACS. Must be picklable and safe to use in any thread.

    Attributes:
        identity: Text that changes where the image does; stands for the hash of a file's content.
        size: Bytes to expect, roughly; only the time left is estimated from it.
    """

    @property
    def identity(self) -> str: ...  # noqa: D102 - above

    @property
    def size(self) -> int: ...  # noqa: D102 - above

    def fetch(self, folder: Path) -> Sequence[Source]:
        """Put the image into an empty folder; it may turn out to be several, which are denoised together.

        Raises:
            ServiceError: It cannot be had.
        """
        ...

    def store(self, volume: Volume, provenance: Provenance, folder: Path, run: str) -> None:
        """Send a result to where the image came from.

        Args:
            volume: The result.
            provenance: What it was made with.
            folder: A name for temporary files that nothing has yet.
            run: See BatchOptions.

        Raises:
            ServiceError: It was not taken.
        """
        ...


@dataclass(frozen=True)
class Item:
    """One image of a batch.

    Attributes:
        key: Its name in this batch: the result's place below the batch's output folder, or a series' UID.
        source: What is read.
        output: The result's file, or folder of DICOM; None sends it back to where the image came from.
        as_dicom: Whether the result is a derived DICOM series.
        done: What an earlier run remembered of this item.
    """

    key: str
    source: Source | Remote
    output: Path | None
    as_dicom: bool = False
    done: Record | None = None

    @property
    def name(self) -> str:
        """How the user knows it: the path it was found at, or its key."""
        if not isinstance(self.source, Source):
            return self.key
        many = self.source.path.is_dir() and self.source.stem != self.source.path.resolve().name
        return f"{self.source.path} ({self.source.stem})" if many else str(self.source.path)

    @property
    def size(self) -> int:
        """Bytes to read."""
        if not isinstance(self.source, Source):
            return self.source.size
        return sum(file.stat().st_size for file in self.source.files if file.is_file())


def find_items(
    folders: Sequence[Path], output: Path | None = None, *, model: str, form: str | None = None
) -> tuple[list[Item], list[str], Path]:
    """Find every image and DICOM series in folders and their sub-folders, of all formats that can be read.

    DICOM is sorted into series folder by folder. Labels of MONAI Label's studies folder, the output folder, hidden
    files and linked folders are left out. What looks like an image and is damaged becomes an item that fails.

    Args:
        folders: Folders, or single images.
        output: Folder for the results, which has the folders given inside it where they are several; by default
            ``labels/denoised_MODEL`` of the one folder given, where MONAI Label looks for results.
        model: The model's name.
        form: Extension of the results without the dot, or "dicom"; by default the inputs' own.

    Returns:
        The items, folder by folder in alphabetical order; a sentence for each file passed over; and the output folder.

    Raises:
        OptionError: No folder, two results of one name, or a result in the place of an input.
    """
    for folder in folders:
        if not folder.exists():
            raise OptionError(f"{folder} does not exist; name a folder of images, or the address of a PACS")
    if output is None:
        if len(folders) != 1 or not folders[0].is_dir():
            raise OptionError("several inputs need one place for their results; name it with --output")
        output = results_folder(folders[0], model)
    skipped: list[str] = []
    items: list[Item] = []
    for folder in folders:
        found = _sources(folder, output.resolve(), skipped) if folder.is_dir() else find_sources([folder])[0]
        root = folder if folder.is_dir() else folder.parent
        inside = Path(root.resolve().name) if len(folders) > 1 and folder.is_dir() else Path()
        for source in found:
            below = source.path.parent.relative_to(root) if source.path != root else Path()
            items.append(item_of(source, output, place=inside / below, form=form))
    items = _apart(items)
    _check(items)
    return items, list(dict.fromkeys(skipped)), output


def results_folder(studies: Path, model: str) -> Path:
    """Where MONAI Label keeps the results of a model for a studies folder: under a tag of its own."""
    return studies / LABELS / f"denoised_{Path(model).stem}"


def item_of(source: Source, output: Path, *, place: Path | None = None, form: str | None = None) -> Item:
    """The item for a source; its result goes to a place below the output folder, in a format or in the source's own.

    Raises:
        OptionError: DICOM is asked for, and the source is none.
    """
    extension = result_extension(source, form)
    key = ((place or Path()) / f"{source.stem}{extension}").as_posix()
    as_dicom = source.series_uid is not None and extension in ("", ".dcm")
    return Item(key, source, output / key, as_dicom)


def result_extension(source: Source, form: str | None) -> str:
    """The extension of a result; "" for a folder of DICOM.

    Raises:
        OptionError: DICOM is asked for, and the source is none.
    """
    if form not in (None, "dicom"):
        return f".{form}"
    if source.series_uid is not None:
        return "" if source.path.is_dir() else ".dcm"
    if form == "dicom":
        raise OptionError(f"{source.path}: DICOM results need DICOM in, for its tags; choose nrrd or nii.gz")
    return source.path.name[len(source.stem) :]


def _sources(folder: Path, output: Path, skipped: list[str]) -> Iterator[Source]:
    """The sources of a folder and of those below, each folder by itself."""
    try:
        children = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
    except OSError:
        yield Source(folder, (folder,), folder.name, None)  # reading it will say what is wrong
        return
    studies = (folder / STUDIES_LIST).is_file()
    yield from _in_one_folder(folder, [child for child in children if child.is_file()], skipped)
    for child in filter(Path.is_dir, children):
        if child.resolve() == output or (studies and child.name == LABELS):
            continue
        if child.is_symlink():
            skipped.append(f"{child}: skipped, a link to a folder; name the folder itself")
        elif (child / JOURNAL).is_file():
            skipped.append(f"{child}: skipped, results of another batch; name the folder itself to denoise them again")
        else:
            yield from _sources(child, output, skipped)


def _in_one_folder(folder: Path, files: Sequence[Path], skipped: list[str]) -> Iterator[Source]:
    dicom = [file for file in files if is_dicom(file)]
    if dicom:
        yield from _series(folder, dicom, skipped)
    for file in sorted(set(files) - set(dicom)):
        if file.name.lower().endswith(".seg.nrrd"):
            skipped.append(f"{file}: skipped, a segmentation is not an image to denoise")
        elif extension_of(file) in IMAGE_EXTENSIONS + DICOM_EXTENSIONS:  # DICOM by name alone: reading it will say so
            yield from find_sources([file])[0]
        elif file.suffix.lower() not in (".raw", ".zraw") and file.name != STUDIES_LIST:
            skipped.append(f"{file}: skipped, not an image format")


def _series(folder: Path, files: Sequence[Path], skipped: list[str]) -> Iterator[Source]:
    """The DICOM series of a folder; a torn file, which is in none of them, by itself."""
    found, notes = find_sources([folder])  # also those of the folders below, which have their own turn
    here = [source for source in found if set(files).intersection(source.files)]
    yield from here
    torn = [file for file in set(files).difference(*(source.files for source in here)) if _torn(file)]
    yield from find_sources(sorted(torn))[0]
    told = tuple(f"{path}:" for path in (folder, *files) if path not in torn)
    skipped += [note for note in notes if note.startswith(told)]


def _torn(file: Path) -> bool:
    """Whether a DICOM file ends before it says what it holds, or is an image without a size."""
    head = read_head(file, ["SOPClassUID", "Rows"])
    return head is None or "SOPClassUID" not in head or ("Rows" not in head and "Image" in kind_of(head))


def _apart(items: list[Item]) -> list[Item]:
    """Put a folder of DICOM, which is replaced as a whole, beside a folder of other results of the same name."""
    above = {parent for item in items if item.output and not _torn_item(item) for parent in item.output.parents}
    return [_beside(item, above) if item.as_dicom and item.output in above else item for item in items]


def _torn_item(item: Item) -> bool:
    """Whether a file is in none of its folder's series, and an item only to be named: it will have no result."""
    source = item.source
    if not isinstance(source, Source) or source.path.is_dir():
        return False
    return source.series_uid is not None or extension_of(source.path) in DICOM_EXTENSIONS


def _beside(item: Item, above: set[Path]) -> Item:
    key, output = item.key, item.output
    assert output is not None
    while output in above:
        key, output = f"{key}-series", output.with_name(f"{output.name}-series")
    return replace(item, key=key, output=output)


def _check(items: Sequence[Item]) -> None:
    """Refuse results that would overwrite an input or each other; case does not tell names apart on every system."""
    read = {os.path.realpath(f) for item in items if isinstance(item.source, Source) for f in item.source.files}
    taken: dict[str, Item] = {}
    for item in items:
        assert item.output is not None, item
        if os.path.realpath(item.output) in read:
            raise OptionError(f"{item.output}: the result would replace an input; choose another folder with --output")
        other = taken.setdefault(item.key.casefold(), item)
        if other is not item:
            raise OptionError(
                f"{other.name} and {item.name} would both be written to {item.output}; give them different names"
            )
