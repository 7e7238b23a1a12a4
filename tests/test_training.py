"""Training learns, splits by patient, gives the same batches for a seed and survives being stopped."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from meddenoise import weights
from meddenoise.errors import OptionError
from meddenoise.networks import Student
from meddenoise.noise_level import level_map
from meddenoise.recipes.student import SLICES, Config, run
from meddenoise.training.loop import CHECKPOINT, Schedule, relative_error, train
from meddenoise.training.patches import Mix, sampler
from meddenoise.training.slices import Slice, SliceInfo, is_validation, load_slices, save_slices

MODELS = Path(__file__).parents[1] / "models"
TINY = Mix(size=32)


def slices() -> list[Slice]:
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    body = np.where(x**2 + y**2 < 0.7, 1.0, 0.0) * (0.5 + 0.3 * np.sin(6 * x))
    found = []
    for subject in ("a", "b", "VS-SEG-001"):
        for modality, offset, scale in (
            ("CT", -1024.0, 4095.0),
            ("MR", 0.0, 1.0),
            ("PET", 0.0, 10.0),
            ("XR", 0.0, 255.0),
        ):
            values = torch.from_numpy(body * 0.4 * scale + offset).float()
            found.append(
                Slice(values, SliceInfo(f"{subject}-{modality}", subject, modality, modality == "XR", offset, scale))
            )
    return found


def test_split_is_by_subject_and_fixed():
    assert is_validation("VS-SEG-001")
    assert not is_validation("a")
    share = np.mean([is_validation(f"patient {i}") for i in range(4000)])
    assert share == pytest.approx(0.15, abs=0.02)


def test_a_subject_is_never_on_both_sides(tmp_path):
    save_slices(slices(), tmp_path / "s.safetensors")
    sides = [{s.info.subject for s in load_slices(tmp_path / "s.safetensors", validation=v)} for v in (False, True)]
    assert sides == [{"a", "b"}, {"VS-SEG-001"}]


def test_same_seed_gives_the_same_batches_and_they_are_finite():
    sample = sampler(slices(), TINY)
    first, second, other = (sample(8, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])
    for images in first:
        assert images.shape == (8, 1, 32, 32)
        assert images.isfinite().all()
    assert not torch.equal(*first)


def test_left_out_volumes_never_show_up():
    loud = slices()
    loud.append(Slice(torch.full((64, 64), 2000.0), SliceInfo("loud", "c", "CT", False, -1024.0, 4095.0)))
    largest = []
    for left_out in ((), ("loud",)):
        sample = sampler(loud, Mix(size=32, left_out=left_out))
        generator = torch.Generator().manual_seed(0)
        largest.append(max(float(sample(8, generator)[1][4:].max()) for _ in range(20)))
    assert largest[0] > 0.7 > largest[1]


def test_small_slices_are_mirrored_to_the_patch_size():
    small = [Slice(torch.rand(9, 14), SliceInfo("v", "s", "PET", False, 0.0, 1.0))]
    noisy, clean = sampler(small, Mix(size=48))(4, torch.Generator().manual_seed(0))
    assert noisy.shape == clean.shape == (4, 1, 48, 48)


def schedule(steps: int, **options) -> Schedule:
    return Schedule(steps=steps, batch=4, warmup=2, save_every=5, precision="float32", **options)


def fresh() -> Student:
    torch.manual_seed(0)
    return Student(widths=(8, 8, 8), blocks=(1, 1, 1))


def test_error_falls_on_patches_never_seen(tmp_path):
    sample = sampler(slices(), TINY)
    trained = train(fresh(), sample, schedule(250, learning_rate=5e-3), tmp_path)
    noisy, clean = sample(64, torch.Generator().manual_seed(99))
    level = level_map(noisy)
    errors = [relative_error(n(noisy, level), noisy, clean, level).item() for n in (fresh(), trained)]
    assert errors[1] < 0.9 * errors[0]


def test_a_stopped_run_ends_with_the_weights_of_an_unbroken_one(tmp_path):
    sample = sampler(slices(), TINY)
    unbroken = train(fresh(), sample, schedule(20), tmp_path / "unbroken")

    class StopError(Exception):
        pass

    def stop(line):
        if line.startswith("step 10 "):
            raise StopError

    with pytest.raises(StopError):
        train(fresh(), sample, schedule(20), tmp_path / "stopped", report=stop)
    resumed = train(fresh(), sample, schedule(20), tmp_path / "stopped")
    for a, b in zip(unbroken.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_without_resume_a_run_starts_anew(tmp_path):
    sample = sampler(slices(), TINY)
    train(fresh(), sample, schedule(10), tmp_path)
    lines = []
    train(fresh(), sample, schedule(10), tmp_path, resume=False, report=lines.append)
    assert len(lines) == 2
    assert (tmp_path / CHECKPOINT).exists()


def test_the_recipe_publishes_weights_that_load(tmp_path, monkeypatch):
    save_slices(slices(), tmp_path / SLICES)
    config = Config(widths=(8, 8, 8), blocks=(1, 1, 1), mix=TINY, schedule=schedule(5))
    card = run(config, Path("nowhere"), tmp_path, resume=True, report=lambda line: None)
    with pytest.raises(OptionError, match="holds a checkpoint"):
        run(config, Path("nowhere"), tmp_path, resume=False, report=lambda line: None)
    monkeypatch.setenv("MEDDENOISE_WEIGHTS", str(tmp_path))
    _, found = weights.load("student")
    assert found == card
    assert found.training["split"]
    assert [v for v in found.training["volumes"] if "VS-SEG" in v] == []


def test_training_needs_torch_numpy_and_safetensors_alone():
    code = f"""
import sys
sys.path.insert(0, {str(MODELS)!r})
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('SimpleITK', 'pydicom', 'monai', 'monailabel', 'scipy', 'skimage', 'PIL'):
            raise ImportError(name)
sys.meta_path.insert(0, Block())
import meddenoise.training.loop, meddenoise.training.patches, meddenoise.training.build, meddenoise.recipes.student
"""
    subprocess.run([sys.executable, "-c", code], check=True)
