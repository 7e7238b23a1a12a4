"""How fast the training set is turned into noisy patches: one core, patches of 3 x 128 x 128, noise made on the fly.

Every patch is cut from three neighbouring slices of a file of shards, and gets its modality's own noise by the fast
model. Seconds belong to the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path

import torch
from common import data_folder, publish, table

from meddenoise.training.build import MIB, build_slices
from meddenoise.training.patches import Mix, sampler
from meddenoise.training.slices import load_slices

BATCH = 16
MODALITIES = {"CT": "CT", "MR": "MR", "PET": "PET", "XR": "X-ray"}


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit-mib", type=float, default=48.0)
    parser.add_argument("--batches", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("a.safetensors", "b.safetensors")]
        started = time.perf_counter()
        for file in files:
            build_slices(data_folder(), file, limit_mib=arguments.limit_mib, depth=3)
        build_seconds = (time.perf_counter() - started) / len(files)
        same = len({hashlib.sha256(file.read_bytes()).hexdigest() for file in files}) == 1
        size = files[0].stat().st_size / MIB
        slices = load_slices(files[0], validation=False)
        held_back = load_slices(files[0], validation=True)
    rates = {}
    for modality in MODALITIES:
        sample = sampler([s for s in slices if s.info.modality == modality], Mix(display=0.0, neighbours=1.0))
        generator = torch.Generator().manual_seed(0)
        sample(BATCH, generator)
        started = time.perf_counter()
        for _ in range(arguments.batches):
            sample(BATCH, generator)
        rates[modality] = BATCH * arguments.batches / (time.perf_counter() - started)
    counts = {m: sum(s.info.modality == m for s in slices) for m in MODALITIES}
    rows = [[MODALITIES[m], str(counts[m]), f"{rates[m]:.0f}"] for m in MODALITIES]
    text = "\n\n".join(
        [
            "# Training data: shards and noisy patches",
            (__doc__ or "").strip(),
            table(["", "training slices in the shards", "patches a second, one core"], rows),
            f"The shards: {size:.1f} MiB of at most {arguments.limit_mib:g}, {len(slices)} training slices of "
            f"{len({s.info.subject for s in slices})} subjects and {len(held_back)} validation slices of "
            f"{len({s.info.subject for s in held_back})}, built in {build_seconds:.0f} s; "
            f"built twice, the bytes are {'the same' if same else 'NOT the same'}.",
        ]
    )
    publish("data-pipeline", text, {"rates": rates, "mib": size, "same_bytes": same, "build_seconds": build_seconds})


if __name__ == "__main__":
    main()
