"""`meddenoise batch` over every image of the data folder, killed midway and started again, and once more at the end.

All formats and modalities go into one call. SIGKILL ends the process a random moment after a random item; what the
journal remembers must not be made again, every result in place must be readable by SimpleITK or pydicom and must have
the grid of its image, no temporary file may stay, and a last run must skip all but what failed, which is tried again.
Other models take the smallest image of each modality, twice. Seconds belong to the machine.
"""

from __future__ import annotations

import argparse
import gzip
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from batch_command import COUNTS, batch, remembered
from common import data_folder, manifest, publish, table

from meddenoise.batch import Item, find_items

PLACE = ("Rows", "Columns", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")


def grid(path: Path, files: list[Path]) -> Any:
    """Where an image's voxels lie, told by a library of others; all voxels are read on the way."""
    if path.is_dir() or files[0].suffix.lower() in (".dcm", ".ima"):
        slices = [pydicom.dcmread(file) for file in files]
        assert all(one.pixel_array.size for one in slices)
        return sorted([_rounded(one.get(tag) or 1) for tag in PLACE] for one in slices)
    if path.suffix == ".gz":
        gzip.decompress(path.read_bytes())  # ITK takes a file that is cut off
    image = sitk.ReadImage(str(path))
    placed = (image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return [_rounded(numbers) for numbers in placed]


def _rounded(numbers: Any) -> Any:
    return (np.array(numbers, float).round(4) + 0.0).tolist()  # no -0


def faults(item: Item) -> list[str]:
    """What is wrong with a result, if anything."""
    output = item.output
    try:
        made = grid(output, sorted(output.iterdir()) if output.is_dir() else [output])
        same = made == grid(item.source.path, list(item.source.files))
    except Exception as error:  # whatever a library says of it is a finding
        return [f"{item.key}: {type(error).__name__}: {error}"]
    return [] if same else [f"{item.key}: another grid"]


def archive(studies: list[Path], model: str, output: Path, kills: int) -> dict[str, Any]:
    """Runs with kills, one to the end and one more, with checks after each."""
    items, _, _ = find_items(studies, output, model=model)
    runs, before, wrong = list[dict[str, Any]](), dict[str, int](), list[str]()
    for number in range(kills + 2):
        left = len(items) - len(remembered(output))
        after = random.randint(1, max(left // (kills + 1 - number), 1)) if number < kills else None
        runs.append(batch(studies, model, output, after))
        keys, there = remembered(output), [item for item in items if item.output.exists()]
        runs[-1]["in place"] = len(there)
        now = {item.key: item.output.stat().st_mtime_ns for item in items if item.key in keys}
        wrong += [f"{key}: made again" for key, when in before.items() if now.get(key) != when]
        wrong += [f"{key}: twice in the journal" for key in set(keys) if keys.count(key) > 1]
        wrong += [fault for item in there if item.key not in before for fault in faults(item)]
        before = now
        print(runs[-1], wrong, flush=True)
    wrong += [f"{path}: left behind" for path in output.rglob(".meddenoise-*")]
    return {"images": len(items), "runs": runs, "wrong": wrong}


def smallest() -> list[Path]:
    """The image of fewest bytes of each modality."""
    items = sorted(find_items([data_folder()], Path("unused"), model="")[0], key=lambda item: item.size, reverse=True)
    rows = manifest()
    return list(
        {row["modality"]: item.source.path for item in items for row in rows if row["path"] in item.name}.values()
    )


def report(work: dict[str, Any]) -> str:
    """A page on every model's runs, in the order they ran, and what was found wrong."""
    rows = [
        [
            model,
            str(done["images"]),
            *(str(run[name]) for name in ("exit code", "seconds", *COUNTS, "remembered", "in place")),
        ]
        for model, done in work.items()
        for run in done["runs"]
    ]
    head = ["model", "images", "exit code (-9: killed)", "seconds", *COUNTS, "in the journal", "in place"]
    failures = dict.fromkeys(f"- {line}" for done in work.values() for run in done["runs"] for line in run["failures"])
    wrong = [f"- {model}: {fault}" for model, done in work.items() for fault in done["wrong"]]
    parts = ["# A batch over the archive", (__doc__ or "").strip(), table(head, rows).replace("None", "")]
    parts += ["Images that were named and not denoised:", "\n".join(failures) or "none"]
    parts += ["What was found wrong with journal, files or grids:", "\n".join(wrong) or "nothing"]
    return "\n\n".join(parts)


def main() -> None:
    """Run and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="student")
    parser.add_argument("--others", nargs="*", default=[], metavar="NAME", help="for one small image of each modality")
    parser.add_argument("--kills", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = {arguments.model: archive([data_folder()], arguments.model, Path(scratch) / "all", arguments.kills)}
        for model in arguments.others:
            work[model] = archive(smallest(), model, Path(scratch) / model, kills=0)
    publish("batch-archive", report(work), work)


if __name__ == "__main__":
    main()
