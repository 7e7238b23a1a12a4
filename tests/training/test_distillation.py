"""A student learns from a teacher's output and features, and every stage on its way is trained once and kept."""

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file

from meddenoise import weights
from meddenoise.cli import main
from meddenoise.errors import ModelError, OptionError
from meddenoise.networks import NoiseMeter, Student, Teacher
from meddenoise.networks.cost import parameter_count
from meddenoise.noise_level import level_map
from meddenoise.recipes import student, teacher
from meddenoise.training.data import SLICES, open_data
from meddenoise.training.denoising import Denoising
from meddenoise.training.distillation import AnchorLoss, Guide, anchor_loss
from meddenoise.training.distributed import ALONE
from meddenoise.training.loop import CHECKPOINT, Schedule, train
from meddenoise.training.patches import Mix
from meddenoise.training.slices import save_slices
from meddenoise.training.stages import Stages, judge_of
from meddenoise.weights import Card

PLAN = Schedule(
    steps=4, batch=4, warmup=2, save_every=2, learning_rate=1e-3, decay="halving", halve_every=2, precision="float32"
)
LIGHT = {"widths": (16, 16, 16), "blocks": (1, 1, 1)}


def some_teacher(seed=0):
    torch.manual_seed(seed)
    network = Teacher(widths=(16, 24, 32), blocks=(1, 1, 1), heads=(1, 2, 2))
    torch.nn.init.normal_(network.trunk.tail.weight, std=0.02)  # or it would be the identity, as every fresh network
    return network.eval().requires_grad_(False)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of models, to begin with empty."""
    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setenv("MEDDENOISE_WEIGHTS", str(models))
    return models


@pytest.fixture
def taught(folder, slices):
    """A config of all stages with a teacher, and a maker of folders to train in."""
    network = some_teacher()
    sizes = {"widths": [16, 24, 32], "blocks": [1, 1, 1], "heads": [1, 2, 2]}
    weights.save(network, Card("teacher", "1.0.0", "teacher", sizes, "For tests", ["CT"], 1, 0.1), folder)

    def out(name):
        place = folder.parent / name
        place.mkdir()
        save_slices(slices, place / SLICES)
        return place

    pruning = student.Pruning(rate=0.2, rounds=2, tolerance=50.0, share=0.5)
    config = student.Config(**LIGHT, mix=Mix(size=16), schedule=PLAN, refinement=0.5, pruning=pruning, validate_every=2)
    return config, out


def quiet(line):
    """Nobody listens."""


def images(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_features_that_an_adapter_can_make_cost_nothing_and_scales_do_not_matter():
    loss, wanted = AnchorLoss(student=[3, 2], teacher=[4, 2]), [images(0, 2, 4, 8, 8), images(1, 2, 2, 4, 4)]
    assert loss([wanted[0][:, :3], wanted[1]], wanted).item() == pytest.approx(
        (wanted[0][:, 3].mean() / wanted[0].mean() / 4 / 2).item()
    )  # the teacher's fourth channel is not made yet
    features = [images(2, 2, 3, 8, 8), images(3, 2, 2, 4, 4)]
    tenfold = loss([10 * f for f in features], [10 * w for w in wanted])
    assert tenfold.item() == pytest.approx(loss(features, wanted).item(), rel=1e-5)


def test_adapters_have_each_networks_own_channels_and_learn_while_the_teacher_stays(tmp_path):
    network, known = Student(widths=(8, 8, 16), blocks=(1, 1, 1)), some_teacher()
    anchors = anchor_loss(network, known)
    assert [tuple(a.weight.shape[:2]) for a in anchors.adapters] == [(32, 16), (24, 8), (16, 8)]
    before = {key: value.clone() for key, value in known.state_dict().items()}
    objective = Denoising("student", network, PLAN, noisy_only=False, guide=Guide(known, anchors))

    def sample(batch, generator):
        clean = torch.rand((batch, 1, 16, 16), generator=generator)
        return clean + 0.1 * torch.randn(clean.shape, generator=generator), clean

    averages = train(objective, sample, replace(PLAN, warmup=0), tmp_path)
    assert set(averages) == {"student", "adapters"}
    fresh = anchor_loss(network, known).state_dict()
    assert all(not torch.equal(value, fresh[key]) for key, value in averages["adapters"].state_dict().items())
    assert all(torch.equal(value, before[key]) for key, value in known.state_dict().items())


@pytest.mark.parametrize("staggered", [True, False])
def test_only_staggered_distillation_draws_the_features_to_the_teachers(staggered):
    torch.manual_seed(0)
    network, known = Student(widths=(8, 8, 8), blocks=(1, 1, 1)), some_teacher()
    anchors = anchor_loss(network, known)
    plan = replace(PLAN, learning_rate=1e-2)
    guide = Guide(known, anchors if staggered else None, output_weight=1.0, feature_weight=1.0)
    objective = Denoising("student", network, plan, noisy_only=False, guide=guide)
    clean = images(0, 4, 1, 32, 32)
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))

    def distance():
        with torch.no_grad():
            level = level_map(noisy)
            return anchors(network.anchors(noisy, level)[1], known.anchors(noisy, level)[1]).item()

    before = distance()
    for _ in range(10):
        for name, loss in objective.losses(noisy, clean, torch.Generator().manual_seed(0)):
            objective.optimizers[name].zero_grad()
            loss.backward()
            objective.optimizers[name].step()
    assert (distance() < 0.9 * before) is staggered


def test_a_guide_counts_its_output_by_its_weight():
    network, known = Student(widths=(8, 8, 8), blocks=(1, 1, 1)), some_teacher()
    clean = images(0, 2, 1, 16, 16)
    noisy = clean + 0.1
    found = []
    for weight in (0.0, 1.0, 3.0):
        guide = Guide(known, None, output_weight=weight)
        objective = Denoising("student", network, PLAN, noisy_only=False, guide=guide)
        [(_, loss)] = objective.losses(noisy, clean, torch.Generator())
        found.append(loss.item())
    assert found[2] - found[0] == pytest.approx(3 * (found[1] - found[0]), rel=1e-4)
    assert found[1] > found[0]


def test_a_student_goes_through_all_stages_and_its_card_lists_them(taught, capsys):
    config, out = taught
    config, place, lines = replace(config, cooldown=0.75), out("run"), []
    card = student.run(config, None, place, resume=False, report=lines.append)
    assert lines[0] == "the student is distilled from teacher (staggered)"
    stages = card.training["stages"]
    assert [row["stage"] for row in stages] == ["teacher", "distil", "refine", "fold", "prune-1", "prune-2", "cooldown"]
    assert [row["steps"] for row in stages] == [0, 4, 2, 0, 2, 2, 3]
    known, distilled, refined, fold, first, second, cooled = stages
    assert known["parameters"] == parameter_count(some_teacher())
    assert distilled["parameters"] == refined["parameters"] > fold["parameters"]
    assert fold["psnr"] == pytest.approx(refined["psnr"], abs=1e-3)
    for before, after in ((fold, first), (first, second)):
        assert after["parameters"] < before["parameters"]
        assert after["gmac"] < before["gmac"]
        assert after["kept"]
    network, found = weights.load(str(place / "student.safetensors"))
    assert type(network) is Student
    assert (found.arguments, found.parameters) == (card.arguments, second["parameters"])
    assert cooled["parameters"] == second["parameters"]
    assert cooled["psnr"] != second["psnr"]
    assert not any(type(module).__name__ == "BranchedConv" for module in network.modules())
    smaller, _ = weights.load(str(place / "prune-1" / "student.safetensors"))
    assert parameter_count(smaller) == first["parameters"]


def test_the_last_pruning_that_validation_bears_is_kept(taught):
    config, out = taught
    lines = []
    strict = replace(config, pruning=replace(config.pruning, tolerance=-50.0))
    card = student.run(strict, None, out("run"), resume=False, report=lines.append)
    fold, first = card.training["stages"][-2:]
    assert (fold["stage"], first["stage"], first["kept"]) == ("fold", "prune-1", False)
    assert card.parameters == fold["parameters"]
    assert lines[-1].endswith("too much, the step before is kept")


@pytest.mark.slow
def test_a_run_stopped_in_every_stage_ends_as_an_unbroken_one(taught):
    def stop(line):
        if re.match(stage + r": step 2 of ", line):
            raise KeyboardInterrupt

    config, out = replace(taught[0], cooldown=0.5), taught[1]
    whole = student.run(config, None, out("unbroken"), resume=False, report=quiet)
    broken = out("stopped")
    for stage in ("distil", "refine", "prune-1", "prune-2", "cooldown"):
        with pytest.raises(KeyboardInterrupt):
            student.run(config, None, broken, resume=stage != "distil", report=stop)
    assert student.run(config, None, broken, resume=True, report=quiet) == whole


def test_a_stage_that_others_build_on_is_not_trained_further(taught):
    config, out = taught
    place, config = out("run"), replace(taught[0], pruning=None)
    student.run(config, None, place, resume=False, report=quiet)
    longer = replace(config, schedule=replace(config.schedule, steps=8))
    with pytest.raises(OptionError, match=r"distil cannot be trained further: refine has begun from it; .*remove"):
        student.run(longer, None, place, resume=True, report=quiet)
    (place / "refine" / CHECKPOINT).unlink()
    card = student.run(longer, None, place, resume=True, report=quiet)
    assert [row["steps"] for row in card.training["stages"]] == [0, 8, 4, 0]


def test_a_run_is_not_gone_on_with_without_a_stage_that_others_may_build_on(taught):
    config, out = taught
    place, config = out("run"), replace(taught[0], pruning=None)
    student.run(config, None, place, resume=False, report=quiet)
    with pytest.raises(OptionError, match="holds the stage refine, which is not planned; go on with the same stages"):
        student.run(replace(config, refinement=0.0), None, place, resume=True, report=quiet)


@pytest.mark.parametrize(("before", "kept"), [(0.0, True), (99.0, False)])
def test_a_cooldown_that_does_harm_is_not_kept(taught, before, kept):
    place, rows = taught[1]("run"), [{"stage": "fold", "psnr": before}]
    plan = {"distil": PLAN, "cooldown": PLAN}
    stages = Stages("student", plan, place, False, {}, 2, quiet, (), ALONE)
    data = open_data(None, place, Mix(size=16), report=quiet)
    network = Student(**LIGHT)
    untouched = {key: value.clone() for key, value in network.state_dict().items()}
    found = stages.cooled(network, data, judge_of(data, PLAN), rows)
    assert (found is not network) is kept
    assert all(torch.equal(value, untouched[key]) for key, value in network.state_dict().items())
    assert (rows[-1]["stage"], rows[-1]["steps"], rows[-1]["kept"]) == ("cooldown", 4, kept)


def test_a_run_goes_on_with_the_teacher_and_variant_it_was_begun_with(taught, folder):
    config, out = taught
    place, config = out("run"), replace(taught[0], pruning=None, refinement=0.0)
    student.run(config, None, place, resume=False, report=quiet)
    with pytest.raises(OptionError, match="was begun with variant staggered, not final_output; go on with the same"):
        student.run(replace(config, variant="final_output"), None, place, resume=True, report=quiet)
    weights.save(some_teacher(seed=1), weights.read_card("teacher"), folder)
    with pytest.raises(OptionError, match=r"was begun with teacher [0-9a-f]{64}, not [0-9a-f]{64}"):
        student.run(config, None, place, resume=True, report=quiet)


def test_without_a_published_teacher_the_plain_student_is_trained_and_it_is_said(tmp_path, folder, slices):
    save_slices(slices, tmp_path / SLICES)
    lines = []
    config = student.Config(**LIGHT, mix=Mix(size=16), schedule=PLAN)
    card = student.run(config, None, tmp_path, resume=False, report=lines.append)
    assert lines[0].startswith("no teacher is published: the plain student is trained, supervised")
    assert [row["stage"] for row in card.training["stages"]] == ["train"]
    assert "--variant plain" in card.training["recipe"]
    assert [card.training[key] for key in ("refinement", "pruning", "cooldown")] == [0.0, None, 0.0]
    with pytest.raises(OptionError, match=r"the variant staggered needs a teacher, and none is published"):
        student.run(replace(config, variant="staggered"), None, tmp_path, resume=True, report=quiet)
    with pytest.raises(OptionError, match="the variant plain has no teacher, got somebody; leave one out"):
        student.run(replace(config, variant="plain", teacher="somebody"), None, tmp_path, resume=True, report=quiet)


def test_a_student_goes_on_from_a_pruned_one_and_keeps_its_sizes(tmp_path, folder, slices):
    pruned = Student(**LIGHT, inner=(8, 16, 8, 16, 8))
    sizes = pruned.arguments
    weights.save(pruned, Card("small", "1.0.0", "student", sizes, "For tests", ["CT"], 1, 0.1), folder)
    save_slices(slices, tmp_path / SLICES)
    config = student.Config(start="small", variant="supervised", mix=Mix(size=16), schedule=PLAN, pruning=None)
    card = student.run(config, None, tmp_path, resume=False, report=quiet)
    assert card.arguments == sizes
    assert [row["stage"] for row in card.training["stages"]] == ["train", "refine", "fold"]


def test_only_a_student_can_be_gone_on_from_and_only_networks_with_anchors_teach(taught, folder):
    config, out = taught
    with pytest.raises(ModelError, match=r"teacher \(teacher\) is no student to go on from"):
        student.run(replace(config, start="teacher"), None, out("a"), resume=False, report=quiet)
    weights.save(NoiseMeter(), Card("meter", "1.0.0", "noise_meter", {}, "For tests", ["CT"], 1, 0.1), folder)
    with pytest.raises(ModelError, match=r"meter \(noise_meter\) cannot teach a student"):
        student.run(replace(config, teacher="meter"), None, out("b"), resume=False, report=quiet)


def test_a_teacher_that_begins_as_a_student_computes_what_it_does(tmp_path, folder, slices):
    torch.manual_seed(0)
    known = Student(**LIGHT)
    torch.nn.init.normal_(known.tail.weight, std=0.02)
    weights.save(known, Card("student", "1.0.0", "student", known.arguments, "For tests", ["CT"], 1, 0.1), folder)
    save_slices(slices, tmp_path / SLICES)
    still = replace(PLAN, steps=1, learning_rate=1e-12)
    sizes = {"widths": (24, 24, 24), "blocks": (1, 1, 2), "heads": (1, 1, 1)}
    config = teacher.Config(**sizes, start="student", mix=Mix(size=16), schedule=still, refinement=0.0)
    teacher.run(config, None, tmp_path, resume=False, report=quiet)
    network, _ = weights.load(str(tmp_path / "teacher.safetensors"))
    image = images(0, 1, 1, 32, 32)
    level = level_map(image)
    with torch.no_grad():
        found, expected = network(image, level), known(image, level)
    half = 0.005 * (expected - image).abs().max()  # the precision in which a teacher is kept
    assert (found - expected).abs().max() < half
    with pytest.raises(ModelError, match="cannot be gone on from: its sizes do not fit"):
        teacher.run(replace(config, widths=(8, 8, 8)), None, tmp_path, resume=True, report=quiet)


def test_trackers_see_the_stages_as_one_training(taught):
    seen = []

    def tracker(moment):
        seen.append((moment.step, moment.steps))
        return {}

    config, out = taught
    student.run(config, None, out("run"), resume=False, report=quiet, trackers=[tracker])
    assert seen == [(step, 11) for step in (2, 4, 6, 8, 10, 11)]


def test_a_student_without_held_back_subjects_is_not_pruned(tmp_path, folder, slices):
    save_slices([s for s in slices if s.info.subject != "VS-SEG-001"], tmp_path / SLICES)
    lines = []
    config = student.Config(**LIGHT, variant="supervised", mix=Mix(size=16), schedule=PLAN, refinement=0.0)
    card = student.run(config, None, tmp_path, resume=False, report=lines.append)
    assert [row["stage"] for row in card.training["stages"]] == ["train", "fold"]
    assert "psnr" not in card.training["stages"][0]
    assert lines[-1].startswith("no subject is held back that could say when to stop")


def test_the_command_shows_the_sizes_of_all_stages(taught, folder, capsys, monkeypatch):
    _, out = taught
    place = out("run")
    options = ["--preset", "ablation", "--patch", "16", "--batch", "2", "--steps", "2", "--device", "cpu"]
    teacher_file = str(folder / "teacher.safetensors")
    assert main(["train", "student", *options, "--teacher", teacher_file, "--out", str(place), "--no-trackers"]) == 0
    monkeypatch.setenv("MEDDENOISE_WEIGHTS", str(place))
    capsys.readouterr()
    assert main(["models", "show", "student", "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["training"]["stages"]
    assert [row["stage"] for row in stages][:5] == ["teacher", "distil", "refine", "fold", "prune-1"]
    assert all(row["parameters"] > 0 and row["gmac"] > 0 and row["psnr"] > 0 for row in stages)


def test_the_command_sets_the_stages_lengths_and_the_pruning(taught, folder):
    _, out = taught
    place = out("run")
    options = ["--preset", "ablation", "--patch", "16", "--batch", "2", "--steps", "2", "--device", "cpu"]
    options += ["--refinement", "0", "--cooldown", "1.5", "--prune-rate", "0.4", "--prune-rounds", "1"]
    options += ["--prune-share", "0.5", "--teacher", str(folder / "teacher.safetensors"), "--out", str(place)]
    assert main(["train", "student", *options, "--no-trackers"]) == 0
    _, card = weights.load(str(place / "student.safetensors"))
    stages = {row["stage"]: row["steps"] for row in card.training["stages"]}
    assert stages == {"teacher": 0, "distil": 2, "fold": 0, "prune-1": 1, "cooldown": 3}
    assert card.training["pruning"] == asdict(student.Pruning(rate=0.4, rounds=1, share=0.5))


def test_the_command_sets_the_teachers_stages(taught, folder):
    _, out = taught
    place = out("run")
    options = ["--preset", "ablation", "--patch", "16", "--batch", "2", "--steps", "2", "--device", "cpu"]
    options += ["--refinement", "0.5", "--cooldown", "1.5", "--out", str(place), "--no-trackers"]
    assert main(["train", "teacher", *options]) == 0
    _, card = weights.load(str(place / "teacher.safetensors"))
    assert {row["stage"]: row["steps"] for row in card.training["stages"]} == {"train": 2, "refine": 1, "cooldown": 3}


@pytest.mark.parametrize("option", [("--refinement", "0"), ("--prune-rounds", "2")])
def test_the_command_leaves_a_sites_stages_to_the_server(option, tmp_path, capsys):
    assert main(["train", "student", "--studies", str(tmp_path), *option]) == 2
    assert f"{option[0]} does not go with --studies" in capsys.readouterr().err


def begin(out, teacher_file, *options):
    plan = ["--preset", "ablation", "--patch", "16", "--batch", "4", "--steps", "10", "--save-every", "1"]
    arguments = ["train", "student", "--teacher", teacher_file, "--out", out, "--device", "cpu", "--no-trackers"]
    arguments = [sys.executable, "-m", "meddenoise", *arguments, *plan, *options]
    return subprocess.Popen([str(a) for a in arguments], stdout=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_student_killed_in_every_stage_ends_as_an_unbroken_one(taught, folder):
    _, out = taught
    teacher_file, places = folder / "teacher.safetensors", (out("unbroken"), out("killed"))
    assert begin(places[0], teacher_file).wait() == 0
    for stage in ("distil", "refine", "prune-1"):
        run = begin(places[1], teacher_file, *([] if stage == "distil" else ["--resume"]))
        while not (places[1] / stage / CHECKPOINT).exists():
            assert run.poll() is None, f"the run ended before {stage} could be killed"
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert not (places[1] / "student.safetensors").exists()
    assert begin(places[1], teacher_file, "--resume").wait() == 0
    one, other = (load_file(place / "student.safetensors") for place in places)
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    cards = [json.loads((place / "student.json").read_text()) for place in places]
    assert cards[0] == cards[1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_loss_of_every_stage_falls(taught):
    config, out = taught
    plan = replace(PLAN, steps=80, batch=8, save_every=10, learning_rate=5e-3, halve_every=40)
    config = replace(config, schedule=plan, mix=Mix(size=32), validate_every=40)
    place = out("run")
    student.run(config, None, place, resume=False, report=quiet)
    for stage in ("distil", "refine", "prune-1"):
        lines = [json.loads(line) for line in (place / stage / "history.jsonl").read_text().splitlines()]
        assert lines[-1]["loss.student"] < lines[0]["loss.student"], stage
