"""The GAN paper's ablations, small and preliminary: predictors, one or two of them, and what they are trained by.

Preliminary: one training each, of light width (the recipe's preset "ablation", in which two predictors of every kind
cost about the same) and of a small budget that is the same for all: steps, size of the batches, seed and so the batches
themselves. The CPU seconds are in the table. What a difference of 0.1 dB between trainings of other seeds would be is
not known, and so short a training tells what is learned quickly. In training and test the patients differ.

Data and noise of the test: those of algorithm1.py (validation patients; CT in the window -160..240 HU, others from the
slice's 0.1 to its 99.9 percentile, as 8-bit grey levels; Gaussian and speckle noise at sigma 10, 25, 50 and 75, clipped
and rounded to 8 bits), each slice with several seeds. PSNR and SSIM (Gaussian window, 11 taps, sigma 1.5) on data range
255 over the whole slice. Gains are means over patients with the 95 % interval of a bootstrap over patients; a claim of
the paper "holds" where the interval lies above 0.

Beside it each modality's own noise, on patches of 128x128 pixels of the validation patients in network units: root mean
square of what is left of the noise over that of the noise itself, and of estimated minus true noise likewise; both are
means over patches. Below 1 is better than doing nothing.

`chrt --idle 0 nice python benchmarks/gan_ablation.py` takes only what the machine has to spare. A run that was stopped
goes on where it was.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import torch
from common import RESULTS, publish, table
from gan_pictures import picture
from light_training import (
    MODALITIES,
    THREADS,
    Scores,
    Trained,
    algorithm1_scores,
    claims,
    figures_of,
    score_table,
    train_in_turns,
)
from torch import Tensor

from meddenoise import weights
from meddenoise.networks.gan import Gan
from meddenoise.noise_level import level_map
from meddenoise.recipes import gan
from meddenoise.training.data import SLICES
from meddenoise.training.patches import Mix, has_physical_noise, sampler
from meddenoise.training.slices import load_slices

NAME = "ablation-gan"
PATCHES, SIDE = 16, 128
TITLES = {
    "unet": "U-Net",
    "dncnn": "DnCNN",
    "srdensenet": "SRDenseNet",
    "unet_dncnn": "U-Net content, DnCNN noise (U+D)",
    "srdensenet_dncnn": "SRDenseNet content, DnCNN noise (S+D)",
    "unet_content": "U-Net, content alone",
    "unet_noise": "U-Net, noise alone",
    "unet_wide": "one wide U-Net, content alone",
    "dncnn_content": "DnCNN, content alone",
    "srdensenet_content": "SRDenseNet, content alone",
    "without_noise_l1": "U-Net without the noise's error",
    "without_gan": "U-Net without adversarial loss",
    "mse": "U-Net, squared error alone",
    "wgan_vgg": "WGAN-VGG",
    "wgan_vgg_noise": "WGAN-VGG with noise predictor",
}
CLAIMS = [
    ("two U-Nets are better than one that predicts the content", "unet", "unet_content"),
    ("two U-Nets are better than one that predicts the noise", "unet", "unet_noise"),
    ("two U-Nets are better than one of as many parameters", "unet", "unet_wide"),
    ("two DnCNNs are better than one", "dncnn", "dncnn_content"),
    ("two SRDenseNets are better than one", "srdensenet", "srdensenet_content"),
    ("DnCNNs are better than U-Nets", "dncnn", "unet"),
    ("SRDenseNets are better than U-Nets", "srdensenet", "unet"),
    ("a DnCNN beside a U-Net (U+D) is better than two U-Nets", "unet_dncnn", "unet"),
    ("a DnCNN beside an SRDenseNet (S+D) is better than two SRDenseNets", "srdensenet_dncnn", "srdensenet"),
    ("the noise's L1 helps", "unet", "without_noise_l1"),
    ("the adversarial loss helps", "unet", "without_gan"),
    ("two predictors with the squared error alone are better than one with all", "mse", "unet_content"),
    ("the noise predictor helps WGAN-VGG", "wgan_vgg_noise", "wgan_vgg"),
]
"""What the tables, figures 8 to 10 and their text say: sentence, better, worse."""


def costs(trained: dict[str, Trained]) -> str:
    """What each training took."""
    rows = []
    for variant, one in trained.items():
        gmac = weights.load(str(one.weights))[1].gmac
        rows.append([TITLES[variant], f"{one.parameters:,}", f"{gmac:.2f}", str(one.steps), f"{one.cpu_seconds:.0f}"])
    return table(["variant", "parameters", "GMAC at 256x256", "steps", "CPU seconds (one thread)"], rows)


def own_noise(path: Path, slices: Path) -> dict[str, float]:
    """What a model leaves of each modality's own noise, and the error of the noise that it estimates.

    Args:
        path: Weights of a Gan.
        slices: File of slices, of which those of the validation patients are taken.
    """
    network, held_back = weights.load(str(path))[0], load_slices(slices, validation=True)
    assert isinstance(network, Gan)
    left, wrong = {}, []
    for modality in MODALITIES:
        chosen = [s for s in held_back if s.info.modality == modality and has_physical_noise(s)]
        if chosen:
            draw = sampler(chosen, Mix(size=SIDE, display=0.0))
            noisy, clean = draw(PATCHES, torch.Generator().manual_seed(0))
            with torch.inference_mode():
                estimated, denoised = network.stages(noisy, level_map(noisy))
            left[modality] = _over(denoised - clean, noisy - clean).mean().item()
            wrong.append(_over(estimated - (noisy - clean), noisy - clean))
    return {**left, "estimate": torch.cat(wrong).mean().item()}


def _over(error: Tensor, noise: Tensor) -> Tensor:
    """Root mean square of each patch's error over its noise's, shape (patches,)."""
    return (error.square().mean(dim=(1, 2, 3)) / noise.square().mean(dim=(1, 2, 3)).clamp_min(1e-12)).sqrt()


def own_noise_table(found: dict[str, dict[str, float]]) -> str:
    """The same as a table."""
    columns = list(next(iter(found.values())))
    head = ["own noise", *columns[:-1], "estimated noise, all"]
    return table(head, [[TITLES[v], *(f"{figures[c]:.3f}" for c in columns)] for v, figures in found.items()])


def best_pair(scores: Scores) -> str:
    """The variant with two predictors and the highest PSNR, or the first trained where there is none of two."""
    mean = {v: sum(s.psnr for s in found) for v, found in scores.items() if v in TITLES}
    pairs = [v for v in mean if gan.VARIANTS[v].content and gan.VARIANTS[v].noise]
    return max(pairs or mean, key=mean.__getitem__)


def main() -> None:
    """Train, measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs", NAME), help="keeps the trainings")
    parser.add_argument("--steps", type=int, default=gan.PRESETS["ablation"].schedule.steps, help="of each variant")
    parser.add_argument("--turn", type=int, default=200, help="steps before the next variant's turn (default 200)")
    parser.add_argument("--slices", type=int, default=2, help="test slices per volume (default 2)")
    parser.add_argument("--seeds", type=int, default=2, help="of the test's noise (default 2)")
    parser.add_argument("--variants", nargs="+", choices=TITLES, default=list(TITLES), metavar="NAME")
    parser.add_argument("--without-results", action="store_true", help="publish nothing; the picture goes to --out")
    arguments = parser.parse_args()
    preset = gan.PRESETS["ablation"]
    variants = {name: replace(preset, variant=name) for name in arguments.variants}
    finished = train_in_turns(gan, variants, arguments.out, steps=arguments.steps, turn=arguments.turn)
    trained = {name: finished[name] for name in variants}  # in the order of the table
    scores = algorithm1_scores(trained, slices=arguments.slices, seeds=arguments.seeds)
    own = {name: own_noise(one.weights, arguments.out / SLICES) for name, one in trained.items()}
    found, judged = claims(scores, CLAIMS)
    best = best_pair(scores)
    png = (arguments.out if arguments.without_results else RESULTS) / f"{NAME}.png"
    settings = preset.schedule
    text = "\n\n".join(
        [
            "# Ablations of the GAN denoiser (preliminary)",
            (__doc__ or "").strip(),
            f"Each: {arguments.steps} steps of {settings.batch} patches of {preset.mix.size}x{preset.mix.size} pixels, "
            f"Adam at {settings.learning_rate:g}, constant after {settings.warmup} steps, {settings.precision}, seed "
            f"{settings.seed}; {THREADS} thread.",
            costs(trained),
            score_table({TITLES.get(name, name): each for name, each in scores.items()}),
            own_noise_table(own),
            found,
            f"{len(scores['noisy'])} noisy images of {len({s.subject for s in scores['noisy']})} patients, "
            f"{arguments.seeds} noise seeds.",
            picture(trained[best].weights, TITLES[best], png),
        ]
    )
    if arguments.without_results:
        print(text)
        return
    budget = {name: {**asdict(one), "weights": one.weights.name} for name, one in trained.items()}
    publish(NAME, text, {"budget": budget, "scores": figures_of(scores), "own noise": own, "claims": judged})


if __name__ == "__main__":
    main()
