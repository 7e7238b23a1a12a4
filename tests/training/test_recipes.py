"""Every recipe learns, publishes weights that load, and is the same training when killed or spread over processes."""

import importlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import SimpleITK
import torch
from safetensors.torch import load_file

from meddenoise import weights
from meddenoise.cli import main
from meddenoise.errors import ModelError
from meddenoise.networks import NETWORKS
from meddenoise.noise_level import level_map
from meddenoise.training.data import SLICES
from meddenoise.training.distributed import ALONE, Processes
from meddenoise.training.loop import CHECKPOINT, Schedule
from meddenoise.training.patches import Mix
from meddenoise.training.slices import save_slices
from meddenoise.training.stages import cooled, refined, refined_mix

RECIPES = ("student", "two_stage")
SMALL = {
    "teacher": {"widths": (8, 8, 8), "blocks": (1, 1, 1), "heads": (1, 1, 1), "refinement": 0.0},
    "student": {"widths": (8, 8, 8), "blocks": (1, 1, 1), "variant": "plain"},
    "two_stage": {"width": 8, "growth": 4, "blocks": 1},
}
STAGE = {"teacher": "train", "student": "train", "two_stage": "."}
"""Where a recipe keeps its first checkpoint."""
LIGHT = dict.fromkeys(SMALL, ("--preset", "ablation")) | {
    "student": ("--preset", "ablation", "--variant", "plain"),
    "gan": ("--preset", "ablation"),
}


def small(recipe, **schedule):
    """A recipe's first preset, cut down to what trains in seconds."""
    module = importlib.import_module(f"meddenoise.recipes.{recipe}")
    plan = {"batch": 8, "warmup": 5, "save_every": 10, "learning_rate": 1e-2, "average": 0.9} | schedule
    base = next(iter(module.PRESETS.values()))
    return module, replace(base, **SMALL[recipe], mix=Mix(size=32), schedule=Schedule(**plan), validate_every=20)


def losses(lines, name):
    return [float(found[1]) for line in lines if (found := re.search(rf"loss\.{name} ([\d.]+)", line))]


@pytest.mark.parametrize(
    ("recipe", "names"), [("student", ["student"]), ("teacher", ["teacher"]), ("two_stage", ["noise", "image"])]
)
def test_a_smoke_run_learns_and_publishes_weights_that_load(tmp_path, monkeypatch, slices, recipe, names):
    save_slices(slices, tmp_path / SLICES)
    module, config = small(recipe, steps=80)
    lines = []
    card = module.run(config, None, tmp_path, resume=False, report=lines.append)
    for name in names:
        assert losses(lines, name)[-1] < 0.95 * losses(lines, name)[0], name
    assert "validation.psnr" in lines[-1]
    monkeypatch.setenv("MEDDENOISE_WEIGHTS", str(tmp_path))
    network, found = weights.load(recipe)
    assert found == card
    assert found.parameters == sum(p.numel() for p in network.parameters())
    assert found.training["slices"] == 8
    assert "VS-SEG" not in str(found.training)


@pytest.mark.parametrize("variant", ["without_attention", "noise_only"])
def test_the_papers_ablation_trains_under_its_own_name(tmp_path, slices, variant):
    save_slices(slices, tmp_path / SLICES)
    module, config = small("two_stage", steps=3)
    card = module.run(replace(config, variant=variant), None, tmp_path, resume=False, report=lambda line: None)
    assert card.name == f"two_stage-{variant}"
    assert (tmp_path / f"two_stage-{variant}.safetensors").exists()


@pytest.mark.parametrize("recipe", RECIPES)
def test_noisy_images_alone_suffice(tmp_path, recipe):
    folder = tmp_path / "site" / "noisy"
    folder.mkdir(parents=True)
    for seed in (1, 2):
        values = 100.0 + 20.0 * torch.randn((2, 40, 40), generator=torch.Generator().manual_seed(seed))
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values.numpy()), folder / f"{seed}.nrrd")
    module, config = small(recipe, steps=60, learning_rate=5e-3)
    card = module.run(config, tmp_path / "site", tmp_path, resume=False, report=lambda line: None)
    assert "Neighbor2Neighbor" in card.training["noise"]
    network, _ = weights.load(str(tmp_path / f"{recipe}.safetensors"))
    shape, generator = (1, 3 if recipe == "two_stage" else 1, 64, 64), torch.Generator().manual_seed(0)
    image = 0.5 + 0.15 * torch.randn(shape, generator=generator)
    assert network(image, level_map(image)).std() < 0.92 * image.std()


def test_the_papers_presets_are_as_stated():
    paper = importlib.import_module("meddenoise.recipes.two_stage").PRESETS["paper"]
    assert (paper.schedule.batch, paper.schedule.learning_rate, paper.mix.size) == (24, 5e-4, 256)
    assert paper.schedule.rate(0, 5e-4) == paper.schedule.rate(paper.schedule.steps - 1, 5e-4) == 5e-4
    for recipe in ("teacher", "student"):
        paper = importlib.import_module(f"meddenoise.recipes.{recipe}").PRESETS["paper"]
        for schedule, rate, halving in (
            (paper.schedule, 1e-4, 100_000),
            (refined(paper.schedule, paper.refinement, ALONE), 2e-5, 20_000),
        ):
            assert schedule.learning_rate == pytest.approx(rate)
            rates = [schedule.rate(step, rate) / rate for step in (0, halving - 1, halving, 2 * halving)]
            assert rates == [1.0, 1.0, 0.5, 0.25]


def test_a_refinement_has_larger_patches_at_no_higher_cost_and_a_batch_that_processes_can_share():
    _, config = small("teacher", steps=50, batch=24, halve_every=7)
    finer, mix = refined(config.schedule, 0.2, ALONE), refined_mix(config.mix)
    assert finer.batch * mix.size**2 == 24 * config.mix.size**2
    assert (finer.steps, finer.halve_every) == (10, 2)
    assert [refined(config.schedule, 0.2, Processes(0, count)).batch for count in (4, 5, 30)] == [4, 5, 30]


def test_a_cooldown_takes_whole_batches_and_its_rate_falls_to_a_hundredth_of_the_first_stages():
    first = importlib.import_module("meddenoise.recipes.student").PRESETS["cpu"].schedule
    last = cooled(first, 0.1)
    assert (last.steps, last.batch) == (first.steps // 10, first.batch)
    assert last.learning_rate == first.learning_rate
    rates = [last.rate(step, 1.0) for step in range(last.warmup, last.steps)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 1.0
    assert rates[-1] == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("recipe", ["teacher", "two_stage"])
def test_a_training_goes_on_from_weights_of_the_same_sizes_only(tmp_path, slices, recipe):
    save_slices(slices, tmp_path / SLICES)
    module, config = small(recipe, steps=2)
    module.run(config, None, tmp_path, resume=False, report=lambda line: None)
    first = str(tmp_path / f"{recipe}.safetensors")
    again = replace(config, start=first, schedule=replace(config.schedule, steps=1, average=1.0, learning_rate=1e-12))
    (tmp_path / "again").mkdir()
    save_slices(slices, tmp_path / "again" / SLICES)
    card = module.run(again, None, tmp_path / "again", resume=False, report=lambda line: None)
    assert card.training["start"] == f"{recipe}.safetensors"
    one, other = (load_file(folder / f"{recipe}.safetensors") for folder in (tmp_path, tmp_path / "again"))
    assert all(torch.allclose(value, other[key], atol=1e-6) for key, value in one.items())
    wider = {"teacher": {"widths": (8, 8, 16)}, "two_stage": {"width": 16}}
    with pytest.raises(ModelError, match="its sizes"):
        module.run(replace(again, **wider[recipe]), None, tmp_path / "again", resume=True, report=lambda line: None)


def test_the_command_trains_resumes_and_says_what_it_made(tmp_path, slices, capsys):
    save_slices(slices, tmp_path / SLICES)
    options = [*LIGHT["student"], "--out", str(tmp_path), "--batch", "2", "--patch", "32"]
    options += ["--device", "cpu", "--no-trackers"]
    assert main(["train", "student", "--steps", "2", *options]) == 0
    assert main(["train", "student", "--steps", "2", *options]) == 2
    assert "holds a checkpoint; resume it (--resume)" in capsys.readouterr().err
    assert main(["train", "student", "--steps", "4", "--resume", *options]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "train: resumed after step 2, with steps 2 -> 4, halve_every 1 -> 2"
    assert out[-1].startswith(f"student 0.4.0: {tmp_path}/student.safetensors, sha256 ")


@pytest.mark.parametrize(
    "option",
    [
        ("--steps", "0"),
        ("--patch", "20"),
        ("--learning-rate", "2"),
        ("--batch", "x"),
        ("--cooldown", "-1"),
        ("--prune-share", "0"),
    ],
)
def test_options_out_of_range_are_told(option, capsys):
    with pytest.raises(SystemExit):
        main(["train", "student", *option])
    assert f"argument {option[0]}: must be" in capsys.readouterr().err


def begin(out, recipe, steps, *options, processes=1):
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, "-m", "meddenoise", "train", recipe, "--out", str(out), "--device", "cpu"]
    options = (*LIGHT[recipe], "--steps", str(steps), "--patch", "32", "--no-trackers", *options)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)


def finished(process):
    text = process.communicate()[0].decode()
    assert process.returncode == 0, text
    return text


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_stopped_recipe_ends_with_the_weights_of_an_unbroken_one(tmp_path, slices, recipe):
    def stop(line):
        if line.removeprefix("train: ").startswith("step 8 "):
            raise KeyboardInterrupt

    module, config = small(recipe, steps=12, save_every=4)
    for name in ("unbroken", "stopped"):
        (tmp_path / name).mkdir()
        save_slices(slices, tmp_path / name / SLICES)
    whole = module.run(config, None, tmp_path / "unbroken", resume=False, report=lambda line: None)
    with pytest.raises(KeyboardInterrupt):
        module.run(config, None, tmp_path / "stopped", resume=False, report=stop)
    assert module.run(config, None, tmp_path / "stopped", resume=True, report=lambda line: None) == whole


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("recipe", SMALL)
def test_killed_runs_end_with_the_weights_of_an_unbroken_one(tmp_path, slices, recipe):
    for name in ("unbroken", "killed"):
        (tmp_path / name).mkdir()
        save_slices(slices, tmp_path / name / SLICES)
    options = ("--batch", "2", "--save-every", "5")
    finished(begin(tmp_path / "unbroken", recipe, 30, *options))
    first = begin(tmp_path / "killed", recipe, 30, *options)
    while not (tmp_path / "killed" / STAGE[recipe] / CHECKPOINT).exists():
        time.sleep(0.02)
        assert first.poll() is None, "the run ended before it could be killed"
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert not (tmp_path / "killed" / f"{recipe}.safetensors").exists()
    assert "resumed after step" in finished(begin(tmp_path / "killed", recipe, 30, *options, "--resume"))
    one, other = (load_file(tmp_path / name / f"{recipe}.safetensors") for name in ("unbroken", "killed"))
    assert all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("recipe", [*RECIPES, "gan"])
def test_two_processes_train_as_one_does(tmp_path, slices, recipe):
    options = ("--batch", "4", "--precision", "float32", *(("--patch", "64") if recipe == "gan" else ()))
    for processes in (1, 2):
        (tmp_path / str(processes)).mkdir()
        save_slices(slices, tmp_path / str(processes) / SLICES)
        finished(begin(tmp_path / str(processes), recipe, 12, *options, processes=processes))
    one, two = (load_file(tmp_path / str(n) / f"{recipe}.safetensors") for n in (1, 2))
    arguments = weights.load(str(tmp_path / "1" / f"{recipe}.safetensors"))[1].arguments
    torch.manual_seed(0)
    start_weights = NETWORKS[recipe](**arguments).state_dict()
    for key, value in one.items():
        moved = (value - start_weights[key]).norm().item()
        assert (value - two[key]).norm().item() <= 0.05 * moved + 1e-6, key


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_processes_take_a_student_through_its_stages_as_one_does(tmp_path, slices):
    options = ("--variant", "supervised", "--batch", "4", "--precision", "float32", "--refinement", "0.5")
    options += ("--prune-rounds", "1", "--prune-share", "0.5", "--cooldown", "0.5")
    rows = []
    for processes in (1, 2):
        (tmp_path / str(processes)).mkdir()
        save_slices(slices, tmp_path / str(processes) / SLICES)
        finished(begin(tmp_path / str(processes), "student", 8, *options, processes=processes))
        _, card = weights.load(str(tmp_path / str(processes) / "student.safetensors"))
        rows.append(card.training["stages"])
    one, two = rows
    assert [row["stage"] for row in one] == ["train", "refine", "fold", "prune-1", "cooldown"]
    for alone, shared in zip(one, two, strict=True):
        assert {key: shared[key] for key in ("stage", "steps", "parameters")} == {
            key: alone[key] for key in ("stage", "steps", "parameters")
        }
        assert shared["psnr"] == pytest.approx(alone["psnr"], abs=0.02)


@pytest.mark.slow
def test_all_processes_hold_equal_weights(tmp_path):
    code = tmp_path / "train.py"
    code.write_text(
        """
import sys, torch
from pathlib import Path
from torch import nn
from meddenoise.training.distributed import processes
from meddenoise.training.distributed import ALONE, Processes
from meddenoise.training.loop import Schedule, train

class Objective:
    def __init__(self, seed):
        torch.manual_seed(seed)  # another on each: the first one's weights count
        self.networks = {"net": nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))}
        self.optimizers = {"net": torch.optim.Adam(self.networks["net"].parameters(), lr=0.01)}

    def losses(self, noisy, clean, generator):
        yield "net", ((self.networks["net"](noisy) - clean) ** 2).mean()

def sample(batch, generator):
    clean = torch.rand((batch, 1, 8, 8), generator=generator)
    return clean + 0.1 * torch.randn(clean.shape, generator=generator), clean

with processes("cpu") as (group, device):
    objective = Objective(group.rank)
    train(objective, sample, Schedule(steps=10, batch=4, warmup=2), Path(sys.argv[1]), group=group)
    torch.save(dict(objective.networks["net"].named_parameters()), f"{sys.argv[1]}/rank{group.rank}.pt")
"""
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", code, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path):
    from meddenoise.errors import OptionError

    with pytest.raises(OptionError, match="a batch of 5 cannot be shared by 2 processes"):
        Processes(0, 2).share(torch.zeros(5, 1, 8, 8))
