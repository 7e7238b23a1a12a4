"""What a recipe is trained on: clean images, pairs, or noisy images alone, told apart by how the folder is laid out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from meddenoise.errors import InputError, OptionError
from meddenoise.training.build import build_slices
from meddenoise.training.distributed import ALONE, Processes
from meddenoise.training.losses import CORRELATED, correlation
from meddenoise.training.pairs import build_pairs, holds_pairs, load_pairs, pair_sampler
from meddenoise.training.patches import Mix, Sampler, sampler
from meddenoise.training.progress import Report
from meddenoise.training.slices import SliceInfo, load_slices

NOISE = {
    "clean": "Algorithm 1 (0-75 grey levels); directional CT noise (5-130 HU); Rician and non-central chi (MR, SNR "
    "3-40); PET at 5-50 % of the counts; X-ray at a tenth to seven tenths of the exposure",
    "paired": "that of the noisy images of the pairs",
    "noisy": "that of the images themselves, without clean ones (Neighbor2Neighbor)",
}
"""For the card, by the kind of data."""
SLICES = "slices.safetensors"
PAIRS = "pairs.safetensors"


@dataclass(frozen=True)
class Data:
    """Patches to train on.

    Attributes:
        kind: "clean" (noise is made), "paired", or "noisy" (both images of a batch are the noisy one).
        train: Patches of the training subjects.
        validation: Patches of those held back; None where there are none or no clean ones.
        used: What the training slices are.
    """

    kind: Literal["clean", "paired", "noisy"]
    train: Sampler
    validation: Sampler | None
    used: list[SliceInfo]

    def facts(self) -> dict[str, Any]:
        """What a model's card says about them."""
        volumes = sorted({(i.modality, i.volume, i.subject, i.licence) for i in self.used})
        return {
            "noise": NOISE[self.kind],
            "slices": len(self.used),
            "volumes": [f"{modality} {name} (subject {who}; {licence})" for modality, name, who, licence in volumes],
            "split": "by subject: SHA-256 of its name as a number in 0..1; below 0.15 is held back from training",
        }


def open_data(folder: Path | None, out: Path, mix: Mix, *, report: Report, group: Processes = ALONE) -> Data:
    """Read the images once into a file in ``out``, and give samplers over it.

    Args:
        folder: Images with a manifest, or laid out as pairs.py says; not needed where the file is there already.
        out: Folder of the file; it must be there.
        mix: How batches of clean images are put together; pairs use its size of patches.
        report: Called with lines of progress and warnings.
        group: The first of these processes reads the images, and the others wait for it.

    Raises:
        InputError: No usable training data.
        OptionError: No folder, and nothing was read before.
    """
    if group.first and not any((out / name).exists() for name in (SLICES, PAIRS)):
        if folder is None:
            raise OptionError("training needs images: say --data DIR or set MEDDENOISE_DATA")
        if holds_pairs(folder):
            build_pairs(folder, out / PAIRS, report=report)
        else:
            build_slices(folder, out / SLICES, report=report)
    group.wait()
    data = _of_pairs(out / PAIRS, mix.size) if (out / PAIRS).exists() else _of_slices(out / SLICES, mix)
    if data.kind == "noisy":
        neighbors = correlation(data.train(16, torch.Generator().manual_seed(0))[0])
        if neighbors > CORRELATED:
            report(
                f"warning: the noise of neighbouring pixels is correlated (about {neighbors:.2f}); learning from noisy "
                "images alone assumes that it is not, and will leave the correlated part in the images"
            )
    return data


def _of_slices(path: Path, mix: Mix) -> Data:
    train, held_back = (load_slices(path, validation=side) for side in (False, True))
    used = _some([s.info for s in train if s.info.volume not in mix.left_out], path)
    return Data("clean", sampler(train, mix), sampler(held_back, mix) if held_back else None, used)


def _of_pairs(path: Path, size: int) -> Data:
    train, held_back = (load_pairs(path, validation=side) for side in (False, True))
    used = _some([pair.info for pair in train], path)
    kind: Literal["paired", "noisy"] = "noisy" if train[0].clean is None else "paired"
    validation = pair_sampler(held_back, size) if held_back and kind == "paired" else None
    return Data(kind, pair_sampler(train, size), validation, used)


def _some(used: list[SliceInfo], path: Path) -> list[SliceInfo]:
    if not used:
        raise InputError(f"{path}: all subjects are held back from training; give images of more subjects")
    return used
