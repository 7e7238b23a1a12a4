"""From the paths a user names to the images and series to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from meddenoise.errors import OptionError
from meddenoise.io.detached import data_files
from meddenoise.io.dicom_file import DAMAGE, is_dicom, no_image_reason, read_head, samples_of
from meddenoise.io.dicom_index import SORTING_TAGS, Entry, series_of, stacks_of
from meddenoise.io.source import IMAGE_EXTENSIONS, MARK, Source, extension_of, stem_of


def find_sources(paths: Sequence[Path], *, series: str | None = None) -> tuple[list[Source], list[str]]:
    """Find the images and DICOM series under the paths given.

    A folder with DICOM in it or in its sub-folders, by content, is split by SeriesInstanceUID, and a series further
    where its files differ in size or direction or form several volumes. Results of ours among other images there are
    left out, unless ``series`` names one. Any other folder is its own image files. A
    file is one source, DICOM or not. What cannot be read, such as a missing file, is a source all the same, and
    ``read_volume`` raises the error that names it: so one bad input among many does not stop the others.

    Args:
        paths: Files and folders.
        series: SeriesInstanceUID of the one series to take.

    Returns:
        The sources in the order given, and a sentence for each file that was skipped.

    Raises:
        OptionError: The series asked for is not there.
    """
    found: list[Source] = []
    skipped: list[str] = []
    for path in map(Path, dict.fromkeys(paths)):
        found += _in_folder(path, skipped, ours=series is not None) if path.is_dir() else [_of_file(path)]
    return (found, skipped) if series is None else (_chosen(found, series, skipped), skipped)


def _of_file(path: Path) -> Source:
    if not is_dicom(path):
        return Source(path, (path, *data_files(path)), stem_of(path), None)
    head = read_head(path, ["SeriesInstanceUID"])
    return Source(path, (path,), stem_of(path), str(head.get("SeriesInstanceUID", "")) if head else "")


def _chosen(found: list[Source], series: str, skipped: list[str]) -> list[Source]:
    chosen = [source for source in found if source.series_uid == series]
    if not chosen:
        there = sorted({source.series_uid for source in found if source.series_uid})
        raise OptionError(
            f"series {series} is not among the inputs; there are: {', '.join(there) or 'no DICOM series'}"
        )
    skipped += [f"{s.path}: not DICOM, and one series was asked for" for s in found if s.series_uid is None]
    return chosen


def _in_folder(folder: Path, skipped: list[str], *, ours: bool) -> list[Source]:
    files = sorted(f for f in folder.rglob("*") if f.is_file() and not _hidden(f.relative_to(folder)))
    dicom = [file for file in files if is_dicom(file)]
    if not dicom:
        return _image_files(folder, skipped)
    own = [file for file in files if file.parent == folder and extension_of(file) in IMAGE_EXTENSIONS]
    skipped += [f"{file}: skipped, the folder holds DICOM; name the file itself to denoise it" for file in own]
    entries = _image_entries(dicom, skipped)
    entries = entries if ours else _without_colour_beside_grey(entries, skipped)
    named = _named(folder, series_of(entries if ours else _without_ours(folder, entries, skipped)))
    return named or [Source(folder, (), folder.resolve().name, None)]


def _image_files(folder: Path, skipped: list[str]) -> list[Source]:
    sources = []
    for file in sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".")):
        if extension_of(file) not in IMAGE_EXTENSIONS:
            if file.suffix.lower() not in (".raw", ".zraw"):
                skipped.append(f"{file}: skipped, not an image format")
        elif file.name.lower().endswith(".seg.nrrd"):
            skipped.append(f"{file}: skipped, a segmentation is not an image to denoise")
        else:
            sources.append(_of_file(file))
    return sources or [Source(folder, (), folder.resolve().name, None)]


def _image_entries(files: Sequence[Path], skipped: list[str]) -> list[Entry]:
    entries: dict[str, Entry] = {}
    for file in files:
        head = read_head(file, SORTING_TAGS)
        reason = "its header cannot be read" if head is None else no_image_reason(head)
        if head is None or reason is not None:
            skipped.append(f"{file}: skipped, {reason}")
            continue
        uid = str(head.get("SOPInstanceUID") or file)
        if uid in entries:
            skipped.append(f"{file}: skipped, the same object as {entries[uid].file}")
        else:
            entries[uid] = Entry(file, head)
    return list(entries.values())


def _without_colour_beside_grey(entries: list[Entry], skipped: list[str]) -> list[Entry]:
    """Leave out screenshots and dose reports, which stand in colour beside what was scanned; all stay where all are."""
    grey = [entry for entry in entries if samples_of(entry.head) == 1]
    if not grey:
        return entries
    skipped += [
        f"{entry.file}: skipped, in colour beside grey images; name the file itself to denoise it"
        for entry in entries
        if samples_of(entry.head) != 1
    ]
    return grey


def _without_ours(folder: Path, entries: list[Entry], skipped: list[str]) -> list[Entry]:
    """Leave out results of ours, which an earlier run may have put below the folder; all stay where all are ours."""
    others = [entry for entry in entries if not str(entry.head.get("DerivationDescription", "")).startswith(MARK)]
    if not others or len(others) == len(entries):
        return entries
    count = len(entries) - len(others)
    skipped.append(f"{folder}: {count} files skipped, results of {MARK}; name their own folder to denoise them again")
    return others


def _named(folder: Path, series: dict[str, list[Entry]]) -> list[Source]:
    """One source per stack, with stems that differ."""
    stacks = [(uid, stack) for uid, entries in series.items() for stack in _stacks(entries)]
    base = folder.resolve().name
    if len(stacks) == 1:
        stems = [base]
    else:
        numbers = [stack[0].head.get("SeriesNumber") for _, stack in stacks]
        stems = _distinct([base if number is None else f"{base}-{number}" for number in numbers])
    return [
        Source(folder, tuple(entry.file for entry in stack), stem, uid)
        for stem, (uid, stack) in zip(stems, stacks, strict=True)
    ]


def _stacks(entries: list[Entry]) -> list[list[Entry]]:
    try:
        return stacks_of(entries)
    except DAMAGE:  # a field that cannot be understood: reading the series together will name it
        return [entries]


def _distinct(stems: list[str]) -> list[str]:
    """Append -1, -2, ... to stems that occur more than once."""
    total, seen = Counter(stems), Counter[str]()
    result = []
    for stem in stems:
        seen[stem] += 1
        result.append(f"{stem}-{seen[stem]}" if total[stem] > 1 else stem)
    return result


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)
