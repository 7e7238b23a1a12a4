"""What the networks cost: parameters, multiply-accumulates and seconds for a slice of 256x256 pixels.

Multiply-accumulates are those of one call at 256x256, biases excluded. Seconds are the best of several calls on two
cores, in float32 and in bfloat16, which is faster only where the processor has arithmetic for it; the weights are
random, as they do not matter here. A network of three channels takes the slice with its two neighbours.
"""

from __future__ import annotations

import argparse
import time

import torch
from common import publish, table
from torch import nn

from meddenoise import weights
from meddenoise.networks import Gan, Student, Teacher, TwoStage
from meddenoise.networks.cost import gmac, parameter_count
from meddenoise.recipes import gan

THREADS = 2
ROWS = {
    "student": lambda: Student(**weights.read_card("student").arguments),
    "student, not pruned (0.2.0 and 0.3.0)": lambda: Student(widths=(48, 64, 128), blocks=(2, 2, 2)),
    "student, as first published (0.1.0)": Student,
    "two_stage, noise estimation alone (NEN)": lambda: TwoStage(variant="noise_only"),
    "two_stage without attention (TWN)": lambda: TwoStage(variant="without_attention"),
    "two_stage": TwoStage,
    "teacher": Teacher,
    "gan, light": lambda: Gan(**gan.PRESETS["cpu"].arguments),
    "gan, as in the paper (two U-Nets)": lambda: Gan(**gan.PRESETS["paper"].arguments),
}


def seconds(network: nn.Module, image: torch.Tensor, repeats: int, *, bfloat16: bool) -> float:
    """The best wall-clock time of a call, after one that does not count."""
    level, times = torch.full_like(image, 0.1), []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        for _ in range(repeats + 1):
            start = time.perf_counter()
            network(image, level)
            times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    figures = {}
    for name, build in ROWS.items():
        network = build().eval().to(memory_format=torch.channels_last)
        image = torch.rand(1, getattr(network, "channels", 1), 256, 256).to(memory_format=torch.channels_last)
        figures[name] = {
            "parameters": parameter_count(network),
            "gmac": round(gmac(network, image, torch.full_like(image, 0.1)), 2),
            "seconds": seconds(network, image, arguments.repeats, bfloat16=False),
            "seconds_bfloat16": seconds(network, image, arguments.repeats, bfloat16=True),
        }
    rows = [
        [name, f"{f['parameters']:,}", f"{f['gmac']:.2f}", f"{f['seconds']:.3f}", f"{f['seconds_bfloat16']:.3f}"]
        for name, f in figures.items()
    ]
    head = ["network", "parameters", "GMAC", "seconds, float32", "seconds, bfloat16"]
    text = "\n\n".join(["# Networks: size and cost", (__doc__ or "").strip(), table(head, rows)])
    publish("networks", text, figures)


if __name__ == "__main__":
    main()
