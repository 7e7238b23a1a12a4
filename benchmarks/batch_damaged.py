"""`meddenoise batch` over damaged files beside good ones: each is named in one sentence, every good one is denoised.

The files are copies of small images of the data folder, damaged in the ways that archives know: cut off by a full
disk, filled with something else, or of values and shapes that are no image.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from batch_command import batch
from common import data_folder, publish, table

VOLUME, PICTURE = "PET/IBSI_STS_005_PET/PET_image.nii.gz", "MR/Sunnybrook_SC-HF-NI-14/SC-HF-NI-14-IM-0001-0116.dcm.png"
SERIES = "CT/Lung_Dx-A0002_B40f"


def cut(file: Path, share: float = 0.5) -> None:
    """Keep the first part of a file."""
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def series(folder: Path, source: Path, count: int) -> list[Path]:
    """The first files of a DICOM series, copied, ordered by name."""
    folder.mkdir()
    return [Path(shutil.copy(file, folder)) for file in sorted(source.iterdir())[:count]]


def plant(folder: Path) -> dict[str, str]:
    """Make a tree of four good images and of damaged ones; the damaged ones' names, each with what was done to it."""
    folder.mkdir()
    volume, dicom = sitk.ReadImage(str(data_folder() / VOLUME)), data_folder() / SERIES
    array = sitk.GetArrayFromImage(volume)
    for name in ("good.nrrd", "good.nii.gz", "cut.nrrd", "half-a-header.nii"):
        sitk.WriteImage(volume, str(folder / name), useCompression=name.endswith("gz"))
    shutil.copy(data_folder() / PICTURE, folder / "good.png")
    shutil.copy(data_folder() / PICTURE, folder / "cut.png")
    series(folder / "good-series", dicom, 2)
    cut(folder / "cut.nrrd")
    cut(folder / "cut.png")
    cut(folder / "half-a-header.nii", 200 / (folder / "half-a-header.nii").stat().st_size)
    packed = (folder / "good.nii.gz").read_bytes()
    (folder / "broken-tail.nii.gz").write_bytes(packed[:-5000] + bytes(5000))
    (folder / "empty.mha").write_bytes(b"")
    (folder / "text.nii.gz").write_text("Dear colleague, the images follow by post.\n")
    (folder / "no-payload.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 8 8 8\nElementType = MET_SHORT\nElementDataFile = gone.raw\n"
    )
    (folder / "zero-size.nrrd").write_text(
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 0 8 8\nencoding: raw\nendian: little\n\n"
    )
    nothing = array.astype(np.float32)
    nothing[1, 2, 3] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(nothing), str(folder / "nan.nrrd"))
    films = [sitk.GetImageFromArray(array.astype(np.float32))] * 2
    sitk.WriteImage(sitk.JoinSeries(films), str(folder / "four-d.nii.gz"))
    cut(series(folder / "cut-pixels", dicom, 1)[0], 0.6)
    garbled = series(folder / "garbled-slice", dicom, 5)[2]
    garbled.write_bytes(np.random.default_rng(0).bytes(4000))
    return {
        "cut.nrrd": "second half missing",
        "half-a-header.nii": "cut after 200 bytes",
        "cut.png": "second half missing",
        "broken-tail.nii.gz": "last 5000 bytes zeroed",
        "empty.mha": "0 bytes",
        "text.nii.gz": "a letter",
        "no-payload.mhd": "the .raw it names is not there",
        "zero-size.nrrd": "0 x 8 x 8 voxels",
        "nan.nrrd": "one voxel NaN",
        "four-d.nii.gz": "two volumes along time",
        "cut-pixels": "DICOM cut within its pixels",
        f"garbled-slice/{garbled.name}": "noise in place of one slice of five",
    }


def main() -> None:
    """Run and publish."""
    with tempfile.TemporaryDirectory() as scratch:
        studies, output = Path(scratch) / "studies", Path(scratch) / "output"
        damaged = plant(studies)
        run = batch([studies], "student", output)
        items = json.loads((output / "batch-summary.json").read_text())["items"]
        gap = [line.replace(f"{studies}/", "") for item in items for line in item["warnings"] if "spacing" in line]
        lost = [path.name for path in studies.glob("good*") if not (output / path.name).exists()]
    said = {name: [line for line in run["failures"] if line.startswith(f"{name}")] for name in damaged}
    rows = [[name, what, " / ".join(said[name]) or "**nothing**"] for name, what in damaged.items()]
    silent = [name for name, lines in said.items() if len(lines) != 1]
    text = [
        "# A batch over damaged files",
        (__doc__ or "").strip(),
        table(["file", "what was done to it", "what is told"], rows),
        f"{len(damaged) - len(silent)} of {len(damaged)} are named in one sentence; {run['denoised']} images denoised, "
        f"{run['failed']} failed, exit code {run['exit code']}; good images without a result: {len(lost)}.",
        "Of the series with the garbled slice is told besides: " + (" / ".join(gap) or "**nothing**"),
    ]
    publish("batch-damaged", "\n\n".join(text), {**run, "gap": gap, "not named once": silent, "lost": lost})


if __name__ == "__main__":
    main()
