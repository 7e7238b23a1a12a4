"""One item from its files to its result: read, denoise, write. What goes wrong with it is its outcome."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from meddenoise.batch.items import Item
from meddenoise.batch.journal import Record
from meddenoise.errors import GeometryError, InputError, MedDenoiseError, OptionError
from meddenoise.inference import Denoiser
from meddenoise.io import Provenance, Source, read_volume, write_dicom_series, write_volume
from meddenoise.io.detached import payload_of
from meddenoise.volume import Modality, Volume

logger = logging.getLogger(__name__)

State = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class BatchOptions:
    """How every item of a batch is denoised.

    Attributes:
        modality: Where a file does not say it; else it is guessed.
        strength: 0 leaves the image as it is, 1 is the full effect.
        replace_nonfinite: Value in place of NaN and infinite voxels, which are refused by default.
        run: Text of one run's own, by which the files of one DICOM series stay one series where they are items of
            their own; no part of what a result is remembered by.

    Raises:
        OptionError: A number is not in its range.
    """

    modality: Modality | None = None
    strength: float = 1.0
    replace_nonfinite: float | None = None
    run: str = field(default_factory=lambda: uuid.uuid4().hex, compare=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.strength <= 1.0:
            raise OptionError(f"strength must be between 0 and 1, got {self.strength}")
        if self.replace_nonfinite is not None and not math.isfinite(self.replace_nonfinite):
            raise OptionError(f"the value for voxels that are not finite must be finite, got {self.replace_nonfinite}")

    def chosen(self) -> dict[str, Any]:
        """What a result depends on, JSON-able."""
        return {name: value for name, value in asdict(self).items() if name != "run"}


@dataclass(frozen=True)
class Outcome:
    """What became of an item.

    Attributes:
        item: The item.
        state: "done", "skipped" (the result is there already) or "failed".
        seconds: Time spent on it, waiting excluded.
        reason: Why it failed, in a sentence that names it.
        record: What is to be remembered of it; None where it failed.
        warnings: Sentences for the user.
        figures: Numbers that say what was changed; see meddenoise.inference.figures.
    """

    item: Item
    state: State
    seconds: float = 0.0
    reason: str = ""
    record: Record | None = None
    warnings: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


def work(item: Item, denoiser: Denoiser, options: BatchOptions) -> Outcome:
    """Read, denoise and write one item. The result appears whole or not at all; nothing is raised that is its fault."""
    with closing(Job(item, options, weights=denoiser.identity)) as job:
        job.read()
        job.denoise(denoiser)
        job.write()
        return job.outcome


class Stopped(BaseException):
    """Ends a denoising between two slices."""


class Job:
    """The work on one item in three steps, which may run in different threads, one after the other.

    Once the outcome is known the remaining steps do nothing. Errors of any kind become the outcome "failed".

    Args:
        item: What to work on.
        options: How.
        weights: Hash of the model's weights.
    """

    def __init__(self, item: Item, options: BatchOptions, *, weights: str) -> None:
        self.item, self.options, self.weights = item, options, weights
        self._key = ""
        self._volumes: list[Volume] = []
        self._clean: list[Volume] = []
        self._made_by: Provenance | None = None
        self._warnings: tuple[str, ...] = ()
        self._figures: dict[str, Any] = {}
        self._outcome: Outcome | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._seconds = 0.0

    def read(self) -> None:
        """Read the image, unless its result is there already."""
        self._step(self._read)

    def denoise(self, denoiser: Denoiser, progress: Callable[[int, int], None] | None = None) -> None:
        """Denoise what was read; what `progress` raises as Stopped ends it."""
        self._step(lambda: self._denoise(denoiser, progress))

    def write(self) -> None:
        """Write what was denoised."""
        self._step(self._write)

    @property
    def outcome(self) -> Outcome:
        """What became of the item, known once it was written."""
        assert self._outcome is not None, self.item
        return replace(self._outcome, seconds=self._seconds)

    def close(self) -> None:
        """Let go of the image and of its temporary files."""
        self._volumes, self._clean = [], []
        if self._scratch is not None:
            self._scratch.cleanup()

    def _step(self, step: Callable[[], None]) -> None:
        if self._outcome is not None:
            return
        start = time.perf_counter()
        reason = ""
        try:
            step()
        except (MedDenoiseError, OSError, MemoryError) as error:
            reason = _sentence(self.item, error)
        except Exception as error:  # a defect of ours must not end a night's work
            logger.exception("%s", self.item.name)
            reason = _sentence(self.item, error, kind=f"{type(error).__name__}: ")
        self._seconds += time.perf_counter() - start
        if reason:
            self._outcome = Outcome(self.item, "failed", reason=reason)

    def _read(self) -> None:
        item, options = self.item, self.options
        _check_names(item)
        self._key = _key(_identity(item.source), self.weights, options)
        if item.done is not None and item.done == Record(self._key, size_of(item.output)):
            self._outcome = Outcome(item, "skipped", record=item.done)
            return
        sources = [item.source] if isinstance(item.source, Source) else item.source.fetch(self._folder("input"))
        for source in sources:
            volume = read_volume(source, modality=options.modality, replace_nonfinite=options.replace_nonfinite)
            if not volume.header.even and not item.as_dicom:
                raise GeometryError("its slices are unevenly spaced, which only DICOM holds: keep DICOM as the format")
            self._volumes.append(volume)

    def _denoise(self, denoiser: Denoiser, progress: Callable[[int, int], None] | None) -> None:
        while self._volumes:
            result = denoiser(self._volumes.pop(0), strength=self.options.strength, progress=progress)
            self._clean.append(result.volume)  # the difference, twice as large, is let go of
            self._made_by = Provenance(result.model["name"], result.model["version"], self.options.strength)
            self._warnings += result.warnings
            self._figures = self._figures or result.figures

    def _write(self) -> None:
        for number, volume in enumerate(self._clean, 1):
            self._write_one(volume, "" if len(self._clean) == 1 else str(number))
        record = Record(self._key, size_of(self.item.output))
        self._outcome = Outcome(self.item, "done", record=record, warnings=self._warnings, figures=self._figures)

    def _write_one(self, volume: Volume, below: str) -> None:
        item, run = self.item, self.options.run
        assert self._made_by is not None, "denoise comes first"
        if item.output is None:
            assert not isinstance(item.source, Source), item
            item.source.store(volume, self._made_by, self._folder("result") / (below or "1"), run)
        elif item.as_dicom:
            write_dicom_series(volume, item.output / below, self._made_by, run=run)
        else:
            write_volume(volume, item.output)

    def _folder(self, name: str) -> Path:
        """A folder for the time of this work."""
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="meddenoise-")
        folder = Path(self._scratch.name) / name
        folder.mkdir(exist_ok=True)
        return folder


def size_of(output: Path | None) -> int:
    """Bytes of a result with all its files; 0 where it is not there, or was sent away."""
    if output is None:
        return 0
    files = output.rglob("*") if output.is_dir() else (output, *payload_of(output))
    return sum(file.stat().st_size if file.is_file() else 0 for file in files)


def _identity(source: Any) -> str:
    """Hash of an image's content, file by file."""
    if not isinstance(source, Source):
        return str(source.identity)
    whole = hashlib.sha256()
    for path in sorted(source.files):
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        whole.update(f"{path.name} {digest}\n".encode())
    return whole.hexdigest()


def _check_names(item: Item) -> None:
    """Refuse names that are not UTF-8: ITK, where it is handed one, ends the whole process.

    Raises:
        InputError: The name of the input or of the result is one.
    """
    files = item.source.files if isinstance(item.source, Source) else ()
    for path in (*files, *([item.output] if item.output else [])):
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise InputError("its name is not valid text, and no image library would open it; rename it") from None


def _key(identity: str, weights: str, options: BatchOptions) -> str:
    """Hash of all that a result depends on."""
    return hashlib.sha256(json.dumps([identity, weights, options.chosen()], sort_keys=True).encode()).hexdigest()


def _sentence(item: Item, error: BaseException, *, kind: str = "") -> str:
    """The error in one line that says which item it was."""
    text = kind + (" ".join(str(error).split()) or type(error).__name__)
    path = str(item.source.path) if isinstance(item.source, Source) else item.key
    return text if path in text else f"{item.name}: {text}"
