"""The loop trains any objective, gives equal bits for a seed, survives being stopped and says when it cannot go on."""

import json
from itertools import islice

import pytest
import torch
from torch import nn

from meddenoise.errors import ModelError, OptionError, OutputError, TrainingError
from meddenoise.training.checkpoint import steps_done
from meddenoise.training.loop import CHECKPOINT, Schedule, batches, train
from meddenoise.training.progress import HISTORY, Enough


def sample(batch, generator):
    clean = torch.rand((batch, 1, 8, 8), generator=generator)
    return clean + 0.1 * torch.randn(clean.shape, generator=generator), clean


def schedule(steps=20, **options):
    return Schedule(**{"steps": steps, "batch": 4, "warmup": 2, "save_every": 5, "precision": "float32"} | options)


class Single:
    """One convolution with dropout, so that PyTorch's own random numbers matter too."""

    def __init__(self):
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Dropout(0.1), nn.Conv2d(4, 1, 3, padding=1))
        self.networks = {"net": self.network}
        self.optimizers = {"net": torch.optim.AdamW(self.network.parameters(), lr=0.01)}

    def losses(self, noisy, clean, generator):
        keep = torch.rand(noisy.shape, generator=generator) < 0.9
        yield "net", ((self.network(noisy) - clean)[keep] ** 2).mean()


class Adversarial:
    """Two networks that take turns, as in a GAN; the second loss is of the first network as it was just stepped."""

    def __init__(self):
        torch.manual_seed(0)
        self.networks = {"generator": nn.Conv2d(1, 1, 3, padding=1), "judge": nn.Conv2d(1, 1, 3)}
        self.optimizers = {
            "judge": torch.optim.Adam(self.networks["judge"].parameters(), lr=0.02),
            "generator": torch.optim.Adam(self.networks["generator"].parameters(), lr=0.01),
        }
        self.judged = []

    def losses(self, noisy, clean, generator):
        made, judge = self.networks["generator"](noisy), self.networks["judge"]
        loss = ((judge(clean) - 1) ** 2).mean() + (judge(made.detach()) ** 2).mean()
        yield "judge", loss
        with torch.no_grad():
            again = ((judge(clean) - 1) ** 2).mean() + (judge(made) ** 2).mean()
        self.judged.append((loss.item(), again.item()))
        yield "generator", ((judge(made) - 1) ** 2).mean() + 100 * (made - clean).abs().mean()


class Distilled:
    """A student that learns from a teacher, which no optimizer moves."""

    def __init__(self):
        torch.manual_seed(0)
        self.networks = {"student": nn.Conv2d(1, 1, 3, padding=1), "teacher": nn.Conv2d(1, 1, 3, padding=1)}
        self.optimizers = {"student": torch.optim.Adam(self.networks["student"].parameters(), lr=0.05)}

    def losses(self, noisy, clean, generator):
        with torch.no_grad():
            target = self.networks["teacher"](noisy)
        yield "student", ((self.networks["student"](noisy) - target) ** 2).mean()


def equal(first, second):
    states = [
        {f"{n}.{k}": v for n, net in nets.items() for k, v in net.state_dict().items()} for nets in (first, second)
    ]
    return states[0].keys() == states[1].keys() and all(torch.equal(v, states[1][k]) for k, v in states[0].items())


def history(out):
    lines = [json.loads(line) for line in (out / HISTORY).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def stopped_at(step):
    """A report that kills the run as it tells of a step."""

    def report(line):
        if line.startswith(f"step {step} "):
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize("objective", [Single, Adversarial, Distilled])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_stopped_run_ends_with_the_weights_and_history_of_an_unbroken_one(tmp_path, objective, precision):
    plan = schedule(precision=precision)
    unbroken = train(objective(), sample, plan, tmp_path / "unbroken")
    for step in (10, 15):
        with pytest.raises(KeyboardInterrupt):
            train(objective(), sample, plan, tmp_path / "stopped", report=stopped_at(step))
    resumed = train(objective(), sample, plan, tmp_path / "stopped")
    assert equal(unbroken, resumed)
    assert history(tmp_path / "unbroken") == history(tmp_path / "stopped")
    assert [line["step"] for line in history(tmp_path / "stopped")] == [5, 10, 15, 20]


def test_seeds_tell_runs_apart_and_nothing_else_does(tmp_path):
    runs = [train(Single(), sample, schedule(10, seed=seed), tmp_path / str(i)) for i, seed in enumerate((3, 3, 4))]
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


def test_batches_made_ahead_are_the_same_batches():
    def first(ahead):
        return list(islice(batches(sample, 2, torch.Generator().manual_seed(5), ahead=ahead), 6))

    for one, other in zip(first(0), first(3), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_networks_that_take_turns_see_each_other_stepped(tmp_path):
    objective = Adversarial()
    train(objective, sample, schedule(), tmp_path)
    before, after = torch.tensor(objective.judged).mean(dim=0)
    assert after < before


def test_a_network_without_optimizer_stays_as_it_was(tmp_path):
    trained, untouched = train(Distilled(), sample, schedule(200), tmp_path), Distilled()
    assert torch.equal(trained["teacher"].weight, untouched.networks["teacher"].weight)
    before, after = (history(tmp_path)[i]["loss.student"] for i in (0, -1))
    assert after < 0.1 * before


def test_each_optimizer_keeps_its_own_rate():
    plan = schedule(100, warmup=10)
    assert [plan.rate(step, 0.02) / plan.rate(step, 0.01) for step in (0, 10, 99)] == pytest.approx([2, 2, 2])
    assert plan.rate(9, 1.0) == 1.0 > plan.rate(50, 1.0) > plan.rate(99, 1.0) > 0.01
    assert schedule(100, warmup=0, decay="constant").rate(99, 0.5) == 0.5


def test_published_weights_are_a_running_average(tmp_path):
    plain = train(Single(), sample, schedule(average=0.0), tmp_path / "plain")
    smooth = train(Single(), sample, schedule(average=0.9), tmp_path / "smooth")
    assert not equal(plain, smooth)


def test_nan_stops_the_run_by_name_and_keeps_the_last_checkpoint(tmp_path):
    def spoilt(batch, generator):
        noisy, clean = sample(batch, generator)
        return (noisy, clean) if next(steps) < 7 else (noisy * torch.nan, clean)

    steps = iter(range(100))
    with pytest.raises(TrainingError, match=r"loss 'net' is nan .* in step 8; .*--resume.*--learning-rate"):
        train(Single(), spoilt, schedule(), tmp_path)
    kept = train(Single(), sample, schedule(5), tmp_path)
    assert all(value.isfinite().all() for value in kept["net"].state_dict().values())


def test_a_fresh_run_does_not_overwrite_a_checkpoint(tmp_path):
    train(Single(), sample, schedule(5), tmp_path)
    with pytest.raises(OptionError, match="holds a checkpoint; resume it"):
        train(Single(), sample, schedule(5), tmp_path, resume=False)


def test_a_checkpoint_of_another_objective_is_refused_by_name(tmp_path):
    train(Single(), sample, schedule(5), tmp_path)
    with pytest.raises(ModelError, match=r"checkpoint.safetensors is damaged or not of this recipe"):
        train(Distilled(), sample, schedule(5), tmp_path)


def test_a_cut_off_checkpoint_is_refused_by_name(tmp_path):
    train(Single(), sample, schedule(5), tmp_path)
    whole = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="is damaged"):
        train(Single(), sample, schedule(10), tmp_path)


def test_resuming_tells_what_was_changed(tmp_path):
    train(Single(), sample, schedule(5), tmp_path)
    lines = []
    train(Single(), sample, schedule(10, batch=8), tmp_path, report=lines.append)
    assert lines[0] == "resumed after step 5, with steps 5 -> 10, batch 4 -> 8"
    assert lines[1].startswith("step 10 of 10, loss.net 0.")
    assert lines[1].endswith(", 0 min left")


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path):
    resource = pytest.importorskip("resource", reason="file sizes can only be limited on Unix")
    train(Single(), sample, schedule(5, decay="constant"), tmp_path)
    plan = schedule(10, decay="constant")
    before = (tmp_path / CHECKPOINT).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OutputError, match="the disk is full; free some space and go on with --resume"):
            train(Single(), sample, schedule(10), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert not list(tmp_path.glob("*.part"))
    assert equal(train(Single(), sample, plan, tmp_path), train(Single(), sample, plan, tmp_path / "unbroken"))


def test_a_hook_that_has_enough_ends_the_run_as_if_it_were_done(tmp_path):
    def hook(moment):
        if moment.step == 10:
            raise Enough("it is good")
        return {}

    lines = []
    options = schedule(save_every=5)
    train(Single(), sample, options, tmp_path, hooks=[hook], report=lines.append)
    assert lines[-1] == "ended after step 10: it is good"
    assert steps_done(tmp_path / CHECKPOINT) == options.steps
    train(Single(), sample, options, tmp_path, hooks=[hook], report=lines.append)
    assert "resumed after step 20" in lines[-1]
    assert [line["step"] for line in history(tmp_path)] == [5, 10]
