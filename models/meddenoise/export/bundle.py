"""What makes a folder with TorchScript models a MONAI bundle: metadata, configuration, script, documents."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import torch

from meddenoise.export.facts import INTENSITY, channels_in_words, size_in_words
from meddenoise.notice import NOTICE
from meddenoise.weights import Card

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
AUTHORS = "The MedDenoise authors"
SCRIPT = Path(__file__).with_name("script.py")
CHECKOUT_LICENSE = Path(__file__).parents[3] / "LICENSE"

INFERENCE: dict[str, Any] = {
    "imports": ["$import glob", "$import torch"],
    "bundle_root": ".",
    "input": "input",
    "output_dir": "output",
    "modality": "other",
    "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
    "files": "$sorted(glob.glob(@input + '/*.nii*')) or [@input]",
    "denoise": {
        "_target_": "scripts.denoise.Denoise",
        "bundle_root": "@bundle_root",
        "modality": "@modality",
        "device": "@device",
    },
    "run": ["$[print(@denoise(file, @output_dir)) for file in @files]"],
}


def fill_bundle(folder: Path, network: torch.nn.Module, card: Card) -> None:
    """Add to a folder that holds models/model.ts whatever else a bundle has.

    The structure is that of the MONAI Bundle Specification: configs/metadata.json, configs/inference.json, models,
    scripts, docs/README.md and LICENSE.
    """
    for name in ("configs", "docs", "scripts"):
        (folder / name).mkdir()
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    texts = {
        "configs/metadata.json": json.dumps(_metadata(card, int(getattr(network, "channels", 1))), indent=2) + "\n",
        "configs/inference.json": json.dumps(INFERENCE, indent=2) + "\n",
        "scripts/__init__.py": "",
        "scripts/denoise.py": SCRIPT.read_text(encoding="utf-8"),
        "docs/README.md": _readme(card),
        "LICENSE": _licence(),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _version(package: str, otherwise: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return otherwise


def _metadata(card: Card, channels: int) -> dict[str, Any]:
    shown = {
        "type": "image",
        "format": "magnitude",
        "modality": ", ".join(card.own_modalities),
        "spatial_shape": ["*", "*"],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
    }
    places = {str(i): "slice" if i == channels // 2 else "neighbouring slice" for i in range(channels)}
    return {
        "schema": SCHEMA,
        "version": card.version,
        "changelog": {card.version: "exported by MedDenoise"},
        "monai_version": _version("monai", "1.6.1"),
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": _version("numpy", "1.26.4"),
        "required_packages_version": {"nibabel": _version("nibabel", "5.0.0")},
        "optional_packages_version": {},
        "name": f"MedDenoise {card.name}",
        "task": f"Denoising of {', '.join(card.own_modalities)} images",
        "description": f"{card.description}. The noise level is estimated inside the graph.",
        "authors": AUTHORS,
        "copyright": f"Copyright (c) {AUTHORS}",
        "intended_use": NOTICE,
        "data_source": "; ".join(card.training.get("volumes", [])),
        "data_type": "nibabel",
        "intensity_rule": INTENSITY,
        "slices_shown_with_neighbours": channels_in_words(card, channels),
        "slice_size": size_in_words(card),
        "context_mm": card.context,
        "weights_sha256": card.sha256,
        "network": {"package": "meddenoise.networks", "name": card.network, "arguments": card.arguments},
        "network_data_format": {
            "inputs": {"image": {**shown, "num_channels": channels, "channel_def": places}},
            "outputs": {"pred": {**shown, "num_channels": 1, "channel_def": {"0": "denoised slice"}}},
        },
    }


def _readme(card: Card) -> str:
    return f"""# MedDenoise {card.name} {card.version}

{card.description}. {NOTICE[0].upper()}{NOTICE[1:]}.

Needs PyTorch, MONAI and nibabel. From this folder:

```bash
python -m monai.bundle run --config_file configs/inference.json --input FILE_OR_FOLDER --output_dir DIR --modality CT
```

denoises NIfTI files; results keep name, geometry and stored type. `--modality CT` says that values are Hounsfield
units; leave it out for anything else.

| file | what |
|---|---|
| `models/model.ts` | TorchScript: image in network units in, denoised slices out |
| `models/model_ct.ts` | the same for CT in HU, whose slowly varying mean it keeps; where trained on CT |
| `models/model.pt` | the weights alone; `network` in `configs/metadata.json` says of what |
| `scripts/denoise.py` | reads, scales, denoises slice by slice, writes |

`intensity_rule` in `configs/metadata.json` is how values become network units. X-ray of more than 8 bits goes by
percentiles here; MedDenoise itself goes by the stored bits. Colour is not taken.
"""


def _licence() -> str:
    if CHECKOUT_LICENSE.is_file():
        return CHECKOUT_LICENSE.read_text(encoding="utf-8")
    try:
        text = distribution("meddenoise").read_text("licenses/LICENSE")
    except PackageNotFoundError:
        text = None
    return text or "Apache License 2.0: https://www.apache.org/licenses/LICENSE-2.0\n"
