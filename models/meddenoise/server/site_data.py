"""A site's images as training data: looked at before anything starts, split by patient, told apart by what they offer.

- An image with a clean partner makes a pair, and one with repeated acquisitions makes noisy-noisy pairs, both ways
  round (Noise2Noise). In a studies folder the clean partner is the label `final`, and other labels are repeats; in a
  PACS the clean partners are the series that the option ``clean_series`` names, of the same study and place.
- Where fewer than two patients have such partners, images train alone: noise is made on them; where most of them are
  noisy themselves, and the noise of hardly any is correlated, they train as they are (Neighbor2Neighbor). Else noisy
  images are shrunk before noise is made on them, which takes out part of their own.
- Results of ours, by tag or by mark, are never trained on.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from meddenoise.errors import InputError
from meddenoise.server.site_images import Looked
from meddenoise.server.train_options import TrainOptions
from meddenoise.training.build import COLUMNS, MANIFEST, USABLE
from meddenoise.training.pairs import CLEAN, NOISY, TABLE
from meddenoise.training.slices import is_validation

Kind = Literal["paired", "noisy", "clean"]
WORDS: dict[Kind, str] = {
    "paired": "pairs of images",
    "noisy": "noisy images alone, as they are",
    "clean": "images alone, on which noise is made",
}
NOISY_FROM = {"CT": 0.02, "MR": 0.05, "PET": 0.1, "XR": 0.03}
"""Noise over the signal above which an image is too noisy to stand for the truth; for CT this is about 20 HU."""
MOST_CORRELATED = 0.1
"""Share of the noisy images whose noise may be correlated where all learn as they are: that part of it is left in."""
SHRINK = 2.0
"""Factor by which noisy targets are shrunk."""


@dataclass(frozen=True)
class Example:
    """What is learned from: an image, with the tag of its partner or None, and what was seen of it."""

    image: str
    partner: str | None
    looked: Looked


@dataclass(frozen=True)
class SiteData:
    """What a training learns from.

    Attributes:
        kind: How; see the module.
        examples: From what.
        subjects: The names that the split goes by, by pseudonym of the patient.
        shrink: Images whose targets are shrunk, and how much.
        notes: Sentences about what was left out and why.
    """

    kind: Kind
    examples: tuple[Example, ...]
    subjects: Mapping[str, str]
    shrink: Mapping[str, float]
    notes: tuple[str, ...]

    @property
    def held_back(self) -> list[Example]:
        """Those that are not trained on."""
        return [one for one in self.examples if is_validation(self.subjects[one.looked.patient])]

    @property
    def modalities(self) -> dict[str, int]:
        """How many images there are of each."""
        images = {one.image: one.looked for one in self.examples}
        return dict(Counter(looked.modality for looked in images.values()))

    def facts(self) -> dict[str, Any]:
        """What a client is told, JSON-able."""
        patients = {one.looked.patient for one in self.examples}
        images = {one.image: one.looked for one in self.examples}
        return {
            "learns_from": WORDS[self.kind],
            "images": len(images),
            "slices": sum(looked.slices for looked in images.values()),
            "patients": len(patients),
            "held_back_patients": len({one.looked.patient for one in self.held_back}),
            "modalities": self.modalities,
            "notes": list(self.notes),
        }


def decide(found: Mapping[str, Looked], options: TrainOptions, *, strict_partners: bool) -> SiteData:
    """Say what a training learns from.

    Args:
        found: What was seen of each image.
        options: The client's.
        strict_partners: Whether every partner must fit its image: those of a PACS are guessed and need not.

    Raises:
        InputError: Nothing can be learned, images cannot be used, or too few patients are there; in one sentence.
    """
    _check_usable(found, options, strict_partners=strict_partners)
    usable = {image: looked for image, looked in sorted(found.items()) if not looked.problem}
    if not usable:
        raise InputError(f"no images to train on{_why(found)}")
    notes = _left_out(found)
    pairs = [] if options.self_supervised == "on" else _pairs(usable)
    if pairs and len({one.looked.patient for one in pairs}) > 1:
        alone = len(usable) - len({one.image for one in pairs})
        notes += [f"{alone} images without a partner are left out"] if alone else []
        return SiteData("paired", tuple(pairs), split(pairs), {}, tuple(notes))
    notes += ["the partners of one patient alone are too few: none are used"] if pairs else []
    examples = tuple(Example(image, None, looked) for image, looked in usable.items())
    noisy = {one.image: SHRINK for one in examples if (one.looked.noise or 0.0) > NOISY_FROM[one.looked.modality]}
    most, correlated = 2 * len(noisy) > len(examples), [one.image for one in examples if one.looked.correlated]
    white = len(set(noisy) & set(correlated)) <= MOST_CORRELATED * len(noisy)
    if options.self_supervised == "on" or (options.self_supervised == "auto" and most and white):
        if correlated:
            notes.append(f"the noise of {len(correlated)} images is correlated, of which part will be left in")
        return SiteData("noisy", examples, split(examples), {}, tuple(notes))
    if noisy:
        notes.append(f"{len(noisy)} images are noisy themselves and are shrunk to half their size before noise is made")
    return SiteData("clean", examples, split(examples), noisy, tuple(notes))


def split(examples: Sequence[Example]) -> dict[str, str]:
    """A name for each patient by which it is held back from training or not, with both in every modality.

    The split is that of training.slices, by the SHA-256 of the name, which holds back about a seventh. Where this would
    leave a modality without a patient on one side, as it does with two patients, the one with the fewest slices is held
    back, or the one with the most is trained on: it gets a name that does.

    Raises:
        InputError: A modality has fewer than two patients, or patients with several modalities cannot be parted.
    """
    patients: dict[str, set[str]] = {}
    for one in examples:
        patients.setdefault(one.looked.modality, set()).add(one.looked.patient)
    subjects = {patient: patient for members in patients.values() for patient in members}
    slices: Counter[tuple[str, str]] = Counter()
    for looked in {one.image: one.looked for one in examples}.values():
        slices[looked.modality, looked.patient] += looked.slices
    for _ in range(len(patients) + 1):
        wrong = {m: sides for m, sides in _sides(patients, subjects).items() if 0 in sides.values()}
        if not wrong:
            return subjects
        modality, sides = min(wrong.items())
        members = patients[modality]
        if len(members) < 2:
            others = "" if len(patients) < 2 else f"; choose another modality than {modality} to train without it"
            raise InputError(
                f"{modality} images of 1 patient are too few: at least 2 patients are needed, 1 to train on and 1 to "
                f"compare the models on{others}"
            )
        moved = (min if sides[True] == 0 else max)(members, key=lambda patient: (slices[modality, patient], patient))
        subjects[moved] = _renamed(moved, held_back=sides[True] == 0)
    raise InputError("the patients have several modalities and cannot be parted in each; train on one modality alone")


def _sides(patients: Mapping[str, set[str]], subjects: Mapping[str, str]) -> dict[str, dict[bool, int]]:
    """How many patients of each modality are held back (True) and trained on (False)."""
    held = {m: [is_validation(subjects[patient]) for patient in members] for m, members in patients.items()}
    return {m: {side: sides.count(side) for side in (True, False)} for m, sides in held.items()}


def _renamed(patient: str, *, held_back: bool) -> str:
    return next(name for name in (f"{patient}-{i}" for i in range(10_000)) if is_validation(name) is held_back)


def _pairs(usable: Mapping[str, Looked]) -> list[Example]:
    """Each image with its clean partner, else with its repeats."""
    return [Example(image, tag, looked) for image, looked in usable.items() for tag in looked.clean or looked.repeats]


def _check_usable(found: Mapping[str, Looked], options: TrainOptions, *, strict_partners: bool) -> None:
    if options.skip_unreadable:
        return
    wrong = [
        f"{image} {looked.problem}"
        for image, looked in sorted(found.items())
        if looked.problem and not looked.ours and not _unwanted(looked)
    ]
    if strict_partners:
        wrong += [
            f"{'the clean partner' if partner.clean else f'the repeat {partner.tag!r}'} of {image} {partner.problem}"
            for image, looked in sorted(found.items())
            for partner in looked.partners
            if partner.problem
        ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise InputError(f"{wrong[0]}{more}; take it out, or set skip_unreadable to train without")


def _unwanted(looked: Looked) -> bool:
    """Whether it is only of another modality than was asked for."""
    return bool(looked.modality)


def _left_out(found: Mapping[str, Looked]) -> list[str]:
    counts = Counter(_reason(looked) for looked in found.values() if looked.problem)
    counts += Counter("partners that do not fit" for looked in found.values() for p in looked.partners if p.problem)
    return [f"left out: {count} {reason}" for reason, count in sorted(counts.items())]


def _reason(looked: Looked) -> str:
    if looked.ours:
        return "results of MedDenoise"
    return "images of another modality" if _unwanted(looked) else "images that cannot be used"


def _why(found: Mapping[str, Looked]) -> str:
    counts = Counter(_reason(looked) for looked in found.values())
    return ": " + ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items())) if counts else ""


Files = Mapping[tuple[str, str | None], Path]
"""The files or folders of each image, by (image, None), and of its partners, by (image, tag)."""


def write_folder(site: SiteData, folder: Path, files: Files, more: Iterable[Mapping[str, Any]] = ()) -> None:
    """Lay the data out as the recipes take it: a table that names the images where they are.

    Args:
        site: What to lay out.
        folder: It is made if absent.
        files: Of the images.
        more: Further rows of a table of pairs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if site.kind == "clean":
        rows: Iterable[dict[str, Any]] = (_manifest_row(one, site, files[one.image, None]) for one in site.examples)
        _write(folder / MANIFEST, COLUMNS, rows)
        return
    _write(folder / TABLE, (NOISY, CLEAN, "subject", "modality"), chain(_pair_rows(site, files), more))


def volume_name(image: str) -> str:
    """What an image is called in a training set: nobody reads the patient's name there."""
    return hashlib.sha256(image.encode()).hexdigest()[:16]


def _manifest_row(one: Example, site: SiteData, file: Path) -> dict[str, Any]:
    return {
        "volume_id": volume_name(one.image),
        "modality": one.looked.modality,
        "use": USABLE,
        "subject": site.subjects[one.looked.patient],
        "path": file,
        "intensity_units": "",
        "dose": "",
        "data_license": "the site's own",
    }


def _pair_rows(site: SiteData, files: Files) -> Iterable[dict[str, Any]]:
    for one in site.examples:
        row = {"subject": site.subjects[one.looked.patient], "modality": one.looked.modality}
        if one.partner is None:
            yield {**row, NOISY: files[one.image, None], CLEAN: ""}
            continue
        image, partner = files[one.image, None], files[one.image, one.partner]
        yield {**row, NOISY: image, CLEAN: partner}
        if one.partner in one.looked.repeats:
            yield {**row, NOISY: partner, CLEAN: image}


def _write(table: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    partial = table.with_name(table.name + ".part")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(table)
