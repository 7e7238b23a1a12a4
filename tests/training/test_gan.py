"""The GAN's recipe learns in every variant, takes turns, publishes weights that load, and survives being killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import SimpleITK
import torch
from safetensors.torch import load_file
from torch import nn

from meddenoise import weights
from meddenoise.cli_train import PRESETS as OFFERED_PRESETS
from meddenoise.cli_train import VARIANTS as OFFERED_VARIANTS
from meddenoise.errors import ModelError, OptionError
from meddenoise.networks.cost import parameter_count
from meddenoise.networks.gan import SHOWN_LEVEL
from meddenoise.noise_level import level_map
from meddenoise.recipes import gan
from meddenoise.training.data import SLICES
from meddenoise.training.loop import CHECKPOINT, Schedule
from meddenoise.training.patches import Mix
from meddenoise.training.slices import save_slices

TINY = {
    "unet": {"widths": (8, 8, 8)},
    "dncnn": {"width": 8, "depth": 4},
    "srdensenet": {"growth": 4, "blocks": 2, "convolutions": 2, "bottleneck": 8},
}


def small(variant="unet", *, light=True, size=32, **schedule):
    """A preset, cut down to what trains in seconds."""
    plan = {"batch": 8, "warmup": 5, "save_every": 10, "learning_rate": 5e-3, "average": 0.9, "clip": gan.WEIGHT}
    return replace(
        gan.PRESETS["cpu"], variant=variant, light=light, sizes=TINY, judge=(8, 8, 8, 8), mix=Mix(size=size),
        schedule=Schedule(**(plan | schedule)), validate_every=20,
    )  # fmt: skip


def run(config, folder, *, report=lambda line: None, resume=False):
    return gan.run(config, None, folder, resume=resume, report=report)


@pytest.fixture
def folder(tmp_path, slices):
    save_slices(slices, tmp_path / SLICES)
    return tmp_path


def test_a_smoke_run_learns_and_publishes_weights_that_load(folder, monkeypatch):
    lines = []
    card = run(small(steps=60), folder, report=lines.append)
    losses = [dict(part.rsplit(" ", 1) for part in line.split(", ")[1:3]) for line in lines]
    assert float(losses[-1]["loss.generator"]) < 0.95 * float(losses[0]["loss.generator"])
    assert float(losses[-1]["loss.discriminator"]) < float(losses[0]["loss.discriminator"])
    assert "validation.psnr" in lines[-1]
    monkeypatch.setenv("MEDDENOISE_WEIGHTS", str(folder))
    network, found = weights.load("gan")
    assert found == card
    assert found.estimates_noise
    assert found.parameters == parameter_count(network)
    assert found.arguments["light"]
    assert found.training["slices"] == 8
    assert not (folder / "discriminator.safetensors").exists()


@pytest.mark.parametrize("variant", gan.VARIANTS)
def test_every_variant_trains_under_its_own_name_and_loads(folder, variant):
    card = run(small(variant, steps=2, batch=2), folder)
    assert card.name == ("gan" if variant == "unet" else f"gan-{variant}")
    network, _ = weights.load(str(folder / f"{card.name}.safetensors"))
    plan = gan.VARIANTS[variant]
    assert (network.content is None, network.noise is None) == (plan.content is None, plan.noise is None)


def test_the_command_line_offers_what_the_recipe_has():
    assert OFFERED_VARIANTS["gan"] == tuple(gan.VARIANTS)
    assert set(OFFERED_PRESETS) == set(gan.PRESETS)


def test_the_papers_preset_is_as_stated():
    paper = gan.PRESETS["paper"]
    optimizers = gan.Objective(replace(paper, sizes=TINY), noisy_only=False).optimizers
    assert all(optimizer.param_groups[0]["betas"] == (0.5, 0.999) for optimizer in optimizers.values())
    assert (paper.light, paper.schedule.learning_rate, paper.judge) == (False, 2e-4, (64, 128, 256, 512))
    assert paper.arguments["sizes"] == {"unet": {"widths": (64, 128, 256, 512, 1024)}}
    assert paper.schedule.steps * 2 == 300 * 1709
    assert paper.schedule.batch * paper.mix.size**2 == 2 * 512**2
    assert gan.WEIGHT / SHOWN_LEVEL == 100.0


def test_one_wide_u_net_has_about_as_many_parameters_as_two():
    built = {}
    for variant in ("unet", "unet_wide", "unet_content"):
        with torch.device("meta"):
            built[variant] = parameter_count(gan.Gan(**replace(gan.PRESETS["cpu"], variant=variant).arguments))
    assert built["unet_wide"] == pytest.approx(built["unet"], rel=0.05)
    assert built["unet_content"] == pytest.approx(built["unet"] / 2, rel=0.01)


@pytest.mark.parametrize("preset", ["cpu", "ablation"])
def test_the_kinds_of_predictor_cost_about_the_same(preset):
    from meddenoise.networks.cost import gmac

    costs = []
    for variant in ("unet", "dncnn", "srdensenet", "unet_dncnn", "srdensenet_dncnn"):
        with torch.device("meta"):
            image = torch.full((1, 1, 256, 256), 0.5)
            costs.append(gmac(gan.Gan(**replace(gan.PRESETS[preset], variant=variant).arguments), image, image))
    assert max(costs) < 1.25 * min(costs)


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand((4, 1, 32, 32), generator=generator)
    return clean + 0.1 * torch.randn(clean.shape, generator=generator), clean


def losses_of(variant, **options):
    """The losses of one step, none of which is taken."""
    objective = gan.Objective(small(variant, steps=1, precision="float32", **options), noisy_only=False)
    return objective, list(objective.losses(*batch(), torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("variant", "names"),
    [
        ("unet", ["discriminator", "generator"]),
        ("without_gan", ["generator"]),
        ("mse", ["generator"]),
        ("wgan_vgg", ["discriminator"] * 4 + ["generator"]),
    ],
)
def test_discriminator_and_generator_take_turns(variant, names):
    assert [name for name, _ in losses_of(variant)[1]] == names


def test_a_discriminator_that_says_one_half_costs_what_least_squares_gan_says():
    objective = gan.Objective(small(steps=1, precision="float32"), noisy_only=False)
    judge = objective.networks["discriminator"]
    judge.forward = lambda images: 0.5 + 0.0 * images.mean()
    with_gan = dict(objective.losses(*batch(), torch.Generator()))
    alone = dict(losses_of("without_gan")[1])
    assert with_gan["discriminator"].item() == pytest.approx(0.5 * (0.25 + 0.25))
    assert (with_gan["generator"] - alone["generator"]).item() == pytest.approx(0.25, abs=1e-4)


def test_the_generator_errs_in_the_fused_image_the_content_and_the_noise():
    objective, losses = losses_of("without_gan")
    noisy, clean = batch()
    level = level_map(noisy)
    content, noise, fused = objective.networks["gan"].parts(noisy, level)
    of_image, of_content, of_noise = (
        gan.relative_error(made, noisy, clean, level).item() for made in (fused, content, noisy - noise)
    )
    assert of_image == pytest.approx(gan.relative_error(noisy, noisy, clean, level).item(), rel=1e-4)  # it is fresh
    assert losses[-1][1].item() == pytest.approx(gan.WEIGHT * ((of_image + of_content) / 4 + of_noise / 2), rel=1e-4)
    without = gan.WEIGHT * (of_image + of_content) / 2
    assert losses_of("without_noise_l1")[1][-1][1].item() == pytest.approx(without, rel=0.2)  # and the verdict
    assert losses_of("mse")[1][-1][1].item() < losses[-1][1].item()


def test_the_contents_error_reaches_its_predictor_though_it_counts_for_nothing_in_the_fused_image():
    objective = gan.Objective(small("without_gan", steps=1, precision="float32"), noisy_only=False)
    network = objective.networks["gan"]
    network.shares.data = torch.tensor([0.0, 1.0])  # the fused image is the input minus the noise alone
    list(objective.losses(*batch(), torch.Generator()))[-1][1].backward()
    assert network.content.end[-1].weight.grad.abs().max() > 1.0


def test_the_noises_error_reaches_its_predictor_and_not_the_content():
    for variant, reached in (("without_gan", True), ("without_noise_l1", False)):
        config = small(variant, steps=1, precision="float32")
        objective = gan.Objective(replace(config, judge=(2, 2, 2, 2)), noisy_only=False)
        network = objective.networks["gan"]
        network.shares.data = torch.tensor([1.0, 0.0])  # the fused image is the content alone
        list(objective.losses(*batch(), torch.Generator()))[-1][1].backward()
        of_noise = network.noise.end[-1].weight.grad
        assert bool(of_noise.abs().max() > 1.0) is reached, variant  # the verdict's gradient is far smaller


def test_the_generators_loss_leaves_no_gradient_in_the_discriminator():
    objective, losses = losses_of("unet")
    losses[-1][1].backward()
    judge = objective.networks["discriminator"]
    assert all(p.grad is None and p.requires_grad for p in judge.parameters())
    losses[0][1].backward()
    assert all(p.grad is not None for p in judge.parameters())


def test_the_discriminators_loss_leaves_no_gradient_in_the_generator():
    for variant in ("unet", "wgan_vgg_noise"):
        objective, losses = losses_of(variant)
        losses[0][1].backward()
        assert all(p.grad is None for p in objective.networks["gan"].parameters())


def test_validation_normalises_as_in_use():
    objective = gan.Objective(small(light=False, steps=1), noisy_only=False)
    network = objective.networks["gan"]
    nn.init.normal_(network.noise.end[-1].weight, std=0.1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    noisy, _ = batch()
    together = objective.denoise({"gan": network}, noisy)
    alone = torch.cat([objective.denoise({"gan": network}, one[None]) for one in noisy])
    assert torch.allclose(together, alone, atol=1e-3)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_patches_too_small_for_the_discriminator_are_refused():
    with pytest.raises(OptionError, match="patches of 32 pixels or more, got 16; give a larger --patch"):
        gan.Objective(small(size=16, steps=1), noisy_only=False)
    gan.Objective(small("mse", size=16, steps=1), noisy_only=False)


def test_an_unknown_variant_is_refused_with_those_there_are():
    with pytest.raises(OptionError, match="unknown variant 'vgg'; known are unet, dncnn"):
        gan.Objective(small("vgg", steps=1), noisy_only=False)


def test_a_training_goes_on_from_weights_of_the_same_predictors_only(folder):
    run(small(steps=2, batch=2), folder)
    first = str(folder / "gan.safetensors")
    trained = weights.load(first)[0]
    started = gan.Objective(replace(small(steps=1), start=first), noisy_only=False).networks["gan"]
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), started.parameters(), strict=True))
    with pytest.raises(ModelError, match="its sizes are not those of the network"):
        gan.Objective(replace(small("dncnn", steps=1), start=first), noisy_only=False)


def test_noisy_images_alone_suffice_without_a_discriminator(tmp_path):
    noisy = tmp_path / "site" / "noisy"
    noisy.mkdir(parents=True)
    for seed in (1, 2):
        values = 100.0 + 20.0 * torch.randn((2, 40, 40), generator=torch.Generator().manual_seed(seed))
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values.numpy()), noisy / f"{seed}.nrrd")
    lines = []
    config = small(steps=40, batch=4, learning_rate=1e-2)
    card = gan.run(config, tmp_path / "site", tmp_path, resume=False, report=lines.append)
    assert "Neighbor2Neighbor" in card.training["noise"]
    assert not any("discriminator" in line for line in lines)
    network, _ = weights.load(str(tmp_path / "gan.safetensors"))
    image = 0.5 + 0.15 * torch.randn((1, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    assert network(image, level_map(image)).std() < 0.92 * image.std()


@pytest.mark.parametrize("variant", ["unet", "wgan_vgg_noise"])
def test_a_stopped_run_ends_with_the_weights_of_an_unbroken_one(tmp_path, slices, variant):
    def stop(line):
        if line.startswith("step 4 "):
            raise KeyboardInterrupt

    config = small(variant, steps=6, batch=4, save_every=2, light=variant != "unet")  # the paper's form has statistics
    for name in ("unbroken", "stopped"):
        (tmp_path / name).mkdir()
        save_slices(slices, tmp_path / name / SLICES)
    whole = run(config, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "stopped", report=stop)
    assert run(config, tmp_path / "stopped", resume=True) == whole
    network, _ = weights.load(str(tmp_path / "stopped" / f"{whole.name}.safetensors"))
    assert any(isinstance(m, nn.BatchNorm2d) for m in network.modules()) is not config.light


def start(out, *options):
    command = [
        sys.executable,
        "-m",
        "meddenoise",
        "train",
        "gan",
        "--out",
        str(out),
        "--device",
        "cpu",
        "--patch",
        "32",
    ]
    command += ["--steps", "20", "--batch", "2", "--save-every", "5", "--preset", "ablation", "--no-trackers", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)


def finished(process):
    text = process.communicate()[0].decode()
    assert process.returncode == 0, text
    return text


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path, slices):
    for name in ("unbroken", "killed"):
        (tmp_path / name).mkdir()
        save_slices(slices, tmp_path / name / SLICES)
    told = finished(start(tmp_path / "unbroken"))
    losses = [float(line.split("loss.generator ")[1].split(",")[0]) for line in told.splitlines() if "loss." in line]
    half = len(losses) // 2
    assert sum(losses[-half:]) < sum(losses[:half])  # single batches differ
    first = start(tmp_path / "killed")
    while not (tmp_path / "killed" / CHECKPOINT).exists():
        time.sleep(0.02)
        assert first.poll() is None, "the run ended before it could be killed"
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert not (tmp_path / "killed" / "gan.safetensors").exists()
    assert "resumed after step" in finished(start(tmp_path / "killed", "--resume"))
    one, other = (load_file(tmp_path / name / "gan.safetensors") for name in ("unbroken", "killed"))
    assert all(torch.equal(value, other[key]) for key, value in one.items())
